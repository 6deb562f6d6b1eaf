"""The outcomes of one case compared: side with side, and each with the oracle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from parity_tests.inputs import Case
from parity_tests.measure import Errors, Precision, allowance, largest, measure, wide
from parity_tests.report import Entry
from parity_tests.sides import Arrays, Outcome, Truth


@dataclass(frozen=True)
class Tolerance:
    """How far apart two results may be, in rounding units.

    A difference of n means n * eps * scale, where eps is the precision's and scale is the largest
    magnitude in the array, or what the argument `terms` of `check_parity` gives.
    """

    value: float = 8.0
    """Values of one side against the other."""
    gradient: float = 32.0
    """Gradients of one side against the other."""
    slope: float = 0.0
    """Size of the terms that a gradient is a sum of, where they cancel: a floor of its scale."""
    oracle_value: float | None = None
    """Values of either side against the oracle; None: as `value`."""
    oracle_gradient: float | None = None
    """Gradients of either side against the oracle's central differences; None: as `gradient`."""

    def of(self, *, gradient: bool, oracle: bool) -> float:
        """The rounding units allowed in one kind of comparison."""
        ours, theirs = (
            (self.gradient, self.oracle_gradient) if gradient else (self.value, self.oracle_value)
        )
        return theirs if oracle and theirs is not None else ours


NOTHING = Errors(0.0, 0.0, 0.0, 0.0, (), 0.0, None, None)
"""Errors of a comparison that could not be made."""

RESOLUTION = 1e-9
"""Central differences less certain than this, relative to the gradient, are not compared with."""


class Comparer(NamedTuple):
    """Compares the outcomes of one case."""

    case: Case
    precision: Precision
    tolerance: Tolerance
    scales: Arrays

    def sides(self, left: Outcome, right: Outcome) -> Iterator[Entry]:
        """JAX against PyTorch."""
        units = self.tolerance.of(gradient=False, oracle=False)
        yield from self._arrays("jax - torch", left.values, right.values, units, self.scales)
        units = self.tolerance.of(gradient=True, oracle=False)
        stated = self._stated()
        plain = [
            {name: slope for name, slope in side.gradients.items() if name not in stated}
            for side in (left, right)
        ]
        slope = self.tolerance.slope
        floors = {name: max(largest(s), wide(slope)) for name, s in plain[1].items()}
        yield from self._arrays("jax - torch", plain[0], plain[1], units, floors)
        if self.case.boundary is not None:
            yield from self._expected("jax", left, self.case.boundary.jax)
            yield from self._expected("torch", right, self.case.boundary.torch)

    def oracle(self, side: str, outcome: Outcome, truth: Truth) -> Iterator[Entry]:
        """One side against the oracle; on a boundary there is no gradient to compare with."""
        pair = f"{side} - oracle"
        units = self.tolerance.of(gradient=False, oracle=True)
        yield from self._arrays(pair, outcome.values, truth.values, units, self.scales)
        if self.case.boundary is not None or not truth.gradients:
            return
        units = self.tolerance.of(gradient=True, oracle=True)
        for name, (slope, uncertainty, natural) in truth.gradients.items():
            size = max(largest(slope), wide(self.tolerance.slope))
            if np.max(uncertainty, initial=wide(0)) > RESOLUTION * max(size, natural):
                yield self._fault(name, pair, "central differences do not converge: is it a kink?")
                continue
            gradient = outcome.gradients[name]
            yield self._entry(name, pair, gradient, slope, units, size, uncertainty)

    def _stated(self) -> set[str]:
        """Gradients that the boundary gives expected values for."""
        boundary = self.case.boundary
        return set() if boundary is None else {*boundary.jax, *boundary.torch}

    def _expected(
        self, side: str, outcome: Outcome, expected: Mapping[str, Any]
    ) -> Iterator[Entry]:
        """One side's gradients on a boundary against the expected values that the caller gives."""
        units = self.tolerance.of(gradient=True, oracle=False)
        for name, slope in expected.items():
            pair = f"{side} - expected"
            if name not in outcome.gradients:
                known = ", ".join(outcome.gradients)
                yield self._fault(name, pair, f"there is no such gradient; there are {known}")
                continue
            right = np.asarray(slope, wide)
            yield self._entry(name, pair, outcome.gradients[name], right, units, largest(right))

    def _arrays(
        self, pair: str, left: Arrays, right: Arrays, units: float, scales: Arrays
    ) -> Iterator[Entry]:
        """Every array of one side against its namesake of the other."""
        for name in {**left, **right}:
            if name not in left or name not in right:
                yield self._fault(name, pair, f"only {pair.split(' - ')[name in right]} has it")
            else:
                scale = scales[name] if name in scales else largest(right[name])
                yield self._entry(name, pair, left[name], right[name], units, scale)

    def _entry(
        self,
        name: str,
        pair: str,
        left: np.ndarray,
        right: np.ndarray,
        units: float,
        scale: Any,
        uncertainty: Any = 0.0,
    ) -> Entry:
        """One array against another, with the rounding that is allowed."""
        fault = self._form_fault(pair, left, right)
        if fault:
            return self._fault(name, pair, fault)
        units = units if left.dtype.kind == "f" else 0.0
        allowed = allowance(units, scale, self.precision) + uncertainty if units else 0.0
        errors = measure(left, right, allowed, self.precision)
        return Entry(name, self.precision, pair, self.case, errors, units)

    def _form_fault(self, pair: str, left: np.ndarray, right: np.ndarray) -> str:
        """What is wrong with shape or type, or nothing."""
        if left.shape != right.shape:
            return f"shapes {left.shape} and {right.shape} differ"
        sides = dict(zip(pair.split(" - "), (left, right), strict=True))
        for side in ("jax", "torch"):
            array = sides.get(side)
            if array is not None and array.dtype.kind == "f" and array.dtype != self.precision:
                return f"{side} computed in {array.dtype}"
        if (left.dtype.kind == "f") != (right.dtype.kind == "f"):
            return f"types {left.dtype} and {right.dtype} differ"
        return ""

    def _fault(self, name: str, pair: str, fault: str) -> Entry:
        return Entry(name, self.precision, pair, self.case, NOTHING, fault=fault)
