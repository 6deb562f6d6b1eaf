"""Orthogonal kernels: flax's own numbers, and no waiting of threads for one another."""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo.kernels.orthogonal import orthogonal_kernel
from tests.core.helpers import printed_by

pytestmark = pytest.mark.usefixtures("full_optimization")

SHAPES = [(4, 64), (64, 64), (64, 2), (3, 3, 4, 16), (1, 1)]

SEVERAL_AGENTS = """
import os
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:2])
import jax
from jax_ppo import PPOConfig, train_agents
keys = jax.random.split(jax.random.key(0), 16)
states, _ = jax.jit(train_agents)(keys, PPOConfig(total_steps=512))
print(jax.block_until_ready(states.update).shape)
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_as_flax_draws_them(shape: tuple[int, ...]) -> None:
    expected = nn.initializers.orthogonal(1.4)(jax.random.key(3), shape, jnp.float32)
    kernel = orthogonal_kernel(jax.random.key(3), shape, jnp.float32, gain=1.4)
    np.testing.assert_allclose(kernel, expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_columns_or_rows_are_orthogonal(shape: tuple[int, ...]) -> None:
    kernel = np.asarray(orthogonal_kernel(jax.random.key(0), shape, jnp.float32, gain=2.0))
    matrix = kernel.reshape(-1, shape[-1])
    small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_batches_of_batches() -> None:
    keys = jax.random.split(jax.random.key(1), (2, 3))
    draw = jax.vmap(jax.vmap(lambda key: orthogonal_kernel(key, (6, 5), jnp.float32, 1.0)))
    apart = orthogonal_kernel(keys[1, 2], (6, 5), jnp.float32, 1.0)
    np.testing.assert_allclose(jax.jit(draw)(keys)[1, 2], apart, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_several_agents_on_two_cores() -> None:
    """XLA's batched QR decomposition never ends here."""
    assert printed_by("-c", SEVERAL_AGENTS, timeout=120).strip() == "(16,)"
