"""Two hundred steps of each optimizer, with clipping, schedules, and parts of a user's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import torch

import jax_ppo
import torch_ref
from jax_ppo.ppo import coefficients_at as jax_coefficients_at
from parity_tests import oracles, weights
from parity_tests.checks.check import Check
from parity_tests.compare import Tolerance
from parity_tests.inputs import normal
from torch_ref.ppo import coefficients_at as torch_coefficients_at

NUM_STEPS = 200
STEPS_PER_UPDATE = 10
LEARNING_RATE = 0.01
SMALL = 1e-3
"""Scale of the small gradients."""

LAYERS: dict[str, Sequence[int]] = {"kernel": (3, 2), "bias": (2,)}

BASE = jax_ppo.PPOConfig(
    total_steps=NUM_STEPS // STEPS_PER_UPDATE * 512,
    max_grad_norm=None,
    learning_rate=LEARNING_RATE,
    learning_rate_schedule="constant",
)


def harmonic(update: Any, num_updates: int) -> Any:
    """A schedule of a user's own, for either framework: 1 / (1 + update)."""
    return 1.0 / (1.0 + update)


class MomentumState(NamedTuple):
    """State of `torch_momentum`."""

    trace: dict[str, torch.Tensor]
    """Decayed sum of the gradients."""


def torch_momentum(learning_rate: Any) -> torch_ref.Optimizer:
    """An optimizer of a user's own: momentum of 0.9."""
    return torch_ref.Optimizer(
        init=lambda params: MomentumState({n: torch.zeros_like(p) for n, p in params.items()}),
        update=partial(_momentum_steps, learning_rate),
    )


def _momentum_steps(learning_rate: Any, gradient: Any, state: Any, _: Any) -> Any:
    trace = {name: g + 0.9 * state.trace[name] for name, g in gradient.items()}
    return {name: -learning_rate * t for name, t in trace.items()}, MomentumState(trace)


@dataclass(frozen=True)
class Own:
    """Parts of a user's own, on both sides; None and empty for those of the config."""

    schedule: Any = None
    """A schedule for either framework; the oracle's is in `oracles.SCHEDULES`."""
    jax_optimizer: Any = None
    """Its optimizer_fn for JAX; the oracle's is `momentum`."""
    torch_optimizer: Any = None
    """And for PyTorch."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the oracle calls them: optimizer and schedule."""

    def optimizer_name(self, config: jax_ppo.PPOConfig) -> str:
        """The oracle's optimizer."""
        return self.names.get("optimizer", config.optimizer)

    def learning_rate(self, config: jax_ppo.PPOConfig, update: Any) -> Any:
        """The oracle's learning rate at an update."""
        schedule = oracles.SCHEDULES[self.names.get("schedule", config.learning_rate_schedule)]
        rate = schedule(config.learning_rate, update, config.num_updates)
        if config.learning_rate_warmup is None:
            return rate
        return rate * oracles.warmup(config.learning_rate_warmup, update, config.num_updates)


USUAL = Own()
MOMENTUM = Own(
    schedule=harmonic,
    jax_optimizer=partial(optax.sgd, momentum=0.9),
    torch_optimizer=torch_momentum,
    names={"optimizer": "momentum", "schedule": "harmonic"},
)

CONFIGS = {
    "Adam": BASE,
    "Adam, small gradients, clipped": BASE.replace(max_grad_norm=2.5e-3),
    "AdamW, clipped, linear": BASE.replace(
        optimizer="adamw", weight_decay=0.1, max_grad_norm=2.5, learning_rate_schedule="linear"
    ),
    "Adam, epsilon inside and outside the root": BASE.replace(adam_eps_root=0.3, adam_eps=0.2),
    "RMSProp": BASE.replace(optimizer="rmsprop"),
    "RMSProp, clipped, cosine, warm-up": BASE.replace(
        optimizer="rmsprop",
        max_grad_norm=2.5,
        learning_rate_schedule="cosine",
        learning_rate_warmup=0.3,
    ),
    "gradient descent, clipped, cosine": BASE.replace(
        optimizer="sgd", max_grad_norm=2.5, learning_rate_schedule="cosine"
    ),
    "a user's own momentum and schedule, clipped": BASE.replace(max_grad_norm=2.5),
}

Rates = Callable[[jax_ppo.PPOConfig, Any, Any], Any]
"""(config, gradient step, schedule of one's own) -> learning rate."""


def learning_rate(
    coefficients_at: Any, config: jax_ppo.PPOConfig, step: Any, schedule: Any = None
) -> Any:
    """The learning rate of a gradient step, as one of the packages computes it."""
    state = SimpleNamespace(update=step // STEPS_PER_UPDATE, kl_coef=None)
    return coefficients_at(state, config, schedule).learning_rate


JAX_RATES = partial(learning_rate, jax_coefficients_at)
TORCH_RATES = partial(learning_rate, torch_coefficients_at)


def jax_steps(
    config: jax_ppo.PPOConfig, params: Any, gradients: Any, own: Own = USUAL
) -> dict[str, Any]:
    """Parameters, moments and count after every gradient, on the JAX side."""

    def step(carry: Any, item: Any) -> Any:
        (params, state), (index, gradient) = carry, item
        rate = JAX_RATES(config, index, own.schedule)
        optimizer = jax_ppo.make_optimizer(config, rate, own.jax_optimizer)
        steps, state = optimizer.update(gradient, state, params)
        return (jax.tree.map(jnp.add, params, steps), state), None

    state = jax_ppo.make_optimizer(config, 1.0, own.jax_optimizer).init(params)
    (params, state), _ = jax.lax.scan(step, (params, state), (jnp.arange(NUM_STEPS), gradients))
    return jax_outcome(params, state)


def torch_steps(
    config: jax_ppo.PPOConfig,
    params: Any,
    gradients: Any,
    own: Own = USUAL,
    rates: Rates = TORCH_RATES,
) -> dict[str, Any]:
    """The same on the PyTorch side."""
    params = weights.rename_to_torch(params)
    state = torch_ref.make_optimizer(config, 1.0, own.torch_optimizer).init(params)
    for index in range(NUM_STEPS):
        gradient = weights.rename_to_torch(jax.tree.map(lambda leaf, i=index: leaf[i], gradients))
        rate = rates(config, torch.tensor(index), own.schedule)
        optimizer = torch_ref.make_optimizer(config, rate, own.torch_optimizer)
        steps, state = optimizer.update(gradient, state, params)
        params = {name: param + steps[name] for name, param in params.items()}
    return {"params": params, **state._asdict()}


def oracle_steps(
    config: jax_ppo.PPOConfig, params: Any, gradients: Any, own: Own = USUAL
) -> dict[str, Any]:
    """The same by the papers' sums."""
    history = [
        oracles.clipped_by_norm(
            weights.rename_to_torch(jax.tree.map(lambda leaf, i=index: leaf[i], gradients)),
            config.max_grad_norm,
        )[0]
        for index in range(NUM_STEPS)
    ]
    params, moments = oracles.OPTIMIZERS[own.optimizer_name(config)](
        weights.rename_to_torch(params),
        history,
        [own.learning_rate(config, index // STEPS_PER_UPDATE) for index in range(NUM_STEPS)],
        eps=config.adam_eps,
        eps_root=config.adam_eps_root,
        weight_decay=config.weight_decay,
    )
    return {"params": params, **moments}


def jax_outcome(params: Any, opt_state: Any) -> dict[str, Any]:
    """Parameters and the optimizer's moments, under PyTorch's names."""
    state = weights.moments_in(opt_state, params)
    moments = {} if state is None else state._asdict()
    renamed = {
        name: value if name == "count" else weights.rename_to_torch(value)
        for name, value in moments.items()
    }
    return {"params": weights.rename_to_torch(params), **renamed}


def optimizer_check(name: str) -> Check:
    """Two hundred steps with one of the configs.

    Gradients have a length of about 3, or 3e-3 if they are small, so that some are clipped and some
    are not.
    """
    config = CONFIGS[name]
    own = MOMENTUM if "own" in name else USUAL
    scale = SMALL if "small" in name else 1.0
    gradients = {k: normal(NUM_STEPS, *s, scale=scale) for k, s in LAYERS.items()}
    return Check(
        level=4,
        name=f"{NUM_STEPS} steps of {name}",
        jax_fn=partial(jax_steps, config, own=own),
        torch_fn=partial(torch_steps, config, own=own),
        inputs={
            "params": {"params": {"head": {k: normal(*s) for k, s in LAYERS.items()}}},
            "gradients": {"params": {"head": gradients}},
        },
        oracle=partial(oracle_steps, config, own=own),
        gradients=False,
        samples=2,
        tolerance=Tolerance(10, 0, oracle_value=100),
    )


CHECKS = tuple(optimizer_check(name) for name in CONFIGS)
