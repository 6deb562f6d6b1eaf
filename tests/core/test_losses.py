"""The objective, term by term, by hand and against float64 NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo import (
    Batch,
    Categorical,
    DiagGaussian,
    PPOConfig,
    clipped_surrogate_loss,
    ppo_loss,
    value_loss,
)

LOG = {ratio: float(np.log(ratio)) for ratio in (0.5, 0.9, 1.0, 1.1, 1.5)}


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "flat"),
    [
        (1.5, 1.0, -1.2, True),  # min(1.5, 1.2): clipped, nothing more to gain
        (0.5, 1.0, -0.5, False),  # min(0.5, 0.8): a good action made rarer is not clipped
        (1.5, -1.0, 1.5, False),  # min(-1.5, -1.2): a bad action made commoner is not clipped
        (0.5, -1.0, 0.8, True),  # min(-0.5, -0.8): clipped
        (1.1, 2.0, -2.2, False),  # inside the band
        (0.9, -2.0, 1.8, False),
    ],
)
def test_surrogate_in_each_quadrant(
    ratio: float, advantage: float, loss: float, flat: bool
) -> None:
    old = jnp.array([-1.25])
    surrogate = jax.value_and_grad(clipped_surrogate_loss)
    got, gradient = surrogate(old + LOG[ratio], old, jnp.array([advantage]), 0.2)
    np.testing.assert_allclose(got, loss, rtol=1e-6)
    # d(-r A) / d(log r) = -r A
    np.testing.assert_allclose(gradient, [0.0 if flat else -ratio * advantage], rtol=1e-6)


def test_surrogate_of_very_improbable_actions() -> None:
    """The ratio of the probabilities themselves would be 0 / 0."""
    old = jnp.array([-200.0])
    got = clipped_surrogate_loss(old + LOG[1.1], old, jnp.array([2.0]), 0.2)
    np.testing.assert_allclose(got, -2.2, rtol=2e-5)


@pytest.mark.parametrize("log_ratio", [81.0, 89.0, 1e4, np.inf])
@pytest.mark.parametrize(("advantage", "loss"), [(1.0, -1.2), (0.0, 0.0), (-1e-30, 5.54e4)])
def test_surrogate_of_ratios_beyond_float32(
    log_ratio: float, advantage: float, loss: float
) -> None:
    """exp(89) is infinite: its product with 0, and its gradient where it is clipped, would be NaN.

    Where it is not clipped the ratio counts as exp(80) = 5.54e34, and has no gradient.
    """
    surrogate = jax.value_and_grad(clipped_surrogate_loss)
    got, gradient = surrogate(jnp.array([log_ratio]), jnp.zeros(1), jnp.array([advantage]), 0.2)
    np.testing.assert_allclose(got, loss, rtol=1e-3)
    np.testing.assert_array_equal(gradient, [0.0])


def test_surrogate_is_a_mean() -> None:
    log_ratio = jnp.array([LOG[1.5], LOG[0.5]])
    got = clipped_surrogate_loss(log_ratio, jnp.zeros(2), jnp.array([1.0, -1.0]), 0.2)
    np.testing.assert_allclose(got, (-1.2 + 0.8) / 2, rtol=1e-6)


def test_at_ratio_one_the_gradient_is_the_policy_gradient() -> None:
    advantages = jnp.array([1.0, -2.0, 0.5, 0.0])
    old = jnp.array([-0.1, -1.0, -2.0, -3.0])
    gradient = jax.grad(lambda lp: clipped_surrogate_loss(lp, old, advantages, 0.2))(old)
    np.testing.assert_allclose(gradient, -advantages / 4, rtol=1e-6)


numbers = st.floats(-2.0, 2.0, width=32)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=4, max_size=4), st.floats(0.01, 0.9))
def test_surrogate_against_numpy(samples: list[tuple[float, float, float]], eps: float) -> None:
    new, old, advantage = np.array(samples, np.float64).T
    ratio = np.exp(new - old)
    # The pessimistic bound in words: gains are capped at the band's edge, losses are not.
    capped = np.where(
        advantage > 0,
        np.minimum(ratio, 1 + eps) * advantage,
        np.maximum(ratio, 1 - eps) * advantage,
    )
    arrays = (jnp.asarray(x, jnp.float32) for x in (new, old, advantage))
    got = clipped_surrogate_loss(*arrays, eps)
    # Ratios reach e^4 = 55, terms 110: float32 rounds at 1e-5 of that.
    np.testing.assert_allclose(got, -capped.mean(), rtol=2e-5, atol=2e-6)
    # The pessimistic bound never promises more than the plain surrogate.
    assert float(got) >= -(ratio * advantage).mean() - 1e-4


def test_surrogate_mistakes_give_other_answers() -> None:
    log_prob, old = jnp.array([-0.2, -1.5]), jnp.array([-0.7, -1.0])
    advantages = jnp.array([1.0, -1.0])
    # r = e^0.5 = 1.6487 -> 1.2;  r = e^-0.5 = 0.6065 -> -0.8;  loss = -(1.2 - 0.8) / 2 = -0.2
    right = float(clipped_surrogate_loss(log_prob, old, advantages, 0.2))
    np.testing.assert_allclose(right, -0.2, rtol=1e-6)
    log_ratio = np.array([0.5, -0.5])
    sign = np.array([1.0, -1.0])
    wrong = {
        "unclipped": -np.mean(np.exp(log_ratio) * sign),
        "ratio not exponentiated": -np.mean(
            np.minimum(log_ratio * sign, np.clip(log_ratio, 0.8, 1.2) * sign)
        ),
        "ratio upside down": -np.mean(
            np.minimum(np.exp(-log_ratio) * sign, np.clip(np.exp(-log_ratio), 0.8, 1.2) * sign)
        ),
        "sum": -0.4,
        "sign": 0.2,
    }
    for name, value in wrong.items():
        assert abs(value - right) > 0.1, name


def test_value_loss_by_hand() -> None:
    values, returns = jnp.array([1.0, 3.0]), jnp.array([2.0, 0.0])
    # 1/2 * mean(1, 9) = 2.5; without the half it would be 5
    np.testing.assert_allclose(value_loss(values, jnp.zeros(2), returns), 2.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "old_value", "target", "loss"),
    [
        # clipped to 0.5: max((2 - 3)^2, (0.5 - 3)^2) / 2 = 6.25 / 2
        (2.0, 0.0, 3.0, 3.125),
        # overshoots, and the larger error counts: max((2 - 0)^2, (0.5 - 0)^2) / 2 = 4 / 2
        (2.0, 0.0, 0.0, 2.0),
        # inside the band: (0.25 - 1)^2 / 2
        (0.25, 0.0, 1.0, 0.28125),
        # below the band: clipped to -0.5: max((-2 + 3)^2, (-0.5 + 3)^2) / 2
        (-2.0, 0.0, -3.0, 3.125),
        # the band is around the old value, not around 0: 4.5 -> max(1, 0.25) / 2
        (5.0, 4.0, 4.0, 0.5),
    ],
)
def test_clipped_value_loss_by_hand(
    value: float, old_value: float, target: float, loss: float
) -> None:
    arrays = (jnp.array([x]) for x in (value, old_value, target))
    np.testing.assert_allclose(value_loss(*arrays, 0.5), loss, rtol=1e-6)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=4, max_size=4), st.floats(0.01, 3.0))
def test_clipping_never_lowers_the_value_loss(
    samples: list[tuple[float, float, float]], eps: float
) -> None:
    values, old_values, returns = jnp.array(samples, jnp.float32).T
    plain = value_loss(values, old_values, returns)
    assert float(value_loss(values, old_values, returns, eps)) >= float(plain) * (1 - 1e-6)
    np.testing.assert_allclose(
        value_loss(values, old_values, returns, 100.0), plain, rtol=1e-5, atol=1e-6
    )


# The whole


def make_batch(**changes: Any) -> Batch:
    """Three samples of a two-action policy."""
    arrays = {
        "obs": jnp.zeros((3, 1)),
        "action": jnp.array([0, 1, 1]),
        "old_distribution": Categorical(jnp.array([[0.0, 0.0], [0.5, 0.0], [0.0, 1.0]])),
        "old_log_prob": jnp.array([-0.7, -0.9, -0.2]),
        "old_value": jnp.array([0.0, 1.0, -1.0]),
        "advantages": jnp.array([1.0, -2.0, 0.5]),
        "returns": jnp.array([1.0, -1.0, -0.5]),
    }
    return Batch(**{**arrays, **changes})


LOGITS = np.array([[0.3, -0.2], [0.0, 0.4], [-1.0, 0.6]])
VALUES = np.array([0.2, 0.7, -1.4])


def numpy_terms(
    batch: Batch, clip_eps: float, logits: np.ndarray = LOGITS, values: np.ndarray = VALUES
) -> dict[str, float]:
    """Every term of the loss in float64."""
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    old_logits = np.asarray(batch.old_distribution.logits, np.float64)  # type: ignore[union-attr]
    old_probs = np.exp(old_logits) / np.exp(old_logits).sum(axis=1, keepdims=True)
    log_prob = np.log(probs[np.arange(3), np.asarray(batch.action)])
    log_ratio = log_prob - np.asarray(batch.old_log_prob, np.float64)
    ratio = np.exp(log_ratio)
    advantages = np.asarray(batch.advantages, np.float64)
    objective = np.minimum(
        ratio * advantages, np.clip(ratio, 1 - clip_eps, 1 + clip_eps) * advantages
    )
    return {
        "policy_loss": -objective.mean(),
        "value_loss": 0.5 * ((values - np.asarray(batch.returns, np.float64)) ** 2).mean(),
        "entropy": -(probs * np.log(probs)).sum(axis=1).mean(),
        "approx_kl": (ratio - 1 - log_ratio).mean(),
        "clip_fraction": (np.abs(ratio - 1) > clip_eps).mean(),
        "kl": (old_probs * np.log(old_probs / probs)).sum(axis=1).mean(),
    }


def test_every_term_against_numpy() -> None:
    batch, config = make_batch(), PPOConfig(vf_coef=0.7, ent_coef=0.03)
    distribution = Categorical(jnp.asarray(LOGITS, jnp.float32))
    values = jnp.asarray(VALUES, jnp.float32)
    expected = numpy_terms(batch, 0.1)
    assert 0 < expected["clip_fraction"] < 1
    total = expected["policy_loss"] + 0.7 * expected["value_loss"] - 0.03 * expected["entropy"]

    loss, metrics = ppo_loss(distribution, values, batch, config, clip_eps=0.1)
    del expected["kl"]
    assert set(metrics.as_dict()) == {"loss", *expected}
    for name, value in {**expected, "loss": total}.items():
        np.testing.assert_allclose(metrics.as_dict()[name], value, rtol=2e-6, err_msg=name)
    assert loss == metrics.loss


@pytest.mark.parametrize(
    ("change", "term", "factor"),
    [({"vf_coef": 1.7}, "value_loss", 1.0), ({"ent_coef": 1.03}, "entropy", -1.0)],
)
def test_each_coefficient_weighs_its_own_term(
    change: dict[str, float], term: str, factor: float
) -> None:
    """Raising a coefficient by 1 moves the loss by its term: with a minus for the entropy."""
    batch, config = make_batch(), PPOConfig(vf_coef=0.7, ent_coef=0.03)
    arguments = (Categorical(jnp.asarray(LOGITS)), jnp.asarray(VALUES), batch)
    before, metrics = ppo_loss(*arguments, config, clip_eps=0.1)
    after, _ = ppo_loss(*arguments, config.replace(**change), clip_eps=0.1)
    np.testing.assert_allclose(after - before, factor * getattr(metrics, term), rtol=1e-5)


def test_kl_penalty() -> None:
    batch, config = make_batch(), PPOConfig()
    arguments = (Categorical(jnp.asarray(LOGITS)), jnp.asarray(VALUES), batch, config)
    plain, _ = ppo_loss(*arguments, clip_eps=0.1)
    penalized, metrics = ppo_loss(*arguments, clip_eps=0.1, kl_coef=2.5)
    expected = numpy_terms(batch, 0.1)["kl"]
    np.testing.assert_allclose(metrics.kl, expected, rtol=3e-6)
    np.testing.assert_allclose(penalized - plain, 2.5 * expected, rtol=1e-5)
    # KL(new || old) is another number, so the direction is pinned.
    reverse = Categorical(jnp.asarray(LOGITS)).kl(batch.old_distribution)  # type: ignore[arg-type]
    assert abs(float(jnp.mean(reverse)) - expected) > 0.01 * expected


def test_kl_penalty_needs_the_old_distribution() -> None:
    with pytest.raises(ValueError, match="old_distribution"):
        ppo_loss(
            Categorical(jnp.asarray(LOGITS)),
            jnp.asarray(VALUES),
            make_batch(old_distribution=None),
            PPOConfig(),
            clip_eps=0.1,
            kl_coef=0.5,
        )


def test_value_clipping_follows_the_config() -> None:
    batch = make_batch()
    arguments = (Categorical(jnp.asarray(LOGITS)), jnp.asarray(VALUES), batch)
    _, plain = ppo_loss(*arguments, PPOConfig(), clip_eps=0.1)
    _, clipped = ppo_loss(*arguments, PPOConfig(value_clip_eps=0.05), clip_eps=0.1)
    # V_clip = 0.05, 0.95, -1.05; squared errors of V: 0.64, 2.89, 0.81; of V_clip: 0.9025,
    # 3.8025, 0.3025; the larger: 0.9025, 3.8025, 0.81; half their mean: 5.515 / 6
    np.testing.assert_allclose(plain.value_loss, (0.64 + 2.89 + 0.81) / 6, rtol=1e-6)
    np.testing.assert_allclose(clipped.value_loss, 5.515 / 6, rtol=1e-6)


@pytest.mark.parametrize("kl_coef", [None, 0.8])
def test_gradient_against_finite_differences_in_float64(kl_coef: float | None) -> None:
    """Nothing in the loss is cut off from the gradient, and no metric leaks into it."""
    batch, config = make_batch(), PPOConfig(vf_coef=0.7, ent_coef=0.3)

    def loss(logits: jax.Array, values: jax.Array) -> jax.Array:
        distribution, weights = Categorical(logits), {"clip_eps": 0.15, "kl_coef": kl_coef}
        return ppo_loss(distribution, values, batch, config, **weights)[0]

    got = jax.grad(loss, argnums=(0, 1))(jnp.asarray(LOGITS), jnp.asarray(VALUES))

    def total(logits: np.ndarray, values: np.ndarray) -> float:
        terms = numpy_terms(batch, 0.15, logits, values)
        penalty = (kl_coef or 0.0) * terms["kl"]
        return terms["policy_loss"] + 0.7 * terms["value_loss"] - 0.3 * terms["entropy"] + penalty

    for argument, gradient in enumerate(got):
        expected = np.zeros(gradient.shape)
        for index in np.ndindex(gradient.shape):
            step = [np.zeros_like(LOGITS), np.zeros_like(VALUES)]
            step[argument][index] = 1e-5
            up = total(LOGITS + step[0], VALUES + step[1])
            down = total(LOGITS - step[0], VALUES - step[1])
            expected[index] = (up - down) / 2e-5
        # Central differences err by 1e-10; float32 by some 1e-7.
        np.testing.assert_allclose(gradient, expected, atol=5e-7)


def test_continuous_actions_have_one_log_prob_a_sample() -> None:
    """Two action dimensions, three samples: the loss's parts are still means over three."""
    batch = make_batch(
        action=jnp.array([[0.1, 0.2], [0.3, -0.4], [1.0, 0.0]]),
        old_distribution=None,
        old_log_prob=jnp.array([-1.9, -2.0, -2.3]),
    )
    distribution = DiagGaussian(jnp.zeros((3, 2)), jnp.zeros((3, 2)))
    _, metrics = ppo_loss(distribution, jnp.asarray(VALUES), batch, PPOConfig(), clip_eps=0.2)
    # log p = -|a|^2 / 2 - log(2 pi)
    log_prob = -np.array([0.05, 0.25, 1.0]) / 2 - np.log(2 * np.pi)
    log_ratio = log_prob - np.array([-1.9, -2.0, -2.3])
    np.testing.assert_allclose(
        metrics.approx_kl, (np.exp(log_ratio) - 1 - log_ratio).mean(), rtol=1e-4
    )
    # Two standard normals: 2 * (1 + log(2 pi)) / 2
    np.testing.assert_allclose(metrics.entropy, 1 + np.log(2 * np.pi), rtol=1e-6)


def test_metrics_are_cut_off_from_the_gradient() -> None:
    """approx_kl and clip_fraction may not carry a gradient, even if someone adds them up."""

    def leak(logits: jax.Array) -> jax.Array:
        _, metrics = ppo_loss(
            Categorical(logits), jnp.asarray(VALUES), make_batch(), PPOConfig(), clip_eps=0.1
        )
        return metrics.approx_kl + metrics.clip_fraction

    np.testing.assert_array_equal(jax.grad(leak)(jnp.asarray(LOGITS)), np.zeros((3, 2)))
