"""How far apart two arrays are, in the units that rounding errors come in."""

from typing import Any, Literal, NamedTuple

import numpy as np

Precision = Literal["float32", "float64"]
"""Floating-point type that both sides compute in."""

PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
"""Both."""

wide = np.longdouble
"""The widest type of the machine, for differences and oracles: 64 bits of fraction on x86."""


class Errors(NamedTuple):
    """The largest differences between two arrays, and where the worst one is."""

    absolute: float
    """max |a - b|."""
    relative: float
    """max |a - b| / |b|, entry by entry."""
    ulp: float
    """max |a - b| / spacing(b): units in the last place, entry by entry."""
    share: float
    """max |a - b| / allowed: more than 1 is a failure."""
    where: tuple[int, ...]
    """Entry with the largest share of what is allowed."""
    allowed: float
    """What was allowed at that entry."""
    left: Any
    """a at that entry."""
    right: Any
    """b at that entry."""
    size: int = 0
    """Number of entries."""
    num_finite: int = 0
    """Number of entries that are finite in both."""


def measure(left: np.ndarray, right: np.ndarray, allowed: Any, precision: Precision) -> Errors:
    """Compare two arrays of one shape, entry by entry.

    Infinities agree with infinities of their sign and NaN with NaN; any other pair that is not
    finite is infinitely far apart.

    Args:
        left: a.
        right: b, of the same shape; may be wider, and then overflows where `precision` does.
        allowed: Largest permitted |a - b|, a number or an array of that shape.
        precision: Sets what an ulp is.
    """
    if left.size == 0:
        return Errors(0.0, 0.0, 0.0, 0.0, (), 0.0, None, None)
    info = np.finfo(precision)
    wide_left, wide_right = left.astype(wide), right.astype(wide)
    with np.errstate(all="ignore"):
        overflows = np.abs(wide_right) > info.max
        wide_right = np.where(overflows, np.copysign(wide(np.inf), wide_right), wide_right)
        same = (wide_left == wide_right) | (np.isnan(wide_left) & np.isnan(wide_right))
        finite = np.isfinite(wide_left) & np.isfinite(wide_right)
        difference = np.where(same, 0, np.where(finite, np.abs(wide_left - wide_right), np.inf))
        size = np.abs(np.where(np.isfinite(wide_right), wide_right, 1))
        spacing = np.spacing(np.maximum(size, info.tiny).astype(precision)).astype(wide)
        relative = np.where(difference == 0, 0, difference / np.maximum(size, info.tiny))
        limit = np.broadcast_to(np.asarray(allowed, wide), difference.shape)
        share = np.where(difference == 0, 0, difference / limit)
    index = tuple(int(i) for i in np.unravel_index(np.argmax(share), share.shape))
    return Errors(
        absolute=float(np.max(difference)),
        relative=float(np.max(relative)),
        ulp=float(np.max(difference / spacing)),
        share=float(share[index]),
        where=index,
        allowed=float(limit[index]),
        left=left[index],
        right=right[index],
        size=left.size,
        num_finite=int(np.sum(finite)),
    )


def allowance(ulp: float, scale: Any, precision: Precision) -> Any:
    """Permitted error ulp * eps * scale, and the smallest normal number for flushed underflow.

    Args:
        ulp: How many units of rounding.
        scale: What the rounding is relative to: the size of the result, or sum |terms| [...].
        precision: Sets eps.
    """
    info = np.finfo(precision)
    return wide(ulp) * wide(info.eps) * np.asarray(scale, wide) + wide(info.tiny)


def largest(array: np.ndarray) -> Any:
    """The largest finite magnitude of an array; 0 if there is none."""
    magnitudes = np.abs(array[np.isfinite(array)].astype(wide))
    return np.max(magnitudes, initial=wide(0))
