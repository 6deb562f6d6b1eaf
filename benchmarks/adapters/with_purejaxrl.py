"""Adapter of PureJaxRL: `make_train` of its `ppo.py`, several agents under one vmap."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jitted
import protocol

NOTES = """\
It bootstraps from zero where a time limit cut an episode, keeps the returns of every environment \
step, and has one network only, which is that of the works."""


def program_of(work: Any, checkout: Path) -> jitted.Program:
    """The training of a work."""
    training = load_make_train(checkout)(config_of(work))
    if work.num_agents > 1:
        training = jax.vmap(training)
    return jitted.Program(training, partial(jitted.keys_of, work), episode_returns)


def load_make_train(checkout: Path) -> Callable[[dict[str, Any]], Callable[..., Any]]:
    """Its function that makes a training; its files import each other as top-level modules."""
    sys.path.insert(0, str(checkout / "purejaxrl"))
    from ppo import make_train

    return make_train


def config_of(work: Any) -> dict[str, Any]:
    """The config of a work."""
    return {
        "ENV_NAME": work.env_id,
        "TOTAL_TIMESTEPS": work.num_envs * work.num_steps * work.num_updates,
        "NUM_ENVS": work.num_envs,
        "NUM_STEPS": work.num_steps,
        "UPDATE_EPOCHS": work.update_epochs,
        "NUM_MINIBATCHES": work.num_minibatches,
        "LR": work.learning_rate,
        "ANNEAL_LR": True,
        "GAMMA": work.gamma,
        "GAE_LAMBDA": work.gae_lambda,
        "CLIP_EPS": work.clip_eps,
        "ENT_COEF": work.ent_coef,
        "VF_COEF": work.vf_coef,
        "MAX_GRAD_NORM": work.max_grad_norm,
        "ACTIVATION": "tanh",
        "DEBUG": False,
    }


def episode_returns(outcome: Any) -> jax.Array:
    """Mean return of the episodes that ended in each update [..., num_updates]."""
    metrics = outcome["metrics"]
    ended = metrics["returned_episode"]
    return jnp.mean(metrics["returned_episode_returns"], axis=(-2, -1), where=ended)


if __name__ == "__main__":
    task = protocol.begin()
    assert task.checkout is not None
    program = program_of(task.work, task.checkout)
    jitted.serve(task, program, ("flax", "optax", "gymnax", "distrax"), NOTES)
