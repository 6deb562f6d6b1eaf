"""The matrix product itself: the one operation whose precision a device chooses by default.

Recent NVIDIA GPUs round the factors of a float32 product to TF32, with 10 bits of fraction in place
of 23, and TPUs to bfloat16 with 7; PyTorch does neither by default. `matmul_precision` is
therefore "highest" by default.
"""

import jax
import jax.numpy as jnp
import numpy as np

from parity_tests.levels import Row

SIZE = 512

SUM_UNITS = 8.0
"""Rounding units that a sum of SIZE products may be off by, relative to the sum of their sizes."""

FACTOR_BITS = {"gpu": 10, "tpu": 7}
"""Bits of fraction that factors are rounded to where the device is left the choice."""


def matmul_rows() -> list[Row]:
    """One row for the precision that training uses, and one for what the device does by itself."""
    backend = jax.default_backend()
    eps = float(np.finfo(np.float32).eps)
    rounded = 2.0 ** -FACTOR_BITS[backend] if backend in FACTOR_BITS else SUM_UNITS * eps
    return [
        _row("matrix product, matmul_precision highest", "highest", SUM_UNITS * eps),
        _row(f"matrix product, left to the device ({backend})", "default", rounded),
    ]


def matmul_error(precision: str) -> float:
    """Worst error of a product of two random matrices, relative to the sum of |terms|.

    Args:
        precision: As `jax.default_matmul_precision` takes it.
    """
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, SIZE, SIZE)).astype(np.float32)
    with jax.default_matmul_precision(precision):
        product = jax.jit(jnp.matmul)(left, right)
    exact = left.astype(np.float64) @ right.astype(np.float64)
    scale = np.abs(left).astype(np.float64) @ np.abs(right).astype(np.float64)
    return float(np.max(np.abs(np.asarray(product) - exact) / scale))


def _row(quantity: str, precision: str, tolerance: float) -> Row:
    error = matmul_error(precision)
    return Row(3, quantity, "float32", 1, error, tolerance, error <= tolerance)
