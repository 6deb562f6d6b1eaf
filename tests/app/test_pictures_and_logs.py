"""What a run leaves behind to look at: rows, events, the learning curve, the display."""

import io
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from jax_ppo.app.errors import AppError
from jax_ppo.app.history import History, Recorder, read_history, seconds_at
from jax_ppo.app.logs import RunLog
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
        log.begin()
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


def test_rows_are_cut_off_where_they_stand(tmp_path: Path) -> None:
    """After a crash: nothing is written anew, and a row without its end goes too."""
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"update": i} for i in (1, 2, 3)])
    with path.open("a") as file:
        file.write('{"update": 2}')
    inode = path.stat().st_ino
    assert truncate_rows(path, 2) == []
    assert path.read_text() == '{"update": 1}\n{"update": 2}\n'
    assert path.stat().st_ino == inode
    append_rows(path, [{"update": 9}, {"update": 2}])  # not in order: nobody writes that
    assert truncate_rows(path, 2) == []
    assert [row["update"] for row in read_rows(path)] == [1, 2, 2]


def history_of(rows: list, seeds: list, timing: Any = (), num_updates: int = 4) -> History:
    """What a recorder makes of rows."""
    recorder = Recorder(seeds, num_updates)
    for row in rows:
        recorder.add_row(row)
    return recorder.history(timing)


def test_a_long_history_is_made_of_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 updates in at most 2 entries: of 3 and of 2; returns are weighed by episodes."""
    monkeypatch.setattr("jax_ppo.app.history.MAX_ENTRIES", 2)
    monkeypatch.setattr("jax_ppo.app.history.MIN_UPDATES", 1)
    returns, episodes = [10.0, None, 40.0, None, None], [1, 0, 2, 0, 0]
    rows = [
        {"update": i, "steps": 5 * i, "seed": 0, "episode_return": r, "num_episodes": n, "x": 2 * i}
        for i, (r, n) in enumerate(zip(returns, episodes, strict=True), 1)
    ]
    history = history_of(rows, [0], num_updates=5)
    assert history.updates.tolist() == [3, 5]
    assert history.steps.tolist() == [15, 25]
    assert history.num_updates == 5
    np.testing.assert_array_equal(history.metrics["episode_return"], [[30.0], [np.nan]])
    np.testing.assert_array_equal(history.metrics["num_episodes"], [[1.0], [0.0]])
    np.testing.assert_array_equal(history.metrics["x"], [[4.0], [9.0]])


def test_a_history_is_as_large_for_any_number_of_updates() -> None:
    recorder = Recorder(range(2_000), 10_000_000)
    for update in range(50_000, 10_000_001, 50_000):
        recorder.add({"x": [1.0] * 2_000}, {"update": update, "steps": update})
    assert recorder.history().metrics["x"].shape == (1, 2_000)
    assert recorder.history().num_updates == 200


def test_metrics_that_cannot_be_read(new_run: Any) -> None:
    run = new_run("odd")
    for wrong in ("many", [1.0, 2.0]):
        run.metrics.write_text("")
        row = {"update": 1, "seed": 0, "steps": 32, "x": wrong}
        append_rows(run.metrics, [row, {**row, "seed": 1}])
        with pytest.raises(AppError, match="the metrics of updates 1 to 1 cannot be read"):
            read_history(run)


def test_events_are_thinned_where_a_long_run_is_resumed(
    new_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 6 updates of 2 agents, 4 rows at most: updates 3 and 6."""
    monkeypatch.setattr("jax_ppo.app.logs.MAX_EVENTS", 4)
    run = new_run("long")
    append_rows(
        run.metrics,
        [{"update": i, "seed": s, "steps": i, "x": i} for i in range(1, 7) for s in (0, 1)],
    )
    log = RunLog(run)
    assert log.begin(6) == []
    log.close()
    for seed in (0, 1):
        (path,) = (run.path / "tensorboard" / f"seed_{seed}").iterdir()
        assert [event.step for event in events(path) if event.summary.value] == [3, 6]


def test_curves_weigh_updates_by_episodes() -> None:
    rows = [
        {"episode_return": 10.0, "num_episodes": 1},
        {"episode_return": 40.0, "num_episodes": 2},
        {"episode_return": None, "num_episodes": 0},
        {"episode_return": 5.0, "num_episodes": 1},
    ]
    rows = [{"update": i, "steps": 5 * i, "seed": 7, **row} for i, row in enumerate(rows, 1)]
    timing = [{"update": 4, "updates": 4, "seconds": 8.0}]
    curve = curve_of(history_of(rows, [7], timing), num_bins=2)
    np.testing.assert_array_equal(curve.steps, [5.0, 15.0])
    np.testing.assert_array_equal(curve.seconds, [2.0, 6.0])
    np.testing.assert_array_equal(curve.returns, [[30.0, 5.0]])


def test_time_is_without_compilation() -> None:
    """A first piece of 10 s counts as its neighbour does, 2 s an update; damaged rows do not."""
    timing = [
        {"update": 1, "updates": 1, "seconds": 10.0, "first": True},
        {"update": 3, "updates": 2, "seconds": 4.0, "first": False},
        {"update": 4, "updates": 1, "seconds": 30.0, "first": True},
        {"update": 6, "updates": 2, "seconds": 2.0},
        {"update": "many", "updates": 2, "seconds": 2.0},
        {"update": 7},
    ]
    found = seconds_at(np.arange(1, 7), timing)
    np.testing.assert_allclose(found, [2.0, 4.0, 6.0, 7.0, 8.0, 9.0])
    np.testing.assert_allclose(seconds_at(np.array([2]), timing[:1]), [10.0])


def test_an_update_that_was_not_written_atomically_is_left_out() -> None:
    rows = [{"update": i, "steps": i, "seed": s, "x": 1.0} for i in (1, 2) for s in (0, 1)]
    assert history_of(rows[:-1], [0, 1]).updates.tolist() == [1]
    assert history_of(rows, [0, 1]).updates.tolist() == [1, 2]


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
