"""The command line of the reference: torch-ref train, evaluate, export."""

from collections.abc import Sequence
from functools import partial

from jax_ppo.app.commands import (
    Command,
    Side,
    evaluate_command,
    export_command,
    run_program,
    train_command,
)
from jax_ppo.app.runs import RunSettings
from jax_ppo.config import ConfigError, PPOConfig
from torch_ref.app.evaluation import evaluate_agents, load_agents
from torch_ref.app.training import train_run
from torch_ref.envs import make_env
from torch_ref.networks import make_network

USAGE = """\
usage: torch-ref COMMAND ...

The same PPO in plain PyTorch on Gymnasium, to be read as the specification of jax-ppo.

  torch-ref train [ENV_ID]            train one agent or many; CartPole-v1 if nothing else is said
  torch-ref evaluate RUN              say how good the agents of a run are
  torch-ref export RUN --to jax       make a run folder for jax-ppo (or, --to torch, from one)

`torch-ref COMMAND --help` lists a command's options.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `torch-ref`; see `run_program`."""
    return run_program(USAGE, COMMANDS, arguments)


def check_buildable(config: PPOConfig) -> None:
    """Raise ConfigError if the environment or the network cannot be built."""
    make_network(config, make_env(config))


def check_devices(config: PPOConfig, settings: RunSettings) -> None:
    """Raise ConfigError if the settings ask for several devices."""
    if settings.devices is not None and settings.devices > 1:
        raise ConfigError("torch-ref trains on one core; only jax-ppo uses several --devices")


SIDE = Side(
    "torch-ref",
    "torch",
    check_devices,
    check_buildable,
    train_run,
    None,
    load_agents,
    evaluate_agents,
)

COMMANDS: dict[str, Command] = {
    "train": partial(train_command, SIDE),
    "evaluate": partial(evaluate_command, SIDE),
    "export": partial(export_command, SIDE),
}
