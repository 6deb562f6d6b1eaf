"""The oracles themselves: against SciPy, mpmath and numbers computed by hand."""

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from parity_tests import oracle_update, oracles
from parity_tests.measure import wide

EPS = np.finfo(float).eps


@given(st.integers(0, 10**6))
def test_distributions_against_scipy(seed: int) -> None:
    """Densities, entropies and divergences, to SciPy's own accuracy."""
    rng = np.random.default_rng(seed)
    mean, log_std, action, other_mean, other_log_std = rng.normal(size=(5, 2, 3))
    normal = stats.norm(mean, np.exp(log_std))
    logits, other = rng.normal(size=(2, 2, 4))
    p, q = special.softmax(logits, axis=-1), special.softmax(other, axis=-1)
    for got, expected in (
        (oracles.gaussian_log_prob(mean, log_std, action), normal.logpdf(action).sum(-1)),
        (oracles.gaussian_entropy(mean, log_std), normal.entropy().sum(-1)),
        (oracles.categorical_entropy(logits), stats.entropy(p, axis=-1)),
        (oracles.categorical_kl(logits, other), stats.entropy(p, q, axis=-1)),
        (oracles.categorical_log_prob(logits, np.array([0, 3])), np.log(p[[0, 1], [0, 3]])),
    ):
        np.testing.assert_allclose(got.astype(float), expected, rtol=64 * EPS, atol=64 * EPS)
    same = oracles.gaussian_kl(mean, log_std, mean, log_std)
    np.testing.assert_allclose(same.astype(float), 0, atol=64 * EPS)
    assert (oracles.gaussian_kl(mean, log_std, other_mean, other_log_std) > 0).all()


def test_gaussian_kl_by_hand() -> None:
    """N(0, 1) to N(1, 2^2): log 2 + (1 + 1) / 8 - 1/2."""
    zero, one = np.zeros(1, wide), np.ones(1, wide)
    got = oracles.gaussian_kl(zero, zero, one, np.log(2 * one))
    np.testing.assert_allclose(got.astype(float), np.log(2) - 0.25, rtol=2 * EPS)


def test_numbers_pass_through_mpmath_unchanged() -> None:
    """The widest type has more digits than a double; none is lost."""
    third = np.ones(1, wide) / 3
    logits = np.stack([third, third], axis=-1)
    assert oracles.from_mp(mpmath.mpf(2)) == 2
    got = oracles.categorical_log_prob(logits, np.zeros(1, int))
    assert abs(got[0] + np.log(wide(2))) <= 2 * np.finfo(wide).eps


@given(st.integers(0, 10**6))
def test_stream_statistics_against_numpy(seed: int) -> None:
    """Batches of different sizes are one stream."""
    rng = np.random.default_rng(seed)
    batches = [rng.normal(3, 2, (n, 2)) for n in (1, 5, 2)]
    mean, variance, count = oracles.stream_statistics(batches)
    stream = np.concatenate(batches)
    np.testing.assert_allclose(mean, stream.mean(0), rtol=8 * EPS)
    np.testing.assert_allclose(variance, stream.var(0), rtol=32 * EPS)
    assert count == 8


def test_first_step_of_adam_by_hand() -> None:
    """m_hat = g and v_hat = g^2, so the step is lr g / (|g| + eps), plus the decay."""
    params, moments = oracles.adam(
        {"x": np.array([2.0])}, [{"x": np.array([4.0])}], [0.5], eps=1.0, weight_decay=0.1
    )
    np.testing.assert_allclose(params["x"].astype(float), 2 - 0.5 * (4 / 5 + 0.2), rtol=4 * EPS)
    np.testing.assert_allclose(moments["mu"]["x"].astype(float), 0.4, rtol=4 * EPS)
    np.testing.assert_allclose(moments["nu"]["x"].astype(float), 0.016, rtol=64 * EPS)
    assert moments["count"] == 1


@pytest.mark.parametrize(
    ("optimizer", "expected", "moment"),
    [
        # v = 0.01 * 16 = 0.16 and 0.99 v + 0.01 * 4 = 0.1984
        ("rmsprop", 2 - 0.5 * 4 / (0.4 + 1) - 0.25 * 2 / (np.sqrt(0.1984) + 1), [0.1984]),
        ("sgd", 2 - 0.5 * 4 - 0.25 * 2, []),
        # traces 4 and 2 + 0.9 * 4
        ("momentum", 2 - 0.5 * 4 - 0.25 * 5.6, [5.6]),
    ],
)
def test_two_steps_by_hand(optimizer: str, expected: float, moment: list[float]) -> None:
    """Gradients 4 and 2 from 2, with learning rates 1/2 and 1/4 and eps = 1."""
    gradients = [{"x": np.array([4.0])}, {"x": np.array([2.0])}]
    params, moments = oracles.OPTIMIZERS[optimizer](
        {"x": np.array([2.0])}, gradients, [0.5, 0.25], eps=1.0, weight_decay=0.0
    )
    np.testing.assert_allclose(params["x"].astype(float), expected, rtol=0, atol=8 * EPS)
    got = [float(value["x"][0]) for value in moments.values()]
    np.testing.assert_allclose(got, moment, rtol=32 * EPS)


def test_schedules_by_hand() -> None:
    """Of 1 after 1, 2 and 3 of 4 updates; the warm-up takes two of them."""
    by_name = {
        "linear": [0.75, 0.5, 0.25],
        "cosine": [(1 + np.sqrt(0.5)) / 2, 0.5, (1 - np.sqrt(0.5)) / 2],
        "harmonic": [1 / 2, 1 / 3, 1 / 4],
    }
    for name, expected in by_name.items():
        got = [float(oracles.SCHEDULES[name](1.0, update, 4)) for update in (1, 2, 3)]
        np.testing.assert_allclose(got, expected, rtol=4 * EPS)
    assert [oracles.warmup(0.5, update, 4) for update in range(4)] == [0.5, 1, 1, 1]


def test_clipping_a_norm_by_hand() -> None:
    """(3, 4) has length 5 over both arrays together."""
    gradients = {"a": np.array([3.0]), "b": np.array([4.0])}
    clipped, norm = oracles.clipped_by_norm(gradients, 1.0)
    assert norm == 5
    np.testing.assert_allclose([clipped["a"][0], clipped["b"][0]], [0.6, 0.8], rtol=2 * EPS)
    assert oracles.clipped_by_norm(gradients, 6.0)[0] == gradients


@pytest.mark.parametrize(
    ("kl", "expected"), [(0.0, 0.5), (0.66, 0.5), (0.67, 1), (1.5, 1), (1.51, 2)]
)
def test_adapted_kl_coef_by_hand(kl: float, expected: float) -> None:
    """Target 1: halved below 2/3, doubled above 3/2."""
    assert oracles.adapted_kl_coef(1.0, kl, 1.0) == expected


def test_convolution_by_hand() -> None:
    """A kernel that picks the lower right of each window, times ten, plus one."""
    kernel = np.zeros((2, 2, 1, 1))
    kernel[1, 1] = 10
    params = {"trunk_conv_0.kernel": kernel, "trunk_conv_0.bias": np.ones(1)}
    params.update({"policy_head.kernel": np.eye(4), "policy_head.bias": np.zeros(4)})
    params.update({"value_head.kernel": np.ones((4, 1)), "value_head.bias": np.zeros(1)})
    setting = oracle_update.Setting(discrete=True, activation="relu")
    image = np.arange(9.0).reshape(1, 3, 3, 1)
    policy, values = oracle_update.actor_critic(params, image, setting)
    np.testing.assert_array_equal(policy, [[41, 51, 71, 81]])
    np.testing.assert_array_equal(values, [244])
