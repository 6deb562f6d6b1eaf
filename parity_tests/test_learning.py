"""The statistics of level 8, and a small version of it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jax_ppo import PPOConfig
from parity_tests.learning import (
    WINDOW,
    Comparison,
    Experiment,
    Outcome,
    equivalence,
    jax_outcome,
    steps_to_threshold,
    torch_outcome,
)

CONFIG = PPOConfig(total_steps=20 * 512)

SMALL = Experiment(
    config=PPOConfig(total_steps=40_960), num_agents=6, threshold=150.0, return_margin=200.0,
    steps_margin=0.5,
)  # fmt: skip
"""CartPole until it balances for a while."""


def metrics(returns: list[float], counts: list[int] | None = None) -> Any:
    """A training of as many updates, with one episode ending in each unless said otherwise."""
    return SimpleNamespace(episode_return=returns, num_episodes=counts or [1] * len(returns))


class TestStepsToThreshold:
    """Numbers worked by hand; an update is 512 steps."""

    def test_first_update_of_a_window_that_averages_the_threshold(self) -> None:
        """Ten updates at 0, then 100 each: the last ten average 50 after five of those."""
        returns = [0.0] * WINDOW + [100.0] * 10
        assert steps_to_threshold(metrics(returns), CONFIG, 50.0) == (WINDOW + 5) * 512

    def test_never(self) -> None:
        assert steps_to_threshold(metrics([1.0] * 20), CONFIG, 2.0) == 20 * 512

    def test_episodes_count_not_updates(self) -> None:
        """One episode of 0 and nine of 100 in two updates average 90."""
        found = steps_to_threshold(
            metrics([0.0, 100.0] + [0.0] * 18, [1, 9] + [1] * 18), CONFIG, 90
        )
        assert found == 2 * 512

    def test_updates_without_an_episode(self) -> None:
        returns = [float("nan"), 7.0] + [float("nan")] * 18
        assert steps_to_threshold(metrics(returns, [0, 1] + [0] * 18), CONFIG, 7.0) == 2 * 512


class TestEquivalence:
    """It needs evidence."""

    def test_interval_of_two_samples_worked_by_hand(self) -> None:
        """Means 2 and 3, variances 1, n = 3: 1 +- t(0.95; 4) sqrt(2/3) = 1 +- 2.1318 * 0.8165."""
        for margin in (0.5, 2.7, 2.75, 3.0, 10.0):
            result = equivalence(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]), margin)
            assert result.difference == 1.0
            assert result.ci_low == pytest.approx(1 - 1.74063, abs=1e-4)
            assert result.ci_high == pytest.approx(1 + 1.74063, abs=1e-4)
            assert result.equivalent == (margin > 2.74063), "the interval is within the margin"

    def test_scipy_agrees(self) -> None:
        """Samples of different size and variance, shifted by the margin."""
        rng = np.random.default_rng(0)
        jax, torch = rng.normal(0, 1, 9), rng.normal(0.3, 3, 14)
        result = equivalence(jax, torch, 2.0)
        tests = [
            stats.ttest_ind(torch, jax + 2.0, equal_var=False, alternative="less"),
            stats.ttest_ind(torch, jax - 2.0, equal_var=False, alternative="greater"),
        ]
        interval = stats.ttest_ind(torch, jax, equal_var=False).confidence_interval(0.9)
        assert result.p_value == pytest.approx(max(t.pvalue for t in tests), rel=1e-9)
        assert (result.ci_low, result.ci_high) == pytest.approx(tuple(interval), rel=1e-9)

    def test_a_small_experiment_shows_nothing(self) -> None:
        """The same mean, but samples too wide for their number."""
        wide = np.array([0.0, 100.0, 200.0])
        assert not equivalence(wide, wide, 50.0).equivalent

    def test_different_samples_are_distinguished(self) -> None:
        rng = np.random.default_rng(0)
        jax, torch = rng.normal(0, 1, 50), rng.normal(3, 1, 50)
        result = equivalence(jax, torch, 1.0)
        assert not result.equivalent
        assert result.ks_p_value < 1e-6

    def test_samples_that_never_vary(self) -> None:
        same = np.full(8, 500.0)
        assert equivalence(same, same, 1.0).equivalent
        assert not equivalence(same, same - 2.0, 1.0).equivalent


def test_the_two_sides_learn_alike() -> None:
    """The small version of the committed experiment; both sides leave random play far behind."""
    seeds = range(SMALL.num_agents)
    comparison = Comparison(
        SMALL,
        jax=tuple(jax_outcome(seed, SMALL) for seed in seeds),
        torch=tuple(torch_outcome(seed, SMALL) for seed in seeds),
    )
    assert comparison.ok, comparison.to_dict()
    for side in ("jax", "torch"):
        assert comparison.values("final_return", side).mean() > 150


def test_a_worse_learner_is_not_equivalent() -> None:
    """The same numbers for both, then one side twice as slow and half as good."""
    rng = np.random.default_rng(1)
    good = tuple(Outcome(*x) for x in rng.normal((400, 20_000), (30, 2_000), (16, 2)))
    bad = tuple(Outcome(o.final_return / 2, o.steps_to_threshold * 2) for o in good)
    experiment = Experiment(CONFIG, 16, 150.0, 50.0, 0.25)
    assert Comparison(experiment, good, good).ok
    assert not Comparison(experiment, good, bad).final_return.equivalent
    assert not Comparison(experiment, good, bad).steps_to_threshold.equivalent
