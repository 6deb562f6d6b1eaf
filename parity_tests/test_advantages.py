"""GAE and normalized advantages: values computed by hand."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import jax_ppo
import torch_ref
from parity_tests import oracles

# One environment, gamma = lambda = 1/2, so gamma lambda = 1/4; every number is exact in binary.
REWARDS, VALUES, NEXT_VALUES = (np.array([x]).T for x in ([1.0, 2, 3], [4.0, 8, 16], [8.0, 16, 32]))


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        # delta = (1, 2, 3): A = (1 + 2.75 / 4, 2 + 3 / 4, 3)
        ([0, 0, 0], [0, 0, 0], [1.6875, 2.75, 3.0]),
        # terminated at 1: delta_1 = 2 - 8; A_0 = 1 - 6 / 4
        ([0, 1, 0], [0, 0, 0], [-0.5, -6.0, 3.0]),
        # truncated at 1: delta_1 = 2 keeps its bootstrap; A_0 = 1 + 2 / 4
        ([0, 0, 0], [0, 1, 0], [1.5, 2.0, 3.0]),
        # both: terminated wins
        ([0, 1, 0], [0, 1, 0], [-0.5, -6.0, 3.0]),
    ],
    ids=["neither", "terminated", "truncated", "both"],
)
def test_hand_worked(terminated: list[int], truncated: list[int], expected: list[float]) -> None:
    """Both sides and the oracle give the numbers computed by hand, to the last bit."""
    ended, cut = (np.array([bits], bool).T for bits in (terminated, truncated))
    arrays = {"rewards": REWARDS, "values": VALUES, "next_values": NEXT_VALUES}
    arrays.update({"terminated": ended, "truncated": cut})
    estimators: list[tuple[Any, Any]] = [
        (jax_ppo.compute_gae, jnp.asarray),
        (torch_ref.compute_gae, torch.tensor),
        (oracles.gae, np.asarray),
    ]
    for compute, convert in estimators:
        converted = {name: convert(array) for name, array in arrays.items()}
        advantages, returns = compute(**converted, gamma=0.5, gae_lambda=0.5)
        np.testing.assert_array_equal(np.asarray(advantages)[:, 0], expected)
        np.testing.assert_array_equal(np.asarray(returns), np.asarray(advantages) + VALUES)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 3))
def test_lambda_one_is_monte_carlo(seed: int, num_steps: int, num_envs: int) -> None:
    """With lambda = 1 the values in between cancel: returns are discounted sums of rewards."""
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=(2, num_steps, num_envs))
    next_values = np.concatenate([values[1:], rng.normal(size=(1, num_envs))])
    never = np.zeros((num_steps, num_envs), bool)
    _, returns = oracles.gae(rewards, values, next_values, never, never, 0.9, 1.0)
    sums = 0.9 ** np.arange(num_steps) @ rewards + 0.9**num_steps * next_values[-1]
    np.testing.assert_allclose(returns[0], sums, rtol=0, atol=64 * np.finfo(float).eps)


def test_normalized_by_hand() -> None:
    """Mean 3 and standard deviation 2 of (1, 5, 1, 5): -1 and 1, up to the 1e-8."""
    expected = np.array([-1.0, 1.0, -1.0, 1.0]) / (1 + 0.5e-8)
    got = oracles.normalized_advantages(np.array([1.0, 5.0, 1.0, 5.0]))
    np.testing.assert_allclose(got, expected, rtol=4 * np.finfo(float).eps)
