"""Orthogonal initialization of kernels, for any number of agents at once."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def orthogonal_kernel(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike, gain: float
) -> jax.Array:
    """A random kernel whose columns, or rows if they are fewer, are orthogonal and of length gain.

    Args:
        key: Random key.
        shape: [*window, num_inputs, num_outputs]; all but the last count as rows.
        dtype: Floating-point type.
        gain: Length of the orthogonal vectors.

    Source: Saxe et al. (2014), https://arxiv.org/abs/1312.6120, section 3.
    """
    num_rows, num_columns = math.prod(shape[:-1]), shape[-1]
    tall = (max(num_rows, num_columns), min(num_rows, num_columns))
    columns = orthogonal_columns(jax.random.normal(key, tall, dtype))
    return gain * (columns if num_rows >= num_columns else columns.T).reshape(shape)


def _orthogonal_columns(matrix: jax.Array) -> jax.Array:
    """The Q of M = Q R with a positive diagonal of R, which makes Q unique."""
    q, r = jnp.linalg.qr(matrix)
    return q * jnp.sign(jnp.diagonal(r))[None, :]


@jax.custom_batching.custom_vmap
def orthogonal_columns(matrix: jax.Array) -> jax.Array:
    """Orthonormal columns that span the same space, uniformly distributed for normal `matrix`.

    On a CPU a batch is decomposed one matrix after another, since XLA's batched QR decomposition
    can deadlock; see docs/speed.md.

    Args:
        matrix: [num_rows, num_columns], at least as many rows as columns.

    Source: Mezzadri (2007), https://arxiv.org/abs/math-ph/0609050, section 5.
    """
    return _orthogonal_columns(matrix)


@orthogonal_columns.def_vmap
def _orthogonal_columns_of_each(
    _: int, __: list[bool], matrices: jax.Array
) -> tuple[jax.Array, bool]:
    """Orthonormal columns of matrices [batch_size, num_rows, num_columns]."""
    one_by_one = partial(jax.lax.map, orthogonal_columns)
    together = jax.vmap(_orthogonal_columns)
    return jax.lax.platform_dependent(matrices, cpu=one_by_one, default=together), True
