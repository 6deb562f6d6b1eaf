"""Whatever happens to a run, resuming it ends where an uninterrupted run does, bit for bit."""

import json
import math
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from jax_ppo.app.checkpoints import CheckpointMismatchError, list_checkpoints, read_newest
from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import Run, RunSettings, open_run
from jax_ppo.app.signals import Interrupted
from jax_ppo.app.training import train_run
from tests.app.conftest import CONFIG, SETTINGS, QuietDisplay
from tests.app.test_devices import finish, start

NewRun = Callable[..., Run]


class PowerCutError(Exception):
    """Stands for the power going off."""


def crash() -> None:
    raise PowerCutError


def train_and_crash(run: Run, after: int) -> None:
    """Train until the metrics of update `after` are written, but not its checkpoint."""
    with pytest.raises(PowerCutError):
        train_run(run, QuietDisplay(run, after, crash))


def assert_same_outcome(run: Run, other: Run) -> None:
    """The last checkpoint and all metrics are the same, byte for byte."""
    newest, expected = read_newest(run), read_newest(other)
    assert newest[1:] == expected[1:]
    assert newest[0] is not None
    assert expected[0] is not None
    bits, others = ({n: a.tobytes() for n, a in arrays[0].items()} for arrays in (newest, expected))
    assert bits == others
    assert run.metrics.read_text() == other.metrics.read_text()


def test_metrics_have_a_row_per_update_and_seed(finished_run: Run) -> None:
    rows = [json.loads(line) for line in finished_run.metrics.read_text().splitlines()]
    index = [(row["update"], row["steps"], row["seed"]) for row in rows]
    assert index == [(u, 32 * u, seed) for u in range(1, 13) for seed in (0, 1)]


def test_same_seed_same_bytes(finished_run: Run, new_run: NewRun) -> None:
    again = new_run("again")
    train_run(again, QuietDisplay(again))
    assert_same_outcome(again, finished_run)


def test_the_length_of_pieces_changes_nothing(
    finished_run: Run, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jax_ppo.app.driver.PIECE_SECONDS", 0.0)
    one_by_one = new_run("one_by_one")
    train_run(one_by_one, QuietDisplay(one_by_one))
    assert len(one_by_one.timing.read_text().splitlines()) == CONFIG.num_updates
    assert len(finished_run.timing.read_text().splitlines()) < CONFIG.num_updates
    assert_same_outcome(one_by_one, finished_run)


@pytest.mark.parametrize("crashes", [(1,), (3,), (12,), (1, 4, 7)])
def test_crash_between_metrics_and_checkpoint(
    crashes: tuple[int, ...], finished_run: Run, new_run: NewRun
) -> None:
    """The outcome is the same, and timing has each update once."""
    run = new_run("crashed")
    for after in crashes:
        train_and_crash(run, after)
    train_run(open_run(run.path), QuietDisplay(run))
    assert_same_outcome(run, finished_run)
    rows = [json.loads(line) for line in run.timing.read_text().splitlines()]
    assert sum(row["updates"] for row in rows) == CONFIG.num_updates
    done = [row["update"] for row in rows]
    assert done == sorted(set(done))


def test_two_cannot_train_in_one_folder(finished_run: Run, new_run: NewRun) -> None:
    run = new_run("shared")

    def join_in() -> None:
        with pytest.raises(AppError, match="shared is being trained by another process"):
            train_run(open_run(run.path), QuietDisplay(run))

    train_run(run, QuietDisplay(run, 3, join_in))
    assert_same_outcome(run, finished_run)


def test_half_written_row(finished_run: Run, new_run: NewRun) -> None:
    run = new_run("torn")
    train_and_crash(run, 3)
    for file in (run.metrics, run.timing):
        with file.open("a") as stream:
            stream.write('{"update": 4, "steps": 1')
    train_run(open_run(run.path), QuietDisplay(run))
    assert_same_outcome(run, finished_run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_stops(number: int, finished_run: Run, new_run: NewRun) -> None:
    run = new_run("stopped", settings=RunSettings(num_agents=2, checkpoint_seconds=1e9))
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match="jax-ppo resume") as stop:
        train_run(run, QuietDisplay(run, 3, lambda: signal.raise_signal(number)))
    assert stop.value.signal_number == number
    assert signal.getsignal(number) is handler
    assert [c.update for c in list_checkpoints(run.checkpoints)] == [0, 3]
    assert json.loads(run.metrics.read_text().splitlines()[-1])["update"] == 3
    train_run(open_run(run.path), QuietDisplay(run))
    assert_same_outcome(run, finished_run)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as Python handles it, although a shell that runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_second_signal_does_not_wait(new_run: NewRun) -> None:
    run = new_run("impatient")

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_run(run, QuietDisplay(run, 1, twice))


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-7], lambda c: c[:-40] + bytes([c[-40] ^ 1]) + c[-39:], lambda _: b""],
    ids=["cut off", "a bit flipped", "empty"],
)
def test_damaged_newest_checkpoint(
    damage: Callable[[bytes], bytes], finished_run: Run, new_run: NewRun
) -> None:
    run = new_run("damaged")
    train_and_crash(run, 7)
    newest, before = list_checkpoints(run.checkpoints)[:-3:-1]
    newest.path.write_bytes(damage(newest.path.read_bytes()))
    display = QuietDisplay(run)
    train_run(open_run(run.path), display)
    assert display.said[0].startswith(f"{newest.path.name} is damaged")
    assert f"going back to update {before.update}" in display.said[0]
    assert_same_outcome(run, finished_run)


@pytest.mark.parametrize("crash_again", [False, True])
def test_all_checkpoints_damaged(crash_again: bool, finished_run: Run, new_run: NewRun) -> None:
    """New ones are older than the damaged ones by number, and must be kept all the same."""
    run = new_run("ruined")
    train_and_crash(run, 7)
    for checkpoint in list_checkpoints(run.checkpoints):
        checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-7])
    if crash_again:
        train_and_crash(open_run(run.path), 3)
        assert [c.update for c in list_checkpoints(run.checkpoints)][-1] in (1, 2)
    train_run(open_run(run.path), QuietDisplay(run))
    assert_same_outcome(run, finished_run)


def test_checkpoint_of_another_network(new_run: NewRun) -> None:
    run = new_run("mismatch")
    train_and_crash(run, 3)
    wider = Run(run.path, CONFIG.replace(hidden_sizes=(16,)), SETTINGS)
    with pytest.raises(CheckpointMismatchError, match=r"float32\[2, 8, 2\].*\[2, 16, 2\]"):
        train_run(wider, QuietDisplay(wider))
    without = Run(run.path, CONFIG.replace(normalize_observations=False), SETTINGS)
    with pytest.raises(CheckpointMismatchError, match="obs_stats"):
        train_run(without, QuietDisplay(without))


def numbers(row: dict[str, float | None]) -> dict[str, float]:
    """The row with NaN where no episode ended."""
    return {name: math.nan if value is None else value for name, value in row.items()}


def test_seeds_side_by_side_equal_seeds_alone(finished_run: Run, new_run: NewRun) -> None:
    """Within float32 rounding: a batch of agents may be summed in another order."""
    together = [json.loads(line) for line in finished_run.metrics.read_text().splitlines()]
    for seed in (0, 1):
        run = new_run(f"seed{seed}", settings=RunSettings(seed=seed))
        train_run(run, QuietDisplay(run))
        alone = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        expected = [row for row in together if row["seed"] == seed]
        assert len(alone) == len(expected) == CONFIG.num_updates
        for row, other in zip(alone, expected, strict=True):
            assert numbers(row) == pytest.approx(numbers(other), rel=1e-3, abs=1e-5, nan_ok=True)


# Killed for real


TRAIN = (
    *("train", "--total-steps", "9600", "--num-envs", "4", "--num-steps", "8"),
    *("--update-epochs", "2", "--num-minibatches", "2", "--hidden-sizes", "8"),
    *("--checkpoint-seconds", "0", "--eval-episodes", "1", "--normalize-observations"),
)


def kill_after(seconds: float, words: Sequence[str]) -> bool:
    """Kill the program without warning; whether it was still running."""
    process = start(words)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    assert "error" not in output, output
    return process.returncode != 0


def kill_and_resume(tmp_path: Path, kills: int, chance: random.Random) -> None:
    """Kill runs at random moments, again and again; each must end as if nothing had happened."""
    calm = tmp_path / "calm"
    begun = time.monotonic()
    finish(start([*TRAIN, "--out", str(calm)]))
    duration = time.monotonic() - begun
    run = tmp_path / "run"
    while kills > 0:
        words = ("resume", str(run)) if run.exists() else (*TRAIN, "--out", str(run))
        if kill_after(chance.uniform(0.1, 1.0) * duration, words):
            kills -= 1
        else:
            assert_same_outcome(open_run(run), open_run(calm))
            run = run.with_name(f"{run.name}_and_another")
    if run.exists():
        finish(start(["resume", str(run)]))
        assert_same_outcome(open_run(run), open_run(calm))


def test_kill(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, kills=3, chance=random.Random(0))


@pytest.mark.slow
def test_kill_twenty_times(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, kills=20, chance=random.Random(1))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_program(number: int, tmp_path: Path) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests were started with this signal ignored, as by nohup")
    run = tmp_path / "run"
    process = start([*TRAIN, "--out", str(run), "--total-steps", "32000000"])
    while not (run / "timing.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    finish(process, status=128 + number)
    newest = list_checkpoints(run / "checkpoints")[-1].update
    assert newest == json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["update"]


def test_a_closed_pipe_saves_first(tmp_path: Path) -> None:
    """As in `jax-ppo train ... | head -1`: whoever reads goes away after the first line."""
    out = tmp_path / "run"
    words = ["train", "CartPole-v1", "--total-steps", "1e8", "--checkpoint-seconds", "1000"]
    process = start([*words, "--out", str(out)])
    assert process.stdout is not None
    assert "run folder" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=300) == 141
    (first, *others) = list_checkpoints(open_run(out).checkpoints)
    assert [first.update, len(others)] == [0, 1]
    rows = (out / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["update"] == others[0].update


def test_resume_says_that_the_devices_were_others(finished_run: Run) -> None:
    starts = finished_run.path / "starts.jsonl"
    row = json.loads(starts.read_text().splitlines()[-1])
    starts.write_text(json.dumps({**row, "devices": ["a", "b", "c"]}) + "\n")
    display = QuietDisplay(finished_run)
    train_run(finished_run, display)
    assert any("trained on 3 devices before, now on" in said for said in display.said)
