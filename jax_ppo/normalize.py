"""Running mean and variance of a stream, as a value that is updated by replacing it."""

import jax
import jax.numpy as jnp
from flax import struct

from jax_ppo.kernels.collectives import all_reduce_mean, num_shards

EPSILON = 1e-8
"""Added to a variance before its root is taken, so that a constant stream divides by 1e-4."""


@struct.dataclass
class RunningStats:
    """Mean and (population) variance of every sample seen so far.

    Each number is a sum of two: what rounding leaves out of the first is kept in its remainder, and
    added when it has become large enough. One float32 alone would stand still after some 10^7
    samples.
    """

    mean: jax.Array
    """[*shape]."""
    var: jax.Array
    """Mean squared deviation, ddof = 0 [*shape]; 1 before the first sample."""
    count: jax.Array
    """Samples seen [], as a float."""
    mean_rest: jax.Array | float = 0.0
    """Remainder of mean [*shape]."""
    var_rest: jax.Array | float = 0.0
    """Remainder of var [*shape]."""
    count_rest: jax.Array | float = 0.0
    """Remainder of count []."""


def init_stats(shape: tuple[int, ...]) -> RunningStats:
    """Statistics of nothing: mean 0, variance 1, count 0."""
    zeros, zero = jnp.zeros(shape), jnp.zeros(())
    return RunningStats(zeros, jnp.ones(shape), zero, zeros, zeros, zero)


def update_stats(stats: RunningStats, samples: jax.Array) -> RunningStats:
    """Merge a batch of samples into the statistics, as if all had been seen at once.

    With n samples of mean m and variance v, N = count + n, w = n / N and delta = m - mean:
    mean' = mean + w delta,  var' = var + w (v - var + (1 - w) delta^2).

    Args:
        stats: Statistics of what came before.
        samples: New samples [n, *shape], n >= 1.

    Source: Chan, Golub and LeVeque (1979), equations 2.1a and 2.1b, divided by N; the sums as in
    Kahan (1965), "Further remarks on reducing truncation errors".
    """
    n = samples.shape[0] * num_shards()
    mean = all_reduce_mean(jnp.mean(samples, axis=0))
    var = all_reduce_mean(jnp.mean(jnp.square(samples - mean[None]), axis=0))
    return merge_moments(stats, mean, var, n)


def merge_moments(
    stats: RunningStats, mean: jax.Array, var: jax.Array, n: jax.Array | int
) -> RunningStats:
    """`update_stats` from the moments of the new samples.

    Args:
        stats: Statistics of what came before.
        mean: Mean of the new samples [*shape].
        var: Their variance, ddof = 0 [*shape].
        n: Their number, at least 1.
    """
    count, count_rest = compensated_sum(stats.count, stats.count_rest, n)
    weight = n / count
    delta = mean - stats.mean - stats.mean_rest
    # The variance of nothing has no weight; taken off again it would leave its rounding behind.
    before = jnp.where(stats.count > 0, stats.var, 0.0)
    change = weight * (var - before - stats.var_rest + (1.0 - weight) * jnp.square(delta))
    new_mean, mean_rest = compensated_sum(stats.mean, stats.mean_rest, weight * delta)
    new_var, var_rest = compensated_sum(before, stats.var_rest, change)
    return RunningStats(new_mean, new_var, count, mean_rest, var_rest, count_rest)


def compensated_sum(
    total: jax.Array | float, rest: jax.Array | float, term: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Total + rest + term, as a rounded sum and what rounding left out of it.

    Args:
        total: The sum so far.
        rest: What rounding has left out of it.
        term: What to add.

    Source: Kahan (1965), "Further remarks on reducing truncation errors".
    """
    term = jnp.asarray(term) + rest
    new_total = total + term
    return new_total, term - (new_total - total)


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
