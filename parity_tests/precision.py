"""One switch for the floating-point type of both frameworks."""

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import jax
import torch

from parity_tests.measure import Precision


@contextmanager
def precision_of(precision: Precision) -> Iterator[None]:
    """Inside the block both frameworks make and compute in one floating-point type.

    Matrix products are exact to it too: no TF32, no bfloat16.

    Args:
        precision: "float32" or "float64".
    """
    before = torch.get_default_dtype()
    with enable_x64(precision == "float64"), jax.default_matmul_precision("highest"):
        torch.set_default_dtype(getattr(torch, precision))
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def enable_x64(enabled: bool) -> AbstractContextManager[None]:
    """JAX's switch for 64-bit types, which moved out of `jax.experimental` in JAX 0.8."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(enabled)
    experimental = importlib.import_module("jax.experimental")
    return experimental.enable_x64(enabled)
