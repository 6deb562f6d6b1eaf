"""Summaries of episode returns against hand-worked values and known distributions."""

import numpy as np
import pytest

from jax_ppo.app.statistics import interquartile_mean, show_score, summarize


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean(np.array([1.0, 2.0, 3.0, 1000.0])) == 2.5
    assert interquartile_mean(np.arange(8.0)) == 3.5
    assert interquartile_mean(np.array([7.0])) == 7.0


def test_summary_by_hand() -> None:
    summary = summarize(np.array([4.0, 1.0, 1000.0, 2.0, 3.0, 5.0]))
    assert (summary.median, summary.iqm, summary.score) == (3.5, 3.5, 3.5)
    assert summary.mean == pytest.approx(1015 / 6)
    assert (summary.minimum, summary.maximum, summary.num_values) == (1.0, 1000.0, 6)
    assert summary.ci_low <= summary.iqm <= summary.ci_high
    assert summary.values == ()
    assert show_score(summary).startswith("IQM 3.5 (95% interval ")


def test_of_few_values_each_is_shown() -> None:
    """The quartiles of two are the two, and their interval would be from one to the other."""
    summary = summarize(np.array([7.0, 7.5]))
    assert (summary.score, summary.mean, summary.values) == (7.25, 7.25, (7.0, 7.5))
    assert np.isnan([summary.iqm, summary.ci_low, summary.ci_high]).all()
    assert show_score(summary) == "mean 7.25 (7, 7.5)"
    assert show_score(summarize(np.array([7.0]))) == "mean 7"


def test_no_spread_no_interval() -> None:
    summary = summarize(np.full(5, 5.0))
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
