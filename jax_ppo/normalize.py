"""Running mean and variance of a stream, as a value that is updated by replacing it."""

import jax
import jax.numpy as jnp
from flax import struct

from jax_ppo.kernels.collectives import all_reduce_mean, num_shards

EPSILON = 1e-8
"""Added to a variance before its root is taken, so that a constant stream divides by 1e-4."""


@struct.dataclass
class RunningStats:
    """Mean and (population) variance of every sample seen so far."""

    mean: jax.Array
    """[*shape]."""
    var: jax.Array
    """Mean squared deviation, ddof = 0 [*shape]; 1 before the first sample."""
    count: jax.Array
    """Samples seen [], as a float."""


def init_stats(shape: tuple[int, ...]) -> RunningStats:
    """Statistics of nothing: mean 0, variance 1, count 0."""
    return RunningStats(mean=jnp.zeros(shape), var=jnp.ones(shape), count=jnp.zeros(()))


def update_stats(stats: RunningStats, samples: jax.Array) -> RunningStats:
    """Merge a batch of samples into the statistics, as if all had been seen at once.

    With n samples of mean m and variance v, delta = m - mean and N = count + n:
    mean' = mean + delta n / N,  var' = (count var + n v + delta^2 count n / N) / N.

    Args:
        stats: Statistics of what came before.
        samples: New samples [n, *shape], n >= 1.

    Source: Chan, Golub and LeVeque (1979), equations 2.1a and 2.1b.
    """
    n = samples.shape[0] * num_shards()
    total = stats.count + n
    mean = all_reduce_mean(jnp.mean(samples, axis=0))
    var = all_reduce_mean(jnp.mean(jnp.square(samples - mean[None]), axis=0))
    delta = mean - stats.mean
    squares = stats.count * stats.var + n * var
    squares = squares + jnp.square(delta) * (stats.count * n / total)
    return RunningStats(mean=stats.mean + delta * (n / total), var=squares / total, count=total)


def normalize(stats: RunningStats | None, values: jax.Array, clip: jax.Array | float) -> jax.Array:
    """(values - mean) / sqrt(var + 1e-8), clipped to [-clip, clip]; unchanged if stats is None.

    Args:
        stats: Statistics of shape [*shape], or None for no normalization.
        values: [num_envs, *shape].
        clip: Largest magnitude of a result.
    """
    if stats is None:
        return values
    centered = values - stats.mean[None]
    return jnp.clip(centered / jnp.sqrt(stats.var[None] + EPSILON), -clip, clip)


def scale(stats: RunningStats | None, values: jax.Array, clip: jax.Array | float) -> jax.Array:
    """Values / sqrt(var + 1e-8), clipped to [-clip, clip]; unchanged if stats is None.

    Rewards are scaled but not centered: moving their mean would change which policy is best.

    Args:
        stats: Statistics of the discounted return [], or None for no scaling.
        values: Rewards [num_envs].
        clip: Largest magnitude of a result.
    """
    if stats is None:
        return values
    return jnp.clip(values / jnp.sqrt(stats.var + EPSILON), -clip, clip)
