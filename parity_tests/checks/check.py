"""A check as a value: everything that `check_parity` is to be called with."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax_ppo
import torch_ref
from parity_tests.compare import Tolerance
from parity_tests.harness import check_parity
from parity_tests.inputs import Boundary
from parity_tests.measure import PRECISIONS, Precision
from parity_tests.report import ParityReport


@dataclass(frozen=True)
class Check:
    """One quantity of the algorithm, computed on both sides."""

    level: int
    """1 formulas, 2 gradients (and the formulas they are of), 3 networks, 4 optimizer, 5 update."""
    name: str
    """What is computed."""
    jax_fn: Callable[..., Any]
    """The JAX side."""
    torch_fn: Callable[..., Any]
    """The PyTorch side."""
    inputs: Mapping[str, Any]
    """As `check_parity` takes them."""
    tolerance: Tolerance
    """Measured, with small headroom."""
    oracle: Callable[..., Any] | None = None
    """The independent oracle."""
    terms: Callable[..., Any] | None = None
    """What rounding is relative to, where results cancel."""
    boundaries: Sequence[Boundary] = ()
    """Points without a gradient."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Length of each named axis."""
    gradients: bool = True
    """Whether gradients are compared too."""
    samples: int = 3
    """Random cases."""

    def run(self, precisions: Sequence[Precision] = PRECISIONS) -> ParityReport:
        """Compare the two sides."""
        return check_parity(
            self.jax_fn,
            self.torch_fn,
            self.inputs,
            self.gradients,
            oracle=self.oracle,
            boundaries=self.boundaries,
            tolerance=self.tolerance,
            terms=self.terms,
            sizes=self.sizes,
            samples=self.samples,
            precisions=precisions,
        )

    def replace(self, **changes: Any) -> "Check":
        """A copy with some fields changed: a mutant in place of one side, for instance."""
        return dataclasses.replace(self, **changes)


def exported(name: str) -> dict[str, Any]:
    """Name and both sides of a check, for a function that both packages export."""
    return {"name": name, "jax_fn": getattr(jax_ppo, name), "torch_fn": getattr(torch_ref, name)}


def written_once(function: Callable[..., Any]) -> dict[str, Any]:
    """Both sides of a check, for a function whose first argument is the package to call.

    Args:
        function: (jax_ppo or torch_ref, *inputs) -> outputs.
    """
    return {"jax_fn": partial(function, jax_ppo), "torch_fn": partial(function, torch_ref)}
