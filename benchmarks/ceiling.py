"""How fast an update could be on this machine: its operations counted and measured alone."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp

from benchmarks.adapters.ours import config_of
from benchmarks.compare import Spread
from benchmarks.phases import Phase, measure, phases_of
from benchmarks.work import Work
from jax_ppo import make_env

FLOAT_BYTES = 4


class Product(NamedTuple):
    """A matrix product [rows, inner] x [inner, columns]."""

    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Multiplications and additions: 2 rows inner columns."""
        return 2 * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Sizes:
    """The sizes that determine the operations of one update."""

    policy: tuple[int, ...]
    """Widths of the policy's layers, from observation to logits."""
    value: tuple[int, ...]
    """Widths of the value's layers, from observation to the one output."""
    num_envs: int
    num_steps: int
    update_epochs: int
    num_minibatches: int

    @property
    def batch_size(self) -> int:
        """Samples per update."""
        return self.num_envs * self.num_steps


@dataclass(frozen=True)
class Part:
    """A part of an update, and the time of its operations alone."""

    name: str
    achieved: Spread
    """Seconds that it takes."""
    alone_seconds: float
    """Seconds of its matrix products alone and, for a rollout, of gymnax's environments alone."""
    flops: int
    """Floating-point operations of its matrix products."""


def sizes_of(work: Work) -> Sizes:
    """The sizes of a work.

    Raises:
        ConfigError: The environment is unknown.
    """
    env = make_env(config_of(work))
    inputs = math.prod(env.observation_space.shape)
    hidden = work.hidden_sizes
    return Sizes(
        policy=(inputs, *hidden, env.action_space.output_size),
        value=(inputs, *hidden, 1),
        num_envs=work.num_envs,
        num_steps=work.num_steps,
        update_epochs=work.update_epochs,
        num_minibatches=work.num_minibatches,
    )


def forward_products(widths: tuple[int, ...], samples: int) -> Counter[Product]:
    """The products of one pass through an MLP: per layer [samples, in] x [in, out]."""
    return Counter(Product(samples, *layer) for layer in pairwise(widths))


def gradient_products(widths: tuple[int, ...], samples: int) -> Counter[Product]:
    """The products of a forward and a backward pass through an MLP.

    Per layer the forward pass, the gradient of the kernel, [in, samples] x [samples, out], and that
    of the input, [samples, out] x [out, in], which the first layer does not need. So about three
    forward passes: flops = 3 * 2 samples sum(in out) - 2 samples in_1 out_1.
    """
    layers = list(pairwise(widths))
    kernels = Counter(Product(inner, samples, columns) for inner, columns in layers)
    inputs = Counter(Product(samples, columns, inner) for inner, columns in layers[1:])
    return forward_products(widths, samples) + kernels + inputs


def rollout_products(sizes: Sizes) -> Counter[Product]:
    """The products of a rollout: one forward pass of the policy per step."""
    return _times(forward_products(sizes.policy, sizes.num_envs), sizes.num_steps)


def advantage_products(sizes: Sizes) -> Counter[Product]:
    """The products of evaluating it: policy and value of each observation, value of each next."""
    value = forward_products(sizes.value, sizes.batch_size)
    return forward_products(sizes.policy, sizes.batch_size) + value + value


def update_products(sizes: Sizes) -> Counter[Product]:
    """Those of update_epochs * num_minibatches gradient steps of policy and value."""
    samples = sizes.batch_size // sizes.num_minibatches
    step = gradient_products(sizes.policy, samples) + gradient_products(sizes.value, samples)
    return _times(step, sizes.update_epochs * sizes.num_minibatches)


def count_flops(products: Counter[Product]) -> int:
    """Floating-point operations of matrix products; others are not counted."""
    return sum(product.flops * count for product, count in products.items())


def count_parameters(sizes: Sizes) -> int:
    """Weights and biases: sum((in + 1) out) over both networks."""
    layers = (*pairwise(sizes.policy), *pairwise(sizes.value))
    return sum((inner + 1) * columns for inner, columns in layers)


def update_bytes(sizes: Sizes) -> int:
    """Fewest bytes that the gradient steps move, if all else stays in the processor's cache.

    Per epoch each sample once: the observation, and action, log-probability, value, advantage and
    return. Per step the parameters and both of Adam's moments, read and written.
    """
    samples = sizes.update_epochs * sizes.batch_size * (sizes.policy[0] + 5)
    steps = sizes.update_epochs * sizes.num_minibatches
    return FLOAT_BYTES * (samples + steps * 6 * count_parameters(sizes))


def measure_ceiling(work: Work, rounds: int) -> tuple[list[Part], dict[str, float]]:
    """The time of rollout, advantages and gradient steps, and that of their operations alone.

    Args:
        work: The training, of one agent.
        rounds: Measurements of each part.

    Returns:
        The parts, and by name: env_steps_per_second of the environments alone, product_gflops of
        the products of the gradient steps alone, flops and bytes of an update.
    """
    sizes = sizes_of(work)
    wanted = {
        "rollout": rollout_products(sizes),
        "advantages": advantage_products(sizes),
        "gradient steps": update_products(sizes),
    }
    every = sum(wanted.values(), Counter())
    bare = [_product_phase(product) for product in every] + [_stepping_phase(work)]
    alone = {name: found.median for name, found in measure(bare, rounds).items()}
    achieved = measure([phase for phase in phases_of(work) if phase.name in wanted], rounds)
    parts = []
    for name, products in wanted.items():
        seconds = sum(alone[str(product)] * count for product, count in products.items())
        seconds += alone["stepping"] if name == "rollout" else 0.0
        parts.append(Part(name, achieved[name], seconds, count_flops(products)))
    rates = {
        "env_steps_per_second": sizes.batch_size / alone["stepping"],
        "product_gflops": parts[-1].flops / parts[-1].alone_seconds / 1e9,
        "flops": count_flops(every),
        "bytes": update_bytes(sizes),
    }
    return parts, rates


def _times(products: Counter[Product], count: int) -> Counter[Product]:
    return Counter({product: n * count for product, n in products.items()})


def _product_phase(product: Product) -> Phase:
    """A matrix product in a loop; one entry of its left factor changes in every iteration."""
    keys = jax.random.split(jax.random.key(0))
    left = jax.random.normal(keys[0], (product.rows, product.inner))
    right = jax.random.normal(keys[1], (product.inner, product.columns))
    return Phase(str(product), _multiply, right, (left, left @ right))


def _multiply(i: jax.Array, right: jax.Array, carry: Any) -> Any:
    """One product."""
    left, last = carry
    left = left.at[0, 0].set(1e-30 * last[0, 0])
    return left, left @ right


def _stepping_phase(work: Work) -> Phase:
    """A rollout of gymnax's environments alone, with random actions; the works' are discrete."""
    env, params = gymnax.make(work.env_id)
    num_actions = make_env(config_of(work)).action_space.output_size
    keys = jax.random.split(jax.random.key(0), (work.num_steps, work.num_envs))
    chosen = jax.random.randint(keys[0, 0], keys.shape, 0, num_actions)
    _, state = jax.vmap(env.reset, in_axes=(0, None))(keys[0], params)
    body = partial(_step_bare, env, params)
    carry = jax.jit(body)(0, (keys, chosen), (state,))
    return Phase("stepping", body, (keys, chosen), carry)


def _step_bare(env: Any, params: Any, i: jax.Array, given: Any, carry: Any) -> Any:
    """The steps of a rollout; all their results are kept."""
    step = partial(_step_all, env, params)
    rolled = jax.tree.map(lambda leaf: jnp.roll(leaf, i, axis=0), given)
    return jax.lax.scan(step, carry[0], rolled)


def _step_all(env: Any, params: Any, state: Any, draws: Any) -> Any:
    """One step of every environment."""
    keys, action = draws
    stepped = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, state, action, params)
    obs, state, *rest, _ = stepped
    return state, (obs, *rest)
