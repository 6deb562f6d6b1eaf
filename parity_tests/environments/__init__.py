"""gymnax's environments beside Gymnasium's: one step from the same state, at every kind of state.

What differs by more than rounding is listed, with its cause, and left out of the comparison at
exactly the points that it concerns.
"""

from collections.abc import Iterable
from typing import Any

from parity_tests.environments.acrobot import ACROBOT
from parity_tests.environments.cartpole import CARTPOLE
from parity_tests.environments.comparison import (
    Comparison,
    Outcome,
    ResetComparison,
    compare,
    compare_resets,
    step_both,
)
from parity_tests.environments.mountain_car import MOUNTAIN_CAR, MOUNTAIN_CAR_CONTINUOUS
from parity_tests.environments.pendulum import PENDULUM
from parity_tests.environments.twin import Difference, Grid, Rounding, Steps, Twin

TWINS = (CARTPOLE, ACROBOT, MOUNTAIN_CAR, MOUNTAIN_CAR_CONTINUOUS, PENDULUM)
"""The environments that both libraries have."""


def known_differences(twins: Iterable[Twin] = TWINS) -> list[dict[str, Any]]:
    """One row per known difference: where, both results, and the cause in both libraries."""
    return [{"environment": t.env_id, **d.row()} for t in twins for d in t.differences]


__all__ = [
    "Comparison",
    "Difference",
    "Grid",
    "Outcome",
    "ResetComparison",
    "Rounding",
    "Steps",
    "TWINS",
    "Twin",
    "compare",
    "compare_resets",
    "known_differences",
    "step_both",
]
