"""`python -m parity_tests`: what it prints and writes, and its errors."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from parity_tests import __main__ as program
from parity_tests import page
from parity_tests.checks.losses import CHECKS as LOSSES
from parity_tests.environments import TWINS
from parity_tests.environments.twin import STEP_QUANTITIES
from parity_tests.horizons import Horizons, measure_horizons
from parity_tests.learning import Comparison, Experiment, Outcome
from parity_tests.levels import (
    Row,
    check_rows,
    environment_rows,
    horizon_rows,
    is_gradient,
    mutant_rows,
)
from parity_tests.lockstep import CARTPOLE, Lockstep
from parity_tests.matmul import matmul_error, matmul_rows
from parity_tests.measure import PRECISIONS
from parity_tests.mutants import MUTANTS
from parity_tests.pictures import plot_horizons, plot_learning

MACHINE = {
    "device": "abacus", "processor": "beads", "cpu_count": 2, "python": "3.11", "versions": {},
}  # fmt: skip


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with one check and one mistake."""
    monkeypatch.setattr(program, "check_rows", lambda levels: check_rows(levels, LOSSES[:1]))
    monkeypatch.setattr(program, "mutant_rows", lambda: mutant_rows(MUTANTS[:1]))


@pytest.mark.usefixtures("short")
def test_a_report_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["--levels", "2", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "everything agrees: 4 rows, 1 mistakes" in printed
    (folder,) = tmp_path.iterdir()
    content = json.loads((folder / "report.json").read_text())
    assert [row["level"] for row in content["rows"]] == [1, 1, 2, 2]
    assert {row["precision"] for row in content["rows"]} == {"float32", "float64"}
    assert all(0 <= row["error"] <= row["tolerance"] < 1e-5 for row in content["rows"])
    assert content["mistakes"][0]["level"] == 1
    assert content["machine"]["versions"]["jax"] == jax.__version__
    markdown = (folder / "report.md").read_text()
    assert "| 1 | clipped_surrogate_loss | float32 |" in markdown
    assert MUTANTS[0].name in markdown


@pytest.mark.usefixtures("short")
def test_a_difference_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = next(m for m in MUTANTS if m.name == "value loss without 1/2").check
    monkeypatch.setattr(program, "check_rows", lambda levels: check_rows(levels, [wrong]))
    assert program.main(["--levels", "1", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "FAIL" in printed
    assert "THE TWO SIDES DIFFER" in printed


@pytest.mark.usefixtures("short")
def test_a_mistake_that_is_not_caught_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless = [type(MUTANTS[0])("nothing wrong", LOSSES[0], "value")]
    monkeypatch.setattr(program, "mutant_rows", lambda: mutant_rows(harmless))
    assert program.main(["--levels", "1", "--out", str(tmp_path)]) == 1
    assert "NOT CAUGHT" in capsys.readouterr().out


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    if jax.default_backend() == "tpu":
        pytest.skip("this machine has a TPU")
    assert program.main(["--device", "tpu"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: JAX finds no tpu on this machine")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--levels", "9"], "invalid choice: 9"),
        (["--processes", "0"], "must be at least 1"),
        (["lerning"], "invalid choice: 'lerning'"),
    ],
)
def test_mistakes_on_the_command_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(words)
    assert complaint in capsys.readouterr().err


def test_gradients_are_distinguished_from_values() -> None:
    assert is_gradient("d/d log_prob")
    assert is_gradient("d loss/d batch.obs")
    assert not is_gradient("distance")
    assert not is_gradient("metrics.loss")


def test_environments_have_a_row_for_each_quantity_and_precision() -> None:
    rows = environment_rows()
    assert all(row.ok and row.error <= row.tolerance for row in rows)
    assert [(row.quantity, row.precision) for row in rows] == [
        (f"{twin.env_id}: {quantity}", precision)
        for twin in TWINS
        for precision in PRECISIONS
        for quantity in STEP_QUANTITIES
    ]


def lockstep(identical: int) -> Lockstep:
    """Two trainings that part after so many of 200 updates."""
    return Lockstep(identical, 200, 1e-16 * 1.2 ** np.arange(200), np.zeros(200))


@pytest.mark.parametrize(
    ("cross", "neighbour", "verdicts"),
    [(110, 112, [True, True]), (99, 100, [False, True]), (110, 150, [True, False])],
)
def test_lockstep_is_held_to_both_limits(cross: int, neighbour: int, verdicts: list[bool]) -> None:
    """At least 100 updates in float64, and at least 0.8 of what JAX manages beside itself."""
    measured = Horizons("float64", (0,), (lockstep(cross),), (lockstep(neighbour),))
    rows = horizon_rows([measured])
    assert [row.ok for row in rows] == verdicts
    assert [row.error for row in rows] == [cross, cross / neighbour]


def test_horizons_are_measured_in_processes_of_their_own() -> None:
    config = CARTPOLE.replace(total_steps=2 * 512)
    measured = measure_horizons("float64", 1, config, seeds=(3,))
    assert measured.cross_median == measured.neighbour_median == 2
    assert measured.ratio == 1
    assert measured.cross[0].distances.max() < 1e-14


def test_pictures_are_drawn(tmp_path: Path) -> None:
    runs = tuple(lockstep(i) for i in (100, 110, 120))
    horizons = [Horizons(p, (0, 1, 2), runs, runs) for p in ("float32", "float64")]
    plot_horizons(horizons, "CartPole-v1", tmp_path / "lockstep.png")
    outcomes = tuple(Outcome(float(i), 10.0 * i) for i in range(4))
    comparison = Comparison(Experiment(CARTPOLE, 4, 2.0, 1.0, 0.5), outcomes, outcomes)
    plot_learning([comparison], tmp_path / "learning.png")
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
    text = page.learning_page([comparison], MACHINE)
    assert "| CartPole-v1 | 4 | final return | 1.5 | 1.5 | 0.0 (" in text


def test_columns_are_aligned() -> None:
    rows = [Row(1, "a", "float32", 1, 1e-8, 1e-7, True), Row(1, "long", "float64", 10, 0, 0, False)]
    lines = page.as_text(page.row_cells(rows)).splitlines()
    words = ("verdict", "ok", "FAIL")
    assert len({line.index(word) for line, word in zip(lines, words, strict=True)}) == 1


def test_matrix_products_are_exact_to_float32_here() -> None:
    """On a CPU both are; "default" may round to TF32 or bfloat16 elsewhere, and its row says so."""
    highest, _ = matmul_rows()
    assert highest.ok
    assert matmul_error("highest") < 1e-6
