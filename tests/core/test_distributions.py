"""Distributions against SciPy, and their samples against their own probabilities."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo import ActionSpace, Categorical, ContinuousActions, DiagGaussian, DiscreteActions

seeds = st.integers(0, 2**32 - 1)


def real_vectors(size: int) -> ContinuousActions:
    """Actions of this many components."""
    return ContinuousActions(-jnp.ones(size), jnp.ones(size), (size,))


def softmax(logits: np.ndarray) -> np.ndarray:
    """In float64, without shifting: the logits here are small."""
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def random_logits(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2.0, size=shape).astype(np.float32)


# Categorical


def test_categorical_by_hand() -> None:
    # p = (1/4, 3/4), q = (1/2, 1/2)
    p = Categorical(jnp.log(jnp.array([1.0, 3.0])))
    q = Categorical(jnp.zeros(2))
    np.testing.assert_allclose(p.log_prob(jnp.array(1)), np.log(0.75), rtol=1e-6)
    np.testing.assert_allclose(p.entropy(), -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)), rtol=1e-6)
    np.testing.assert_allclose(p.kl(q), 0.25 * np.log(0.5) + 0.75 * np.log(1.5), rtol=1e-5)
    np.testing.assert_allclose(q.kl(p), 0.5 * np.log(2.0) + 0.5 * np.log(2 / 3), rtol=1e-5)
    np.testing.assert_allclose(q.entropy(), np.log(2.0), rtol=1e-6)
    assert p.mode() == 1


@given(seeds)
def test_categorical_against_scipy(seed: int) -> None:
    p_logits, q_logits = random_logits(seed, 2, 4, 5)
    p, q = softmax(p_logits), softmax(q_logits)
    action = np.random.default_rng(seed).integers(0, 5, size=4)
    distribution = Categorical(jnp.asarray(p_logits))
    log_prob = distribution.log_prob(jnp.asarray(action))
    np.testing.assert_allclose(np.exp(log_prob), p[np.arange(4), action], rtol=5e-6)
    entropy, kl = scipy.stats.entropy(p, axis=-1), scipy.stats.entropy(p, q, axis=-1)
    np.testing.assert_allclose(distribution.entropy(), entropy, rtol=1e-5, atol=1e-6)
    got_kl = distribution.kl(Categorical(jnp.asarray(q_logits)))
    np.testing.assert_allclose(got_kl, kl, rtol=1e-5, atol=2e-6)


@given(seeds, st.floats(-50, 50))
def test_a_constant_added_to_the_logits_changes_nothing(seed: int, shift: float) -> None:
    logits = random_logits(seed, 3, 4)
    here, there = (Categorical(jnp.asarray(x)) for x in (logits, logits + np.float32(shift)))
    # Adding 50 rounds logits at 4e-6.
    np.testing.assert_allclose(here.entropy(), there.entropy(), atol=3e-5)
    np.testing.assert_allclose(here.kl(there), np.zeros(3), atol=3e-5)


def test_huge_logits_do_not_overflow() -> None:
    distribution = Categorical(jnp.array([1e4, 0.0, -1e4]))
    np.testing.assert_array_equal(distribution.log_prob(jnp.array(0)), 0.0)
    # log(softmax(x)) would be minus infinity here.
    np.testing.assert_array_equal(distribution.log_prob(jnp.array(2)), -2e4)
    np.testing.assert_array_equal(distribution.entropy(), 0.0)


def test_impossible_actions_add_nothing_in_value_or_gradient() -> None:
    """Masked actions have logits of minus infinity."""
    masked = jnp.array([0.0, 0.0, -jnp.inf])
    value, gradient = jax.value_and_grad(lambda x: Categorical(x).entropy())(masked)
    np.testing.assert_allclose(value, np.log(2.0), rtol=1e-6)
    assert np.all(np.isfinite(gradient))
    value, gradient = jax.value_and_grad(lambda x: Categorical(masked).kl(Categorical(x)))(masked)
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    assert np.all(np.isfinite(gradient))
    noise = DiscreteActions(3).draw_noise(jax.random.key(0), (1000,))
    assert np.all(Categorical(jnp.tile(masked, (1000, 1))).sample(noise) != 2)


def test_categorical_gradient_of_log_prob_is_onehot_minus_p() -> None:
    logits = random_logits(3, 5)
    gradient = jax.grad(lambda x: Categorical(x).log_prob(jnp.array(2)))(jnp.asarray(logits))
    np.testing.assert_allclose(gradient, np.eye(5)[2] - softmax(logits), atol=2e-7)


def test_categorical_shapes_and_dtypes() -> None:
    p = Categorical(jnp.zeros((4, 3, 5)))
    action = p.sample(jnp.zeros((4, 3, 5)))
    for array in (action, p.mode()):
        assert array.shape == (4, 3)
        assert array.dtype == jnp.int32
    for array in (p.log_prob(action), p.entropy(), p.kl(p)):
        assert array.shape == (4, 3)
        assert array.dtype == jnp.float32


def test_samples_follow_the_probabilities() -> None:
    probs = np.array([0.1, 0.2, 0.3, 0.4])
    distribution = Categorical(jnp.tile(jnp.log(jnp.asarray(probs)), (20_000, 1)))

    def p_value(space: ActionSpace) -> float:
        actions = distribution.sample(space.draw_noise(jax.random.key(1), (20_000,)))
        counts = np.bincount(np.asarray(actions), minlength=4)
        return float(scipy.stats.chisquare(counts, 20_000 * probs).pvalue)

    assert p_value(DiscreteActions(4)) > 0.01
    # Normal noise in place of Gumbel's gives other frequencies, and the test can tell.
    assert p_value(real_vectors(4)) < 1e-6


def test_a_sample_is_the_argmax_of_logits_plus_noise() -> None:
    noise = jnp.array([[0.0, 0.5, 0.0], [3.0, 0.0, 0.0]])
    distribution = Categorical(jnp.array([[1.0, 0.6, 0.0], [0.0, 1.0, 2.0]]))
    # 1, 1.1, 0 and 3, 1, 2
    np.testing.assert_array_equal(distribution.sample(noise), [1, 0])
    np.testing.assert_array_equal(distribution.mode(), [0, 2])


# Diagonal Gaussian


@given(seeds)
def test_gaussian_against_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, action, other_mean = rng.normal(size=(3, 4, 2)).astype(np.float32)
    log_std, other_log_std = rng.uniform(-1, 1, size=(2, 4, 2)).astype(np.float32)
    p = DiagGaussian(jnp.asarray(mean), jnp.asarray(log_std))
    q = DiagGaussian(jnp.asarray(other_mean), jnp.asarray(other_log_std))
    std, other_std = np.exp(log_std.astype(float)), np.exp(other_log_std.astype(float))
    law = scipy.stats.norm(mean.astype(float), std)
    log_prob, entropy = law.logpdf(action).sum(axis=-1), law.entropy().sum(axis=-1)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(action)), log_prob, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(p.entropy(), entropy, rtol=1e-5, atol=1e-6)
    # KL as E_p[log p] - E_p[log q] with E_p[(x - m')^2] = s^2 + (m - m')^2
    distance = std**2 + (mean.astype(float) - other_mean) ** 2
    cross = (np.log(other_std) + 0.5 * np.log(2 * np.pi) + distance / (2 * other_std**2)).sum(-1)
    np.testing.assert_allclose(p.kl(q), cross - entropy, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(p.kl(p), np.zeros(4), atol=1e-6)


def test_gaussian_by_hand() -> None:
    p = DiagGaussian(jnp.array([1.0]), jnp.log(jnp.array([2.0])))
    q = DiagGaussian(jnp.array([0.0]), jnp.array([0.0]))
    # z = (5 - 1) / 2 = 2: -2 - log 2 - log(2 pi) / 2
    np.testing.assert_allclose(
        p.log_prob(jnp.array([5.0])), -2 - np.log(2) - np.log(2 * np.pi) / 2, rtol=1e-6
    )
    # log(1 / 2) + (4 + 1) / 2 - 1 / 2 and log 2 + (1 + 1) / 8 - 1 / 2
    np.testing.assert_allclose(p.kl(q), 2 - np.log(2), rtol=1e-6)
    np.testing.assert_allclose(q.kl(p), np.log(2) - 0.25, rtol=1e-6)


def test_gaussian_density_integrates_to_one() -> None:
    """A wrong constant or a factor std left out would show; the trapezoid rule is exact enough."""
    grid = np.linspace(-12.0, 14.0, 20_001)
    p = DiagGaussian(jnp.full((20_001, 1), 1.0), jnp.full((20_001, 1), 0.4))
    density = np.exp(np.asarray(p.log_prob(jnp.asarray(grid, jnp.float32)[:, None]), np.float64))
    np.testing.assert_allclose(np.trapezoid(density, grid), 1.0, rtol=1e-5)


def test_gaussian_samples() -> None:
    noise = real_vectors(2).draw_noise(jax.random.key(2), (20_000,))
    mean, log_std = jnp.array([1.0, -2.0]), jnp.array([0.5, -1.0])
    p = DiagGaussian(jnp.tile(mean, (20_000, 1)), jnp.tile(log_std, (20_000, 1)))
    sample = np.asarray(p.sample(noise), np.float64)
    for k in range(2):
        law = scipy.stats.norm(float(mean[k]), np.exp(float(log_std[k])))
        assert scipy.stats.kstest(sample[:, k], law.cdf).pvalue > 0.01
    assert abs(np.corrcoef(sample.T)[0, 1]) < 0.03
    np.testing.assert_array_equal(p.mode(), p.mean)
    # mean + exp(log_std) * noise: 1 + e^0.5 * 2
    one = DiagGaussian(jnp.array([1.0]), jnp.array([0.5])).sample(jnp.array([2.0]))
    np.testing.assert_allclose(one, [1 + np.exp(0.5) * 2], rtol=1e-6)


def test_gaussian_shapes() -> None:
    p = DiagGaussian(jnp.zeros((4, 3, 2)), jnp.zeros((4, 3, 2)))
    assert p.sample(jnp.zeros((4, 3, 2))).shape == (4, 3, 2)
    for array in (p.log_prob(jnp.zeros((4, 3, 2))), p.entropy(), p.kl(p)):
        assert array.shape == (4, 3)


# Both


@pytest.mark.parametrize(
    ("distribution", "space"),
    [
        (Categorical(jnp.array([[0.3, -0.2, 1.0]])), DiscreteActions(3)),
        (DiagGaussian(jnp.array([[0.3, -0.2]]), jnp.array([[0.1, -0.7]])), real_vectors(2)),
    ],
    ids=["categorical", "gaussian"],
)
def test_entropy_and_kl_are_expectations_of_log_prob(distribution: Any, space: ActionSpace) -> None:
    """Monte Carlo ties the closed forms to sample and log_prob."""
    n = 40_000
    other = jax.tree.map(lambda leaf: 0.5 * leaf + 0.1, distribution)
    p, q = jax.tree.map(lambda leaf: jnp.tile(leaf, (n, 1)), (distribution, other))
    actions = p.sample(space.draw_noise(jax.random.key(5), (n,)))
    log_p, log_q = np.asarray(p.log_prob(actions)), np.asarray(q.log_prob(actions))

    def agrees(samples: np.ndarray, expected: jax.Array) -> bool:
        """Within four standard errors."""
        return bool(abs(samples.mean() - float(expected[0])) < 4 * samples.std() / np.sqrt(n))

    assert agrees(-log_p, distribution.entropy())
    assert agrees(log_p - log_q, distribution.kl(other))
    assert not agrees(log_p - log_q, other.kl(distribution) * 2)


@pytest.mark.parametrize(
    ("space", "law"),
    [(DiscreteActions(4), scipy.stats.gumbel_r), (real_vectors(4), scipy.stats.norm)],
)
def test_noise_has_the_law_that_sampling_needs(space: ActionSpace, law: Any) -> None:
    noise = space.draw_noise(jax.random.key(4), (5000,))
    assert noise.shape == (5000, 4)
    assert scipy.stats.kstest(np.asarray(noise).ravel(), law.cdf).pvalue > 0.01


def test_distributions_are_pytrees() -> None:
    p = DiagGaussian(jnp.zeros((4, 2)), jnp.zeros((4, 2)))
    np.testing.assert_array_equal(jax.jit(lambda d: d.entropy())(p), p.entropy())
    np.testing.assert_array_equal(jax.vmap(lambda d: d.entropy())(p), p.entropy())
