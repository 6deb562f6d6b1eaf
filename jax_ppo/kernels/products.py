"""The products in dense layers and convolutions, in the form that is fastest on each backend.

XLA's fast CPU kernels multiply rows by columns. For the gradient of a dense kernel, x^T g, which
contracts the first axis of both, XLA uses slower code, and for a convolution and its gradients much
slower code.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

FEW_COLUMNS = 2
"""Largest number of columns for which a CPU computes x K column by column.

With more columns this is not faster for every number of rows, and each compiles one more kernel;
see docs/speed.md.
"""

FEW_GRADIENT_COLUMNS = 4
"""Largest number of columns for which a CPU computes x^T g column by column.

With more columns it is faster to transpose x first; see docs/speed.md.
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

    A CPU copies the patches and multiplies them like rows of a dense layer, since XLA's own
    convolution is several times as slow there; see docs/speed.md.

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
    """XLA's own convolution."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=layout
    )
