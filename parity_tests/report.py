"""What a comparison found: every difference, a table to read, and an error to raise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from parity_tests.inputs import Case
from parity_tests.measure import Errors, Precision


class ParityError(AssertionError):
    """Two implementations differ by more than rounding; the message shows where and by how much."""


@dataclass(frozen=True)
class Entry:
    """One array of one side compared with its counterpart, in one case."""

    quantity: str
    """"value" or the output's name, or a gradient such as "d loss/d log_prob"."""
    precision: Precision
    """Floating-point type of the computation."""
    compared: str
    """The two that are compared: "jax - torch", "jax - oracle", ..."""
    case: Case
    """Where."""
    errors: Errors
    """By how much."""
    units: float = 0.0
    """Rounding units that were allowed; 0 where the two must be equal."""
    fault: str = ""
    """What is wrong beside the numbers: a shape, a type, a missing output."""

    @property
    def ok(self) -> bool:
        """Whether the difference is within what rounding allows."""
        return not self.fault and self.errors.share <= 1.0

    @property
    def tolerance(self) -> float:
        """What is allowed, relative to the size of the result."""
        return self.units * float(np.finfo(self.precision).eps)

    @property
    def scaled_error(self) -> float:
        """The worst difference, relative to the size of the result; infinite for a fault."""
        if self.fault or not self.units:
            return np.inf if self.fault or self.errors.share else 0.0
        return self.errors.share * self.tolerance


@dataclass(frozen=True)
class ParityReport:
    """Every comparison that `check_parity` made."""

    entries: tuple[Entry, ...]
    """One per quantity, precision, pair and case."""

    @property
    def ok(self) -> bool:
        """Whether every comparison is within what rounding allows."""
        return all(entry.ok for entry in self.entries)

    def failures(self) -> list[Entry]:
        """The comparisons that are not, worst first."""
        return sorted((entry for entry in self.entries if not entry.ok), key=_badness, reverse=True)

    def worst(self, quantity: str | None = None, precision: Precision | None = None) -> Entry:
        """The comparison nearest to its limit, or furthest beyond it.

        Args:
            quantity: Only this one; None for all.
            precision: Only this one; None for both.

        Raises:
            ValueError: Nothing was compared under that name.
        """
        chosen = [
            entry
            for entry in self.entries
            if quantity in (None, entry.quantity) and precision in (None, entry.precision)
        ]
        if not chosen:
            names = sorted({entry.quantity for entry in self.entries})
            raise ValueError(f"nothing was compared as {quantity!r}; there are {', '.join(names)}")
        return max(chosen, key=_badness)

    def rows(self) -> list[dict[str, Any]]:
        """The table, one row per quantity, precision and pair, worst over all cases."""
        return [_row(list(group)) for group in self._groups()]

    def assert_ok(self) -> "ParityReport":
        """The report itself, if everything agrees.

        Raises:
            ParityError: Something does not; the message names the worst entry, the inputs that
                lead to it, and both values.
        """
        failures = self.failures()
        if failures:
            raise ParityError(f"{_describe(failures[0])}\n\n{self}")
        return self

    def __str__(self) -> str:
        """A table: worst errors over all cases, and the case that came nearest to its limit."""
        header = ("quantity", "precision", "compared", "cases", "not finite", "abs", "rel", "ulp")
        lines: list[tuple[str, ...]] = [(*header, "of allowed", "", "worst at")]
        lines += [_format_row(row) for row in self.rows()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        aligned = (zip(line, widths, strict=True) for line in lines)
        return "\n".join("  ".join(c.ljust(w) for c, w in line).rstrip() for line in aligned)

    def _groups(self) -> Iterator[Iterator[Entry]]:
        """Entries of one quantity, precision and pair, in order of first appearance."""
        order = {_group_key(entry): i for i, entry in reversed(list(enumerate(self.entries)))}
        ordered = sorted(self.entries, key=lambda entry: order[_group_key(entry)])
        for _, group in groupby(ordered, key=_group_key):
            yield group


def without_unseen(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, with a fault where nothing finite was compared in any case.

    NaN agrees with NaN, so two functions of which every result is NaN would agree in everything.
    Where a boundary states what is expected, that may be NaN.
    """
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_group_key(entry), []).append(entry)
    unseen = {
        key: f"of {sum(entry.errors.size for entry in group)} values none was finite"
        for key, group in groups.items()
        if not key[2].endswith("expected")
        and not any(entry.fault or entry.errors.num_finite for entry in group)
        and any(entry.errors.size for entry in group)
    }
    return tuple(replace(e, fault=unseen.get(_group_key(e), e.fault)) for e in entries)


def _group_key(entry: Entry) -> tuple[str, str, str]:
    return entry.quantity, entry.precision, entry.compared


def _badness(entry: Entry) -> float:
    """Order of severity: the share of what is allowed, infinite for a fault."""
    return np.inf if entry.fault else entry.errors.share


def _row(entries: list[Entry]) -> dict[str, Any]:
    """The worst of several cases."""
    worst = max(entries, key=_badness)
    return {
        "quantity": worst.quantity,
        "precision": worst.precision,
        "compared": worst.compared,
        "cases": len(entries),
        "not_finite": sum(entry.errors.size - entry.errors.num_finite for entry in entries),
        "abs": max(entry.errors.absolute for entry in entries),
        "rel": max(entry.errors.relative for entry in entries),
        "ulp": max(entry.errors.ulp for entry in entries),
        "of_allowed": _badness(worst),
        "ok": all(entry.ok for entry in entries),
        "worst_case": worst.case.label,
    }


def _format_row(row: dict[str, Any]) -> tuple[str, ...]:
    errors = (f"{row['abs']:.1e}", f"{row['rel']:.1e}", f"{row['ulp']:.3g}")
    verdict = "ok" if row["ok"] else "FAIL"
    share = f"{100 * row['of_allowed']:.3g} %"
    names = (row["quantity"], row["precision"], row["compared"])
    counts = (str(row["cases"]), str(row["not_finite"]))
    return (*names, *counts, *errors, share, verdict, row["worst_case"])


def _describe(entry: Entry) -> str:
    """A failure in full: what, where, both values, and the inputs of the case."""
    lines = [f"{entry.quantity} differs in {entry.precision} ({entry.compared})"]
    lines += [f"  in case {entry.case.label!r}, at index {entry.errors.where}:"]
    left, _, right = entry.compared.partition(" - ")
    if entry.fault:
        lines[1:] = [f"  in case {entry.case.label!r}: {entry.fault}"]
    else:
        e = entry.errors
        lines += [f"    {left} = {e.left!s}", f"    {right} = {e.right!s}"]
        lines += [f"  difference {abs(_gap(e)):.3g}, allowed {e.allowed:.3g}"]
    lines.append("  inputs:")
    for name, value in entry.case.inputs.items():
        lines.append(f"    {name} = {_brief(value)}")
    return "\n".join(lines)


def _gap(errors: Errors) -> float:
    """Signed difference, NaN where either is not finite."""
    with np.errstate(invalid="ignore"):
        return float(errors.left) - float(errors.right)


def _brief(value: Any) -> str:
    """An input on one line."""
    if isinstance(value, np.ndarray):
        text = np.array2string(value, precision=9, threshold=12, max_line_width=10**6)
        return " ".join(text.split())
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
