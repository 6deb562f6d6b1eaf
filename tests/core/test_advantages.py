"""GAE against hand-worked values, an explicit sum, and the mistakes it is easily confused with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo import compute_gae, normalize_advantages

from .helpers import by_position

compute = by_position(compute_gae)


def column(*numbers: float) -> jax.Array:
    """[num_steps, 1]: one environment."""
    return jnp.array(numbers, jnp.float32)[:, None]


def flags(*bits: int) -> jax.Array:
    """[num_steps, 1], bool."""
    return jnp.array(bits, bool)[:, None]


# One environment, three steps, gamma = 0.5 and lambda = 0.5, so gamma lambda = 0.25:
REWARDS, VALUES, NEXT_VALUES = column(1, 2, 3), column(4, 8, 16), column(8, 16, 32)
OPEN = flags(0, 0, 0)
MIDDLE = flags(0, 1, 0)
LAST = flags(0, 0, 1)


@pytest.mark.parametrize(
    ("terminated", "truncated", "advantages"),
    [
        # delta = 1 + 4 - 4 = 1;  2 + 8 - 8 = 2;  3 + 16 - 16 = 3
        # A_2 = 3;  A_1 = 2 + 0.25 * 3 = 2.75;  A_0 = 1 + 0.25 * 2.75 = 1.6875
        (OPEN, OPEN, [1.6875, 2.75, 3.0]),
        # terminated at 1: delta_1 = 2 - 8 = -6 = A_1;  A_0 = 1 + 0.25 * -6 = -0.5
        (MIDDLE, OPEN, [-0.5, -6.0, 3.0]),
        # truncated at 1: delta_1 = 2 = A_1, the bootstrap stays;  A_0 = 1 + 0.25 * 2 = 1.5
        (OPEN, MIDDLE, [1.5, 2.0, 3.0]),
        # both at 1: terminated wins
        (MIDDLE, MIDDLE, [-0.5, -6.0, 3.0]),
        # terminated at the end: A_2 = 3 - 16 = -13;  A_1 = 2 - 3.25;  A_0 = 1 + 0.25 * -1.25
        (LAST, OPEN, [0.6875, -1.25, -13.0]),
        # truncated at the end: as if nothing had happened
        (OPEN, LAST, [1.6875, 2.75, 3.0]),
    ],
    ids=["neither", "terminated", "truncated", "both", "terminated-last", "truncated-last"],
)
def test_hand_worked(terminated: jax.Array, truncated: jax.Array, advantages: list[float]) -> None:
    got, returns = compute(REWARDS, VALUES, NEXT_VALUES, terminated, truncated, 0.5, 0.5)
    # Every number above is exact in binary.
    np.testing.assert_array_equal(got[:, 0], advantages)
    np.testing.assert_array_equal(returns, got + VALUES)


def test_the_value_after_an_autoreset_is_not_the_next_value() -> None:
    """At a truncation s'_t is the end of the old episode, not the start of the new one.

    values[t + 1] in place of next_values[t] would bootstrap 16 at step 1 here too, so make them
    differ: the old episode ended in a state worth 100.
    """
    next_values = column(8, 100, 32)
    got, _ = compute(REWARDS, VALUES, next_values, OPEN, MIDDLE, 0.5, 0.5)
    # A_1 = 2 + 50 - 8 = 44;  A_0 = 1 + 0.25 * 44 = 12
    np.testing.assert_array_equal(got[:, 0], [12.0, 44.0, 3.0])


def test_what_follows_a_termination_does_not_matter_even_if_it_is_infinite() -> None:
    for junk in (1e30, np.inf, np.nan):
        got, _ = compute(REWARDS, VALUES, column(8, junk, 32), MIDDLE, OPEN, 0.5, 0.5)
        np.testing.assert_array_equal(got[:, 0], [-0.5, -6.0, 3.0])


def episode_sums(rollout: tuple[np.ndarray, ...], gamma: float, gae_lambda: float) -> np.ndarray:
    """A_t = sum_l (gamma lambda)^l delta_{t+l} to the end of the episode: no recursion, float64."""
    rewards, values, next_values, terminated, truncated = rollout
    num_steps, num_envs = rewards.shape
    advantages = np.zeros((num_steps, num_envs))
    for env in range(num_envs):
        for t in range(num_steps):
            for end in range(t, num_steps):
                future = 0.0 if terminated[end, env] else gamma * float(next_values[end, env])
                delta = float(rewards[end, env]) + future - float(values[end, env])
                advantages[t, env] += (gamma * gae_lambda) ** (end - t) * delta
                if terminated[end, env] or truncated[end, env]:
                    break
    return advantages


def random_rollout(seed: int, num_steps: int = 7, num_envs: int = 3) -> tuple[np.ndarray, ...]:
    """Numbers of order one, and flags of every combination."""
    rng = np.random.default_rng(seed)
    floats = rng.normal(size=(3, num_steps, num_envs)).astype(np.float32)
    bits = rng.random(size=(2, num_steps, num_envs)) < 0.25
    return (*floats, *bits)


UNIT = st.one_of(st.sampled_from([0.0, 1.0, 0.99]), st.floats(0.0, 1.0))


@given(st.integers(0, 2**32 - 1), UNIT, UNIT)
def test_equals_the_explicit_sum(seed: int, gamma: float, gae_lambda: float) -> None:
    rollout = random_rollout(seed)
    advantages, returns = compute(*rollout, gamma, gae_lambda)
    expected = episode_sums(rollout, gamma, gae_lambda)
    # At most 7 terms of order one: a few float32 roundings of 6e-8 each.
    np.testing.assert_allclose(advantages, expected, rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(returns, expected + rollout[1], rtol=1e-5, atol=3e-6)


@given(st.integers(0, 2**32 - 1), UNIT)
def test_lambda_zero_is_one_step_td(seed: int, gamma: float) -> None:
    rewards, values, next_values, terminated, _ = rollout = random_rollout(seed)
    advantages, _ = compute(*rollout, gamma, 0.0)
    expected = rewards + gamma * np.where(terminated, 0.0, next_values) - values
    np.testing.assert_allclose(advantages, expected, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**32 - 1), UNIT)
def test_lambda_one_is_monte_carlo(seed: int, gamma: float) -> None:
    """With next_values[t] = values[t + 1] inside an episode, the values telescope away."""
    rewards, values, _, terminated, truncated = random_rollout(seed)
    next_values = np.vstack([values[1:], np.ones_like(values[:1])])
    _, returns = compute(rewards, values, next_values, terminated, truncated, gamma, 1.0)
    expected = np.zeros(rewards.shape)
    for env in range(rewards.shape[1]):
        future = float(next_values[-1, env])
        for t in reversed(range(len(rewards))):
            if truncated[t, env]:
                future = float(next_values[t, env])
            if terminated[t, env]:
                future = 0.0
            future = expected[t, env] = float(rewards[t, env]) + gamma * future
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=3e-6)


@given(st.integers(0, 2**32 - 1))
def test_environments_do_not_mix(seed: int) -> None:
    rollout = random_rollout(seed)
    together, _ = compute(*rollout, 0.9, 0.8)
    for env in range(3):
        alone, _ = compute(*(a[:, env : env + 1] for a in rollout), 0.9, 0.8)
        np.testing.assert_array_equal(together[:, env : env + 1], alone)


def test_the_usual_mistakes_give_other_answers() -> None:
    """The oracle tells right from wrong: each variant is off by far more than the tolerance."""
    rollout = random_rollout(0, num_steps=32)
    rewards, values, next_values, terminated, truncated = rollout
    assert truncated.any()
    assert terminated.any()
    expected = episode_sums(rollout, 0.9, 0.8)
    none, done = np.zeros_like(terminated), terminated | truncated
    after_reset = np.vstack([values[1:], next_values[-1:]])

    def shift(bits: np.ndarray) -> np.ndarray:
        return np.vstack([none[:1], bits[:-1]])

    wrong = {
        "truncation as termination": (next_values, done, none, 0.9, 0.8),
        "termination as truncation": (next_values, none, done, 0.9, 0.8),
        "truncation unseen": (next_values, terminated, none, 0.9, 0.8),
        "flags late by one": (next_values, shift(terminated), shift(truncated), 0.9, 0.8),
        "value after the reset": (after_reset, terminated, truncated, 0.9, 0.8),
        "gamma and lambda exchanged": (next_values, terminated, truncated, 0.8, 0.9),
    }
    for name, arguments in wrong.items():
        advantages, _ = compute(rewards, values, *arguments)
        assert np.max(np.abs(advantages - expected)) > 0.1, name


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        compute(REWARDS, VALUES, NEXT_VALUES[:2], OPEN, OPEN, 0.9, 0.9)
    with pytest.raises(ValueError, match="one shape"):
        compute(REWARDS[:, 0], VALUES, NEXT_VALUES, OPEN, OPEN, 0.9, 0.9)


def test_stable_in_float32_over_long_episodes() -> None:
    """10 000 steps of reward 1 with gamma lambda = 0.99 * 0.95: the sum is 1 / (1 - 0.9405)."""
    ones = jnp.ones((10_000, 1))
    zeros = jnp.zeros((10_000, 1))
    none = jnp.zeros((10_000, 1), bool)
    advantages, _ = compute(ones, zeros, zeros, none, none, 0.99, 0.95)
    # A contraction by 0.94 forgets its roundings: the error stays at some ulp of 17.
    np.testing.assert_allclose(advantages[0, 0], 1 / (1 - 0.99 * 0.95), rtol=2e-6)


def test_normalization_by_hand() -> None:
    # Mean 3; deviations -2, 0, 0, 2; population variance (4 + 0 + 0 + 4) / 4 = 2.
    normalized = normalize_advantages(jnp.array([1.0, 3.0, 3.0, 5.0]))
    np.testing.assert_allclose(normalized, np.array([-2, 0, 0, 2]) / np.sqrt(2), rtol=1e-6)
    # ddof = 1 would divide by sqrt(8 / 3) = 1.633 in place of 1.414.
    assert not np.allclose(normalized, np.array([-2, 0, 0, 2]) / np.sqrt(8 / 3), rtol=0.1)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 40]), st.floats(0.01, 100.0))
def test_normalization_has_mean_zero_and_population_deviation_one(
    seed: int, size: int, spread: float
) -> None:
    sample = np.random.default_rng(seed).normal(size=size).astype(np.float32) * np.float32(spread)
    normalized = np.asarray(normalize_advantages(jnp.asarray(sample)), np.float64)
    assert abs(normalized.mean()) < 1e-5
    assert abs(normalized.std(ddof=0) - 1) < 1e-4
    assert np.array_equal(np.argsort(normalized), np.argsort(sample))


@pytest.mark.parametrize("sample", [[5.0], [2.0, 2.0, 2.0], [0.0] * 4])
def test_equal_advantages_become_zero(sample: list[float]) -> None:
    np.testing.assert_array_equal(normalize_advantages(jnp.array(sample)), np.zeros(len(sample)))


@pytest.mark.parametrize("value", [0.1, 3.3, 1000.1, -3333.33])
def test_what_rounding_leaves_of_equal_advantages_is_not_blown_up(value: float) -> None:
    """The mean of 1000 equal numbers is not quite that number: one subtraction would leave +-1."""
    assert jnp.max(jnp.abs(normalize_advantages(jnp.full(1000, value)))) < 0.02


def test_normalization_is_over_all_axes() -> None:
    sample = jnp.arange(6.0).reshape(2, 3)
    flat = normalize_advantages(sample.reshape(-1))
    np.testing.assert_array_equal(normalize_advantages(sample).reshape(-1), flat)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32])
def test_flags_are_bool(dtype: Any) -> None:
    x = jnp.ones((2, 3))
    flag = jnp.zeros((2, 3), bool)
    with pytest.raises(TypeError, match="terminated must be an array of type bool"):
        compute_gae(
            x, x, x, terminated=flag.astype(dtype), truncated=flag, gamma=0.9, gae_lambda=0.9
        )
