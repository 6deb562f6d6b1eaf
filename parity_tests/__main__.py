"""The command-line program: `python -m parity_tests`, and `python -m parity_tests learning`."""

import argparse
import dataclasses
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jax_ppo.app.machine import describe_machine
from jax_ppo.app.runs import write_json
from parity_tests import page
from parity_tests.environments import known_differences
from parity_tests.horizons import Horizons, measure_horizons
from parity_tests.learning import EXPERIMENTS, run_experiment
from parity_tests.levels import (
    NAMES,
    Caught,
    Row,
    check_rows,
    environment_rows,
    horizon_rows,
    mutant_rows,
)
from parity_tests.lockstep import CARTPOLE
from parity_tests.matmul import matmul_rows
from parity_tests.measure import PRECISIONS
from parity_tests.pictures import plot_horizons, plot_learning

DEVICES = ("cpu", "gpu", "tpu")
"""Kinds of device by the name that JAX knows them by."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparisons, print their table, and write the report.

    Returns:
        0 if everything agrees, 1 if something does not, 2 if it could not be run.
    """
    options = _parser().parse_args(arguments)
    try:
        device = use_device(options.device)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    machine = {**describe_machine(), "device": device}
    folder = options.out / re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    run = run_learning if options.what == "learning" else run_report
    return 0 if run(options, machine, folder) else 1


def use_device(name: str) -> str:
    """Make JAX compute on one kind of device from now on, and return the name of the device.

    Raises:
        RuntimeError: This machine has none, or this JAX cannot use it.
    """
    if name == "cpu":
        # By environment too, so that processes started from this one inherit it.
        os.environ["JAX_PLATFORMS"] = "cpu"
        jax.config.update("jax_platforms", "cpu")
    try:
        return jax.devices(name)[0].device_kind
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RuntimeError(f"JAX finds no {name} on this machine: {reason}") from error


def run_report(options: argparse.Namespace, machine: dict[str, Any], folder: Path) -> bool:
    """Levels 1 to 7 and the planted mistakes: whether all agrees and every mistake is caught."""
    started = time.monotonic()
    rows: list[Row] = []
    horizons: list[Horizons] = []
    rows += check_rows(options.levels)
    if 3 in options.levels:
        rows += matmul_rows()
    if 6 in options.levels:
        rows += environment_rows()
    if 7 in options.levels:
        horizons = [measure_horizons(p, options.processes) for p in PRECISIONS]
        rows += horizon_rows(horizons)
    caught = mutant_rows()
    seconds = time.monotonic() - started
    rows.sort(key=lambda row: row.level)
    for cells in (page.row_cells(rows), page.caught_cells(caught), page.summary_cells(rows)):
        print(page.as_text(cells), end="\n\n")
    ok = all(row.ok for row in rows) and all(row.ok for row in caught)
    write_report(rows, caught, horizons, machine, folder)
    verdict = "everything agrees" if ok else "THE TWO SIDES DIFFER"
    print(f"{verdict}: {len(rows)} rows, {len(caught)} mistakes, {seconds:.0f} s; see {folder}")
    return ok


def run_learning(options: argparse.Namespace, machine: dict[str, Any], folder: Path) -> bool:
    """Level 8, independent trainings: whether both sides learn equally well and equally fast."""
    comparisons = [run_experiment(e, options.processes) for e in EXPERIMENTS.values()]
    cells = page.learning_cells(comparisons)
    print(page.as_text(cells))
    content = {"machine": machine, "comparisons": [c.to_dict() for c in comparisons]}
    write_json(folder / "learning.json", content)
    (folder / "learning.md").write_text(page.learning_page(comparisons, machine))
    plot_learning(comparisons, folder / "learning.png")
    print(f"see {folder}")
    return all(comparison.ok for comparison in comparisons)


def write_report(
    rows: Sequence[Row],
    caught: Sequence[Caught],
    horizons: Sequence[Horizons],
    machine: dict[str, Any],
    folder: Path,
) -> None:
    """Write report.json, report.md and, if it was measured, lockstep.png."""
    content = {
        "machine": machine,
        "rows": [dataclasses.asdict(row) for row in rows],
        "environment_differences": known_differences(),
        "mistakes": [dataclasses.asdict(row) for row in caught],
        "lockstep": [h.to_dict() for h in horizons],
    }
    write_json(folder / "report.json", content)
    (folder / "report.md").write_text(page.report_page(rows, caught, horizons, machine))
    if horizons:
        title = f"{CARTPOLE.env_id}, {CARTPOLE.num_envs} x {CARTPOLE.num_steps}"
        plot_horizons(horizons, title, folder / "lockstep.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m parity_tests",
        description="Check that jax_ppo and torch_ref are the same algorithm, and write a report.",
    )
    levels = ", ".join(f"{level} {name}" for level, name in NAMES.items())
    parser.add_argument(
        "what",
        nargs="?",
        choices=("report", "learning"),
        default="report",
        help="report: levels 1 to 7, minutes; learning: level 8, trainings, a quarter of an hour",
    )
    parser.add_argument(
        "--levels",
        nargs="+",
        type=int,
        choices=tuple(NAMES),
        default=tuple(NAMES),
        metavar="N",
        help=f"which levels the report has: {levels} (default: all)",
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="where JAX computes; PyTorch stays on the CPU (default: cpu)",
    )
    parser.add_argument(
        "--processes",
        type=_positive,
        metavar="N",
        default=max(1, (os.cpu_count() or 1) - 1),
        help="trainings at a time, in levels 7 and 8 (default: all cores but one)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("parity-results"),
        help="folder to write into, a folder per device (default: %(default)s)",
    )
    return parser


def _positive(word: str) -> int:
    """A whole number of at least 1."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
