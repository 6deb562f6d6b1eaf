"""What clipping does to the samples of one update."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_ppo.config import PPOConfig
from jax_ppo.rollout import collect_rollout
from jax_ppo.schedules import scheduled
from jax_ppo.train import (
    DEFAULT_COMPONENTS,
    Components,
    draw_randomness,
    make_batch,
    train_step_from_draws,
)
from jax_ppo.types import Batch, TrainState


class ClipAnatomy(NamedTuple):
    """The samples of one update, as the policy after its last gradient step sees them."""

    ratio: jax.Array
    """pi_new(a|s) / pi_old(a|s) [batch_size]."""
    advantages: jax.Array
    """A, as estimated; not normalized [batch_size]."""
    clipped: jax.Array
    """Whether the objective is flat there, so that the sample moves the policy no further
    [batch_size], bool."""
    clip_eps: jax.Array
    """Half width of the clip band at this update []."""


def clip_anatomy(
    state: TrainState, config: PPOConfig, components: Components = DEFAULT_COMPONENTS
) -> ClipAnatomy:
    """Do the next train step of an agent, and look at its samples with the policy that comes out.

    Args:
        state: An agent.
        config: The config that it is trained with.
        components: The functions that it is trained with.

    Source: Schulman et al. (2017), "Proximal policy optimization algorithms", figure 1.
    """
    network = components.make_network(config, components.make_env(config))
    after, batch = next_update(state, config, components)
    with jax.default_matmul_precision(config.matmul_precision):
        distribution, _ = network.apply(after.params, batch.obs)
    ratio = jnp.exp(distribution.log_prob(batch.action) - batch.old_log_prob)
    clip_eps = scheduled(
        config.clip_eps, config.clip_eps_schedule, state.update, config.num_updates
    )
    return ClipAnatomy(
        ratio,
        batch.advantages,
        is_clipped(ratio, batch.advantages, clip_eps),
        jnp.asarray(clip_eps, float),
    )


def next_update(
    state: TrainState, config: PPOConfig, components: Components = DEFAULT_COMPONENTS
) -> tuple[TrainState, Batch]:
    """The next train step of an agent, and the samples that it is taken on.

    Args:
        state: An agent.
        config: The config that it is trained with.
        components: The functions that it is trained with.

    Returns:
        The agent after the step, and its samples as they were collected; under jit they are
        collected once.
    """
    env = components.make_env(config)
    network = components.make_network(config, env)
    key, draw_key = jax.random.split(state.key)
    draws = draw_randomness(draw_key, config, env)
    state = dataclasses.replace(state, key=key)
    after, _ = train_step_from_draws(state, draws, config, components)
    with jax.default_matmul_precision(config.matmul_precision):
        _, transitions, _ = collect_rollout(
            state.rollout, state.params, draws.noise, draws.env_keys, config, env, network
        )
        batch = make_batch(state.params, transitions, config, network, components.advantage_fn)
    return after, batch


def is_clipped(ratio: jax.Array, advantages: jax.Array, clip_eps: jax.Array | float) -> jax.Array:
    """Where min(r A, clip(r, 1 - eps, 1 + eps) A) is flat in r: past the band, and for the better.

    A sample whose ratio left the band to the worse side is still pulled back.

    Args:
        ratio: r [batch_size].
        advantages: A [batch_size].
        clip_eps: Half width of the band.

    Returns:
        [batch_size], bool.

    Source: Schulman et al. (2017), equation 7 and figure 1.
    """
    above = (ratio > 1.0 + clip_eps) & (advantages > 0)
    below = (ratio < 1.0 - clip_eps) & (advantages < 0)
    return above | below
