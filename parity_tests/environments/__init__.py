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
from parity_tests.environments.mountain_car import MOUNTAIN_CAR
from parity_tests.environments.mountain_car_continuous import MOUNTAIN_CAR_CONTINUOUS
from parity_tests.environments.pendulum import PENDULUM
from parity_tests.environments.twin import Difference, Grid, Rounding, Steps, Twin
from parity_tests.measure import PRECISIONS

TWINS = (CARTPOLE, ACROBOT, MOUNTAIN_CAR, MOUNTAIN_CAR_CONTINUOUS, PENDULUM)
"""The environments that both libraries have."""


def environment_report(twins: Iterable[Twin] = TWINS) -> list[dict[str, Any]]:
    """One row per environment, precision and quantity: points compared, worst errors, verdict.

    Args:
        twins: The environments.
    """
    return [
        comparison.row()
        for twin in twins
        for precision in PRECISIONS
        for comparison in compare(twin, precision)
    ]


def reset_report(twins: Iterable[Twin] = TWINS) -> list[dict[str, Any]]:
    """One row per environment, side and variable: what resets draw, beside the distribution.

    Args:
        twins: The environments.
    """
    return [comparison.row() for twin in twins for comparison in compare_resets(twin)]


def known_differences(twins: Iterable[Twin] = TWINS) -> list[dict[str, Any]]:
    """One row per known difference: where, both results, and the cause in both libraries.

    Args:
        twins: The environments.
    """
    return [difference.row() for twin in twins for difference in twin.differences]


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
    "environment_report",
    "known_differences",
    "reset_report",
    "step_both",
]
