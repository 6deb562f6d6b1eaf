"""The products inside dense layers and convolutions, in the form that each backend is fast at.

XLA's fast CPU kernels multiply rows by columns. The gradient of a dense kernel, x^T g, contracts
the first axis of both and falls to slower code; a convolution and its gradients fall to much slower
code.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

FEW_COLUMNS = 2
"""Up to so many, a CPU computes x K column by column.

One core of an AMD EPYC (Zen 5), jax 0.10.2, for x [num_rows, 64] and K [64, n], microseconds as XLA
does and column by column; one more kernel per column has to be compiled:

| n | 4 rows     | 128 rows   | 8192 rows    |
| 2 | 0.5 -> 0.2 | 1.0 -> 0.5 | 60.8 -> 42.6 |
| 3 |            | 1.1 -> 0.7 | 60.4 -> 60.1 |
| 4 |            |            | 61.8 -> 79.7 |
"""

FEW_GRADIENT_COLUMNS = 4
"""Up to so many, it computes x^T g column by column.

The same for x [8192, 64] and g [8192, n]:

| n  | as XLA does | x transposed first | column by column |
| 1  |          49 |                160 |               46 |
| 2  |         428 |                178 |               96 |
| 64 |         611 |                453 |                  |
"""


@jax.custom_jvp
def dense_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The product x K, whose gradients are fast on every backend.

    Args:
        x: [batch_size, num_inputs].
        kernel: [num_inputs, num_outputs].

    Returns:
        [batch_size, num_outputs].
    """
    if kernel.shape[1] > FEW_COLUMNS:
        return x @ kernel
    return jax.lax.platform_dependent(x, kernel, cpu=_column_by_column, default=jnp.matmul)


@dense_product.defjvp
def _dense_product_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """d(x K) = dx K + x dK; the transpose of the second term is the gradient of the kernel."""
    (x, kernel), (dx, dkernel) = primals, tangents
    by_kernel = jax.lax.platform_dependent(x, dkernel, cpu=_product_on_cpu, default=jnp.matmul)
    return dense_product(x, kernel), dx @ kernel + by_kernel


def _product_on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The product x K, written so that its transpose with respect to K is fast on a CPU."""
    if kernel.shape[1] <= FEW_GRADIENT_COLUMNS:
        return _column_by_column(x, kernel)
    # Without the barrier XLA folds the transpose back into the product.
    transposed = jax.lax.optimization_barrier(x.T)
    return jax.lax.dot_general(transposed, kernel, (((0,), (0,)), ((), ())))


def _column_by_column(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The product x K, as one product with a vector after another."""
    return jnp.stack([x @ column for column in kernel.T], axis=-1)


def convolution(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Every patch of the images times the kernel, without padding.

    A CPU cuts the patches out and multiplies them like rows of a dense layer. One update of PPO on
    Breakout-MinAtar (64 x 128, 8 minibatches, 16 channels; four cores of an AMD EPYC (Zen 5), jax
    0.10.2) takes 4.0 s with XLA's own convolution and 0.44 s in this way.

    Args:
        x: Images [batch_size, height, width, channels].
        kernel: [kernel_height, kernel_width, channels, num_outputs].
        stride: Distance between patches, along both axes.

    Returns:
        [batch_size, new_height, new_width, num_outputs].
    """
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_convolution_on_cpu, stride=stride),
        default=partial(_plain_convolution, stride=stride),
    )


def _convolution_on_cpu(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The convolution as a product of patches [batch_size * new_height * new_width, ...]."""
    kernel_height, kernel_width, _, num_outputs = kernel.shape
    rows = range((x.shape[1] - kernel_height) // stride + 1)
    columns = range((x.shape[2] - kernel_width) // stride + 1)
    shifted = [
        x[:, i : i + stride * len(rows) : stride, j : j + stride * len(columns) : stride]
        for i in range(kernel_height)
        for j in range(kernel_width)
    ]
    patches = jnp.concatenate([s[:, : len(rows), : len(columns)] for s in shifted], axis=-1)
    products = dense_product(
        patches.reshape(-1, patches.shape[-1]), kernel.reshape(-1, num_outputs)
    )
    return products.reshape(*patches.shape[:-1], num_outputs)


def _plain_convolution(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The convolution as XLA has it."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=layout
    )
