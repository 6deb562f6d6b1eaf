"""Adapter of rejax: `PPO.create(...).train`, several agents under one vmap."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jitted
import optax
import protocol
from gymnax.wrappers.purerl import LogWrapper
from rejax import PPO

NOTES = """\
It clips each entry of a gradient instead of its norm, has an Adam epsilon of 1e-8 and flax's own \
initializer, and bootstraps from zero where a time limit cut an episode. It measures returns \
in evaluations only; instead, gymnax's LogWrapper keeps the last return of each environment, and \
their mean is taken after each update."""


class Logged(LogWrapper):
    """gymnax's LogWrapper, which rejax copies."""

    def __deepcopy__(self, memo: Any) -> "Logged":
        """Itself, as it never changes."""
        return self


def program_of(work: Any) -> jitted.Program:
    """The training of a work."""
    training = algorithm_of(work).train
    if work.num_agents > 1:
        training = jax.vmap(training)
    return jitted.Program(training, partial(jitted.keys_of, work), episode_returns)


def algorithm_of(work: Any) -> Any:
    """The algorithm of a work."""
    batch_size = work.num_envs * work.num_steps
    gradient_steps = work.num_updates * work.update_epochs * work.num_minibatches
    algorithm = PPO.create(
        env=work.env_id,
        agent_kwargs={"hidden_layer_sizes": work.hidden_sizes, "activation": "tanh"},
        total_timesteps=batch_size * work.num_updates,
        eval_freq=batch_size,
        skip_initial_evaluation=True,
        num_envs=work.num_envs,
        num_steps=work.num_steps,
        num_epochs=work.update_epochs,
        num_minibatches=work.num_minibatches,
        learning_rate=optax.linear_schedule(work.learning_rate, 0.0, gradient_steps),
        gamma=work.gamma,
        gae_lambda=work.gae_lambda,
        clip_eps=work.clip_eps,
        ent_coef=work.ent_coef,
        vf_coef=work.vf_coef,
        max_grad_norm=work.max_grad_norm,
    )
    return algorithm.replace(env=Logged(algorithm.env), eval_callback=last_returns)


def last_returns(algorithm: Any, state: Any, key: jax.Array) -> jax.Array:
    """In place of an evaluation: mean of the last return of the environments that have one."""
    ended = state.env_state.returned_episode_lengths > 0
    return jnp.mean(state.env_state.returned_episode_returns, where=ended)


def episode_returns(outcome: Any) -> jax.Array:
    """The result of `last_returns` after each update [..., num_updates]."""
    _, returns = outcome
    return returns


if __name__ == "__main__":
    task = protocol.begin()
    packages = ("rejax", "flax", "optax", "gymnax", "distrax")
    jitted.serve(task, program_of(task.work), packages, NOTES)
