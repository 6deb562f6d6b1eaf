"""Schedules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo import adapt_kl_coef, scheduled


def test_linear_by_hand() -> None:
    # 4 updates: 0.8 * (1, 3/4, 1/2, 1/4); the last is not zero
    got = [float(scheduled(0.8, "linear", jnp.array(update), 4)) for update in range(4)]
    np.testing.assert_allclose(got, [0.8, 0.6, 0.4, 0.2], rtol=1e-6)


def test_constant() -> None:
    assert scheduled(0.8, "constant", jnp.array(3), 4) == 0.8


def test_traced() -> None:
    linear = jax.jit(lambda c, update: scheduled(c, "linear", update, 10))
    np.testing.assert_allclose(linear(2.0, 5), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        (0.0, 0.5),
        (0.0066, 0.5),  # < 0.01 / 1.5 = 0.00667
        (0.0067, 1.0),
        (0.01, 1.0),
        (0.0149, 1.0),
        (0.0151, 2.0),  # > 0.01 * 1.5 = 0.015
        (9.0, 2.0),
    ],
)
def test_kl_coefficient(kl: float, factor: float) -> None:
    np.testing.assert_allclose(adapt_kl_coef(0.3, kl, 0.01), 0.3 * factor, rtol=1e-6)
    traced = jax.jit(adapt_kl_coef)(0.3, kl, 0.01)
    np.testing.assert_allclose(traced, 0.3 * factor, rtol=1e-6)


def test_kl_coefficient_comes_back_from_either_end() -> None:
    """200 updates far below the target, then above it: 2^-200 would be 0 and stay 0."""
    lowest, highest = 0.3, 0.3
    for _ in range(200):
        lowest, highest = adapt_kl_coef(lowest, 0.0, 0.01), adapt_kl_coef(highest, 1.0, 0.01)
    np.testing.assert_allclose([lowest, highest], [2**-20, 2**20], rtol=1e-6)
    np.testing.assert_allclose(adapt_kl_coef(lowest, 1.0, 0.01), 2**-19, rtol=1e-6)
    np.testing.assert_allclose(adapt_kl_coef(highest, 0.0, 0.01), 2**19, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("update", [4, 5, 10**6])
def test_after_the_end_there_is_nothing(schedule: str, update: int) -> None:
    """And not a negative learning rate, which would climb the loss."""
    np.testing.assert_allclose(scheduled(0.8, schedule, jnp.array(update), 4), 0.0, atol=1e-7)
