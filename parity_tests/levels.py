"""All levels of the comparison as one table: what was compared, the error, what is allowed.

1 formulas, 2 gradients, 3 networks, 4 optimizer, 5 a whole update, 6 environments, 7 lockstep. The
eighth, learning, takes long and has a command of its own.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from parity_tests.checks import ALL_CHECKS, Check
from parity_tests.environments import TWINS, Twin, compare
from parity_tests.horizons import LEAST, RATIO, Horizons
from parity_tests.measure import PRECISIONS, Precision
from parity_tests.mutants import MUTANTS, Mutant
from parity_tests.report import Entry, ParityReport

NAMES = {
    1: "formulas",
    2: "gradients",
    3: "networks",
    4: "optimizer",
    5: "update",
    6: "environments",
    7: "lockstep",
}
"""What each level compares."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    level: int
    quantity: str
    precision: str
    comparisons: int
    """Arrays compared, over all cases; or seeds, or states and actions."""
    error: float
    """Worst difference between the two sides, relative to the size of the result."""
    tolerance: float
    """What is allowed, in the same unit."""
    ok: bool
    oracle: float | None = None
    """Worst difference of either side from the oracle, as a share of what is allowed."""
    unit: str = ""
    """Of a number that is to be at least the tolerance, as in lockstep; errors have none."""


@dataclass(frozen=True)
class Caught:
    """One planted mistake, and the check that detects it."""

    mutant: str
    level: int
    check: str
    quantities: tuple[str, ...]
    """The quantities that failed."""
    ok: bool
    """Whether the right one did, in both precisions."""


def check_rows(levels: Collection[int], checks: Iterable[Check] = ALL_CHECKS) -> list[Row]:
    """Levels 1 to 5, those of them that are asked for: a row per check, level and precision."""
    rows = []
    for check in checks:
        if not levels_of(check).intersection(levels):
            continue
        groups: dict[tuple[int, Precision], list[Entry]] = {}
        for entry in run_check(check).entries:
            groups.setdefault((level_of(entry, check), entry.precision), []).append(entry)
        rows += [_row(*key, check.name, group) for key, group in groups.items() if key[0] in levels]
    return rows


def run_check(check: Check, precisions: Sequence[Precision] = PRECISIONS) -> ParityReport:
    """Compare the two sides, and release the programs that were compiled for it.

    Each check compiles programs of its own; all of them together would fill the memory.
    """
    report = check.run(precisions)
    jax.clear_caches()
    return report


def mutant_rows(mutants: Sequence[Mutant] = MUTANTS) -> list[Caught]:
    """Every planted mistake, and the level at which comparing the two sides shows it."""
    return [_caught(mutant.without_oracle()) for mutant in mutants]


def environment_rows(twins: Iterable[Twin] = TWINS) -> list[Row]:
    """Level 6: one step from the same state, over a grid of states and actions."""
    return [
        Row(
            level=6,
            quantity=f"{found.environment}: {found.quantity}",
            precision=found.precision,
            comparisons=found.points,
            error=found.relative,
            tolerance=found.rounding.units * float(np.finfo(found.rounding.of).eps),
            ok=found.ok,
        )
        for twin in twins
        for precision in PRECISIONS
        for found in compare(twin, precision)
    ]


def horizon_rows(horizons: Iterable[Horizons]) -> list[Row]:
    """Level 7, for each precision: the horizon itself, and its ratio to JAX beside itself."""
    rows = []
    for h in horizons:
        least = LEAST[h.precision]
        together = f"updates until PyTorch and JAX act differently, median of {len(h.seeds)} seeds"
        beside = f"the same over JAX beside JAX one ulp away ({h.neighbour_median:g} updates)"
        for quantity, value, limit, unit in (
            (together, h.cross_median, least, "updates"),
            (beside, h.ratio, RATIO, "times"),
        ):
            where = 7, quantity, h.precision, len(h.seeds)
            rows.append(Row(*where, value, limit, value >= limit, unit=unit))
    return rows


def is_gradient(quantity: str) -> bool:
    """Whether a quantity's name is that of a gradient: "d/d x" or "d loss/d x"."""
    return quantity.startswith(("d/d ", "d ")) and "/d " in quantity


def levels_of(check: Check) -> set[int]:
    """The levels that the comparisons of a check belong to."""
    return {1, 2} if check.level <= 2 else {check.level}


def level_of(entry: Entry, check: Check) -> int:
    """The level of one comparison: gradients of formulas are level 2, their values level 1."""
    return check.level if check.level > 2 else 1 + is_gradient(entry.quantity)


def _row(level: int, precision: Precision, name: str, entries: Sequence[Entry]) -> Row:
    """The worst of many comparisons."""
    sides = [entry for entry in entries if entry.compared == "jax - torch"]
    oracle = [entry for entry in entries if entry.compared != "jax - torch"]
    worst = max(sides, key=lambda entry: entry.scaled_error)
    return Row(
        level=level,
        quantity=name,
        precision=precision,
        comparisons=len(entries),
        error=worst.scaled_error,
        tolerance=worst.tolerance,
        ok=all(entry.ok for entry in entries),
        oracle=max((entry.errors.share for entry in oracle), default=None),
    )


def _caught(mutant: Mutant) -> Caught:
    """Run a check with a mistake in it, in both precisions."""
    failures = run_check(mutant.check).failures()
    right = [entry for entry in failures if entry.quantity.startswith(mutant.quantity)]
    return Caught(
        mutant=mutant.name,
        level=level_of(right[0], mutant.check) if right else 0,
        check=mutant.check.name,
        quantities=tuple(dict.fromkeys(entry.quantity for entry in failures)),
        ok={entry.precision for entry in right} == set(PRECISIONS),
    )
