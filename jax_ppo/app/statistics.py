"""Summaries of samples of episode returns.

scipy.stats is imported where it is used: it takes as long to import as JAX.
"""

from typing import NamedTuple

import numpy as np

MIN_VALUES = 5
"""Of fewer values there is no interquartile mean and no interval: their mean, and each of them."""


class Summary(NamedTuple):
    """Location of a sample, with an interval for its interquartile mean."""

    num_values: int
    mean: float
    median: float
    iqm: float
    """Mean of the middle half of the sample; NaN of fewer than MIN_VALUES."""
    ci_low: float
    """Lower end of the 95% bootstrap interval of the IQM; NaN likewise."""
    ci_high: float
    """Upper end."""
    minimum: float
    maximum: float
    values: tuple[float, ...] = ()
    """The sample itself, if it has fewer than MIN_VALUES."""

    @property
    def score(self) -> float:
        """The one number that agents are compared by: the IQM, or the mean of few of them."""
        return self.mean if self.num_values < MIN_VALUES else self.iqm


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


def show_spread(summary: Summary) -> str:
    """The interval of the IQM, or the values if they are few."""
    if summary.num_values < MIN_VALUES:
        return ", ".join(map(show_number, summary.values))
    return f"{show_number(summary.ci_low)} to {show_number(summary.ci_high)}"


def show_score(summary: Summary) -> str:
    """The score, its name and its spread: "IQM 7.2 (95% interval 6.9 to 7.6)"."""
    name = "mean" if summary.num_values < MIN_VALUES else "IQM"
    what = "" if summary.num_values < MIN_VALUES else "95% interval "
    spread = f" ({what}{show_spread(summary)})" if summary.num_values > 1 else ""
    return f"{name} {show_number(summary.score)}{spread}"


def summarize(values: np.ndarray, seed: int = 0) -> Summary:
    """Mean, median, IQM and a 95% percentile-bootstrap interval of the IQM (10,000 resamples).

    Args:
        values: A sample [n], n >= 1.
        seed: Seed of the resampling, fixed so that a report can be repeated.
    """
    from scipy import stats

    values = np.asarray(values, dtype=np.float64)
    few = values.size < MIN_VALUES
    iqm = low = high = float("nan") if few else float(interquartile_mean(values))
    if not few and np.ptp(values) > 0:
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
        values=tuple(values.tolist()) if few else (),
    )


def interval_of_curves(
    curves: np.ndarray, num_resamples: int = 1_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IQM over the agents, point by point, and its 95% percentile-bootstrap interval.

    Args:
        curves: [num_agents, num_points], of MIN_VALUES agents at least; a point that is NaN for one
            agent is so in the result.
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
