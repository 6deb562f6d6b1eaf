"""Checking a loss of your own: write it in JAX and in PyTorch, specify the inputs, read the report.

Run it with `python -m parity_tests.example_own_loss`. It checks the value loss of a paper that uses
the Huber function, first a correct pair of functions, then one with a mistake in it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from parity_tests import Boundary, ParityError, ParityReport, Tolerance, check_parity, normal


def jax_loss(values: jax.Array, returns: jax.Array) -> jax.Array:
    """Mean Huber loss with delta = 1."""
    error = jnp.abs(values - returns)
    return jnp.mean(jnp.where(error < 1.0, 0.5 * error**2, error - 0.5))


def torch_loss(values: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """The same, with PyTorch's own function."""
    return torch.nn.functional.huber_loss(values, returns)


def wrong_torch_loss(values: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """A common mistake: smooth_l1_loss divides by beta what huber_loss does not."""
    return torch.nn.functional.smooth_l1_loss(values, returns, beta=0.5)


def numpy_loss(values: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """The definition, as an independent oracle; use operations that keep the type."""
    error = np.abs(values - returns)
    return np.where(error < 1, error**2 / 2, error - np.ones_like(error) / 2).mean()


def check(torch_side: object = torch_loss) -> ParityReport:
    """Value and gradient, at random inputs, at huge and tiny ones, at one sample, at the kink."""
    return check_parity(
        jax_loss,
        torch_side,  # type: ignore[arg-type]
        inputs={"values": normal("batch"), "returns": normal("batch")},
        oracle=numpy_loss,
        boundaries=[Boundary("error = 1", {"values": np.ones(1), "returns": np.zeros(1)})],
        tolerance=Tolerance(value=2, gradient=2),
        sizes={"batch": 16},
    )


def main() -> None:
    """Print both reports."""
    print(check().assert_ok())
    try:
        check(wrong_torch_loss).assert_ok()
    except ParityError as error:
        print(f"\nThe wrong one is caught:\n\n{error}")


if __name__ == "__main__":
    main()
