"""What a run leaves behind to look at: rows, events, the learning curve, the display."""

import io
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from jax_ppo.app.history import make_history, read_history
from jax_ppo.app.plots.curves import curve_of, learning_curve
from jax_ppo.app.plots.picture import write_png
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import DamagedRowsError, Run, append_rows, read_rows, truncate_rows
from jax_ppo.app.tensorboard import EventLog


def events(path: Path) -> Iterator[Event]:
    """Events of a file: records of length, checksum, content, checksum."""
    content = path.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


def test_events_hold_what_the_rows_hold(finished_run: Run) -> None:
    rows = [json.loads(line) for line in finished_run.metrics.read_text().splitlines()]
    for seed in (0, 1):
        (path,) = (finished_run.path / "tensorboard" / f"seed_{seed}").iterdir()
        found = {
            (event.step, value.tag): value.simple_value
            for event in events(path)
            for value in event.summary.value
        }
        expected = {
            (row["steps"], name): np.float32(value)
            for row in rows
            if row["seed"] == seed
            for name, value in row.items()
            if name not in ("update", "steps", "seed") and value is not None
        }
        assert found == expected


def test_event_log_starts_anew(tmp_path: Path) -> None:
    row = {"update": 1, "steps": 10, "seed": 0, "loss": 1.0}
    for _ in range(2):
        log = EventLog(tmp_path / "log")
        log.add([row])
        log.close()
    (path,) = (tmp_path / "log" / "seed_0").iterdir()
    assert [event.step for event in events(path) if event.summary.value] == [10]


def test_rows_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"update": 1, "x": 0.1}, {"update": 2, "x": math.nan}])
    append_rows(path, [{"update": 3, "x": math.inf}])
    assert list(read_rows(path)) == [
        {"update": 1, "x": 0.1},
        {"update": 2, "x": None},
        {"update": 3, "x": None},
    ]
    truncate_rows(path, 2)
    assert [row["update"] for row in read_rows(path)] == [1, 2]


@pytest.mark.parametrize("garbage", ['{"update": 2, "x', "[1]", "\x00\x00", "[" * 100_000])
def test_a_damaged_row(garbage: str, tmp_path: Path) -> None:
    """The last row may be; any other is an error to readers, and left out by training."""
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"update": 1}])
    with path.open("a") as file:
        file.write(f"{garbage}\n")
    assert list(read_rows(path)) == [{"update": 1}]
    append_rows(path, [{"update": 3}, {"update": 4}])
    before = path.read_bytes()
    with pytest.raises(DamagedRowsError, match="row 2 cannot be read; `jax-ppo resume"):
        list(read_rows(path))
    (problem,) = truncate_rows(path, 3)
    assert "rows.jsonl has rows that cannot be read" in problem
    assert list(read_rows(path)) == [{"update": 1}, {"update": 3}]
    (kept,) = tmp_path.glob("rows.jsonl.damaged-*")
    assert kept.name in problem
    assert kept.read_bytes() == before
    assert truncate_rows(path, 3) == []


def test_curves_weigh_updates_by_episodes() -> None:
    rows = [
        {"episode_return": 10.0, "num_episodes": 1},
        {"episode_return": 40.0, "num_episodes": 2},
        {"episode_return": None, "num_episodes": 0},
        {"episode_return": 5.0, "num_episodes": 1},
    ]
    rows = [{"update": i, "steps": 5 * i, "seed": 7, **row} for i, row in enumerate(rows, 1)]
    curve = curve_of(make_history(rows, [7], [{"update": 4, "seconds": 8.0}]), num_bins=2)
    np.testing.assert_array_equal(curve.steps, [5.0, 15.0])
    np.testing.assert_array_equal(curve.seconds, [2.0, 6.0])
    np.testing.assert_array_equal(curve.returns, [[30.0, 5.0]])


def test_an_update_that_was_not_written_atomically_is_left_out() -> None:
    rows = [{"update": i, "steps": i, "seed": s, "x": 1.0} for i in (1, 2) for s in (0, 1)]
    assert make_history(rows[:-1], [0, 1]).updates.tolist() == [1]
    assert make_history(rows, [0, 1]).updates.tolist() == [1, 2]


def test_learning_curve_is_a_picture(finished_run: Run, tmp_path: Path) -> None:
    write_png(learning_curve(finished_run, read_history(finished_run)), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_learning_curve_of_a_run_in_which_no_episode_ended(tmp_path: Path, new_run) -> None:
    run = new_run("short")
    row = {"update": 1, "seed": 0, "steps": 32, "episode_return": None, "num_episodes": 0}
    append_rows(run.metrics, [row, {**row, "seed": 1}])
    write_png(learning_curve(run, read_history(run)), tmp_path / "curve.png")


def test_display_on_a_terminal_and_off_it(finished_run: Run) -> None:
    returns = np.array([[20.0, math.nan]])
    for terminal in (False, True):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=120)
        with Display(finished_run, console) as display:
            display.begin(0)
            display.advance(6, returns)
            display.advance(12, returns)
        assert "steps/s, episode return 20.0" in screen.getvalue()
        assert ("384 steps x 2 agents" in screen.getvalue()) is not terminal
