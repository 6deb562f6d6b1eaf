"""A program for test_devices: agents trained on 1 to 8 devices, and their results.

It is a process of its own, because the number of a CPU's devices has to be chosen before JAX first
computes. It prints one JSON object: a vector of results by the name of the layout. Its argument is
`ppo`, or `variants` for the other algorithms.
"""

import json
import sys
from unittest import mock

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jax_ppo import (  # noqa: E402
    AlgorithmFn,
    Layout,
    PPOConfig,
    TrainState,
    a2c,
    ppo,
    reinforce,
    reinforce_with_baseline,
    train_agents,
    trpo,
)

CONFIG = PPOConfig(
    total_steps=3 * 128,
    num_envs=8,
    num_steps=16,
    update_epochs=2,
    num_minibatches=2,
    hidden_sizes=(8,),
    normalize_observations=True,
    normalize_rewards=True,
    kl_coef=0.1,
    target_kl=0.05,
    env_params={"max_steps_in_episode": 9},
)
"""Three updates with every option that needs numbers of all environments."""

SHARDED_ENVS = {f"1 x {n}": Layout("map", 1, n) for n in (1, 2, 8)}
SHARDED_AGENTS = {
    "map 1 x 1": Layout("map", 1, 1),
    "vmap 1 x 1": Layout("vmap", 1, 1),
    "map 4 x 1": Layout("map", 4, 1),
    "vmap 8 x 1": Layout("vmap", 8, 1),
    "map 2 x 4": Layout("map", 2, 4),
    "map 2 x 4, together": Layout("map", 2, 4, rollouts_together=2),
}


def outcome(
    num_agents: int,
    layout: Layout,
    config: PPOConfig = CONFIG,
    algorithm_fn: AlgorithmFn = ppo,
) -> list[float]:
    """Everything that training gives, in one vector.

    It is made one off the devices: see "Computing with the results" in docs/devices.md.
    """
    keys = jax.vmap(jax.random.key)(jnp.arange(num_agents))
    states, metrics = jax.jit(train_agents, static_argnums=(2, 3))(
        keys, config, algorithm_fn, layout
    )
    leaves = jax.tree.leaves(jax.device_get((numbers(states), metrics)))
    vector: list[float] = np.concatenate([leaf.ravel() for leaf in leaves]).tolist()
    return vector


def numbers(states: TrainState) -> TrainState:
    """The states with their keys as the numbers that they are made of."""
    return states.replace(key=jax.random.key_data(states.key))  # type: ignore[attr-defined]


def results_of_ppo() -> dict[str, dict[str, list[float]]]:
    """PPO in every layout."""
    rates = CONFIG.replace(learning_rate=1e-3 * 0.3 ** jnp.arange(5.0))
    results = {
        "envs": {name: outcome(1, layout) for name, layout in SHARDED_ENVS.items()},
        "agents": {name: outcome(5, layout, rates) for name, layout in SHARDED_AGENTS.items()},
    }
    with mock.patch("jax_ppo.update.all_reduce_mean", lambda tree: tree):
        results["no all-reduce"] = {"1 x 4": outcome(1, Layout("vmap", 1, 4))}
    return results


def results_of_variants() -> dict[str, dict[str, list[float]]]:
    """The other algorithms on one device and on four, three agents each."""
    variants = {
        "a2c": a2c,
        "reinforce": reinforce,
        "reinforce_with_baseline": reinforce_with_baseline,
        "trpo": trpo,
    }
    return {
        name: {
            f"{agents} x {envs}": outcome(3, Layout("map", agents, envs), CONFIG, variant)
            for agents, envs in ((1, 1), (2, 2))
        }
        for name, variant in variants.items()
    }


if __name__ == "__main__":
    print(json.dumps({"ppo": results_of_ppo, "variants": results_of_variants}[sys.argv[1]]()))
