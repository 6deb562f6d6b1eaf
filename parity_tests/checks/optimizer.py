"""Two hundred steps of the optimizer: clipping, Adam, AdamW, and a learning rate that falls."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_ppo
import torch_ref
from parity_tests import oracles, weights
from parity_tests.checks.check import Check
from parity_tests.compare import Tolerance
from parity_tests.inputs import normal

NUM_STEPS = 200
STEPS_PER_UPDATE = 10
LEARNING_RATE = 0.01

LAYERS: dict[str, Sequence[int]] = {"kernel": (3, 2), "bias": (2,)}

BASE = jax_ppo.PPOConfig(max_grad_norm=None, learning_rate=LEARNING_RATE)

CONFIGS = {
    "Adam": BASE,
    "Adam, small gradients, clipped": BASE.replace(max_grad_norm=2.5e-3),
    "AdamW, clipped, linear": BASE.replace(
        optimizer="adamw", weight_decay=0.1, max_grad_norm=2.5, learning_rate_schedule="linear"
    ),
}

SMALL = 1e-3
"""Scale of the small gradients."""


def learning_rate(package: Any, config: jax_ppo.PPOConfig, step: Any) -> Any:
    """The scheduled learning rate of a gradient step."""
    update, num_updates = step // STEPS_PER_UPDATE, NUM_STEPS // STEPS_PER_UPDATE
    return package.scheduled(
        config.learning_rate, config.learning_rate_schedule, update, num_updates
    )


def jax_steps(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """Parameters, moments and count after every gradient, on the JAX side."""

    def step(carry: Any, item: Any) -> Any:
        (params, state), (index, gradient) = carry, item
        optimizer = jax_ppo.make_optimizer(config, learning_rate(jax_ppo, config, index))
        steps, state = optimizer.update(gradient, state, params)
        return (jax.tree.map(jnp.add, params, steps), state), None

    state = jax_ppo.make_optimizer(config, 1.0).init(params)
    (params, state), _ = jax.lax.scan(step, (params, state), (jnp.arange(NUM_STEPS), gradients))
    return jax_outcome(params, state)


def torch_steps(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """The same on the PyTorch side."""
    params = weights.rename_to_torch(params)
    state = torch_ref.make_optimizer(config, 1.0).init(params)
    for index in range(NUM_STEPS):
        gradient = weights.rename_to_torch(jax.tree.map(lambda leaf, i=index: leaf[i], gradients))
        optimizer = torch_ref.make_optimizer(config, learning_rate(torch_ref, config, index))
        steps, state = optimizer.update(gradient, state, params)
        params = {name: param + steps[name] for name, param in params.items()}
    return {"params": params, **state._asdict()}


def oracle_steps(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """The same by the paper's sums."""
    history = [
        oracles.clipped_by_norm(
            weights.rename_to_torch(jax.tree.map(lambda leaf, i=index: leaf[i], gradients)),
            config.max_grad_norm,
        )[0]
        for index in range(NUM_STEPS)
    ]
    rates = [learning_rate(_OracleSchedule, config, index) for index in range(NUM_STEPS)]
    params, mu, nu = oracles.adam(
        weights.rename_to_torch(params),
        history,
        rates,
        eps=config.adam_eps,
        weight_decay=config.weight_decay if config.optimizer == "adamw" else 0.0,
    )
    return {"params": params, "mu": mu, "nu": nu, "count": np.asarray(NUM_STEPS)}


def jax_outcome(params: Any, opt_state: Any) -> dict[str, Any]:
    """Parameters and Adam's state, under PyTorch's names."""
    adam = weights.adam_in(opt_state, params)
    return {
        "params": weights.rename_to_torch(params),
        "mu": weights.rename_to_torch(adam.mu),
        "nu": weights.rename_to_torch(adam.nu),
        "count": adam.count,
    }


class _OracleSchedule:
    """The oracle's schedule under the packages' name."""

    @staticmethod
    def scheduled(initial: Any, schedule: str, update: Any, num_updates: int) -> Any:
        """The coefficient at an update."""
        linear = schedule == "linear"
        return oracles.linear_schedule(initial, update, num_updates) if linear else initial


def optimizer_check(name: str) -> Check:
    """Two hundred steps with one of the configs.

    Gradients have a length of about 3, or 3e-3 if they are small, so that some are clipped and some
    are not.
    """
    config = CONFIGS[name]
    scale = SMALL if "small" in name else 1.0
    gradients = {k: normal(NUM_STEPS, *s, scale=scale) for k, s in LAYERS.items()}
    return Check(
        level=4,
        name=f"{NUM_STEPS} steps of {name}",
        jax_fn=lambda params, gradients: jax_steps(config, params, gradients),
        torch_fn=lambda params, gradients: torch_steps(config, params, gradients),
        inputs={
            "params": {"params": {"head": {k: normal(*s) for k, s in LAYERS.items()}}},
            "gradients": {"params": {"head": gradients}},
        },
        oracle=lambda params, gradients: oracle_steps(config, params, gradients),
        gradients=False,
        samples=2,
        tolerance=Tolerance(10, 0, oracle_value=100),
    )


CHECKS = tuple(optimizer_check(name) for name in CONFIGS)
