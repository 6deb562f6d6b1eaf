"""The command line of the reference: torch-ref train, evaluate, export."""

from collections.abc import Sequence

from jax_ppo.app.command_line import run_program
from jax_ppo.app.commands.common import common_commands
from jax_ppo.app.framework import Framework
from jax_ppo.app.runs import RunSettings
from jax_ppo.config import ConfigError, PPOConfig
from torch_ref.app.evaluation import evaluate_run, load_agents
from torch_ref.app.training import train_run
from torch_ref.ppo import ppo

DESCRIPTION = (
    "The same PPO in plain PyTorch on Gymnasium, to be read as the specification of jax-ppo."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `torch-ref`; see `run_program`."""
    return run_program("torch-ref", DESCRIPTION, common_commands(TORCH), arguments)


def check_algorithm(config: PPOConfig, algorithm: str, num_agents: int) -> None:
    """Raise ConfigError unless the algorithm is PPO, and environment and network can be built."""
    if algorithm != "ppo":
        raise ConfigError(f"torch-ref trains ppo only; jax-ppo has --algorithm {algorithm}")
    ppo(config)


def check_devices(config: PPOConfig, settings: RunSettings) -> None:
    """Raise ConfigError if the settings ask for several devices."""
    if settings.devices is not None and settings.devices > 1:
        raise ConfigError("torch-ref trains on one core; only jax-ppo uses several --devices")


TORCH = Framework(
    "torch-ref", "torch", check_devices, check_algorithm, train_run, None, load_agents, evaluate_run
)
