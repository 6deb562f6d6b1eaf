"""A run folder: everything about one training run, in plain files.

run.json              config and settings: enough to start the run anew
starts.jsonl          a row per start or resume: command, versions, devices
metrics.jsonl         a row per update and seed
timing.jsonl          a row per piece of training: update, steps, seconds
checkpoints/          update_*.safetensors
tensorboard/          the metrics as TensorBoard events
learning_curve.png    episode return against environment steps
evaluation.json       how the trained agents perform
lock                  held by the process that trains
"""

import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jax_ppo.app.errors import AppError
from jax_ppo.app.machine import describe_machine
from jax_ppo.config import ConfigError, PPOConfig

MAX_SEED = 2**32
"""Seeds are 32-bit numbers."""


@dataclass(frozen=True)
class RunSettings:
    """How a run is carried out, as opposed to what is trained."""

    seed: int = 0
    """Seed of the first agent; the others follow it."""
    num_seeds: int = 1
    """Agents trained side by side, with seeds seed, seed + 1, ..."""
    checkpoint_seconds: float = 30.0
    """Time between two checkpoints; 0: after every piece of training."""
    keep_checkpoints: int = 3
    """How many checkpoints to keep, newest first."""
    devices: int | None = None
    """Devices to train on, at most, in each process; each core of a CPU is one. None: all."""

    def __post_init__(self) -> None:
        """Raise ConfigError for settings that make no sense."""
        for name, minimum in (("seed", 0), ("num_seeds", 1), ("keep_checkpoints", 1)):
            if getattr(self, name) < minimum:
                raise ConfigError(f"{name} must be at least {minimum}, got {getattr(self, name)}")
        if self.devices is not None and self.devices < 1:
            raise ConfigError(f"devices must be at least 1, got {self.devices}")
        if self.seed + self.num_seeds > MAX_SEED:
            raise ConfigError(f"seeds must be below {MAX_SEED}, got {self.seeds[-1]}")
        if not self.checkpoint_seconds >= 0:
            raise ConfigError(
                f"checkpoint_seconds must be at least 0, got {self.checkpoint_seconds}"
            )

    @property
    def seeds(self) -> range:
        """The seed of every agent."""
        return range(self.seed, self.seed + self.num_seeds)


@dataclass(frozen=True)
class Run:
    """A run folder and what is trained in it."""

    path: Path
    config: PPOConfig
    settings: RunSettings
    framework: str = "jax"
    """jax or torch: which of the two trains it, or it was exported for."""
    in_sweep: bool = False
    """Whether it is a part of a sweep, whose folder it is in: its agents differ in more than seeds,
    which only the sweep knows."""

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
        """File that says how long training took so far."""
        return self.path / "timing.jsonl"


@contextmanager
def only_trainer(run: Run) -> Iterator[None]:
    """Keep other processes from training in the same folder, inside a `with` block.

    The lock goes with the process, however that ends; only the file stays.

    Raises:
        AppError: Another process trains there.
    """
    try:
        with FileLock(run.path / "lock", timeout=0):
            yield
    except Timeout:
        raise AppError(f"{run.path} is being trained by another process") from None


def create_run(
    path: Path | None,
    config: PPOConfig,
    settings: RunSettings,
    framework: str = "jax",
    in_sweep: bool = False,
) -> Run:
    """Make a run folder, whole or not at all.

    Args:
        path: Where; None: runs/ENV_ID-seedSEED-TIME under the current folder.
        config: What to train.
        settings: How to.
        framework: jax or torch.
        in_sweep: Whether it is a part of a sweep.

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
    run = Run(path, config, settings, framework, in_sweep)
    content = {
        "framework": framework,
        "in_sweep": in_sweep,
        "config": dataclasses.asdict(config),
        "settings": dataclasses.asdict(settings),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        (unfinished / "checkpoints").mkdir()
        write_json(unfinished / "run.json", content)
        unfinished.chmod(0o755)
        unfinished.rename(path)
    except OSError as error:
        raise AppError(f"cannot write the run folder {path}: {error.strerror}") from error
    return run


def open_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        AppError: It is not a run folder, or its config cannot be read.
    """
    file = path / "run.json"
    if not file.is_file():
        raise AppError(f"{path} is not a run folder: it has no run.json")
    try:
        content = json.loads(file.read_text())
        config = PPOConfig(**content["config"])
        settings = RunSettings(**content["settings"])
        return Run(path, config, settings, content["framework"], content.get("in_sweep", False))
    except (ValueError, KeyError, TypeError) as error:
        raise AppError(f"{file} cannot be read: {error}") from error


def record_start(run: Run, backend: str, devices: list[str]) -> None:
    """Note the command, the versions and the devices that training now runs on.

    Args:
        run: The run.
        backend: Kind of device: cpu, gpu or tpu.
        devices: Name of every device.
    """
    row = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        **describe_machine(),
        "backend": backend,
        "devices": devices,
    }
    append_rows(run.path / "starts.jsonl", [row])


def append_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows to a JSON Lines file, and wait until they are on disk.

    Numbers that are not finite become null, since JSON has no word for them.
    """
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in map(_finite, rows))
    with path.open("a") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON Lines file, up to the first that was not written whole."""
    if not path.exists():
        return
    with path.open() as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def truncate_rows(path: Path, update: int) -> None:
    """Drop the rows of updates after `update`, and a last row that was not written whole."""
    if not path.exists():
        return
    kept = path.with_suffix(".tmp")
    with kept.open("w") as file:
        for row in read_rows(path):
            if row["update"] <= update:
                file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())
    kept.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with written_whole(path) as unfinished, unfinished.open("w") as file:
        json.dump(content, file, indent=2, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write a file that is to appear at `path` whole or not at all.

    An older file there is replaced when the block ends, and stays if the block fails.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def new_folder(parent: str, name: str) -> Path:
    """A path under the current folder that nothing has yet: parent/name-time."""
    return Path(parent) / f"{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S-%f')}"


def remove_folder(path: Path) -> None:
    """Delete a folder that can be made anew, if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """The row with null in place of NaN and infinities."""
    bad = {
        name: None
        for name, value in row.items()
        if isinstance(value, float) and not (float("-inf") < value < float("inf"))
    }
    return {**row, **bad}
