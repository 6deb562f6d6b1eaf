"""What clipping does to the samples of one update."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_ppo.advantages import AdvantageFn, compute_gae
from jax_ppo.config import PPOConfig
from jax_ppo.ppo import Algorithm, AlgorithmFn, make_batch, ppo
from jax_ppo.types import Batch, Metrics, TrainState


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
    state: TrainState,
    config: PPOConfig,
    algorithm_fn: AlgorithmFn = ppo,
    *,
    advantage_fn: AdvantageFn = compute_gae,
) -> ClipAnatomy:
    """Do the next update of an agent, and evaluate its samples with the policy that comes out.

    Args:
        state: An agent.
        config: The config that it is trained with.
        algorithm_fn: The algorithm that it is trained with.
        advantage_fn: Estimates the advantages of the samples.

    Raises:
        ValueError: The algorithm has no clip range: its metrics have no clip_eps.

    Source: Schulman et al. (2017), "Proximal policy optimization algorithms", figure 1.
    """
    algorithm = algorithm_fn(config)
    after, batch, metrics = next_update(state, config, algorithm, advantage_fn=advantage_fn)
    if metrics.clip_eps is None:
        raise ValueError("the algorithm has no clip range: its metrics have no clip_eps")
    with jax.default_matmul_precision(config.matmul_precision):
        distribution, _ = algorithm.network.apply(after.params, batch.obs)
    ratio = jnp.exp(distribution.log_prob(batch.action) - batch.old_log_prob)
    clipped = is_clipped(ratio, batch.advantages, metrics.clip_eps)
    return ClipAnatomy(ratio, batch.advantages, clipped, metrics.clip_eps)


def next_update(
    state: TrainState,
    config: PPOConfig,
    algorithm: Algorithm,
    *,
    advantage_fn: AdvantageFn = compute_gae,
) -> tuple[TrainState, Batch, Metrics]:
    """The next update of an agent, and the samples that it is made on.

    Args:
        state: An agent.
        config: The config that it is trained with.
        algorithm: The algorithm that it is trained with, made for this config.
        advantage_fn: Estimates the advantages of the samples.

    Returns:
        The agent after the update, its samples as they were collected, and the update's metrics.
    """
    collected, rollout = algorithm.collect(state)
    after, metrics = algorithm.learn(collected, rollout)
    with jax.default_matmul_precision(config.matmul_precision):
        batch = make_batch(
            state.params, rollout.transitions, config, algorithm.network, advantage_fn=advantage_fn
        )
    return after, batch, metrics


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
