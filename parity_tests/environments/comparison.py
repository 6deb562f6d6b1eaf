"""One step of both libraries compared, point by point; and the states that resets lead to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from parity_tests.environments.sides import (
    reset_gymnasium,
    reset_gymnax,
    step_gymnasium,
    step_gymnax,
)
from parity_tests.environments.twin import STEP_QUANTITIES, Grid, Rounding, Steps, Twin
from parity_tests.measure import Errors, Precision, measure, wide


class Outcome(NamedTuple):
    """The same points stepped from by both."""

    grid: Grid
    gymnax: Steps
    gymnasium: Steps


@dataclass(frozen=True)
class Comparison:
    """One quantity of one environment, compared at every point of its grid."""

    environment: str
    """Id."""
    quantity: str
    """One of `STEP_QUANTITIES`."""
    precision: Precision
    """What gymnax computes in, and what the states are rounded to."""
    points: int
    """States and actions at which the two must agree."""
    agreeing: tuple[int, ...]
    """Those of the affected at which they agree all the same: the predicate is too wide."""
    errors: Errors
    """The differences where the two must agree; `where` counts those points only."""
    worst: Grid
    """The point nearest to its limit, or furthest beyond."""
    rounding: Rounding
    """What is permitted."""

    @property
    def units(self) -> float:
        """The worst error in rounding units, which is what the tolerance is given in."""
        return self.rounding.units * self.errors.share

    @property
    def relative(self) -> float:
        """The worst error relative to the scale of its rounding."""
        return self.units * float(np.finfo(self.rounding.of).eps)

    @property
    def ok(self) -> bool:
        """Whether both agree at every point, except those known, where they do not."""
        return self.errors.share <= 1 and not self.agreeing

    def __str__(self) -> str:
        """Where they are furthest apart, with both values."""
        lines = [f"{self.environment}: {self.quantity} in {self.precision}, {self.points} points"]
        for name, values in self.worst._asdict().items():
            lines.append(f"  {name} = {values.tolist()}")
        lines += [f"  gymnax = {self.errors.left}", f"  gymnasium = {self.errors.right}"]
        lines.append(f"  {self.errors.share:.3g} times what is allowed")
        lines.append(f"  known to differ, but agreeing: points {self.agreeing}")
        return "\n".join(lines)


def step_both(
    twin: Twin, precision: Precision, env_params: Mapping[str, Any] | None = None
) -> Outcome:
    """One step of both libraries from every point of a twin's grid.

    `precision` is what gymnax computes in, and what the states are rounded to; `env_params` are
    gymnax parameters to change, which should make a difference.
    """
    grid = twin.points(precision)
    stepped = step_gymnax(twin, grid, precision, env_params)
    return Outcome(grid, stepped, step_gymnasium(twin, grid, precision))


def compare(twin: Twin, precision: Precision, outcome: Outcome | None = None) -> list[Comparison]:
    """Every quantity that a step gives, compared over the grid; by default steps both here."""
    outcome = outcome or step_both(twin, precision)
    return [_compare_quantity(twin, q, precision, outcome) for q in STEP_QUANTITIES]


def _compare_quantity(
    twin: Twin, quantity: str, precision: Precision, outcome: Outcome
) -> Comparison:
    """One quantity over the grid."""
    left = getattr(outcome.gymnax, quantity)
    right = getattr(outcome.gymnasium, quantity)
    rounding = twin.rounding(quantity, precision)
    allowed = rounding.allowed(outcome.grid, right)
    affected = twin.affected(quantity, outcome.grid, precision)
    agree = np.abs(left.astype(wide) - right) <= allowed
    agree = agree.reshape(len(agree), -1).all(axis=1)
    kept = np.flatnonzero(~affected)
    errors = measure(left[kept], right[kept], allowed[kept], precision)
    return Comparison(
        environment=twin.env_id,
        quantity=quantity,
        precision=precision,
        points=len(kept),
        agreeing=tuple(np.flatnonzero(affected & agree).tolist()),
        errors=errors,
        worst=outcome.grid.take(kept[errors.where[0]] if errors.where else slice(0)),
        rounding=rounding,
    )


@dataclass(frozen=True)
class ResetComparison:
    """One variable of the state after many resets, beside the distribution that both name."""

    environment: str
    """Id."""
    variable: str
    """gymnax's name of it."""
    side: str
    """"gymnax" or "gymnasium"."""
    bounds: tuple[float, float]
    """Of the uniform distribution; equal if the variable always starts there."""
    samples: np.ndarray
    """[n]."""

    @property
    def inside(self) -> bool:
        """Whether every sample is within the bounds, rounded to float32."""
        low, high = np.asarray(self.bounds, np.float32)
        rounded = self.samples.astype(np.float32)
        return bool(((rounded >= low) & (rounded <= high)).all())

    @property
    def p_value(self) -> float:
        """Of the Kolmogorov-Smirnov test against the uniform distribution.

        If the variable is constant, 1 or 0: whether every sample is that constant.
        """
        low, high = self.bounds
        if low == high:
            return float((self.samples == low).all())
        return float(stats.kstest(self.samples, "uniform", (low, high - low)).pvalue)


def compare_resets(twin: Twin, samples: int = 4000) -> list[ResetComparison]:
    """What both libraries draw at so many resets, variable by variable."""
    drawn = {"gymnax": reset_gymnax(twin, samples), "gymnasium": reset_gymnasium(twin, samples)}
    return [
        ResetComparison(twin.env_id, name, side, twin.reset_bounds[i], states[:, i])
        for side, states in drawn.items()
        for i, name in enumerate(twin.fields)
    ]
