"""A run folder: everything about one training run, in plain files.

run.json              config, algorithm and settings: enough to start the run anew
starts.jsonl          a row per start or resume: command, versions, devices
metrics.jsonl         a row per update and seed
timing.jsonl          a row per piece of training: update, steps, seconds
checkpoints/          update_*.safetensors
tensorboard/          the metrics as TensorBoard events, if tensorboardX is installed
learning_curve.png    episode return against environment steps
evaluation.json       evaluation of the trained agents
lock                  held by the process that trains
"""

import json
import math
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

from filelock import FileLock, Timeout

from jax_ppo.app.errors import AppError
from jax_ppo.app.machine import describe_machine
from jax_ppo.config import ConfigError, PPOConfig

MAX_SEED = 2**32
"""Seeds are 32-bit numbers."""
MAX_DEVICES = 2**16
"""Devices that a layout is planned for."""
UNFINISHED = ".tmp"
"""Ending of what is being written."""
WRITTEN_IN_TRAINING = ("update_*", "metrics.jsonl", "timing.jsonl", "curves.jsonl")
"""The files that only the process that trains writes atomically."""


@dataclass(frozen=True)
class RunSettings:
    """How a run is carried out, as opposed to what is trained."""

    seed: int = 0
    """Seed of the first agent; the others follow it."""
    num_agents: int = 1
    """Agents trained side by side, with seeds seed, seed + 1, ..."""
    checkpoint_seconds: float = 30.0
    """Time between two checkpoints; 0: after every piece of training."""
    keep_checkpoints: int = 3
    """How many checkpoints to keep, newest first."""
    devices: int | None = None
    """Devices to train on, at most, in each process; each core of a CPU is one. None: all."""

    def __post_init__(self) -> None:
        """Raise ConfigError for settings of the wrong type, or out of range."""
        check_types(self)
        minima = {"seed": 0, "num_agents": 1, "checkpoint_seconds": 0, "keep_checkpoints": 1}
        for name, minimum in {**minima, "devices": 1}.items():
            value = getattr(self, name)
            if value is not None and not value >= minimum:
                raise ConfigError(f"{name} must be at least {minimum}, got {value}")
        if self.devices is not None and self.devices > MAX_DEVICES:
            raise ConfigError(f"devices must be at most {MAX_DEVICES:,}, got {self.devices:,}")
        if self.seed + self.num_agents > MAX_SEED:
            raise ConfigError(f"seeds must be below {MAX_SEED}, got {self.seeds[-1]}")

    @property
    def seeds(self) -> range:
        """The seed of every agent."""
        return range(self.seed, self.seed + self.num_agents)


@dataclass(frozen=True)
class Run:
    """A run folder and what is trained in it."""

    path: Path
    config: PPOConfig
    settings: RunSettings
    framework: str = "jax"
    """jax or torch: which of the two trains it, or it was exported for."""
    algorithm: str = "ppo"
    """What trains it, as `find_algorithm` takes it."""
    in_sweep: bool = False
    """Whether it is a part of a sweep, in whose folder it is: its agents differ in more than
    seeds."""
    id: str = ""
    """What tells its checkpoints from those of other runs; empty in runs of older versions."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a field of the wrong type."""
        check_types(self)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """File of the metrics."""
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        """File of the time that each piece of training took."""
        return self.path / "timing.jsonl"


SCALARS = {bool, int, float, str, type(None)}
"""The types of fields that `check_types` knows."""


def check_types(record: Any) -> None:
    """Raise ConfigError if a field of a dataclass is no number or text, although it should be.

    A whole number counts as a float, and True as neither.
    """
    for name, hint in get_type_hints(type(record)).items():
        kinds, value = set(get_args(hint) or (hint,)), getattr(record, name)
        right = type(value) in kinds or (float in kinds and type(value) is int)
        if kinds <= SCALARS and not right:
            names = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise ConfigError(f"{name} must be of type {names}, got {value!r}")


@contextmanager
def only_trainer(run: Run) -> Iterator[Callable[[], None]]:
    """Lock a folder against other processes that train; AppError if it is locked.

    The lock ends with the process, however that ends; only the file stays. What is given raises
    AppError if that file was removed: then another process can lock the folder too.
    """
    file = run.path / "lock"
    try:
        with FileLock(file, timeout=0):
            locked = file.stat().st_ino
            for folder in (run.path, run.checkpoints):
                for name in WRITTEN_IN_TRAINING:
                    for unfinished in folder.glob(f".{name}-*{UNFINISHED}"):
                        unfinished.unlink()  # left over from a process that was killed
            yield partial(_check_lock, file, locked)
    except Timeout:
        raise AppError(f"{run.path} is being trained by another process") from None


def _check_lock(file: Path, locked: int) -> None:
    if not file.exists() or file.stat().st_ino != locked:
        raise AppError(
            f"{file} was removed, so that another process may be training in {file.parent}: "
            "stopped, without writing anything more"
        )


def create_run(
    path: Path | None,
    config: PPOConfig,
    settings: RunSettings,
    framework: str = "jax",
    *,
    algorithm: str = "ppo",
    in_sweep: bool = False,
) -> Run:
    """Make a run folder, atomically.

    The arguments are the fields of `Run`; path None is runs/ENV_ID-seedSEED-TIME.

    Raises:
        AppError: The folder exists already, or cannot be written.
    """
    if path is None:
        path = new_folder("runs", f"{config.env_id}-seed{settings.seed}")
    if path == Path():
        raise AppError("the name of the run folder is empty")
    if path.exists():
        advice = f", or continue it with `jax-ppo resume {path}`" if framework == "jax" else ""
        raise AppError(f"{path} exists already: give another folder{advice}")
    run = Run(path, config, settings, framework, algorithm, in_sweep, secrets.token_hex(16))
    content = asdict(run)
    del content["path"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = unfinished_path(path)
        (unfinished / "checkpoints").mkdir(parents=True)
        write_json(unfinished / "run.json", content)
        unfinished.rename(path)
    except OSError as error:
        raise AppError(f"cannot write the run folder {path}: {error.strerror}") from error
    return run


def open_run(path: Path) -> Run:
    """Read a run folder, also one of an older version.

    Raises:
        AppError: It is not a run folder, or run.json cannot be read.
    """
    with described(path / "run.json", "run") as content:
        config, settings = PPOConfig(**content.pop("config")), settings_from(content)
        return Run(path, config, settings, **content)


@contextmanager
def described(file: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The content of the JSON file that describes a run or sweep folder, inside a `with` block.

    Raises:
        AppError: The file is missing, or the block cannot use its content.
    """
    if not file.is_file():
        raise AppError(f"{file.parent} is not a {kind} folder: it has no {file.name}")
    with json_of(file) as content:
        if not isinstance(content, dict):
            raise TypeError("it holds no fields")
        yield content


@contextmanager
def json_of(file: Path) -> Iterator[Any]:
    """The content of a JSON file, inside a `with` block.

    Raises:
        AppError: It cannot be read, or the block cannot use its content.
    """
    try:
        yield json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise AppError(f"{file} cannot be read: it is nested too deeply") from error
    except KeyError as error:
        raise AppError(f"{file} cannot be read: it has no {error}") from error
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise AppError(f"{file} cannot be read: {error}") from error


def settings_from(content: dict[str, Any]) -> RunSettings:
    """Take the settings out of a description; older versions called num_agents num_seeds."""
    settings = content.pop("settings")
    if "num_seeds" in settings:
        settings["num_agents"] = settings.pop("num_seeds")
    return RunSettings(**settings)


def record_start(run: Run, backend: str, devices: list[str], **flags: Any) -> None:
    """Write the command, the versions, the devices and the flags of this start of a run."""
    row = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        **describe_machine(),
        "backend": backend,
        "devices": devices,
        "flags": flags,
    }
    append_rows(run.path / "starts.jsonl", [row])


def append_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows to a JSON Lines file, `finite`, and wait until they are on disk."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in map(finite, rows))
    with path.open("a") as file:
        file.write(text)
        sync(file)


class DamagedRowsError(AppError):
    """A row of a JSON Lines file, other than the last, cannot be read."""


def read_rows(path: Path, *, skip_damaged: bool = False) -> Iterator[dict[str, Any]]:
    """Rows of a JSON Lines file; a last row that is incomplete is left out.

    Args:
        path: The file; without it there are no rows.
        skip_damaged: Whether to leave out any other row that cannot be read, too.

    Raises:
        DamagedRowsError: A row before the last cannot be read.
    """
    damaged = 0
    for number, (_, row) in enumerate(_lines(path), 1):
        if damaged and not skip_damaged:
            raise DamagedRowsError(
                f"{path}: row {damaged} cannot be read; `jax-ppo resume {path.parent}` leaves "
                "it out and keeps the file as it is under another name"
            )
        if row is None:
            damaged = number
        else:
            yield row


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Every line of a JSON Lines file, and its row; None if that cannot be read."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield line, row if isinstance(row, dict) else None


def truncate_rows(path: Path, update: int) -> list[str]:
    """Drop the rows of updates after `update`, and rows that cannot be read.

    Where all of these come last, as after a crash, the file is cut off; else it is written anew.

    Returns:
        A message if a row before the last cannot be read, in which case the file as it was is kept
        beside the new one.
    """
    kept = dropped = 0  # bytes
    unreadable = scattered = damaged = False
    for line, row in _lines(path):
        damaged = damaged or unreadable
        number = _update_of(row)
        unreadable = number == math.inf
        if number > update or not line.endswith(b"\n"):
            dropped += len(line)
        else:
            scattered = scattered or dropped > 0
            kept += len(line)
    if not scattered and not damaged:
        if dropped:
            os.truncate(path, kept)
        return []
    problems = []
    if damaged:
        copy = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
        shutil.copyfile(path, copy)
        problems = [f"{path.name} has rows that cannot be read: they are left out; see {copy.name}"]
    rows = (row for _, row in _lines(path) if _update_of(row) <= update)
    with written_atomically(path) as unfinished, unfinished.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        sync(file)
    return problems


def _update_of(row: dict[str, Any] | None) -> float:
    """The update that a row is of; infinity if it cannot be read, or does not say."""
    update = None if row is None else row.get("update")
    return update if isinstance(update, int) else math.inf


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, atomically."""
    with written_atomically(path) as unfinished, unfinished.open("w") as file:
        json.dump(finite(content), file, indent=2, default=str, allow_nan=False)
        file.write("\n")
        sync(file)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Where to write a file that replaces `path` atomically when the block ends without error.

    It is a new file of a name that nobody can foresee: no link in its place is followed, and two
    writers do not meet.
    """
    unfinished = unfinished_path(path)
    try:
        unfinished.touch(exist_ok=False)
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def unfinished_path(path: Path) -> Path:
    """A name beside `path` that nothing has yet, to write what will replace it."""
    return path.with_name(f".{path.name}-{secrets.token_hex(8)}{UNFINISHED}")


def new_folder(parent: str, name: str) -> Path:
    """A path under the current folder that does not exist yet: parent/name-time.

    Characters of the name that some system does not take in file names become hyphens.
    """
    name = re.sub(r"[^\w.-]+", "-", name)
    return Path(parent) / f"{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S-%f')}"


def remove_folder(path: Path) -> None:
    """Delete a folder that can be made anew, if it exists."""
    shutil.rmtree(path, ignore_errors=True)


def sync(file: Any) -> None:
    """Wait until a file is on disk."""
    file.flush()
    os.fsync(file.fileno())


def finite(content: Any) -> Any:
    """The content with null in place of NaN and infinities, for which JSON has no numbers."""
    if isinstance(content, dict):
        return {name: finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
