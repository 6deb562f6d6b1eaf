"""Gradient steps against NumPy's own Adam, and which samples they are taken on."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_ppo import (
    Batch,
    Categorical,
    ConfigError,
    Learner,
    Metrics,
    Network,
    PPOConfig,
    UpdateCoefficients,
    draw_randomness,
    gradient_step,
    make_env,
    make_optimizer,
    ppo_loss,
    update_policy,
)

from .helpers import assert_trees_close

# A network and a loss whose gradient is known: V(s) = s . theta and loss = mean(V), so that the
# gradient of theta is the mean observation of the minibatch.

LINEAR = Network(
    init=lambda _: {"theta": jnp.array([1.0, -2.0])},
    apply=lambda params, obs: (Categorical(jnp.zeros((len(obs), 2))), obs @ params["theta"]),
)


def mean_value(_: Any, values: jax.Array, batch: Batch, *__: Any, **___: Any) -> Any:
    """The loss; it takes its approx_kl from the batch, so that a test decides when to stop."""
    return jnp.mean(values), Metrics(approx_kl=jnp.mean(batch.old_value))


def samples(obs: Any, approx_kl: Any = 0.0, advantages: Any = None) -> Batch:
    """A batch with these observations."""
    obs = jnp.asarray(obs, jnp.float32)
    n = len(obs)
    return Batch(
        obs=obs,
        action=jnp.zeros(n, jnp.int32),
        old_distribution=None,
        old_log_prob=jnp.zeros(n),
        old_value=jnp.broadcast_to(jnp.asarray(approx_kl, jnp.float32), (n,)),
        advantages=jnp.arange(float(n)) if advantages is None else jnp.asarray(advantages),
        returns=jnp.arange(float(n)),
    )


def setting(**changes: Any) -> PPOConfig:
    """Four minibatches of two samples, two epochs."""
    config = {
        "num_envs": 2,
        "num_steps": 4,
        "num_minibatches": 4,
        "update_epochs": 2,
        "total_steps": 8,
        "learning_rate": 0.1,
        "advantage_normalization": "none",
    }
    return PPOConfig(**{**config, **changes})


class NumpyAdam:
    """Algorithm 1 of Kingma and Ba (2015), after clipping the norm, in float64."""

    def __init__(self, theta: Any, *, limit: float | None, eps: float, decay: float = 0.0) -> None:
        self.theta = np.array(theta, np.float64)
        self.m = np.zeros_like(self.theta)
        self.v = np.zeros_like(self.theta)
        self.t, self.limit, self.eps, self.decay = 0, limit, eps, decay

    def step(self, gradient: Any, learning_rate: float) -> np.ndarray:
        """One step; returns the new parameters."""
        g = np.array(gradient, np.float64)
        norm = np.sqrt((g**2).sum())
        if self.limit is not None and norm > self.limit:
            g = g * self.limit / norm
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        m_hat, v_hat = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        step = m_hat / (np.sqrt(v_hat) + self.eps) + self.decay * self.theta
        self.theta = self.theta - learning_rate * step
        return self.theta


GRADIENTS = np.array([[3.0, 4.0], [0.03, -0.04], [-6.0, 0.5], [0.2, 0.1]])


def take_steps(
    config: PPOConfig, gradients: np.ndarray, rates: list[float], optimizer_fn: Any = None
) -> list[np.ndarray]:
    """The library's parameters after each of several gradient steps."""
    params = LINEAR.init(jax.random.key(0))
    learner = Learner.start(params, make_optimizer(config, 1.0, optimizer_fn).init(params))

    @jax.jit
    def step(learner: Learner, batch: Batch, rate: float) -> tuple[Learner, Metrics]:
        coefficients = UpdateCoefficients(rate, 0.2, None)
        parts = {"loss_fn": mean_value, "optimizer_fn": optimizer_fn}
        return gradient_step(learner, batch, config, LINEAR, coefficients=coefficients, **parts)

    taken = []
    for gradient, rate in zip(gradients, rates, strict=True):
        learner, metrics = step(learner, samples([gradient, gradient]), rate)
        np.testing.assert_allclose(metrics.grad_norm, np.linalg.norm(gradient), rtol=1e-6)
        assert not learner.stopped
        taken.append(np.asarray(learner.params["theta"]))
    return taken


@pytest.mark.parametrize("limit", [None, 0.5, 100.0])
@pytest.mark.parametrize("eps", [1e-5, 0.3])
@pytest.mark.parametrize("decay", [None, 0.0, 0.7])
def test_steps_equal_numpy_adam(limit: float | None, eps: float, decay: float | None) -> None:
    """With a large eps the size of a gradient matters; with a small one little but its sign."""
    config = setting(
        max_grad_norm=limit,
        adam_eps=eps,
        optimizer="adam" if decay is None else "adamw",
        weight_decay=decay or 0.0,
    )
    rates = [0.1, 0.05, 0.2, 0.1]
    adam = NumpyAdam([1.0, -2.0], limit=limit, eps=eps, decay=decay or 0.0)
    expected = [adam.step(g, rate) for g, rate in zip(GRADIENTS, rates, strict=True)]
    # float32 of numbers of order 1, and 1 - 0.999 ** t loses three digits of v
    np.testing.assert_allclose(take_steps(config, GRADIENTS, rates), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("limit", [None, 0.5])
def test_plain_gradient_descent(limit: float | None) -> None:
    """The sum of the steps before: each the clipped gradient times its rate."""
    rates = np.array([0.1, 0.05, 0.2, 0.1])
    norms = np.linalg.norm(GRADIENTS, axis=1)
    shrink = np.ones(4) if limit is None else np.minimum(1.0, limit / norms)
    expected = np.array([1.0, -2.0]) - np.cumsum((rates * shrink)[:, None] * GRADIENTS, axis=0)
    config = setting(optimizer="sgd", max_grad_norm=limit)
    for optimizer_fn in (None, optax.sgd):
        taken = take_steps(config, GRADIENTS, list(rates), optimizer_fn)
        np.testing.assert_allclose(taken, expected, rtol=2e-5)
    assert np.max(np.abs(take_steps(setting(), GRADIENTS, list(rates)) - expected)) > 1e-2


def numpy_rmsprop(eps: float, decay: float = 0.99, start: float = 0.0) -> np.ndarray:
    """v <- decay v + (1 - decay) g^2, theta <- theta - rate g / (sqrt(v) + eps), in float64."""
    theta, v, taken = np.array([1.0, -2.0]), np.full(2, start), []
    for g in GRADIENTS:
        v = decay * v + (1 - decay) * g**2
        theta = theta - 0.1 * g / (np.sqrt(v) + eps)
        taken.append(theta)
    return np.array(taken)


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_steps_equal_numpy_rmsprop(eps: float) -> None:
    config = setting(optimizer="rmsprop", adam_eps=eps, max_grad_norm=None)
    taken = np.array(take_steps(config, GRADIENTS, [0.1] * 4))
    np.testing.assert_allclose(taken, numpy_rmsprop(eps), rtol=2e-5, atol=2e-6)
    # The decay of Adam's second moment; a moment that starts at 1; eps inside the root
    for wrong in (numpy_rmsprop(eps, decay=0.999), numpy_rmsprop(eps, start=1.0)):
        assert np.max(np.abs(wrong - taken)) > 1e-3
    inside = [1.0, -2.0] - 0.1 * GRADIENTS[0] / np.sqrt(0.01 * GRADIENTS[0] ** 2 + eps)
    assert eps < 0.1 or np.max(np.abs(inside - taken[0])) > 1e-3


def test_the_usual_mistakes_give_other_steps() -> None:
    config = setting(max_grad_norm=0.5, adam_eps=0.3)
    rates = [0.1] * 4
    right = take_steps(config, GRADIENTS, rates)[-1]

    def steps(gradients: np.ndarray, **changes: Any) -> np.ndarray:
        adam = NumpyAdam([1.0, -2.0], **{"limit": 0.5, "eps": 0.3, **changes})
        return [adam.step(g, 0.1) for g in gradients][-1]

    np.testing.assert_allclose(right, steps(GRADIENTS), rtol=2e-5)
    wrong = {
        "elementwise clipping": steps(np.clip(GRADIENTS, -0.5, 0.5), limit=None),
        "no clipping": steps(GRADIENTS, limit=None),
        "clipped to 1 in place of 1/2": steps(GRADIENTS, limit=1.0),
        "always scaled to the limit": steps(
            0.5 * GRADIENTS / np.linalg.norm(GRADIENTS, axis=1, keepdims=True)
        ),
        "uphill": steps(-GRADIENTS),
        "eps of 1e-5": steps(GRADIENTS, eps=1e-5),
    }
    for name, value in wrong.items():
        assert np.max(np.abs(value - right)) > 1e-3, name


def test_the_norm_is_over_all_parameters_together() -> None:
    """Two leaves with gradients 3 and 4 have norm 5: clipped to 1, each is divided by 5."""
    params = {"a": jnp.array([0.0]), "b": jnp.array([0.0])}
    optimizer = make_optimizer(setting(max_grad_norm=1.0, adam_eps=1e3), 1.0)
    gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    steps, _ = optimizer.update(gradient, optimizer.init(params), params)
    # With eps = 1000 a first step is -g / (|g| + 1000): 0.6 and 0.8 after clipping
    np.testing.assert_allclose(steps["a"], [-0.6 / 1000.6], rtol=1e-5)
    np.testing.assert_allclose(steps["b"], [-0.8 / 1000.8], rtol=1e-5)


def test_eps_root_by_hand() -> None:
    """A first step of gradient 3 with eps_root = 7: -lr 3 / (sqrt(9 + 7) + eps)."""
    config = setting(max_grad_norm=None, adam_eps_root=7.0, adam_eps=1e-5)
    (taken,) = take_steps(config, np.array([[3.0, 0.0]]), [0.1])
    np.testing.assert_allclose(taken, [1.0 - 0.1 * 3 / 4.00001, -2.0], rtol=1e-6)


@pytest.mark.parametrize(("eps_root", "finite"), [(1e-12, True), (0.0, False)])
def test_a_gradient_through_a_step_needs_eps_root(eps_root: float, finite: bool) -> None:
    """The second parameter has a gradient of 0, where the root has no derivative."""

    def after(scale: jax.Array) -> jax.Array:
        optimizer = make_optimizer(setting(max_grad_norm=None, adam_eps_root=eps_root), 0.1)
        gradient = {"theta": scale * jnp.array([3.0, 0.0])}
        steps, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
        return jnp.sum(steps["theta"])

    assert np.isfinite(jax.grad(after)(1.0)) == finite


def test_decay_alone() -> None:
    """A gradient of zero: theta shrinks by the factor 1 - learning_rate * weight_decay."""
    config = setting(optimizer="adamw", weight_decay=0.5)
    taken = take_steps(config, np.zeros((2, 2)), [0.1, 0.2])
    np.testing.assert_allclose(taken, np.outer([0.95, 0.95 * 0.9], [1, -2]), rtol=1e-6)


# The epochs


def run_update(
    config: PPOConfig,
    batch: Batch,
    permutations: Any,
    loss_fn: Any = mean_value,
    network: Network = LINEAR,
) -> tuple[Any, Any, Metrics]:
    """update_policy from the initial parameters: the new ones, the optimizer's state, metrics."""
    params = network.init(jax.random.key(0))
    learner = Learner.start(params, make_optimizer(config, 1.0).init(params))
    coefficients = UpdateCoefficients(config.learning_rate, config.clip_eps, None)
    fixed = {"network": network, "coefficients": coefficients, "loss_fn": loss_fn}
    update = jax.jit(partial(update_policy, **fixed))
    after, metrics = update(learner, batch, jnp.asarray(permutations, jnp.int32), config)
    return after.params, after.opt_state, metrics


OBS = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
ORDER = np.array([[3, 1, 7, 0, 2, 5, 4, 6], [6, 2, 0, 5, 1, 4, 7, 3]])


def test_the_kl_stop_needs_a_loss_that_measures_the_divergence() -> None:
    def silent(*arguments: Any, **_: Any) -> Any:
        loss, _ = mean_value(*arguments)
        return loss, Metrics(value_loss=loss)

    with pytest.raises(ConfigError, match="whose metrics have approx_kl"):
        run_update(setting(target_kl=0.5), samples(OBS), ORDER, silent)
    run_update(setting(target_kl=None), samples(OBS), ORDER, silent)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda v: jnp.mean(v), r"must return \(loss, Metrics\), got .* of shape \[\]"),
        (
            lambda v: (jnp.mean(v), {"loss": 0.0}),
            r"must return \(loss, Metrics\), got \(.*, dict\)",
        ),
        (lambda v: (v, Metrics()), r"the metric loss has shape \[2\], but must be a scalar"),
        (lambda v: (v[0], Metrics(extra={"mine": v})), r"the metric mine has shape \[2\]"),
        (lambda v: (v[0], Metrics(extra={"episode_return": v[0]})), "extra has episode_return"),
    ],
)
def test_what_a_loss_must_return(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"loss_fn.* {message}"):
        run_update(setting(), samples(OBS), ORDER, lambda _, values, *__, **___: wrong(values))


def numpy_update(order: np.ndarray, num_steps: int, limit: float | None = 0.5) -> np.ndarray:
    """theta after the first num_steps minibatches of two."""
    adam = NumpyAdam([1.0, -2.0], limit=limit, eps=1e-5)
    for pair in order.reshape(-1, 2)[:num_steps]:
        adam.step(OBS[pair].astype(float).mean(axis=0), 0.1)
    return adam.theta


def test_minibatches_follow_the_permutations() -> None:
    params, _, metrics = run_update(setting(), samples(OBS), ORDER)
    np.testing.assert_allclose(params["theta"], numpy_update(ORDER, 8), rtol=2e-5)
    assert metrics.gradient_steps == 8
    assert metrics.kl_stop == 0
    norms = np.linalg.norm(OBS[ORDER.reshape(-1, 2)].mean(axis=1), axis=1)
    np.testing.assert_allclose(metrics.grad_norm, norms.mean(), rtol=1e-5)
    other = run_update(setting(), samples(OBS), np.sort(ORDER, axis=1))[0]
    assert np.max(np.abs(other["theta"] - params["theta"])) > 1e-3, "the order matters"


def test_drawn_permutations_are_permutations_and_differ() -> None:
    config = setting(update_epochs=3)
    order = draw_randomness(jax.random.key(0), config, make_env(config)).permutations
    assert order.shape == (3, 8)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(8), (3, 1)))
    assert len(np.unique(order, axis=0)) == 3
    again = draw_randomness(jax.random.key(1), config, make_env(config)).permutations
    assert not np.array_equal(order, again)


@pytest.mark.parametrize("first_bad", [0, 1, 5, 7])
def test_the_kl_stop_takes_no_step_from_the_first_violation_on(first_bad: int) -> None:
    """Minibatch first_bad is the first of 8 with a divergence beyond the target."""
    kl = np.zeros(8, np.float32)
    order = np.tile(np.arange(8), (2, 1))
    pair = first_bad % 4
    if first_bad >= 4:
        # The same samples come in the first epoch too: spread them so that their mean is harmless.
        kl[2 * pair], kl[2 * pair + 1] = 1.0, 1.0
        a, b, c, d = 2 * pair, 2 * pair + 1, (2 * pair + 2) % 8, (2 * pair + 3) % 8
        order[0] = [a, c, b, d, *sorted(set(range(8)) - {a, b, c, d})]
    else:
        kl[2 * pair : 2 * pair + 2] = 1.0
    means = kl[order.reshape(-1, 2)].mean(axis=1)
    assert np.flatnonzero(means > 0.6)[0] == first_bad
    params, opt_state, metrics = run_update(setting(target_kl=0.6), samples(OBS, kl), order)
    np.testing.assert_allclose(params["theta"], numpy_update(order, first_bad), rtol=2e-5)
    assert metrics.gradient_steps == first_bad
    assert metrics.kl_stop == 1
    counts = [int(leaf) for leaf in jax.tree.leaves(opt_state) if leaf.dtype == jnp.int32]
    assert counts == [first_bad], "Adam's own count stops too"
    used = means[: max(first_bad, 1)]
    np.testing.assert_allclose(metrics.approx_kl, used.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics.approx_kl_max, means[: first_bad + 1].max(), rtol=1e-6)


@pytest.mark.parametrize("divergence", [np.inf, np.nan])
def test_what_the_stop_kept_out_leaves_no_trace(divergence: float) -> None:
    """The second minibatch has overflowed: no step is taken on it, and no mean is spoilt."""
    kl = np.zeros(8, np.float32)
    kl[2:4] = divergence
    order = np.tile(np.arange(8), (2, 1))
    params, _, metrics = run_update(setting(target_kl=0.6), samples(OBS, kl), order)
    np.testing.assert_allclose(params["theta"], numpy_update(order, 1), rtol=2e-5)
    assert metrics.gradient_steps == metrics.kl_stop == 1
    assert not np.isfinite(metrics.approx_kl_max)
    others = metrics.replace(approx_kl_max=None).as_dict().values()
    assert all(np.isfinite(value) for value in others)


@pytest.mark.parametrize("target", [0.5, 1e9])
def test_a_target_that_is_reached_but_not_exceeded_equals_no_target(target: float) -> None:
    batch = samples(OBS, 0.5)
    without = run_update(setting(), batch, ORDER)
    with_target = run_update(setting(target_kl=target), batch, ORDER)
    # Two programs: the last bits may differ.
    assert_trees_close(with_target[:2], without[:2], rtol=1e-6)
    assert (with_target[2].kl_stop, with_target[2].gradient_steps) == (0, 8)


# Normalization of advantages

ADVANTAGES = np.array([5.0, -1.0, 0.5, 9.0, 2.0, 2.5, -7.0, 1.0], np.float32)


@pytest.mark.parametrize("mode", ["minibatch", "batch", "none"])
def test_over_which_samples_advantages_are_normalized(mode: str) -> None:
    def spy(_: Any, values: jax.Array, batch: Batch, *__: Any, **___: Any) -> Any:
        first = batch.returns == 0
        seen = {
            "mean_square": jnp.mean(batch.advantages**2),
            "square_of_mean": jnp.mean(batch.advantages) ** 2,
            "first": jnp.sum(jnp.where(first, batch.advantages, 0.0)),
        }
        return jnp.mean(values), Metrics(extra=seen)

    config = setting(advantage_normalization=mode, num_minibatches=2, update_epochs=1)
    order = np.arange(8)[None]
    _, _, metrics = run_update(config, samples(OBS, advantages=ADVANTAGES), order, spy)
    exact = ADVANTAGES.astype(float)
    halves = exact.reshape(2, 4)
    if mode == "minibatch":
        halves = (halves - halves.mean(1, keepdims=True)) / halves.std(1, keepdims=True)
    elif mode == "batch":
        halves = (halves - exact.mean()) / exact.std()
    np.testing.assert_allclose(metrics.extra["mean_square"], (halves**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics.extra["square_of_mean"], (halves.mean(1) ** 2).mean(), rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(metrics.extra["first"] * 2, halves[0, 0], rtol=1e-5)


# The real loss


class Linear2(NamedTuple):
    """Parameters of a linear policy and critic."""

    policy: jax.Array
    value: jax.Array


TWO_HEADS = Network(
    init=lambda _: Linear2(jnp.array([[0.1, 0.2], [-0.3, 0.0]]), jnp.array([0.5, 0.5])),
    apply=lambda params, obs: (Categorical(obs @ params.policy), obs @ params.value),
)


def real_batch() -> Batch:
    """Samples of the initial policy of TWO_HEADS."""
    params = TWO_HEADS.init(jax.random.key(0))
    distribution, values = TWO_HEADS.apply(params, jnp.asarray(OBS))
    action = jnp.array([0, 1, 1, 0, 1, 0, 0, 1])
    log_prob = distribution.log_prob(action)
    batch = samples(OBS, advantages=ADVANTAGES)
    return dataclasses.replace(batch, action=action, old_log_prob=log_prob, old_value=values)


def test_a_whole_update_with_the_real_loss() -> None:
    """Against NumPy's Adam on the analytic gradient of the policy gradient, critic and entropy."""
    config = setting(ent_coef=0.3, vf_coef=0.7, adam_eps=0.1, clip_eps=10.0)
    batch = real_batch()
    params, _, _ = run_update(config, batch, ORDER, ppo_loss, TWO_HEADS)

    start = TWO_HEADS.init(jax.random.key(0))
    theta = np.concatenate([np.ravel(start.policy), start.value]).astype(float)
    adam = NumpyAdam(theta, limit=0.5, eps=0.1)
    old_log_prob = np.asarray(batch.old_log_prob, float)
    action = np.asarray(batch.action)
    for pair in ORDER.reshape(-1, 2):
        policy, value = adam.theta[:4].reshape(2, 2), adam.theta[4:]
        x = OBS[pair].astype(float)
        logits = x @ policy
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        ratio = p[np.arange(2), action[pair]] / np.exp(old_log_prob[pair])
        # d(-r A)/dlogits = -r A (onehot - p);  dH/dlogits = -p (log p + H)
        d_policy = -(ratio * ADVANTAGES[pair])[:, None] * (np.eye(2)[action[pair]] - p)
        entropy = -(p * np.log(p)).sum(axis=1, keepdims=True)
        d_entropy = -p * (np.log(p) + entropy)
        d_logits = (d_policy - 0.3 * d_entropy) / 2
        # d(1/2 (V - R)^2)/dV = V - R
        d_value = 0.7 * (x @ value - np.arange(8.0)[pair]) / 2
        adam.step(np.concatenate([np.ravel(x.T @ d_logits), x.T @ d_value]), 0.1)
    got = np.concatenate([np.ravel(params.policy), params.value])
    np.testing.assert_allclose(got, adam.theta, rtol=5e-5, atol=5e-6)


def test_a_tiny_target_stops_a_real_update_early() -> None:
    """The first step is from ratio 1, so it is always taken; then the policy has moved."""
    config = setting(target_kl=1e-7)
    params, _, metrics = run_update(config, real_batch(), ORDER, ppo_loss, TWO_HEADS)
    assert metrics.kl_stop == 1
    assert metrics.gradient_steps == 1
    once = config.replace(target_kl=None, num_minibatches=4, update_epochs=1)
    start = TWO_HEADS.init(jax.random.key(0))
    learner = Learner.start(start, make_optimizer(once, 0.1).init(start))
    minibatch = jax.tree.map(lambda leaf: leaf[ORDER[0, :2]], real_batch())
    coefficients = UpdateCoefficients(0.1, 0.2, None)
    step = jax.jit(partial(gradient_step, network=TWO_HEADS, coefficients=coefficients))
    after, _ = step(learner, minibatch, once)
    assert_trees_close(params, after.params, rtol=1e-6)
