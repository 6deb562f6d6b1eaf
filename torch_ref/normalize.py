"""Running mean and variance of a stream, as a value that is updated by replacing it."""

from dataclasses import dataclass

import torch

EPSILON = 1e-8
"""Added to a variance before its root is taken, so that a constant stream divides by 1e-4."""


@dataclass(frozen=True)
class RunningStats:
    """Mean and (population) variance of every sample seen so far."""

    mean: torch.Tensor
    """[*shape]."""
    var: torch.Tensor
    """Mean squared deviation, ddof = 0 [*shape]; 1 before the first sample."""
    count: torch.Tensor
    """Samples seen [], as a float."""


def init_stats(shape: tuple[int, ...]) -> RunningStats:
    """Statistics of nothing: mean 0, variance 1, count 0."""
    return RunningStats(mean=torch.zeros(shape), var=torch.ones(shape), count=torch.zeros(()))


def update_stats(stats: RunningStats, samples: torch.Tensor) -> RunningStats:
    """Merge a batch of samples into the statistics, as if all had been seen at once.

    With n samples of mean m and variance v, delta = m - mean and N = count + n:
    mean' = mean + delta n / N,  var' = (count var + n v + delta^2 count n / N) / N.

    Args:
        stats: Statistics of what came before.
        samples: New samples [n, *shape], n >= 1.

    Source: Chan, Golub and LeVeque (1979), equations 2.1a and 2.1b.
    """
    n = samples.shape[0]
    total = stats.count + n
    delta = torch.mean(samples, dim=0) - stats.mean
    squares = stats.count * stats.var + n * torch.var(samples, dim=0, correction=0)
    squares = squares + torch.square(delta) * (stats.count * n / total)
    return RunningStats(mean=stats.mean + delta * (n / total), var=squares / total, count=total)


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
