"""A program for test_execution: agents trained on 1 to 8 devices, and what became of them.

It is a process of its own, because the number of a CPU's devices has to be chosen before JAX first
computes. It prints one JSON object: a vector of results by the name of the layout.
"""

import json
from unittest import mock

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jax_ppo import Components, Execution, PPOConfig, TrainState, train_agents  # noqa: E402

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

SPREAD_ENVS = {f"1 x {n}": Execution("map", 1, n) for n in (1, 2, 4, 8)}
SPREAD_SEEDS = {
    "map 1 x 1": Execution("map", 1, 1),
    "vmap 1 x 1": Execution("vmap", 1, 1),
    "map 4 x 1": Execution("map", 4, 1),
    "vmap 8 x 1": Execution("vmap", 8, 1),
    "map 2 x 4": Execution("map", 2, 4),
    "map 2 x 4, together": Execution("map", 2, 4, rollouts_together=2),
}


def outcome(num_seeds: int, execution: Execution, config: PPOConfig = CONFIG) -> list[float]:
    """Everything that training gives, in one vector.

    It is made one off the devices: see "Computing with the results" in docs/devices.md.
    """
    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    states, metrics = jax.jit(train_agents, static_argnums=(2, 3))(
        keys, config, Components(), execution
    )
    leaves = jax.tree.leaves(jax.device_get((numbers(states), metrics)))
    vector: list[float] = np.concatenate([leaf.ravel() for leaf in leaves]).tolist()
    return vector


def numbers(states: TrainState) -> TrainState:
    """The states with their keys as the numbers that they are made of."""
    return states.replace(key=jax.random.key_data(states.key))  # type: ignore[attr-defined]


def main() -> None:
    """Train and print."""
    several_rates = CONFIG.replace(learning_rate=jnp.array([1e-3, 1e-4, 1e-5]))
    results = {
        "envs": {name: outcome(1, execution) for name, execution in SPREAD_ENVS.items()},
        "seeds": {name: outcome(5, execution) for name, execution in SPREAD_SEEDS.items()},
        "rates": {
            name: outcome(3, SPREAD_SEEDS[name], several_rates)
            for name in ("vmap 1 x 1", "map 2 x 4", "map 2 x 4, together")
        },
    }
    with mock.patch("jax_ppo.update.mean_over_devices", lambda tree, axis_name: tree):
        results["no message"] = {"1 x 4": outcome(1, Execution("vmap", 1, 4))}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
