"""Agents on one device and on many: the same agents."""

import dataclasses
import json
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from jax_ppo import (
    ConfigError,
    Execution,
    PPOConfig,
    compiler_options,
    init_train_state,
    plan_execution,
    train,
    train_agents,
    train_step,
)
from tests.core.helpers import printed_by

WIDE = PPOConfig(num_envs=512, num_steps=128, num_minibatches=8, total_steps=10**6)
NARROW = PPOConfig(num_envs=4, num_steps=128, num_minibatches=4)


@pytest.fixture(scope="module")
def trained() -> dict[str, dict[str, np.ndarray]]:
    """What `tests.core.spread` prints."""
    results: dict[str, dict[str, Any]] = json.loads(
        printed_by("-m", "tests.core.spread", timeout=600)
    )
    return {
        kind: {name: np.array(vector) for name, vector in by_name.items()}
        for kind, by_name in results.items()
    }


@pytest.mark.parametrize("layout", ["1 x 2", "1 x 4", "1 x 8"])
def test_environments_spread_over_devices(trained: dict, layout: str) -> None:
    """Three updates; every sum over samples is rounded in another order, and nothing else."""
    np.testing.assert_allclose(
        trained["envs"][layout], trained["envs"]["1 x 1"], rtol=2e-5, atol=2e-6
    )


def test_devices_that_do_not_tell_their_gradients_are_seen(trained: dict) -> None:
    apart = np.abs(trained["no message"]["1 x 4"] - trained["envs"]["1 x 1"])
    assert np.nanmax(apart) > 1e-3


@pytest.mark.parametrize(
    "layout", ["map 4 x 1", "vmap 8 x 1", "vmap 1 x 1", "map 2 x 4", "map 2 x 4, together"]
)
def test_agents_spread_over_devices(trained: dict, layout: str) -> None:
    """Five agents on four devices take turns on eight seats; on eight, three seats are spare."""
    np.testing.assert_allclose(
        trained["seeds"][layout], trained["seeds"]["map 1 x 1"], rtol=2e-5, atol=2e-6
    )


@pytest.mark.parametrize("layout", ["map 2 x 4", "map 2 x 4, together"])
def test_coefficients_go_with_their_agents(trained: dict, layout: str) -> None:
    spread, together = trained["rates"][layout], trained["rates"]["vmap 1 x 1"]
    np.testing.assert_allclose(spread, together, rtol=2e-5, atol=2e-6)


def states_and_metrics(
    config: PPOConfig, num_seeds: int, rollouts_together: int, several_agents: Any = "map"
) -> list:
    """Everything that training gives, leaf by leaf, with an agent for each of the first seeds."""
    execution = Execution(several_agents, rollouts_together=rollouts_together)
    keys = jax.vmap(jax.random.key)(np.arange(num_seeds))
    states, metrics = jax.jit(partial(train_agents, execution=execution))(keys, config)
    states = dataclasses.replace(states, key=jax.random.key_data(states.key))
    metrics = {name: rows.T for name, rows in metrics.items()}
    return [np.asarray(leaf) for leaf in jax.tree.leaves((states, metrics))]


@pytest.mark.parametrize(
    ("env_id", "changes"),
    [
        ("CartPole-v1", {"kl_coef": 0.1, "adaptive_kl": True, "target_kl": 0.05}),
        ("Pendulum-v1", {"normalize_rewards": True, "shared_trunk": True}),
        ("Catch-bsuite", {"learning_rate": np.array([1e-2, 1e-3, 1e-4, 1e-5, 0.0])}),
    ],
)
@pytest.mark.parametrize("together", [2, 3, 16])
def test_rollouts_together_change_no_bit(
    tiny_config: PPOConfig, env_id: str, changes: dict, together: int
) -> None:
    """Five agents in batches of 2, 2 and 1; of 3 and 2; and all at once."""
    config = tiny_config.replace(env_id=env_id, **changes)
    apart = states_and_metrics(config, 5, 1)
    for alone, among_others in zip(apart, states_and_metrics(config, 5, together), strict=True):
        np.testing.assert_array_equal(among_others, alone)


def test_an_agent_is_the_same_alone_and_among_others(tiny_config: PPOConfig) -> None:
    alone, among_others = (states_and_metrics(tiny_config, n, 16) for n in (1, 7))
    for one, seven in zip(alone, among_others, strict=True):
        np.testing.assert_array_equal(seven[0], one[0])
    params = np.concatenate([seven.reshape(7, -1) for seven in among_others], axis=1)
    assert len(np.unique(params, axis=0)) == 7


def test_where_all_agents_are_in_one_batch_none_takes_turns(tiny_config: PPOConfig) -> None:
    plain, asked = (states_and_metrics(tiny_config, 5, n, "vmap") for n in (1, 4))
    for expected, leaf in zip(plain, asked, strict=True):
        np.testing.assert_array_equal(leaf, expected)


def test_agents_that_vmap_made_a_batch_of_may_take_turns(tiny_config: PPOConfig) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.vmap(init_train_state, in_axes=(0, None))(keys, tiny_config)
    at_once, in_turns = (
        jax.jit(jax.vmap(partial(train_step, config=tiny_config, take_turns=turns)))(states)[0]
        for turns in (False, True)
    )
    compare = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(compare, in_turns.params, at_once.params)


def test_gymnax_may_be_imported_while_tracing_for_devices() -> None:
    """FrozenLake's module computes constants when it is imported."""
    script = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
from functools import partial
from jax_ppo import Execution, PPOConfig, train_agents
config = PPOConfig("FrozenLake-misc", total_steps=512)
train = jax.jit(partial(train_agents, execution=Execution("map", 2)))
print(train(jax.random.split(jax.random.key(0), 2), config)[0].update)
"""
    assert printed_by("-c", script, timeout=300).strip() == "[1 1]"


@pytest.mark.parametrize(
    ("config", "num_seeds", "num_devices", "platform", "expected"),
    [
        (NARROW, 1, 4, "cpu", Execution("map", 1, 1, 16)),
        (NARROW, 64, 4, "cpu", Execution("map", 4, 1, 16)),
        (NARROW, 3, 4, "cpu", Execution("map", 3, 1, 16)),
        (WIDE, 1, 4, "cpu", Execution("map", 1, 4)),
        (WIDE, 2, 4, "cpu", Execution("map", 2, 2)),
        (WIDE, 1, 3, "cpu", Execution("map", 1, 2)),
        (WIDE.replace(num_envs=64), 1, 4, "cpu", Execution("map", 1, 4)),
        (WIDE.replace(num_envs=64, num_minibatches=16), 1, 4, "cpu", Execution("map", 1, 2)),
        (NARROW.replace(normalize_observations=True), 64, 4, "cpu", Execution("map", 4, 1, 1)),
        (NARROW.replace(num_envs=24), 8, 4, "cpu", Execution("map", 4, 1, 2)),
        (NARROW, 2048, 1, "gpu", Execution("vmap", 1, 1)),
        (WIDE, 2048, 1, "gpu", Execution("vmap", 1, 1)),
        (WIDE, 1, 8, "gpu", Execution("vmap", 1, 1)),
        (WIDE.replace(num_minibatches=1), 1, 8, "gpu", Execution("vmap", 1, 8)),
        (WIDE, 16, 8, "tpu", Execution("vmap", 8, 1)),
        (WIDE, 16, 8, "METAL", Execution("vmap", 8, 1)),
    ],
)
def test_plans(
    config: PPOConfig, num_seeds: int, num_devices: int, platform: str, expected: Execution
) -> None:
    assert plan_execution(config, num_seeds, num_devices, platform) == expected


def test_more_devices_than_there_are() -> None:
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ConfigError, match=r"64 devices are needed, but JAX has 1; .*cpu_devices"):
        train_agents(keys, NARROW, execution=Execution("map", 64, 1))


@pytest.mark.parametrize("num_devices", [3, 8])
def test_environments_that_cannot_be_shared_out_evenly(num_devices: int) -> None:
    keys = jax.random.split(jax.random.key(0), 1)
    with pytest.raises(ConfigError, match="do not divide into equal parts for env_devices"):
        train_agents(keys, NARROW, execution=Execution("map", 1, num_devices))


def test_no_devices() -> None:
    with pytest.raises(ConfigError, match="at least one device"):
        Execution("map", 0, 1)


def test_no_rollouts_together() -> None:
    with pytest.raises(ConfigError, match="rollouts_together must be at least 1, got 0"):
        Execution("map", rollouts_together=0)


def test_compiler_options_are_known_and_change_rounding_only() -> None:
    config = NARROW.replace(total_steps=5 * NARROW.batch_size)
    key = jax.random.key(0)
    plain, _ = jax.jit(train)(key, config)
    fast, _ = jax.jit(train, compiler_options=compiler_options("cpu"))(key, config)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), fast.params, plain.params)


def test_compiler_options_are_for_the_default_backend() -> None:
    assert compiler_options() == compiler_options(jax.default_backend())
    assert compiler_options("gpu") == {}
