"""The command line of the JAX trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from jax_ppo.app.commands import (
    Command,
    Side,
    check_episodes,
    evaluate_command,
    export_command,
    finish_run,
    open_own_run,
    run_program,
    train_command,
)
from jax_ppo.app.devices import is_leader, keep_compiled_programs, set_up_devices
from jax_ppo.app.evaluation import evaluate_agents, load_agents
from jax_ppo.app.experimenting.command import experiment_command
from jax_ppo.app.options import parse_options
from jax_ppo.app.playing.command import play_command
from jax_ppo.app.reporting.command import compare_command, doctor_command, report_command
from jax_ppo.app.runs import RunSettings
from jax_ppo.app.sweeping.command import resume_sweep, sweep_command
from jax_ppo.app.sweeping.sweeps import is_sweep
from jax_ppo.app.training import follow_run, train_run
from jax_ppo.config import PPOConfig
from jax_ppo.envs import NEEDS_DOWNLOAD, DiscreteActions, make_env
from jax_ppo.networks import make_network
from jax_ppo.presets import PRESETS

USAGE = """\
usage: jax-ppo COMMAND ...

PPO in pure JAX: the whole training loop under one jit.

  jax-ppo train [ENV_ID]              train one agent or many; CartPole-v1 if nothing else is said
  jax-ppo evaluate RUN                say how good the agents of a run are
  jax-ppo sweep [ENV_ID] --grid ...   try many settings at once, and rank them
  jax-ppo experiment [NAME]           run an experiment on PPO's parts; without a name, list them
  jax-ppo resume RUN                  go on with a run or a sweep that was stopped
  jax-ppo play RUN                    draw an episode of an agent, as an animated GIF
  jax-ppo doctor RUN                  say why it may not be learning, and what to try
  jax-ppo report RUN                  make one page of all there is to see of a run
  jax-ppo compare RUN RUN ...         lay runs beside one another
  jax-ppo export RUN --to torch       make a run folder for torch-ref (or, --to jax, from one)
  jax-ppo envs                        list the environments

`jax-ppo COMMAND --help` lists a command's options.
"""


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with a run or a sweep that was stopped, from its newest sound checkpoint to its end."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder, or sweep folder."""
    eval_episodes: int = 128
    """Episodes that each trained agent is evaluated on at the end."""


@dataclass(frozen=True)
class EnvsOptions:
    """List the environments that can be trained on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `jax-ppo`; see `run_program`."""
    return run_program(USAGE, COMMANDS, arguments)


def resume_command(words: list[str], console: Console) -> None:
    """jax-ppo resume."""
    options = parse_options(ResumeOptions, "jax-ppo resume", words)
    check_episodes(options.eval_episodes)
    if is_sweep(options.run):
        resume_sweep(options.run, console)
        return
    run = open_own_run(SIDE, options.run)
    set_up(run.config, run.settings)
    check_buildable(run.config)
    if is_leader():
        finish_run(SIDE, run, console, options.eval_episodes)
    else:
        follow_run(run)


def envs_command(words: list[str], console: Console) -> None:
    """jax-ppo envs."""
    import gymnax

    parse_options(EnvsOptions, "jax-ppo envs", words)
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
    if isinstance(env.actions, DiscreteActions):
        actions = f"{env.actions.num_actions} discrete"
    else:
        actions = f"{env.actions.noise_dim} continuous"
    return " x ".join(map(str, env.obs_shape)), actions, str(env.max_episode_steps or "none")


def set_up(config: PPOConfig, settings: RunSettings) -> None:
    """Settle devices, cluster and cache before anything is computed."""
    keep_compiled_programs()
    set_up_devices(config, settings)


def check_buildable(config: PPOConfig) -> None:
    """Raise ConfigError if the environment or the network cannot be built."""
    make_network(config, make_env(config))


SIDE = Side(
    "jax-ppo",
    "jax",
    set_up,
    check_buildable,
    train_run,
    follow_run,
    load_agents,
    evaluate_agents,
)

COMMANDS: dict[str, Command] = {
    "train": partial(train_command, SIDE),
    "evaluate": partial(evaluate_command, SIDE),
    "resume": resume_command,
    "sweep": sweep_command,
    "experiment": experiment_command,
    "play": partial(play_command, SIDE),
    "doctor": doctor_command,
    "report": report_command,
    "compare": compare_command,
    "export": partial(export_command, SIDE),
    "envs": envs_command,
}
