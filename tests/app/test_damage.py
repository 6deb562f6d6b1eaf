"""Run and sweep folders whose descriptions were damaged, and names that a system cannot take."""

import json
import os
import re
from collections.abc import Callable
from copy import deepcopy
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jax_ppo import PPOConfig
from jax_ppo.app import cli
from jax_ppo.app.commands.common import TrainOptions
from jax_ppo.app.errors import AppError
from jax_ppo.app.outcome import report_line, summary_of
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, RunSettings, json_of, new_folder, open_run
from jax_ppo.app.statistics import summarize
from jax_ppo.app.sweeps.sweep import (
    Outcome,
    Sweep,
    create_sweep,
    open_sweep,
    outcomes_of,
    parts_of,
    rank,
)
from jax_ppo.app.training import train_run

from .conftest import CONFIG, QuietDisplay

WRONG = [None, True, 0.5, -1, 0, "x", "", [], {}, [[1]], {"a": 1}, 1e400, 10**30]
"""What may stand in a place that another value belongs in."""


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value of a JSON document."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found = [path] if path else []
    for key, value in items:
        nested = isinstance(value, (dict, list))
        found += places(value, (*path, key)) if nested else [(*path, key)]
    return found


def damaged(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A document with another value at a path; None removes the entry."""
    content = deepcopy(content)
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    if value is None and isinstance(parent, dict):
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return content


def texts_of(content: Any) -> st.SearchStrategy[str]:
    """Damaged documents: another value somewhere, torn, or not JSON at all."""
    text = json.dumps(content)
    replaced = st.tuples(st.sampled_from(places(content)), st.sampled_from(WRONG)).map(
        lambda pair: json.dumps(damaged(content, *pair))
    )
    torn = st.integers(0, len(text) - 1).map(lambda end: text[:end])
    others = st.sampled_from(["", "[]", "1", "null", "[" * 100_000, "\x00", '{"a":'])
    return st.one_of(replaced, replaced, torn, others)


def opened(read: Callable[[], Any], complaint: str) -> Any:
    """What is read, or None if it is refused in one line that says so."""
    try:
        return read()
    except AppError as error:
        message = str(error)
    assert re.search(complaint, message)
    assert "\n" not in message
    return None


def line_of(file: Path) -> str:
    """An evaluation in one line."""
    with json_of(file) as content:
        summary_of(content["over_seeds"])
        return report_line(content)


@pytest.fixture(scope="module")
def made_sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep folder of two trials; nothing is trained."""
    trials = ({"gamma": 0.9}, {"gamma": 0.99})
    path = tmp_path_factory.mktemp("sweeps") / "made"
    sweep = Sweep(path, CONFIG, trials, RunSettings(num_agents=2), 4, 2, num_trials=2)
    create_sweep(sweep)
    return sweep


@given(data=st.data())
@settings(max_examples=150)
def test_run_json(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Either a run of the right types, or one line that names the file."""
    path = tmp_path_factory.mktemp("run")
    content = {
        "config": {**vars(CONFIG)},
        "settings": vars(RunSettings(devices=2)),
        "framework": "jax",
        "algorithm": "ppo",
        "in_sweep": False,
        "id": "ab",
    }
    (path / "run.json").write_text(data.draw(texts_of(content)))
    run = opened(lambda: open_run(path), "run.json cannot be read")
    if run is None:
        return
    assert isinstance(run.algorithm, str)
    assert isinstance(run.id, str)
    assert isinstance(run.in_sweep, bool)
    assert all(isinstance(seed, int) for seed in run.settings.seeds[:2])
    assert run.config.num_updates >= 0


@given(data=st.data())
@settings(max_examples=150)
def test_sweep_json(data: st.DataObject, made_sweep: Sweep) -> None:
    file = made_sweep.path / "sweep.json"
    sound = file.read_text()
    file.write_text(data.draw(texts_of(json.loads(sound))))
    opened(lambda: parts_of(open_sweep(made_sweep.path)), "sweep.json cannot be read|no algorithm")
    file.write_text(sound)


@given(data=st.data())
@settings(max_examples=150)
def test_evaluation_json(data: st.DataObject, made_sweep: Sweep) -> None:
    """Of a run, as reports read it, and of a part of a sweep, as the ranking does."""
    (part,) = parts_of(made_sweep)
    part.path.mkdir(exist_ok=True)
    file = part.path / "evaluation.json"
    outcomes = [Outcome(trial, 0, 1.0, False)._asdict() for trial in (0, 1)]
    file.write_text(data.draw(texts_of(outcomes)))
    opened(lambda: rank(outcomes_of(made_sweep)), "evaluation.json cannot be read")
    summary = summarize([1.0, 2.0])._asdict()
    file.write_text(data.draw(texts_of({"over_seeds": summary})))
    opened(lambda: line_of(file), "evaluation.json cannot be read")


@pytest.mark.parametrize("row", ["5", '{"devices": 3}', '{"devices": null}', '{"dev', "[[[["])
def test_starts(row: str, finished_run: Run) -> None:
    starts = finished_run.path / "starts.jsonl"
    starts.write_text(f"{row}\n{row}\n")
    train_run(finished_run, QuietDisplay(finished_run))


def test_a_run_without_its_checkpoints_says_that_it_begins_anew(finished_run: Run) -> None:
    for file in finished_run.checkpoints.iterdir():
        file.unlink()
    finished_run.checkpoints.rmdir()
    display = QuietDisplay(finished_run, after=0, action=_stop)
    with pytest.raises(KeyboardInterrupt):
        train_run(finished_run, display)
    assert any("no checkpoint that can be read: it begins anew" in said for said in display.said)


def _stop() -> None:
    raise KeyboardInterrupt


def test_a_lock_that_was_removed_stops_training(finished_run: Run) -> None:
    """Another process could lock the folder too; nothing more is written."""
    for file in finished_run.checkpoints.iterdir():
        file.unlink()
    lock = finished_run.path / "lock"
    rows: list[int] = []

    def remove() -> None:
        lock.unlink(missing_ok=True)
        rows.append(len(finished_run.metrics.read_text().splitlines()))

    with pytest.raises(AppError, match="was removed, so that another process may be training"):
        train_run(finished_run, QuietDisplay(finished_run, after=1, action=remove))
    assert len(rows) == 1
    assert len(finished_run.metrics.read_text().splitlines()) == rows[0]


def test_export_from_inside_the_folder(
    finished_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished_run.path)
    assert cli.main(["export", ".", "--to", "torch"]) == 0
    assert (finished_run.path.parent / f"{finished_run.path.name}-torch" / "run.json").is_file()


def test_names_of_folders() -> None:
    """No colon, which Windows does not take, and no folder within a folder."""
    assert new_folder("runs", "mine:Env/x y-v0").name.startswith("mine-Env-x-y-v0-")


def test_an_environment_whose_name_looks_like_markup(tmp_path: Path) -> None:
    options = TrainOptions(PPOConfig(env_id="A[/b]"))
    console = Console(file=TextIOWrapper(BytesIO(), encoding="utf-8"), force_terminal=True)
    with Display(Run(tmp_path, options.config, RunSettings()), console) as display:
        display.begin(0)


def test_a_terminal_without_the_letters_of_a_name(
    monkeypatch: pytest.MonkeyPatch, finished_run: Run
) -> None:
    named = finished_run.path.with_name("läufe")
    os.rename(finished_run.path, named)
    written = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(written, encoding="ascii", write_through=True))
    assert cli.main(["export", str(named), "--to", "torch"]) == 0
    assert b"l\\xe4ufe-torch" in written.getvalue()


def test_the_table_of_results_is_whole_in_a_narrow_terminal(
    finished_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert cli.main(["evaluate", str(finished_run.path), "--num-episodes", "4"]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    assert all(name in out for name in ("seed", "mean", "median", "min", "max", "length"))
    assert "over the 2 agents' means: mean " in out
