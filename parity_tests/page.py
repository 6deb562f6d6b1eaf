"""The report as text: tables for the terminal and for Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parity_tests.environments import known_differences
from parity_tests.horizons import Horizons
from parity_tests.learning import Comparison, Equivalence
from parity_tests.levels import NAMES, Caught, Row
from parity_tests.measure import PRECISIONS

HEADER = (
    *("level", "quantity", "precision", "comparisons"),
    *("worst error", "tolerance", "oracle, of allowed", "verdict"),
)


EXPLANATION = """\
Errors are relative to the size of the result, or of the terms that it is a sum of where they
cancel. float64 rounds to 2.2e-16 and float32 to 1.2e-7. A tolerance is the measured error with
small headroom. The oracle is an independent implementation in NumPy, written from the papers;
gradients are compared with its central differences. In lockstep the number is how many updates
passed before the two trainers first acted differently."""

LOCKSTEP = """\
Both trainers run the same training from the same draws. Training is chaotic: any two runs that
differ in one last bit diverge in the end. How soon is measured by a second run of JAX, from initial
parameters moved by one unit in the last place. Updates before the first in which any action
differs:"""

ENVIRONMENTS = """\
Where gymnax and Gymnasium differ by more than rounding of the same arithmetic. Each difference is
checked by a test, which fails if the difference goes away, and is left out of the comparison at
exactly the points that it concerns."""

MISTAKES = """\
Each is a mistake that is known from other implementations, planted on one side. The level is where
comparing the two sides first shows it, in both precisions."""

LEARNING = """\
Each side trains every seed on its own environments with its own random numbers. Means are compared
by two one-sided Welch t-tests (TOST): "equivalent" means that a difference as large as the margin
is ruled out at the 5% level. The margins were fixed before the first run. KS is the two-sample
Kolmogorov-Smirnov test of the whole distributions."""


def row_cells(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """The table's cells, header first."""
    return [HEADER, *(_cells(row) for row in rows)]


def caught_cells(caught: Iterable[Caught]) -> list[tuple[str, ...]]:
    """The planted mistakes' cells, header first."""
    cells: list[tuple[str, ...]] = [("mistake", "caught at level", "by the check", "in precision")]
    for row in caught:
        level = f"{row.level} {NAMES[row.level]}" if row.level else "NOT CAUGHT"
        cells.append((row.mutant, level, row.check, "both" if row.ok else "NOT BOTH"))
    return cells


def summary_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """One line per level: how much was compared, the worst error of each precision, the verdict."""
    header = ("level", "what", "comparisons", "worst float32", "worst float64", "verdict")
    return [header, *(_summary(level, rows) for level in sorted({row.level for row in rows}))]


def difference_cells(differences: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The cells of what `known_differences` gives, header first."""
    header = ("environment", "difference", "state, action", "gymnax", "Gymnasium", "why")
    cells: list[tuple[str, ...]] = [header]
    for found in differences:
        shown = "" if found["state"] is None else f"{found['state']}, {found['action']}"
        why = f"gymnax: {found['gymnax_cause']} Gymnasium: {found['gymnasium_cause']}"
        results = (
            "; ".join(f"{name} {value}" for name, value in found[side].items())
            for side in ("gymnax", "gymnasium")
        )
        cells.append((found["environment"], _where(found), shown, *results, why))
    return cells


def learning_cells(comparisons: Iterable[Comparison]) -> list[tuple[str, ...]]:
    """Two lines per environment, header first."""
    header = (
        *("environment", "seeds", "quantity", "jax_ppo", "torch_ref", "difference, 90% CI"),
        *("margin", "p of TOST", "p of KS", "verdict"),
    )
    cells: list[tuple[str, ...]] = [header]
    for comparison in comparisons:
        experiment = comparison.experiment
        where = (experiment.config.env_id, str(experiment.num_agents))
        steps = f"steps to a return of {experiment.threshold:g}"
        cells.append((*where, "final return", *_equivalence(comparison.final_return, ".1f")))
        cells.append((*where, steps, *_equivalence(comparison.steps_to_threshold, ",.0f")))
    return cells


def as_text(cells: Sequence[Sequence[str]]) -> str:
    """A table for the terminal, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(cells: Sequence[Sequence[str]]) -> str:
    """A table for Markdown."""
    header, *body = (
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |" for line in cells
    )
    return "\n".join([header, "|" + " --- |" * len(cells[0]), *body])


def report_page(
    rows: Sequence[Row],
    caught: Sequence[Caught],
    horizons: Sequence[Horizons],
    machine: dict[str, Any],
) -> str:
    """The report as a Markdown page; without a part about lockstep if there are no horizons."""
    parts = [
        "# jax_ppo and torch_ref, compared",
        provenance(machine),
        "## Summary",
        as_markdown(summary_cells(rows)),
        EXPLANATION,
        *(_lockstep_part(horizons) if horizons else ()),
        "## Environments",
        ENVIRONMENTS,
        as_markdown(difference_cells(known_differences())),
        "## Every comparison",
        as_markdown(row_cells(rows)),
        "## Mistakes that were planted",
        MISTAKES,
        as_markdown(caught_cells(caught)),
    ]
    return "\n\n".join(parts) + "\n"


def learning_page(comparisons: Sequence[Comparison], machine: dict[str, Any]) -> str:
    """Level 8 as a Markdown page."""
    parts = [
        "# jax_ppo and torch_ref, trained independently",
        provenance(machine),
        LEARNING,
        as_markdown(learning_cells(comparisons)),
        "![Outcomes of every seed](learning.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _lockstep_part(horizons: Sequence[Horizons]) -> tuple[str, ...]:
    """The picture, and the horizon of every seed."""
    header = ("precision", "pair", *(f"seed {seed}" for seed in horizons[0].seeds), "median")
    cells: list[tuple[str, ...]] = [header]
    for h in horizons:
        for pair, runs, median in (
            ("PyTorch, JAX", h.cross, h.cross_median),
            ("JAX one ulp away, JAX", h.neighbour, h.neighbour_median),
        ):
            updates = (f"{run.identical_updates}" for run in runs)
            cells.append((h.precision, pair, *updates, f"{median:g}"))
    return ("## Lockstep", LOCKSTEP, as_markdown(cells), "![Distances](lockstep.png)")


def provenance(machine: dict[str, Any]) -> str:
    """Versions and device, in one paragraph."""
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    where = f"{machine['device']}; {machine['processor']}, {machine['cpu_count']} cores"
    return f"Python {machine['python']}, {versions}. JAX computed on: {where}. PyTorch: CPU."


def _cells(row: Row) -> tuple[str, ...]:
    """One row's cells."""
    return (
        *(str(row.level), row.quantity, row.precision, f"{row.comparisons:,}"),
        _number(row.error, row.unit),
        f"at least {row.tolerance:g}" if row.unit else f"{row.tolerance:.1e}",
        "" if row.oracle is None else f"{row.oracle:.0%}",
        "ok" if row.ok else "FAIL",
    )


def _where(found: Mapping[str, Any]) -> str:
    """A difference in words, with the precision that it is limited to."""
    only = "" if len(found["precisions"]) > 1 else f" Only in {found['precisions'][0]}."
    reach = "" if found["reachable"] else " No episode can get there."
    return f"{found['what']}{only}{reach}"


def _number(error: float, unit: str) -> str:
    """An error, or a number with a unit."""
    return f"{error:.4g} {unit}" if unit else f"{error:.1e}"


def _summary(level: int, rows: Sequence[Row]) -> tuple[str, ...]:
    """One level's line."""
    mine = [row for row in rows if row.level == level]
    count = f"{sum(row.comparisons for row in mine):,}"
    worst = [_worst([row for row in mine if row.precision == p]) for p in PRECISIONS]
    verdict = "ok" if all(row.ok for row in mine) else "FAIL"
    return str(level), NAMES[level], count, *worst, verdict


def _worst(rows: Sequence[Row]) -> str:
    """The largest error; of numbers with units, the first."""
    if not rows:
        return ""
    row = rows[0] if rows[0].unit else max(rows, key=lambda row: row.error)
    return _number(row.error, row.unit)


def _equivalence(result: Equivalence, spec: str) -> tuple[str, ...]:
    """One comparison's cells."""
    interval = f"{result.ci_low:{spec}} to {result.ci_high:{spec}}"
    return (
        f"{result.jax_mean:{spec}}",
        f"{result.torch_mean:{spec}}",
        f"{result.difference:{spec}} ({interval})",
        f"{result.margin:{spec}}",
        f"{result.p_value:.1e}",
        f"{result.ks_p_value:.2f}",
        "equivalent" if result.equivalent else "NOT SHOWN",
    )
