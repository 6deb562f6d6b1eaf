"""Training as a whole: what it depends on, and that its parts fit together."""

import dataclasses
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_ppo import (
    Categorical,
    Metrics,
    Network,
    PPOConfig,
    RandomDraws,
    TrainState,
    collect_from_draws,
    compute_gae,
    config_axes,
    draw_randomness,
    make_batch,
    make_env,
    make_network,
    ppo,
    ppo_loss,
    train,
    train_agents,
    update_policy,
)
from parity_tests.precision import enable_x64

from .helpers import (
    assert_trees_close,
    assert_trees_equal,
    jit_train,
    largest_difference,
    leaves,
)


@jax.jit
def jit_init(key: jax.Array, config: PPOConfig) -> TrainState:
    """The state before the first update."""
    return ppo(config).init(key)


def step(state: TrainState, config: PPOConfig) -> tuple[TrainState, Metrics]:
    """One update of PPO."""
    return ppo(config).step(state)


jit_step = jax.jit(step)


@jax.jit
def rollout_from(state: TrainState, draws: RandomDraws, config: PPOConfig) -> Any:
    """The state after a rollout with these random numbers, and the rollout."""
    algorithm = ppo(config)
    env, network = algorithm.env, algorithm.network
    return collect_from_draws(state, draws, config=config, env=env, network=network)


METRICS = {field.name for field in dataclasses.fields(Metrics)} - {
    *("kl", "kl_coef", "kl_after_update"),  # with a KL penalty
    *("surrogate_improvement", "step_fraction", "cg_residual"),  # TRPO's
    "extra",
}


def test_same_key_same_bits_other_key_other_agent(tiny_config: PPOConfig) -> None:
    one, metrics = jit_train(jax.random.key(0), tiny_config)
    assert_trees_equal(jit_train(jax.random.key(0), tiny_config), (one, metrics))
    other, _ = jit_train(jax.random.key(1), tiny_config)
    assert largest_difference(one.params, other.params) > 0.01
    assert not np.array_equal(one.rollout.obs, other.rollout.obs)


def test_metrics_and_counts(tiny_config: PPOConfig) -> None:
    state, metrics = jit_train(jax.random.key(0), tiny_config)
    assert set(metrics.as_dict()) == METRICS
    assert tiny_config.num_updates == 3
    for values in metrics.as_dict().values():
        assert values.shape == (3,)
    assert state.update == 3
    # 3 updates * 2 epochs * 2 minibatches of Adam steps
    counts = [int(x) for x in jax.tree.leaves(state.opt_state) if x.dtype == jnp.int32]
    assert counts == [12]
    np.testing.assert_array_equal(metrics.gradient_steps, [4, 4, 4])
    squares = sum(float((leaf.astype(np.float64) ** 2).sum()) for leaf in leaves(state.params))
    np.testing.assert_allclose(metrics.param_norm[-1], np.sqrt(squares), rtol=1e-6)
    # Steps that do not fill an update are left out: 127 = 3 * 32 + 31
    state, metrics = jax.eval_shape(train, jax.random.key(0), tiny_config.replace(total_steps=127))
    assert (metrics.loss.shape, state.update.shape) == ((3,), ())


def cosine_of_optax(update: Any, num_updates: int) -> jax.Array:
    """A schedule of one's own: optax's cosine after a warm-up, which counts the same updates."""
    return optax.warmup_cosine_decay_schedule(0.25, 1.0, 1, num_updates)(update)


def constant_slope(_: Any, values: jax.Array, *__: Any, clip_eps: Any, **___: Any) -> Any:
    """A loss whose gradient is 1, whatever the parameter, and that says which clip_eps it got."""
    return jnp.mean(values), Metrics(extra={"given": jnp.asarray(clip_eps, float)})


ONE_NUMBER = Network(
    init=lambda _: jnp.zeros(()),
    apply=lambda theta, obs: (
        Categorical(jnp.zeros((len(obs), 2))),
        jnp.broadcast_to(theta, (len(obs),)),
    ),
)
"""The parameter is the value of every state."""


def rates_of(config: PPOConfig, **parts: Any) -> tuple[np.ndarray, np.ndarray, Metrics]:
    """Learning rates as logged, and as the 4 gradient steps of each update applied them.

    With plain gradient descent and a slope of 1, each step moves the parameter by minus the rate.
    """
    config = config.replace(optimizer="sgd", max_grad_norm=None)
    algorithm_fn = partial(ppo, network=ONE_NUMBER, loss_fn=constant_slope, **parts)
    state, metrics = jax.jit(partial(train, algorithm_fn=algorithm_fn))(jax.random.key(0), config)
    moves = np.diff([*np.asarray(metrics.value_mean), float(state.params)])
    return np.asarray(metrics.learning_rate), -moves / 4, metrics


@pytest.mark.parametrize(
    ("schedule", "warmup", "factors"),
    [
        ("constant", None, [1, 1, 1]),
        ("linear", None, [1, 2 / 3, 1 / 3]),
        # (1 + cos(pi k / 3)) / 2, the cosines being 1, 1/2 and -1/2
        ("cosine", None, [1, 3 / 4, 1 / 4]),
        # two thirds of 3 updates: (k + 1) / 2, then 1
        ("constant", 2 / 3, [1 / 2, 1, 1]),
        ("linear", 2 / 3, [1 / 2, 2 / 3, 1 / 3]),
        ("cosine", 1.0, [1 / 3, 2 / 3 * 3 / 4, 1 / 4]),
        # from 1/4 to 1 in one update, then half a cosine over the other two
        (cosine_of_optax, None, [1 / 4, 1, 1 / 2]),
        (cosine_of_optax, 2 / 3, [1 / 8, 1, 1 / 2]),
    ],
)
def test_schedules_of_learning_rate_and_clip_eps(
    tiny_config: PPOConfig, schedule: Any, warmup: float | None, factors: list[float]
) -> None:
    """Logged and applied."""
    named = isinstance(schedule, str)
    config = tiny_config.replace(
        learning_rate=0.3,
        clip_eps=0.15,
        learning_rate_schedule=schedule if named else "linear",
        clip_eps_schedule=schedule if named and warmup is None else "constant",
        learning_rate_warmup=warmup,
    )
    parts = {} if named else {"learning_rate_schedule": schedule}
    logged, applied, metrics = rates_of(config, **parts)
    np.testing.assert_allclose(logged, 0.3 * np.array(factors), rtol=1e-6)
    np.testing.assert_allclose(applied, logged, rtol=2e-6)
    widths = factors if named and warmup is None else np.ones(3)
    np.testing.assert_allclose(metrics.clip_eps, 0.15 * np.array(widths), rtol=1e-6)
    np.testing.assert_array_equal(metrics.extra["given"], metrics.clip_eps)


def test_a_schedule_that_is_only_logged_is_seen(
    tiny_config: PPOConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unscheduled(*arguments: Any, coefficients: Any, **others: Any) -> Any:
        coefficients = coefficients._replace(learning_rate=0.3, clip_eps=0.15)
        return update_policy(*arguments, coefficients=coefficients, **others)

    monkeypatch.setattr(importlib.import_module("jax_ppo.ppo"), "update_policy", unscheduled)
    config = tiny_config.replace(learning_rate=0.3, clip_eps=0.15, clip_eps_schedule="linear")
    logged, applied, metrics = rates_of(config)
    np.testing.assert_allclose(logged, [0.3, 0.2, 0.1], rtol=1e-6)
    assert np.max(np.abs(applied - logged)) > 0.1
    assert np.max(np.abs(metrics.extra["given"] - metrics.clip_eps)) > 0.05


def test_an_optimizer_of_ones_own(tiny_config: PPOConfig) -> None:
    """optax's, with the config's learning rate, schedule and limit of the gradient."""
    rmsprop = partial(optax.rmsprop, decay=0.99, eps=1e-5, eps_in_sqrt=False)
    key, config = jax.random.key(0), tiny_config.replace(learning_rate=3e-3)
    by_name, _ = jit_train(key, config.replace(optimizer="rmsprop"))
    mine, metrics = jit_train(key, config, partial(ppo, optimizer_fn=rmsprop))
    assert_trees_close(mine.params, by_name.params, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics.learning_rate, [3e-3, 2e-3, 1e-3], rtol=1e-6)
    assert largest_difference(mine.params, jit_init(key, config).params) > 1e-3


def test_train_is_the_step_again_and_again(tiny_config: PPOConfig) -> None:
    """In one program and in three: the last bits may differ, a draw or an order may not."""
    trained, metrics = jit_train(jax.random.key(3), tiny_config)
    state = jit_init(jax.random.key(3), tiny_config)
    for update in range(3):
        state, step_metrics = jit_step(state, tiny_config)
        row = jax.tree.map(lambda rows, update=update: rows[update], metrics)
        assert_trees_close(step_metrics, row, rtol=2e-5, atol=1e-6)
    assert_trees_close(state, trained, rtol=2e-5, atol=1e-6)


def test_a_step_draws_anew_and_passes_its_key_on(tiny_config: PPOConfig) -> None:
    state = jit_init(jax.random.key(0), tiny_config)
    env = make_env(tiny_config)
    next_key, draw_key = jax.random.split(state.key)
    draws = draw_randomness(draw_key, tiny_config, env)
    stepped, _ = jit_step(state, tiny_config)
    from_draws, _ = jax.jit(ppo(tiny_config).learn)(*rollout_from(state, draws, tiny_config))
    assert_trees_close(stepped.params, from_draws.params, rtol=1e-5, atol=1e-7)
    assert_trees_equal((stepped.key, from_draws.key), (next_key, state.key))
    again, _ = jit_step(stepped, tiny_config)
    assert again.update == 2


def test_draws_of_one_step(tiny_config: PPOConfig, tiny_pendulum: PPOConfig) -> None:
    draws = draw_randomness(jax.random.key(0), tiny_config, make_env(tiny_config))
    assert draws.noise.shape == (8, 4, 2)
    assert draws.env_keys.shape == (8, 4)
    words = np.asarray(jax.random.key_data(draws.env_keys)).reshape(32, -1)
    assert len(np.unique(words, axis=0)) == 32
    draws = draw_randomness(jax.random.key(0), tiny_pendulum, make_env(tiny_pendulum))
    assert draws.noise.shape == (8, 4, 1)


def test_no_two_draws_share_a_key(tiny_config: PPOConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Actions, environments, permutations, parameters and first resets: each a key of its own."""
    used: list[bytes] = []

    def record(key: jax.Array) -> None:
        # Under vmap the keys come from a split, which was seen.
        if not isinstance(key, jax.core.Tracer):
            used.append(np.asarray(jax.random.key_data(key)).tobytes())

    for function in ("split", "gumbel", "bits"):
        original = getattr(jax.random, function)

        def spy(key: jax.Array, *arguments: Any, original: Any = original, **options: Any) -> Any:
            record(key)
            return original(key, *arguments, **options)

        monkeypatch.setattr(jax.random, function, spy)
    env = make_env(tiny_config)
    network = make_network(tiny_config, env)

    def init(key: jax.Array) -> Any:
        record(key)
        return network.init(key)

    algorithm = ppo(tiny_config, env, network._replace(init=init))
    with jax.disable_jit():
        draw_randomness(jax.random.key(0), tiny_config, env)
        assert len(used) == len(set(used)) == 4
        used.clear()
        algorithm.init(jax.random.key(0))
        assert len(used) == len(set(used)) == 3


def test_metrics_of_a_rollout_by_hand(tiny_config: PPOConfig) -> None:
    """Computed again in NumPy from the rollout that the same draws give."""
    config = tiny_config.replace(gamma=0.9, gae_lambda=0.8)
    state = jit_init(jax.random.key(0), config)
    draws = draw_randomness(jax.random.key(1), config, make_env(config))
    collected, rollout = rollout_from(state, draws, config)
    algorithm = ppo(config)
    batch = make_batch(state.params, rollout.transitions, config, algorithm.network)
    _, metrics = jax.jit(algorithm.learn)(collected, rollout)
    values, returns = np.asarray(batch.old_value), np.asarray(batch.returns)
    expected = {
        "explained_variance": 1 - np.var(returns - values) / np.var(returns),
        "advantage_std": np.std(np.asarray(batch.advantages)),
        "value_mean": values.mean(),
        "reward_mean": np.asarray(rollout.transitions.reward).mean(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(metrics, name), value, rtol=1e-4, err_msg=name)


def test_make_batch(tiny_pendulum: PPOConfig) -> None:
    """Time is the slower index; next values are of next_obs; GAE gets each array in place."""
    config = tiny_pendulum.replace(gamma=0.7, gae_lambda=0.6)
    env = make_env(config)
    network = make_network(config, env)
    captured: dict[str, Any] = {}

    def spy(*arrays: Any, **others: Any) -> Any:
        names = ("rewards", "values", "next_values")
        captured.update(others, **dict(zip(names, arrays, strict=True)))
        return compute_gae(*arrays, **others)

    state = jit_init(jax.random.key(0), config)
    draws = draw_randomness(jax.random.key(1), config, env)
    transitions = rollout_from(state, draws, config)[1].transitions
    batch = make_batch(state.params, transitions, config, network, advantage_fn=spy)
    np.testing.assert_array_equal(captured["rewards"], transitions.reward)
    np.testing.assert_array_equal(captured["terminated"], transitions.terminated)
    np.testing.assert_array_equal(captured["truncated"], transitions.truncated)
    assert (captured["gamma"], captured["gae_lambda"]) == (0.7, 0.6)
    for t, e in [(0, 0), (3, 2), (7, 3)]:
        index = 4 * t + e
        np.testing.assert_array_equal(batch.obs[index], transitions.obs[t, e])
        np.testing.assert_array_equal(batch.action[index], transitions.action[t, e])
        policy, value = network.apply(state.params, transitions.obs[t, e][None])
        log_prob = policy.log_prob(transitions.action[t, e][None])
        np.testing.assert_allclose(batch.old_log_prob[index], log_prob[0], rtol=1e-5)
        np.testing.assert_allclose(batch.old_value[index], value[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(captured["values"][t, e], batch.old_value[index])
        _, value = network.apply(state.params, transitions.next_obs[t, e][None])
        np.testing.assert_allclose(captured["next_values"][t, e], value[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch.returns, batch.advantages + batch.old_value, rtol=1e-6)
    assert batch.old_distribution is None
    with_kl = make_batch(state.params, transitions, config.replace(kl_coef=0.1), network)
    policy, _ = network.apply(state.params, batch.obs)
    np.testing.assert_array_equal(with_kl.old_distribution.mean, policy.mean)


# Under vmap


def test_vmapped_coefficients_equal_single_runs(tiny_config: PPOConfig) -> None:
    rates, gravities = jnp.array([1e-3, 3e-3]), jnp.array([9.8, 2.0])
    config = tiny_config.replace(learning_rate=rates, env_params={"gravity": gravities})
    axes = config_axes(config)
    assert axes.learning_rate == 0
    assert axes.env_params == {"gravity": 0}
    assert axes.gamma is None
    key = jax.random.key(0)
    states, metrics = jax.jit(lambda k, c: jax.vmap(train, in_axes=(None, axes))(k, c))(key, config)
    agents = [jax.tree.map(lambda leaf, i=i: leaf[i], states.params) for i in range(2)]
    for i, params in enumerate(agents):
        rate, gravity = float(rates[i]), float(gravities[i])
        single = tiny_config.replace(learning_rate=rate, env_params={"gravity": gravity})
        state, one = jit_train(key, single)
        assert_trees_close(params, state.params, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(metrics.learning_rate[i], one.learning_rate, rtol=1e-6)
    assert largest_difference(*agents) > 1e-3


# What the objective consists of


def test_the_entropy_bonus_is_in_the_gradient(tiny_config: PPOConfig) -> None:
    """With a huge bonus the policy stays uniform; computed and left out, it would not."""
    config = tiny_config.replace(
        total_steps=640, learning_rate=0.03, advantage_normalization="none", vf_coef=0.0
    )
    bonus, with_bonus = jit_train(jax.random.key(0), config.replace(ent_coef=1e4))
    plain, without = jit_train(jax.random.key(0), config.replace(ent_coef=0.0))
    assert largest_difference(bonus.params, plain.params) > 0.01
    np.testing.assert_allclose(with_bonus.entropy[-1], np.log(2), atol=1e-3)
    assert without.entropy[-1] < np.log(2) - 0.05


def test_no_value_coefficient_leaves_the_critic_alone(tiny_config: PPOConfig) -> None:
    config = tiny_config.replace(vf_coef=0.0)
    start = jit_init(jax.random.key(0), config).params["params"]
    end = jit_train(jax.random.key(0), config)[0].params["params"]
    for name in start:
        difference = largest_difference(start[name], end[name])
        # The states start from the same key in two programs: initial values may differ by an ulp.
        assert (difference < 1e-6) == name.startswith("value"), name


def test_parts_of_ones_own_are_used(tiny_config: PPOConfig) -> None:
    def lambda_zero(*arrays: Any, gae_lambda: Any, **others: Any) -> Any:
        return compute_gae(*arrays, gae_lambda=0.0, **others)

    def measured(*arguments: Any, **others: Any) -> Any:
        loss, metrics = ppo_loss(*arguments, **others)
        return loss, metrics.replace(extra={"mine": jnp.array(7.0)})

    key = jax.random.key(0)
    mine = partial(ppo, advantage_fn=lambda_zero, loss_fn=measured)
    swapped, metrics = jit_train(key, tiny_config, mine)
    np.testing.assert_array_equal(metrics.extra["mine"], [7.0] * 3)
    assert set(metrics.as_dict()) == METRICS | {"mine"}
    expected, _ = jit_train(key, tiny_config.replace(gae_lambda=0.0))
    assert_trees_close(swapped.params, expected.params, rtol=1e-4, atol=1e-5)


# The adaptive KL penalty


@pytest.mark.parametrize(
    ("kl_target", "adaptive", "factor"),
    [(1e3, True, 0.5), (1e-12, True, 2.0), (1e3, False, 1.0)],
    ids=["halves", "doubles", "stays"],
)
def test_kl_coefficient_over_training(
    tiny_config: PPOConfig, kl_target: float, adaptive: bool, factor: float
) -> None:
    config = tiny_config.replace(kl_coef=0.4, kl_target=kl_target, adaptive_kl=adaptive)
    state, metrics = jit_train(jax.random.key(0), config)
    np.testing.assert_allclose(metrics.kl_coef, 0.4 * factor ** np.arange(3), rtol=1e-6)
    np.testing.assert_allclose(state.kl_coef, 0.4 * factor**3, rtol=1e-6)
    assert set(metrics.as_dict()) == METRICS | {"kl", "kl_coef", "kl_after_update"}
    assert np.all(metrics.kl_after_update > 0)


def test_a_strong_kl_penalty_holds_the_policy(tiny_config: PPOConfig) -> None:
    config = tiny_config.replace(adaptive_kl=False, learning_rate=0.01, update_epochs=10)
    _, weak = jit_train(jax.random.key(0), config.replace(kl_coef=0.0))
    _, strong = jit_train(jax.random.key(0), config.replace(kl_coef=100.0))
    assert np.all(strong.kl_after_update < 0.5 * weak.kl_after_update)


def test_the_kl_stop_in_training(tiny_config: PPOConfig) -> None:
    for target, stops, steps in ((1e-9, 1, 1), (1e9, 0, 4)):
        _, metrics = jit_train(jax.random.key(0), tiny_config.replace(target_kl=target))
        np.testing.assert_array_equal(metrics.kl_stop, [stops] * 3)
        np.testing.assert_array_equal(metrics.gradient_steps, [steps] * 3)


# Precision


def dot_precisions(function: Callable[..., Any], *arguments: Any) -> set[str]:
    """Precisions of all matrix products in a jitted program; "none" where it is not said."""
    text = jax.jit(function).lower(*arguments).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    return {line.partition("precision = [")[2].split(",")[0] or "none" for line in products}


def test_matrix_products_have_the_precision_of_the_config(tiny_config: PPOConfig) -> None:
    state = jax.eval_shape(jit_init, jax.random.key(0), tiny_config)
    assert dot_precisions(step, state, tiny_config) == {"HIGHEST"}
    low = tiny_config.replace(matmul_precision="default")
    assert "HIGHEST" not in dot_precisions(step, state, low)


def test_double_precision(tiny_config: PPOConfig) -> None:
    """With 64 bits switched on, parameters, observations and metrics are 64 bits wide."""
    with enable_x64(True):
        state, metrics = jax.jit(train)(jax.random.key(0), tiny_config)
        for leaf in jax.tree.leaves((state.params, state.rollout.obs, metrics.loss)):
            assert leaf.dtype == jnp.float64
        assert all(np.isfinite(leaf).all() for leaf in leaves(state.params))


# Does it learn?


def test_cartpole_is_learned() -> None:
    """20 000 steps from a random policy's return of some 20 to several times as much."""
    config = PPOConfig(total_steps=20_480, hidden_sizes=(32,), learning_rate=3e-3)
    _, metrics = jit_train(jax.random.key(0), config)
    returns = np.asarray(metrics.episode_return)
    assert np.nanmean(returns[:2]) < 40
    assert np.nanmean(returns[-4:]) > 100


KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((PPOConfig(), KEY), TypeError, r"config must be a PPOConfig, .*\(key, config\)"),
        ((KEY, {"gamma": 0.9}), TypeError, "config must be a PPOConfig, got dict"),
        ((0, PPOConfig()), TypeError, r"such as jax.random.key\(0\); got"),
        ((KEY[None], PPOConfig()), ValueError, r"one key for one agent is needed, .* shape \(1,\)"),
    ],
)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_arguments_of_train_that_cannot_be(
    transform: Callable[..., Any], arguments: tuple, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        transform(train)(*arguments)


def test_arguments_of_train_agents_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="an axis of keys, one for each agent, is needed"):
        train_agents(KEY, PPOConfig())
    with pytest.raises(TypeError, match="config must be a PPOConfig"):
        train_agents(PPOConfig(), KEY[None])


def test_keys_of_the_old_kind(tiny_config: PPOConfig) -> None:
    old, new = jax.random.PRNGKey(3), jax.random.key(3)
    assert_trees_equal(jit_train(old, tiny_config)[0].params, jit_train(new, tiny_config)[0].params)
    with pytest.raises(ValueError, match=r"one key for one agent .* shape \(1, 2\)"):
        train(old[None], tiny_config)
