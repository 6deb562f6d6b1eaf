"""Diagnostics by hand and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo import Categorical, DiscreteActions, approx_kl, clip_fraction, explained_variance

small = st.floats(-3.0, 3.0, width=32)


def test_approx_kl_by_hand() -> None:
    # r = 2: 1 - log 2;  r = 1/2: -1/2 + log 2;  their mean is 1/4
    log_ratio = jnp.log(jnp.array([2.0, 0.5]))
    np.testing.assert_allclose(approx_kl(log_ratio), 0.25, rtol=1e-6)
    # The estimator mean(-log r) would be 0 here, and mean((log r)^2) / 2 would be 0.24.
    assert approx_kl(jnp.zeros(3)) == 0
    # From the policy (1/2, 1/2), each action once, to (3/4, 1/4): the exact divergence, where 1/r
    # in place of r would give 0.189.
    log_ratio = jnp.log(jnp.array([1.5, 0.5]))
    np.testing.assert_allclose(approx_kl(log_ratio), -0.5 * np.log(0.75), rtol=1e-6)


@given(st.lists(small, min_size=4, max_size=4))
def test_approx_kl_against_numpy(log_ratio: list[float]) -> None:
    exact = np.array(log_ratio, np.float64)
    got = approx_kl(jnp.array(log_ratio, jnp.float32))
    np.testing.assert_allclose(got, (np.exp(exact) - 1 - exact).mean(), rtol=1e-5, atol=1e-7)
    assert got >= 0


def test_approx_kl_keeps_its_digits_near_zero() -> None:
    """exp(x) - 1 - x = x^2 / 2 + ...: at x = 1e-3, exp(x) - 1 in float32 would lose half of it."""
    got = approx_kl(jnp.array([1e-3, -1e-3]))
    np.testing.assert_allclose(got, 5e-7, rtol=1e-3)


def test_approx_kl_estimates_kl_of_old_to_new() -> None:
    old, new = (
        Categorical(jnp.array([[0.0, 0.5, -0.5]])),
        Categorical(jnp.array([[0.4, 0.0, -0.4]])),
    )
    noise = DiscreteActions(3).draw_noise(jax.random.key(0), (50_000,))
    actions = Categorical(jnp.tile(old.logits, (50_000, 1))).sample(noise)
    table = (jnp.log(jnp.exp(new.logits) / jnp.exp(new.logits).sum())) - jnp.log(
        jnp.exp(old.logits) / jnp.exp(old.logits).sum()
    )
    got = approx_kl(table[0][actions])
    np.testing.assert_allclose(got, old.kl(new)[0], rtol=0.03)


def test_clip_fraction_by_hand() -> None:
    # outside 1 +- 0.25: 0.5 and 2; the edges 0.75 and 1.25 are inside
    ratio = jnp.array([0.5, 0.75, 1.0, 1.25, 2.0])
    np.testing.assert_allclose(clip_fraction(ratio, 0.25), 0.4, rtol=1e-6)
    assert clip_fraction(jnp.ones(3), 0.1) == 0
    assert clip_fraction(jnp.array([3.0, 0.1]), 0.1) == 1


def test_explained_variance_by_hand() -> None:
    returns = jnp.array([1.0, 2.0, 3.0, 4.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(jnp.zeros(4), returns) == 0
    # A constant offset is not variance: still perfect.
    np.testing.assert_allclose(explained_variance(returns + 5, returns), 1.0, rtol=1e-6)
    # residuals 2, 4, 6, 8 have variance 5; returns 1.25: 1 - 4 = -3
    np.testing.assert_allclose(explained_variance(-returns, returns), -3.0, rtol=1e-6)
    # half explained: residuals R / 2: 1 - 1 / 4
    np.testing.assert_allclose(explained_variance(returns / 2, returns), 0.75, rtol=1e-6)


def test_explained_variance_of_equal_returns_is_zero_not_nan() -> None:
    assert explained_variance(jnp.array([1.0, 2.0]), jnp.array([3.0, 3.0])) == 0


@pytest.mark.parametrize("value", [0.1, -3.3, 1000.1])
def test_explained_variance_of_equal_returns_is_zero_though_their_mean_is_rounded(
    value: float,
) -> None:
    returns = jnp.full(1000, value)
    values = jax.random.normal(jax.random.key(0), (1000,))
    assert explained_variance(values, returns) == 0
    # As the trainer makes them where gamma is 0: the advantage r - v, and v again.
    assert explained_variance(values, (returns - values) + values) == 0


@given(st.lists(st.tuples(small, small), min_size=5, max_size=5))
def test_explained_variance_against_numpy(pairs: list[tuple[float, float]]) -> None:
    values, returns = np.array(pairs, np.float64).T
    if returns.var() < 1e-3:
        return
    expected = 1 - (returns - values).var() / returns.var()
    got = explained_variance(jnp.asarray(values, jnp.float32), jnp.asarray(returns, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
