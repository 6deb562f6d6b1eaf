"""Agents on one device and on many: the same agents."""

import dataclasses
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo import (
    Algorithm,
    AlgorithmFn,
    ConfigError,
    Layout,
    Metrics,
    PPOConfig,
    Rollout,
    TrainState,
    a2c,
    compiler_options,
    init_train_states,
    plan_layout,
    ppo,
    reinforce,
    reinforce_with_baseline,
    train,
    train_agents,
    train_updates,
    trpo,
)

from .helpers import leaves, printed_by

WIDE = PPOConfig(num_envs=512, num_steps=128, num_minibatches=8, total_steps=10**6)
NARROW = PPOConfig(num_envs=4, num_steps=128, num_minibatches=4)
ATOL_TRPO = 1e-5
"""The residual of TRPO's conjugate gradients, up to 1e-5, is itself made of rounding."""


def sharded(which: str) -> dict[str, dict[str, np.ndarray]]:
    """What `tests.core.sharded` prints."""
    results: dict[str, dict[str, Any]] = json.loads(
        printed_by("-m", "tests.core.sharded", which, timeout=600)
    )
    return {
        kind: {name: np.array(vector) for name, vector in by_name.items()}
        for kind, by_name in results.items()
    }


@pytest.fixture(scope="module")
def trained() -> dict[str, dict[str, np.ndarray]]:
    return sharded("ppo")


@pytest.fixture(scope="module")
def trained_variants() -> dict[str, dict[str, np.ndarray]]:
    return sharded("variants")


@pytest.mark.parametrize("layout", ["1 x 2", "1 x 8"])
def test_environments_sharded_over_devices(trained: dict, layout: str) -> None:
    """Three updates; every sum over samples is rounded in another order, and nothing else."""
    np.testing.assert_allclose(
        trained["envs"][layout], trained["envs"]["1 x 1"], rtol=2e-5, atol=2e-6
    )


def test_devices_that_do_not_all_reduce_their_gradients_are_seen(trained: dict) -> None:
    apart = np.abs(trained["no all-reduce"]["1 x 4"] - trained["envs"]["1 x 1"])
    assert np.nanmax(apart) > 1e-3


@pytest.mark.parametrize(
    "layout", ["map 4 x 1", "vmap 8 x 1", "vmap 1 x 1", "map 2 x 4", "map 2 x 4, together"]
)
def test_agents_sharded_over_devices(trained: dict, layout: str) -> None:
    """Five agents, each with its learning rate, are padded to eight on four or eight devices, and
    to six on two."""
    np.testing.assert_allclose(
        trained["agents"][layout], trained["agents"]["map 1 x 1"], rtol=2e-5, atol=2e-6
    )


@pytest.mark.parametrize("variant", ["a2c", "reinforce", "reinforce_with_baseline", "trpo"])
def test_every_algorithm_on_four_devices(trained_variants: dict, variant: str) -> None:
    """Three agents padded to four, and the environments of each sharded."""
    results = trained_variants[variant]
    atol = ATOL_TRPO if variant == "trpo" else 2e-6
    np.testing.assert_allclose(results["2 x 2"], results["1 x 1"], rtol=2e-5, atol=atol)


def states_and_metrics(
    config: PPOConfig,
    num_agents: int,
    rollouts_together: int,
    several_agents: Any = "map",
    algorithm_fn: AlgorithmFn = ppo,
) -> list:
    """Everything that training gives, leaf by leaf, with an agent for each of the first seeds."""
    layout = Layout(several_agents, rollouts_together=rollouts_together)
    keys = jax.vmap(jax.random.key)(np.arange(num_agents))
    train_all = partial(train_agents, algorithm_fn=algorithm_fn, layout=layout)
    states, metrics = jax.jit(train_all)(keys, config)
    return leaves((states, jax.tree.map(lambda rows: rows.T, metrics)))


def rewarded(config: PPOConfig) -> Algorithm:
    """An algorithm of one's own: parameters shrink by the mean reward times the learning rate."""
    algorithm = ppo(config)

    def learn(state: TrainState, rollout: Rollout) -> tuple[TrainState, Metrics]:
        reward = jnp.mean(rollout.transitions.reward)
        shrunk = jax.tree.map(lambda p: p * (1.0 - config.learning_rate * reward), state.params)
        after = dataclasses.replace(state, params=shrunk, update=state.update + 1)
        return after, rollout.metrics.merge(Metrics(extra={"mine": 2.0 * reward}))

    return algorithm._replace(learn=learn)


@pytest.mark.parametrize(
    "algorithm_fn",
    [a2c, reinforce, reinforce_with_baseline, trpo, rewarded],
    ids=["a2c", "reinforce", "reinforce_with_baseline", "trpo", "own"],
)
def test_every_algorithm_alone_and_among_others(
    tiny_config: PPOConfig, algorithm_fn: AlgorithmFn
) -> None:
    """In one batch, with rollouts collected together, and by `train`."""
    config = tiny_config.replace(learning_rate=np.array([1e-2, 1e-3, 1e-4]))
    in_one_batch, together = (
        states_and_metrics(config, 3, number, several_agents, algorithm_fn)
        for number, several_agents in ((1, "vmap"), (2, "map"))
    )
    alone = jax.jit(partial(train, algorithm_fn=algorithm_fn))(
        jax.random.key(1), tiny_config.replace(learning_rate=1e-3)
    )
    for one, two, three in zip(in_one_batch, together, leaves(alone), strict=True):
        atol = ATOL_TRPO if algorithm_fn is trpo else 2e-6
        np.testing.assert_allclose(one, two, rtol=2e-5, atol=atol)
        np.testing.assert_allclose(three, two[1], rtol=2e-5, atol=2e-6)
    # The first leaves are the parameters.
    start = leaves(jax.jit(algorithm_fn(tiny_config).init)(jax.random.key(1)).params)
    assert max(np.max(np.abs(a[1] - b)) for a, b in zip(together, start, strict=False)) > 1e-4


@pytest.mark.parametrize(
    "layout",
    [Layout("vmap"), Layout("map"), Layout("map", rollouts_together=2), Layout("map", 2, 1)],
    ids=["vmap", "map", "together", "devices"],
)
@pytest.mark.parametrize("num_entries", [1, 2, 4])
def test_a_coefficient_has_an_entry_for_each_agent(
    tiny_config: PPOConfig, layout: Layout, num_entries: int
) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.eval_shape(init_train_states, keys, tiny_config)
    update = partial(train_updates, num_updates=1, capacity=1, layout=layout)
    for changes, name in (
        ({"gamma": np.full(num_entries, 0.9)}, "gamma"),
        ({"env_params": {"gravity": np.full(num_entries, 9.8)}}, "env_params.gravity"),
    ):
        config = tiny_config.replace(**changes)
        message = f"{name} has {num_entries} entries, but there are 3 agents"
        with pytest.raises(ConfigError, match=message):
            train_agents(keys, config, layout=layout)
        with pytest.raises(ConfigError, match=message):
            jax.eval_shape(update, states, config)


@pytest.mark.usefixtures("full_optimization")
@pytest.mark.parametrize(
    ("env_id", "changes"),
    [
        ("CartPole-v1", {"kl_coef": 0.1, "adaptive_kl": True, "target_kl": 0.05}),
        ("Pendulum-v1", {"normalize_rewards": True, "shared_trunk": True}),
        ("Catch-bsuite", {"learning_rate": np.array([1e-2, 1e-3, 1e-4, 1e-5, 0.0])}),
    ],
)
def test_rollouts_together_change_no_bit(
    tiny_config: PPOConfig, env_id: str, changes: dict
) -> None:
    """Five agents one by one, in batches of 2, 2 and 1, and all at once."""
    config = tiny_config.replace(env_id=env_id, **changes)
    apart, *together = (states_and_metrics(config, 5, number) for number in (1, 2, 16))
    for results in together:
        for among_others, alone in zip(results, apart, strict=True):
            np.testing.assert_array_equal(among_others, alone)


@pytest.mark.usefixtures("full_optimization")
def test_an_agent_is_the_same_alone_and_among_others(tiny_config: PPOConfig) -> None:
    alone, among_others = (states_and_metrics(tiny_config, n, 16) for n in (1, 7))
    for one, seven in zip(alone, among_others, strict=True):
        np.testing.assert_array_equal(seven[0], one[0])
    params = np.concatenate([seven.reshape(7, -1) for seven in among_others], axis=1)
    assert len(np.unique(params, axis=0)) == 7


def test_in_one_batch_rollouts_together_has_no_effect(tiny_config: PPOConfig) -> None:
    """The programs are the same, word by word."""
    keys = jax.random.split(jax.random.key(0), 5)
    layouts = [Layout("vmap", rollouts_together=number) for number in (1, 4)]
    plain, asked = (
        jax.jit(partial(train_agents, layout=layout)).lower(keys, tiny_config).as_text()
        for layout in layouts
    )
    assert plain == asked


def test_gymnax_may_be_imported_while_tracing_for_devices() -> None:
    """FrozenLake's module computes constants when it is imported."""
    script = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
from functools import partial
from jax_ppo import Layout, PPOConfig, train_agents
config = PPOConfig("FrozenLake-misc", total_steps=512)
train = jax.jit(partial(train_agents, layout=Layout("map", 2)))
print(train(jax.random.split(jax.random.key(0), 2), config)[0].update)
"""
    assert printed_by("-c", script, timeout=300).strip() == "[1 1]"


@pytest.mark.parametrize(
    ("config", "num_agents", "num_devices", "platform", "expected"),
    [
        (NARROW, 1, 4, "cpu", Layout("map", 1, 1, 16)),
        (NARROW, 64, 4, "cpu", Layout("map", 4, 1, 16)),
        (NARROW, 3, 4, "cpu", Layout("map", 3, 1, 16)),
        (WIDE, 1, 4, "cpu", Layout("map", 1, 4)),
        (WIDE, 2, 4, "cpu", Layout("map", 2, 2)),
        (WIDE, 1, 3, "cpu", Layout("map", 1, 2)),
        (WIDE.replace(num_envs=64), 1, 4, "cpu", Layout("map", 1, 4)),
        (WIDE.replace(num_envs=64, num_minibatches=16), 1, 4, "cpu", Layout("map", 1, 2)),
        (NARROW.replace(normalize_observations=True), 64, 4, "cpu", Layout("map", 4, 1, 1)),
        (NARROW.replace(num_envs=24), 8, 4, "cpu", Layout("map", 4, 1, 2)),
        (NARROW, 2048, 1, "gpu", Layout("vmap", 1, 1)),
        (WIDE, 2048, 1, "gpu", Layout("vmap", 1, 1)),
        (WIDE, 1, 8, "gpu", Layout("vmap", 1, 1)),
        (WIDE.replace(num_minibatches=1), 1, 8, "gpu", Layout("vmap", 1, 8)),
        (WIDE, 16, 8, "tpu", Layout("vmap", 8, 1)),
        (WIDE, 16, 8, "METAL", Layout("vmap", 8, 1)),
    ],
)
def test_plans(
    config: PPOConfig, num_agents: int, num_devices: int, platform: str, expected: Layout
) -> None:
    assert plan_layout(config, num_agents, num_devices, platform) == expected


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (lambda: Layout("map", 64, 1), r"64 devices are needed, but JAX has 1; .*cpu_devices"),
        (lambda: Layout("map", 1, 3), "do not divide into equal parts for env_devices"),
        (lambda: Layout("map", 1, 8), "do not divide into equal parts for env_devices"),
        (lambda: Layout("map", 0, 1), "at least one device"),
        (lambda: Layout("map", rollouts_together=0), "rollouts_together must be at least 1, got 0"),
    ],
)
def test_layouts_that_cannot_be(layout: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_agents(jax.random.split(jax.random.key(0), 2), NARROW, layout=layout())


def test_compiler_options_are_known_and_change_rounding_only() -> None:
    config = NARROW.replace(total_steps=5 * NARROW.batch_size)
    key = jax.random.key(0)
    plain, _ = jax.jit(train)(key, config)
    fast, _ = jax.jit(train, compiler_options=compiler_options("cpu"))(key, config)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), fast.params, plain.params)


def test_compiler_options_are_for_the_default_backend() -> None:
    assert compiler_options() == compiler_options(jax.default_backend())
    assert compiler_options("gpu") == {}
