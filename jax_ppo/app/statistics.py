"""Summaries of samples of episode returns.

scipy.stats is imported where it is used: it takes as long to import as JAX.
"""

from typing import NamedTuple

import numpy as np


class Summary(NamedTuple):
    """Location of a sample, with an interval for its interquartile mean."""

    num_values: int
    mean: float
    median: float
    iqm: float
    """Mean of the middle half of the sample."""
    ci_low: float
    """Lower end of the 95% bootstrap interval of the IQM."""
    ci_high: float
    """Upper end."""
    minimum: float
    maximum: float


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the values between the first and the third quartile.

    Source: Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical
    precipice", section 4.3.
    """
    from scipy import stats

    return stats.trim_mean(values, proportiontocut=0.25, axis=axis)


def show_number(value: float) -> str:
    """A return as text: one decimal where it is large, three digits where it is small."""
    return f"{value:.1f}" if abs(value) >= 10.0 else f"{value:.3g}"


def show_iqm(summary: Summary) -> str:
    """The IQM and its interval, in columns."""
    interval = f"[{show_number(summary.ci_low)}, {show_number(summary.ci_high)}]"
    return f"IQM {show_number(summary.iqm):>9}  {interval:>20}"


def summarize(values: np.ndarray, seed: int = 0) -> Summary:
    """Mean, median, IQM and a 95% percentile-bootstrap interval of the IQM (10,000 resamples).

    Args:
        values: A sample [n], n >= 1; of a single value the interval has no width.
        seed: Seed of the resampling, fixed so that a report can be repeated.
    """
    from scipy import stats

    values = np.asarray(values, dtype=np.float64)
    iqm = low = high = float(interquartile_mean(values))
    if np.ptp(values) > 0:
        rng = np.random.default_rng(seed)
        options = {"n_resamples": 10_000, "batch": 1_000, "method": "percentile", "rng": rng}
        low, high = stats.bootstrap((values,), interquartile_mean, **options).confidence_interval
    return Summary(
        num_values=values.size,
        mean=float(values.mean()),
        median=float(np.median(values)),
        iqm=iqm,
        ci_low=float(low),
        ci_high=float(high),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )


def interval_of_curves(
    curves: np.ndarray, num_resamples: int = 1_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IQM over the agents, point by point, and its 95% percentile-bootstrap interval.

    Args:
        curves: [num_agents, num_points]; a point that is NaN for one agent is so in the result.
        num_resamples: Samples of agents that the interval is made of.
        seed: Seed of the resampling, fixed so that a plot can be repeated.

    Returns:
        The IQM, and the two ends of its interval, each [num_points].
    """
    num_agents = len(curves)
    chosen = np.random.default_rng(seed).integers(num_agents, size=(num_resamples, num_agents))
    middles = interquartile_mean(curves[chosen], axis=1)
    low, high = np.percentile(middles, [2.5, 97.5], axis=0)
    return interquartile_mean(curves, axis=0), low, high
