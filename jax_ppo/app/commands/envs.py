"""jax-ppo envs: the environments that can be trained on."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from jax_ppo.adapters import make_env
from jax_ppo.adapters.gymnax import NEEDS_DOWNLOAD
from jax_ppo.config import PPOConfig
from jax_ppo.presets import PRESETS


@dataclass(frozen=True)
class EnvsOptions:
    """List the environments that can be trained on."""


def envs_command(options: EnvsOptions, console: Console) -> None:
    """jax-ppo envs."""
    import gymnax

    table = Table()
    table.add_column("environment", no_wrap=True, min_width=max(map(len, gymnax.registered_envs)))
    for name in ("observation", "actions", "time limit", "preset"):
        table.add_column(name)
    for env_id in gymnax.registered_envs:
        table.add_row(env_id, *describe_env(env_id), "yes" if env_id in PRESETS else "")
    console.print(table)


def describe_env(env_id: str) -> tuple[str, str, str]:
    """Observation, actions and time limit of an environment, in words."""
    if env_id in NEEDS_DOWNLOAD:
        return "needs a download", "", ""
    env = make_env(PPOConfig(env_id=env_id))
    kind = "continuous" if env.action_space.has_log_std else "discrete"
    shape = " x ".join(map(str, env.observation_space.shape))
    return shape, f"{env.action_space.output_size} {kind}", str(env.max_episode_steps or "none")
