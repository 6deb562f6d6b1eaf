"""Adapter of jax_ppo: trainings under one jit, laid out on devices as `jax-ppo train` does."""

import importlib
from functools import partial
from typing import Any

import jax
import jitted
import protocol
from ours import config_of

from jax_ppo import PPOConfig, train_agents
from jax_ppo.app.runs import RunSettings
from jax_ppo.app.runtime import plan_run, program_options, set_up_devices


def program_of(work: Any) -> jitted.Program:
    """The training of a work."""
    settings = RunSettings(num_agents=work.num_agents)
    set_up_devices(config_of(work), settings)
    # Not before, since importing gymnax fixes JAX's devices; not later, since it would count as
    # tracing.
    importlib.import_module("gymnax")
    training = partial(train_agents, layout=plan_run(config_of(work), settings))
    return jitted.Program(training, partial(arguments, work), episode_returns, program_options())


def arguments(work: Any, seed: int) -> tuple[jax.Array, PPOConfig]:
    """Keys and config."""
    return jax.random.split(jax.random.key(seed), work.num_agents), config_of(work)


def episode_returns(outcome: Any) -> jax.Array:
    """Mean return of the episodes that ended in each update [num_agents, num_updates]."""
    _, metrics = outcome
    return metrics.episode_return.T


if __name__ == "__main__":
    task = protocol.begin()
    jitted.serve(task, program_of(task.work), ("flax", "optax", "gymnax"))
