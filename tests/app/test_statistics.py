"""Summaries of episode returns against hand-worked values and known distributions."""

import numpy as np
import pytest

from jax_ppo.app.statistics import interquartile_mean, summarize


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean(np.array([1.0, 2.0, 3.0, 1000.0])) == 2.5
    assert interquartile_mean(np.arange(8.0)) == 3.5
    assert interquartile_mean(np.array([7.0])) == 7.0


def test_summary_by_hand() -> None:
    summary = summarize(np.array([4.0, 1.0, 1000.0, 2.0]))
    assert (summary.mean, summary.median, summary.iqm) == (251.75, 3.0, 3.0)
    assert (summary.minimum, summary.maximum, summary.num_values) == (1.0, 1000.0, 4)
    assert summary.ci_low <= summary.iqm <= summary.ci_high


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0, 5.0]])
def test_no_spread_no_interval(values: list[float]) -> None:
    summary = summarize(np.array(values))
    assert (summary.ci_low, summary.iqm, summary.ci_high) == (5.0, 5.0, 5.0)


def test_interval_covers_as_often_as_it_says() -> None:
    """95% of the intervals should hold the true IQM, which is 0; 200 samples, 4 sigma."""
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(200, 50))
    hits = sum(s.ci_low <= 0 <= s.ci_high for s in map(summarize, samples))
    assert 200 * 0.95 - 4 * 3.1 <= hits <= 200


def test_same_sample_same_interval() -> None:
    values = np.random.default_rng(1).normal(size=30)
    assert summarize(values) == summarize(values)
