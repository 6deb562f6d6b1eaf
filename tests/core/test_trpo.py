"""TRPO: the Fisher matrix written out, dense solves, known answers, and the constraint."""

from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo import (
    Algorithm,
    Batch,
    Categorical,
    ConfigError,
    DiagGaussian,
    Metrics,
    Network,
    PPOConfig,
    TrainState,
    TrustRegion,
    compute_gae,
    ppo_loss,
    train,
    trpo,
)
from jax_ppo.variants.trpo import (
    damped,
    fisher_vector_product,
    line_search,
    longest_step,
    mean_kl,
    natural_gradient,
    surrogate_improvement,
    trpo_step,
)
from parity_tests.precision import enable_x64

from .helpers import (
    assert_trees_close,
    assert_trees_equal,
    largest_difference,
    leaves,
    random_batch,
)

SAMPLES = 40

jit_step = jax.jit(trpo_step, static_argnames="network")
jit_gradient = jax.jit(jax.grad(surrogate_improvement), static_argnames="network")
jit_improvement = jax.jit(surrogate_improvement, static_argnames="network")


def tiny(env_id: str, **changes: Any) -> tuple[Any, Batch, Network]:
    """A policy of a few dozen parameters, and samples that it collected."""
    config = PPOConfig(env_id=env_id, hidden_sizes=(3,), log_std_init=-0.3, **changes)
    return random_batch(config, SAMPLES)


def flat(tree: Any) -> np.ndarray:
    """All leaves as one vector."""
    return np.concatenate([leaf.ravel() for leaf in leaves(tree)])


def dense(product: Any, like: Any) -> np.ndarray:
    """The matrix that a linear map multiplies by, column by column."""
    vector, unravel = jax.flatten_util.ravel_pytree(like)
    columns = jax.vmap(lambda v: jax.flatten_util.ravel_pytree(product(unravel(v)))[0])
    return np.asarray(jax.jit(columns)(jnp.eye(len(vector)))).T


def scores(params: Any, batch: Batch, network: Network, actions: jax.Array) -> np.ndarray:
    """Gradients of log pi(action|s) [batch_size, num_parameters]."""

    def one(params: Any, obs: jax.Array, action: jax.Array) -> jax.Array:
        distribution, _ = network.apply(params, obs[None])
        return distribution.log_prob(action[None])[0]

    each = jax.jit(jax.vmap(jax.grad(one), in_axes=(None, 0, 0)))(params, batch.obs, actions)
    return np.concatenate([leaf.reshape(len(batch.obs), -1) for leaf in leaves(each)], axis=1)


def written_out(params: Any, batch: Batch, network: Network) -> np.ndarray:
    """F = mean_s E_a[score score^T], the expectation as a sum, or as an exact quadrature."""
    distribution, _ = network.apply(params, batch.obs)
    if isinstance(distribution, Categorical):
        probs = np.asarray(jax.nn.softmax(distribution.logits)).T
        cases = [(p, jnp.full(SAMPLES, i, jnp.int32)) for i, p in enumerate(probs)]
    else:
        # score score^T is a polynomial of degree 4 in the noise: five nodes are exact.
        nodes, weights = np.polynomial.hermite_e.hermegauss(5)
        cases = [
            (np.full(SAMPLES, w), distribution.sample(jnp.full((SAMPLES, 1), x)))
            for x, w in zip(nodes, weights / weights.sum(), strict=True)
        ]
    matrix = 0.0
    for weight, actions in cases:
        score = scores(params, batch, network, actions)
        matrix = matrix + np.einsum("n,ni,nj->ij", weight, score, score) / SAMPLES
    return np.asarray(matrix)


# The Fisher matrix


@pytest.mark.parametrize(
    ("env_id", "shared_trunk"),
    [("CartPole-v1", False), ("CartPole-v1", True), ("Pendulum-v1", False)],
)
def test_fisher_products_against_the_matrix_written_out(env_id: str, shared_trunk: bool) -> None:
    with enable_x64(True):
        params, batch, network = tiny(env_id, shared_trunk=shared_trunk)
        matrix = dense(fisher_vector_product(params, batch.obs, network), params)
        expected = written_out(params, batch, network)
        np.testing.assert_allclose(matrix, expected, rtol=1e-9, atol=1e-13)
        # From the actions that were taken alone it would be another matrix.
        score = scores(params, batch, network, batch.action)
        assert np.abs(score.T @ score / SAMPLES - matrix).max() > 0.01


def test_fisher_matrix_of_a_linear_softmax_policy_by_hand() -> None:
    """With logits W^T x it is mean x x^T (x) (diag(p) - p p^T)."""
    obs = np.array([[1.0, 0.5], [-0.3, 2.0], [0.0, 1.0]])
    weights = np.array([[0.2, -0.1, 0.4], [0.5, 0.0, -0.7]])
    logits = obs @ weights
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.zeros((6, 6))
    for x, q in zip(obs, p, strict=True):
        expected += np.kron(np.outer(x, x), np.diag(q) - np.outer(q, q)) / 3
    network = Network(
        init=lambda _: jnp.asarray(weights),
        apply=lambda params, obs: (Categorical(obs @ params), jnp.zeros(len(obs))),
    )
    params = network.init(jax.random.key(0))
    product = fisher_vector_product(params, jnp.asarray(obs), network)
    np.testing.assert_allclose(dense(product, params), expected, atol=2e-7)
    more = dense(partial(damped, product, 0.25), params)
    np.testing.assert_allclose(more, expected + 0.25 * np.eye(6), atol=2e-7)
    np.testing.assert_array_equal(longest_step(product, jnp.zeros((2, 3)), 0.01), np.zeros((2, 3)))

    def moving(params: jax.Array) -> jax.Array:
        """The mistake: a divergence with nothing held still, of the policy from itself."""
        return mean_kl(params, network.apply(params, obs)[0], obs, network)

    np.testing.assert_allclose(jax.hessian(moving)(params), 0.0, atol=1e-6)


# The natural gradient


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_natural_gradient_against_a_dense_solve(env_id: str) -> None:
    with enable_x64(True):
        params, batch, network = tiny(env_id)
        gradient = jit_gradient(params, batch, network)
        product = partial(damped, fisher_vector_product(params, batch.obs, network), 0.05)
        matrix, g = dense(product, params), flat(gradient)
        exact = np.linalg.solve(matrix, g)
        region = TrustRegion(cg_iterations=100, cg_tolerance=1e-12)
        solve = jax.jit(lambda region: natural_gradient(product, gradient, region))
        direction, residual = solve(region)
        np.testing.assert_allclose(flat(direction), exact, rtol=1e-8, atol=1e-12)
        assert residual < 1e-11
        # Cut short, it is less good, and says by how much.
        rough, residual = solve(region._replace(cg_iterations=3))
        left_over = np.linalg.norm(matrix @ flat(rough) - g) / np.linalg.norm(g)
        np.testing.assert_allclose(residual, left_over, rtol=1e-8)
        assert 1e-3 < left_over < 1
        # It is no multiple of the gradient.
        cosine = exact @ g / np.linalg.norm(exact) / np.linalg.norm(g)
        assert cosine < 0.95
        step = longest_step(product, direction, 0.02)
        np.testing.assert_allclose(flat(step) @ matrix @ flat(step) / 2, 0.02, rtol=1e-10)
        cosine = flat(step) @ exact / np.linalg.norm(flat(step)) / np.linalg.norm(exact)
        np.testing.assert_allclose(cosine, 1.0, rtol=1e-12)


def shifted(params: Any, obs: jax.Array) -> tuple[DiagGaussian, jax.Array]:
    """Normal with standard deviation 2; the mean is the parameter."""
    mean = jnp.broadcast_to(params["mean"], (len(obs), 2))
    return DiagGaussian(mean, jnp.full_like(mean, np.log(2.0))), jnp.zeros(len(obs))


GAUSSIAN = Network(init=lambda _: {"mean": jnp.array([0.3, -0.2])}, apply=shifted)


def gaussian_batch(actions: Any, advantages: Any) -> Batch:
    """Samples of GAUSSIAN."""
    n = len(actions)
    actions = jnp.asarray(actions, float)
    distribution, values = GAUSSIAN.apply(GAUSSIAN.init(jax.random.key(0)), jnp.zeros((n, 1)))
    log_prob = distribution.log_prob(actions)
    advantages = jnp.asarray(advantages, float)
    return Batch(jnp.zeros((n, 1)), actions, None, log_prob, values, advantages, advantages)


@pytest.mark.parametrize("damping", [0.01, 0.75])
def test_a_quadratic_with_a_known_answer(damping: float) -> None:
    """KL = |shift|^2 / (2 * 4), exactly, so F = I / 4 and the whole step is known."""
    batch = gaussian_batch([[1.3, -0.2], [0.3, 1.8]], [1.0, 2.0])
    params = GAUSSIAN.init(jax.random.key(0))
    # score = (a - mean) / 4; gradient = mean(A score) = [(1 * 1, 2 * 2)] / 8, along (1, 4)
    delta = 0.005
    region = TrustRegion(max_kl=delta, damping=damping)
    new, metrics = jit_step(params, batch, GAUSSIAN, region)
    length = np.sqrt(2 * delta / (0.25 + damping))
    direction = np.array([1.0, 4.0]) / np.sqrt(17)
    np.testing.assert_allclose(new["mean"] - params["mean"], length * direction, rtol=2e-5)
    np.testing.assert_allclose(metrics.kl, length**2 / 8, rtol=2e-5)
    # log r = score . shift - |shift|^2 / 8
    shift = length * direction
    log_ratio = np.array([[1.0, 0.0], [0.0, 2.0]]) @ shift / 4 - length**2 / 8
    gain = (np.expm1(log_ratio) * [1.0, 2.0]).mean()
    np.testing.assert_allclose(metrics.surrogate_improvement, gain, rtol=2e-5)
    assert metrics.step_fraction == 1
    assert metrics.cg_residual < 1e-6


NARROWING = Network(
    init=lambda _: {"log_std": jnp.zeros(1)},
    apply=lambda params, obs: (
        DiagGaussian(jnp.zeros((len(obs), 1)), jnp.broadcast_to(params["log_std"], (len(obs), 1))),
        jnp.zeros(len(obs)),
    ),
)
"""The parameter is the logarithm of the standard deviation; the mean is 0."""


@pytest.mark.parametrize(("max_kl", "fraction"), [(0.01, 0.5), (0.5, 0.5), (18.0, 0.25)])
def test_a_divergence_that_outgrows_its_quadratic_form(max_kl: float, fraction: float) -> None:
    """The mode pays, so narrower is better without end: it is the bound that sends the step back.

    F = 2, so the longest step is d = -sqrt(max_kl), where KL = d + (exp(-2 d) - 1) / 2 > d^2.
    """
    params = NARROWING.init(jax.random.key(0))
    distribution, values = NARROWING.apply(params, jnp.zeros((2, 1)))
    action = jnp.zeros((2, 1))
    log_prob = distribution.log_prob(action)
    batch = Batch(action, action, None, log_prob, values, jnp.ones(2), jnp.ones(2))
    region = TrustRegion(max_kl=max_kl, damping=1e-6)
    new, metrics = jit_step(params, batch, NARROWING, region)
    tried = {part: np.sqrt(max_kl) * part for part in (1.0, 0.5, 0.25)}
    kl = {part: -d + (np.exp(2 * d) - 1) / 2 for part, d in tried.items()}
    assert kl[2 * fraction] > max_kl > kl[fraction]
    assert metrics.step_fraction == fraction
    np.testing.assert_allclose(new["log_std"], -tried[fraction], rtol=1e-5)
    np.testing.assert_allclose(metrics.kl, kl[fraction], rtol=1e-3)
    # r = exp(d) at the mode
    gain = np.expm1(tried[fraction])
    np.testing.assert_allclose(metrics.surrogate_improvement, gain, rtol=1e-4)
    # The search as such; and one that may not try often enough gives up.
    longest = {"log_std": -jnp.sqrt(max_kl)[None]}
    search = line_search(params, longest, batch, NARROWING, region=region)
    assert search.tries == 1 - np.log2(fraction)
    stuck, given_up = jit_step(params, batch, NARROWING, region._replace(max_tries=1))
    assert_trees_equal(stuck, params)
    assert given_up.step_fraction == given_up.kl == given_up.surrogate_improvement == 0


def test_the_step_depends_on_policies_and_not_on_their_parameters() -> None:
    """Measured in other units, one parameter by one: the same policy comes out, undamped."""
    with enable_x64(True):
        units = {"mean": jnp.array([10.0, 0.5])}
        other = Network(
            init=lambda key: jax.tree.map(jnp.divide, GAUSSIAN.init(key), units),
            apply=lambda p, obs: GAUSSIAN.apply(jax.tree.map(jnp.multiply, p, units), obs),
        )
        batch = gaussian_batch([[1.3, -0.2], [0.3, 1.8]], [1.0, 2.0])
        region = TrustRegion(max_kl=0.01, damping=0.0, cg_tolerance=1e-12)
        moves, gradients = [], []
        for network, scale in ((GAUSSIAN, 1.0), (other, units["mean"])):
            params = network.init(jax.random.key(0))
            new, _ = jit_step(params, batch, network, region)
            moves.append((new["mean"] - params["mean"]) * scale)
            gradient = jit_gradient(params, batch, network)["mean"]
            gradients.append(gradient * scale / jnp.linalg.norm(gradient * scale))
        # Undamped, the KL of the longest step is max_kl but for rounding, which may halve it.
        moves = [move / np.linalg.norm(move) for move in moves]
        np.testing.assert_allclose(moves[0], moves[1], rtol=1e-8)
        assert np.abs(gradients[0] - gradients[1]).max() > 0.1


# The whole step


CARTPOLE = tiny("CartPole-v1")
PENDULUM = tiny("Pendulum-v1")
both = pytest.mark.parametrize("case", [CARTPOLE, PENDULUM], ids=["discrete", "continuous"])


@both
def test_what_only_the_critic_uses_stays(case: tuple) -> None:
    """To the last bit, and damping does not stir it."""
    params, batch, network = case
    new, metrics = jit_step(params, batch, network)
    assert metrics.step_fraction > 0
    for name, leaf in params["params"].items():
        if name.startswith("value"):
            assert_trees_equal(new["params"][name], leaf)
        else:
            assert largest_difference(new["params"][name], leaf) > 1e-4


def test_a_shared_trunk_moves() -> None:
    params, batch, network = tiny("CartPole-v1", shared_trunk=True)
    new, _ = jit_step(params, batch, network)
    before, after = params["params"], new["params"]
    assert_trees_equal(after["value_head"], before["value_head"])
    assert largest_difference(after["trunk_dense_0"], before["trunk_dense_0"]) > 1e-4


def exact_kl(params: Any, new: Any, batch: Batch, network: Network) -> float:
    """Mean KL(old || new) in float64, from logits, or from means and deviations."""
    old, fresh = (network.apply(p, batch.obs)[0] for p in (params, new))
    if isinstance(old, Categorical):
        logits = [np.asarray(each.logits, np.float64) for each in (old, fresh)]
        log_p, log_q = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in logits)
        return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())
    (m, s), (n, t) = (
        (np.asarray(each.mean, np.float64), np.exp(np.asarray(each.log_std, np.float64)))
        for each in (old, fresh)
    )
    return float((np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5).sum(axis=1).mean())


@given(
    st.sampled_from([CARTPOLE, PENDULUM]),
    st.integers(0, 2**32 - 1),
    st.floats(-7.0, 2.0),
    st.floats(-4.0, 0.0),
    st.floats(-3.0, 3.0),
)
def test_the_divergence_never_exceeds_its_bound(
    case: tuple, seed: int, log_delta: float, log_damping: float, log_scale: float
) -> None:
    """Whatever the advantages, the bound and the damping; and what is taken improves."""
    params, batch, network = case
    draws = np.random.default_rng(seed).normal(size=SAMPLES) * 10.0**log_scale
    batch = batch.replace(advantages=jnp.asarray(draws, jnp.float32))
    # Numbers of one type, so that one program serves all.
    region = TrustRegion(max_kl=10.0**log_delta, damping=10.0**log_damping)
    new, metrics = jit_step(params, batch, network, region)
    fraction = float(metrics.step_fraction)
    if fraction == 0:
        assert_trees_equal(new, params)
        return
    assert metrics.kl <= np.float32(region.max_kl)
    assert metrics.surrogate_improvement > 0
    assert np.log2(fraction) == int(np.log2(fraction)) >= -9
    exact = exact_kl(params, new, batch, network)
    np.testing.assert_allclose(metrics.kl, exact, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("advantage", [0.0, np.nan, np.inf])
@both
def test_nothing_to_gain_nothing_moves(case: tuple, advantage: float) -> None:
    params, batch, network = case
    batch = batch.replace(advantages=jnp.full(SAMPLES, advantage))
    new, metrics = jit_step(params, batch, network)
    assert_trees_equal(new, params)
    assert metrics.step_fraction == metrics.kl == metrics.surrogate_improvement == 0
    if advantage == 0:
        assert metrics.cg_residual == 0


def test_the_size_of_advantages_does_not_matter() -> None:
    """A thousand times as large they give the same step; their sign turns it around."""
    with enable_x64(True):
        params, batch, network = tiny("Pendulum-v1")
        new, metrics = jit_step(params, batch, network)
        larger = batch.replace(advantages=1000.0 * batch.advantages)
        again, metrics_again = jit_step(params, larger, network)
        assert_trees_close(again, new, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(metrics_again.kl, metrics.kl, rtol=1e-9)
        backwards, _ = jit_step(params, batch.replace(advantages=-batch.advantages), network)
        forward, back = flat(new) - flat(params), flat(backwards) - flat(params)
        cosine = forward @ back / np.linalg.norm(forward) / np.linalg.norm(back)
        np.testing.assert_allclose(cosine, -1.0, rtol=1e-9)


# Beside PPO


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_to_first_order_ppo_climbs_the_same_surrogate(env_id: str) -> None:
    """At ratio 1; and the shorter TRPO's step, the more it gains and moves as predicted."""
    with enable_x64(True):
        params, batch, network = tiny(env_id)
        config = PPOConfig(vf_coef=0.0, ent_coef=0.0)
        gradient = jit_gradient(params, batch, network)

        @jax.jit
        @jax.grad
        def ppo_gradient(params: Any, clip_eps: float) -> jax.Array:
            outputs = network.apply(params, batch.obs)
            return -ppo_loss(*outputs, batch, config, clip_eps=clip_eps)[0]

        assert_trees_close(ppo_gradient(params, 0.2), gradient, rtol=1e-10, atol=1e-14)
        matrix = dense(fisher_vector_product(params, batch.obs, network), params)
        errors = []
        for delta in (1e-4, 1e-6, 1e-8):
            region = TrustRegion(max_kl=delta, damping=1e-3, cg_tolerance=1e-12, cg_iterations=60)
            new, metrics = jit_step(params, batch, network, region)
            step = flat(new) - flat(params)
            gain = metrics.surrogate_improvement / (flat(gradient) @ step) - 1
            moved = metrics.kl / (step @ matrix @ step / 2) - 1
            assert metrics.step_fraction == 1
            errors.append(max(abs(float(gain)), abs(float(moved))))
        # A hundredth of the divergence is a tenth of the length: ten times as linear.
        assert errors[0] < 0.2
        assert errors[1] < errors[0] / 5
        assert errors[2] < errors[1] / 5
        # One step on, PPO's gradient is clipped and TRPO's surrogate is not.
        far, _ = jit_step(params, batch, network, TrustRegion(max_kl=0.1))
        later = jit_gradient(far, batch, network)
        assert largest_difference(ppo_gradient(far, 0.05), later) > 1e-3


# Transformations


def test_a_batch_of_agents_and_of_bounds() -> None:
    """Under vmap each goes as far back as it must, and gets what it gets alone."""
    with enable_x64(True):
        params, batch, network = tiny("Pendulum-v1")
        bounds = jnp.array([1e-4, 0.01, 5.0])
        many = jax.vmap(lambda bound: trpo_step(params, batch, network, TrustRegion(max_kl=bound)))
        together = jax.jit(many)(bounds)
        assert len(np.unique(together[1].step_fraction)) > 1
        for i, bound in enumerate(bounds):
            alone = jit_step(params, batch, network, TrustRegion(max_kl=bound))
            one = jax.tree.map(itemgetter(i), together)
            assert_trees_close(one, alone, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("wide", [False, True])
def test_types_are_kept(wide: bool) -> None:
    with enable_x64(wide):
        params, batch, network = tiny("Pendulum-v1")
        new, metrics = jit_step(params, batch, network)
        dtype = np.float64 if wide else np.float32
        assert {leaf.dtype for leaf in (*leaves(new), *leaves(metrics))} == {np.dtype(dtype)}
        assert jax.tree.structure(new) == jax.tree.structure(params)


def test_float32_parameters_where_float64_is_allowed() -> None:
    params, batch, network = PENDULUM
    with enable_x64(True):
        new, metrics = jit_step(params, batch, network)
        assert {leaf.dtype for leaf in leaves(new)} == {np.dtype(np.float32)}
        assert metrics.step_fraction > 0


# Training


LEARN = PPOConfig(
    num_envs=16,
    num_steps=128,
    total_steps=16 * 128 * 30,
    hidden_sizes=(32,),
    learning_rate=3e-3,
    learning_rate_schedule="constant",
)


def test_trpo_learns_cartpole_within_its_bound() -> None:
    """Thirty steps of the policy, on 61,440 of the environment: from 20 to hundreds."""
    state, metrics = jax.jit(partial(train, algorithm_fn=trpo))(jax.random.key(0), LEARN)
    returns = metrics.episode_return
    assert returns[0] < 40
    assert np.nanmean(returns[-8:]) > 200
    assert np.all(metrics.kl <= 0.01)
    assert np.all(metrics.step_fraction > 0)
    assert state.update == 30


SHORT = LEARN.replace(
    num_steps=8, total_steps=128, learning_rate_schedule="linear", target_kl=1e-9, kl_coef=1.0
)
"""One update; with bounds of PPO's, which must not hold the critic up."""


PLAIN = trpo(SHORT)


def stepped(state: TrainState, algorithm: Algorithm = PLAIN) -> tuple[TrainState, Metrics]:
    """One update."""
    return jax.jit(algorithm.step)(state)


def assert_policies(one: Any, other: Any, *, rtol: float) -> None:
    """The policy's leaves close, the critic's not."""
    for name, leaf in one["params"].items():
        if name.startswith("value"):
            assert largest_difference(leaf, other["params"][name]) > 1e-4
        else:
            assert_trees_close(leaf, other["params"][name], rtol=rtol, atol=rtol)


def test_fitting_the_critic_leaves_the_policy_alone() -> None:
    """Or the divergence would be more than TRPO has measured."""
    state = PLAIN.init(jax.random.key(0))
    fitted, metrics = stepped(state)
    assert metrics.step_fraction > 0
    assert np.isfinite(metrics.value_loss)
    # The schedule has come to its end, so the rate is zero.
    unfitted, _ = stepped(state.replace(update=jnp.int32(1)))
    assert_policies(fitted.params, unfitted.params, rtol=0.0)
    assert_trees_equal(
        unfitted.params["params"]["value_head"], state.params["params"]["value_head"]
    )


def generous_gae(*arrays: Any, **others: Any) -> tuple[jax.Array, jax.Array]:
    """Advantages that are all too good by 100."""
    advantages, returns = compute_gae(*arrays, **others)
    return advantages + 100.0, returns + 100.0


def test_advantages_are_compared_with_their_mean() -> None:
    state = PLAIN.init(jax.random.key(0))
    plain, _ = stepped(state)
    generous, _ = stepped(state, trpo(SHORT, advantage_fn=generous_gae))
    assert_policies(generous.params, plain.params, rtol=1e-3)


@pytest.mark.parametrize("change", [{"shared_trunk": True}, {"optimizer": "adamw"}])
def test_what_would_let_the_critic_move_the_policy_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="shared_trunk = False and an optimizer other than adamw"):
        trpo(LEARN.replace(**change))
