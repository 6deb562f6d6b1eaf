"""Running mean and variance of a stream, as a value that is updated by replacing it."""

from dataclasses import dataclass

import torch

EPSILON = 1e-8
"""Added to a variance before its root is taken, so that a constant stream divides by 1e-4."""


@dataclass(frozen=True)
class RunningStats:
    """Mean and (population) variance of every sample seen so far.

    Each number is a sum of two: what rounding leaves out of the first is kept in its remainder, and
    added when it has become large enough. One float32 alone would stand still after some 10^7
    samples.
    """

    mean: torch.Tensor
    """[*shape]."""
    var: torch.Tensor
    """Mean squared deviation, ddof = 0 [*shape]; 1 before the first sample."""
    count: torch.Tensor
    """Samples seen [], as a float."""
    mean_rest: torch.Tensor | float = 0.0
    """Remainder of mean [*shape]."""
    var_rest: torch.Tensor | float = 0.0
    """Remainder of var [*shape]."""
    count_rest: torch.Tensor | float = 0.0
    """Remainder of count []."""


def init_stats(shape: tuple[int, ...]) -> RunningStats:
    """Statistics of nothing: mean 0, variance 1, count 0."""
    zeros, zero = torch.zeros(shape), torch.zeros(())
    return RunningStats(zeros, torch.ones(shape), zero, zeros, zeros, zero)


def update_stats(stats: RunningStats, samples: torch.Tensor) -> RunningStats:
    """Merge a batch of samples into the statistics, as if all had been seen at once.

    With n samples of mean m and variance v, N = count + n, w = n / N and delta = m - mean:
    mean' = mean + w delta,  var' = var + w (v - var + (1 - w) delta^2).

    Args:
        stats: Statistics of what came before.
        samples: New samples [n, *shape], n >= 1.

    Source: Chan, Golub and LeVeque (1979), equations 2.1a and 2.1b, divided by N; the sums as in
    Kahan (1965), "Further remarks on reducing truncation errors".
    """
    var, mean = torch.var_mean(samples, dim=0, correction=0)
    return merge_moments(stats, mean, var, samples.shape[0])


def merge_moments(
    stats: RunningStats, mean: torch.Tensor, var: torch.Tensor, n: torch.Tensor | int
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
    before = torch.where(stats.count > 0, stats.var, 0.0)
    change = weight * (var - before - stats.var_rest + (1.0 - weight) * torch.square(delta))
    new_mean, mean_rest = compensated_sum(stats.mean, stats.mean_rest, weight * delta)
    new_var, var_rest = compensated_sum(before, stats.var_rest, change)
    return RunningStats(new_mean, new_var, count, mean_rest, var_rest, count_rest)


def compensated_sum(
    total: torch.Tensor, rest: torch.Tensor | float, term: torch.Tensor | float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Total + rest + term, as a rounded sum and what rounding left out of it.

    Args:
        total: The sum so far.
        rest: What rounding has left out of it.
        term: What to add.

    Source: Kahan (1965), "Further remarks on reducing truncation errors".
    """
    term = term + rest
    new_total = total + term
    return new_total, term - (new_total - total)


def clip_values(
    values: torch.Tensor, low: torch.Tensor | float, high: torch.Tensor | float
) -> torch.Tensor:
    """min(max(values, low), high), which exactly at a bound passes half the gradient.

    At a tie, minimum and maximum share the gradient out between their two arguments, where
    torch.clamp would let all of it pass.

    Args:
        values: Any shape.
        low: Smallest result [].
        high: Largest result [].
    """
    at_least = torch.maximum(values, torch.as_tensor(low, dtype=values.dtype))
    return torch.minimum(at_least, torch.as_tensor(high, dtype=values.dtype))


def normalize(
    stats: RunningStats | None, values: torch.Tensor, clip: torch.Tensor | float
) -> torch.Tensor:
    """(values - mean) / sqrt(var + 1e-8), clipped to [-clip, clip]; unchanged if stats is None.

    Args:
        stats: Statistics of shape [*shape], or None for no normalization.
        values: [num_envs, *shape].
        clip: Largest magnitude of a result.
    """
    if stats is None:
        return values
    centered = values - stats.mean[None]
    return clip_values(centered / torch.sqrt(stats.var[None] + EPSILON), -clip, clip)


def scale(
    stats: RunningStats | None, values: torch.Tensor, clip: torch.Tensor | float
) -> torch.Tensor:
    """Values / sqrt(var + 1e-8), clipped to [-clip, clip]; unchanged if stats is None.

    Rewards are scaled but not centered: moving their mean would change which policy is best.

    Args:
        stats: Statistics of the discounted return [], or None for no scaling.
        values: Rewards [num_envs].
        clip: Largest magnitude of a result.
    """
    if stats is None:
        return values
    return clip_values(values / torch.sqrt(stats.var + EPSILON), -clip, clip)
