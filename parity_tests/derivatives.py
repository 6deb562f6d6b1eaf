"""Gradients without autodiff: central differences, extrapolated, with a bound on their error."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from parity_tests.measure import wide

LEVELS = 8
"""Step sizes per derivative."""
SHRINK = 4.0
"""Ratio between two step sizes."""
FIRST_STEP = 0.02
"""Largest step, in units of the input's size."""

ROUNDINGS = 8
"""How many roundings of its own size a function's value may have suffered."""


class Derivative(NamedTuple):
    """A derivative, and how well it is known."""

    value: Any
    """The estimate."""
    uncertainty: Any
    """Estimate of its absolute error, from the extrapolation and from rounding."""
    natural: Any
    """|f| / |x|: what size a slope of this function may have, whatever it is here."""


def central_differences(
    function: Callable[[np.ndarray], np.ndarray], point: np.ndarray, terms: Any = None
) -> list[Derivative]:
    """Derivatives of a function to each entry of its argument, in the widest precision.

    Args:
        function: point -> array of numbers, all of which are differentiated at once.
        point: Where.
        terms: Sizes of what the function adds up, where it cancels [as the function]; by default
            that of its value.

    Returns:
        One entry per entry of the point, in C order; value and uncertainty have the shape that
        the function returns.
    """
    point = point.astype(wide)
    size = np.max(np.abs(point), initial=wide(0))
    step = wide(FIRST_STEP) * (size if size > 0 else wide(1))
    terms = np.abs(function(point)) if terms is None else terms
    natural = terms / (size if size > 0 else wide(1))
    lines = (_Line(function, point, entry, terms) for entry in np.ndindex(point.shape))
    return [Derivative(*_ridders(line, step), natural) for line in lines]


class _Line(NamedTuple):
    """A function along one coordinate of its argument."""

    function: Callable[[np.ndarray], np.ndarray]
    point: np.ndarray
    entry: tuple[int, ...]
    terms: np.ndarray

    def slope(self, step: Any) -> tuple[np.ndarray, np.ndarray]:
        """(f(x + h e) - f(x - h e)) / 2h, and the error of it that rounding can make."""
        above, below = self.point.copy(), self.point.copy()
        above[self.entry] += step
        below[self.entry] -= step
        span = above[self.entry] - below[self.entry]
        high, low = self.function(above), self.function(below)
        size = np.maximum(self.terms, np.maximum(np.abs(high), np.abs(low)))
        noise = ROUNDINGS * np.finfo(wide).eps * size / span
        return (high - low) / span, noise


def _ridders(line: _Line, step: Any) -> tuple[np.ndarray, np.ndarray]:
    """Richardson extrapolation over shrinking steps: the best of its tableau, and its error.

    Each column removes one more even power of the step. An entry's error is estimated from rounding
    and from how much it differs from its two parents, so both a step that is too long (or that
    crosses a kink) and one that is too short are left out.

    Source: Ridders (1982), "Accurate computation of F'(x) and F'(x)F''(x)".
    """
    slope, _ = line.slope(step)
    row = [slope]
    best, error = slope, np.full(np.shape(slope), wide(np.inf))
    for level in range(1, LEVELS):
        slope, noise = line.slope(step / wide(SHRINK) ** level)
        previous, row = row, [slope]
        for order in range(1, level + 1):
            weight = wide(SHRINK) ** (2 * order)
            row.append((weight * row[-1] - previous[order - 1]) / (weight - 1))
            doubt = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - previous[order - 1]))
            better = doubt + noise < error
            best = np.where(better, row[-1], best)
            error = np.where(better, doubt + noise, error)
    return best, error
