"""The metrics of a run as arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import Run, read_rows

INDEX = ("update", "steps", "seed")
"""Entries of a row that are not metrics."""
EPISODE_MEANS = ("episode_return", "episode_length")
"""The metrics that are means over the episodes that ended: not a number where none did."""
MAX_ENTRIES, MIN_UPDATES = 20_000, 200
"""Updates times agents that a history has, at most; but it has this many updates in any case."""
CHUNK = 256
"""Updates that are averaged at a time."""


@dataclass(frozen=True)
class History:
    """The metrics of a run, update by update; of a long one, stretch by stretch."""

    seeds: tuple[int, ...]
    """Seed of every agent."""
    updates: np.ndarray
    """Numbers of the updates, the last one of each stretch [num_updates]."""
    steps: np.ndarray
    """Environment steps of each agent after them [num_updates]."""
    seconds: np.ndarray
    """Time that training had taken by then, without compilation [num_updates]."""
    metrics: dict[str, np.ndarray]
    """By name [num_updates, num_agents]; NaN where there was nothing to measure."""
    num_updates: int
    """Updates that it is made of."""


class Recorder:
    """Makes a History of metrics as they come, in memory that does not grow with the training.

    Of a long training each entry is the mean over a stretch of updates: of returns and lengths over
    all episodes that ended in it, of any other metric over the updates that measured it.
    """

    def __init__(self, seeds: Sequence[int], num_updates: int) -> None:
        """Nothing is recorded yet; `num_updates` is the length of the whole training."""
        longest = max(MIN_UPDATES, MAX_ENTRIES // len(seeds))
        self._seeds, self._stretch = tuple(seeds), -(-num_updates // longest)
        self._chunk = self._stretch * -(-CHUNK // self._stretch)
        self._names: tuple[str, ...] = ()
        self._rows: list[dict[str, Any]] = []
        self._places: list[tuple[int, int]] = []
        self._values: list[list[Sequence[Any]]] = []
        self._means: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_updates = 0

    def add_row(self, row: dict[str, Any]) -> None:
        """Take the row of one agent; an update that not every agent has a row of is left out."""
        if self._rows and self._rows[0].get("update") != row.get("update"):
            self._rows = []
        self._rows.append(row)
        if len(self._rows) == len(self._seeds):
            names = self._names or tuple(name for name in row if name not in INDEX)
            self.add({name: [each.get(name) for each in self._rows] for name in names}, row)
            self._rows = []

    def add(self, metrics: Mapping[str, Sequence[Any]], row: Mapping[str, Any]) -> None:
        """Take an update: each metric [num_agents], and the `update` and `steps` of its row.

        Raises:
            AppError: These, or those of the updates before, cannot be read.
        """
        self._names = self._names or tuple(metrics)
        try:
            self._places.append((int(row["update"]), int(row["steps"])))
            self._values.append([metrics[name] for name in self._names])
        except (KeyError, TypeError, ValueError) as error:
            raise AppError(f"the metrics of update {row.get('update')} cannot be read") from error
        self._num_updates += 1
        if len(self._values) == self._chunk:
            self._means.append(self._averaged())
            self._places, self._values = [], []

    def _averaged(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the stretches since the last chunk [n, 2], and means [n, metrics, num_agents]."""
        shape = (len(self._values), len(self._names), len(self._seeds))
        try:
            values = np.array(self._values, float).reshape(shape)
        except (TypeError, ValueError) as error:
            first, last = self._places[0][0], self._places[-1][0]
            raise AppError(f"the metrics of updates {first} to {last} cannot be read") from error
        weights = np.isfinite(values).astype(float)
        if "num_episodes" in self._names:
            episodes = np.nan_to_num(values[:, self._names.index("num_episodes")])
            for name in set(EPISODE_MEANS) & set(self._names):
                weights[:, self._names.index(name)] *= episodes
        starts = np.arange(0, len(values), self._stretch)
        sums = np.add.reduceat(np.where(weights > 0, values, 0.0) * weights, starts)
        total = np.add.reduceat(weights, starts)
        means = np.full_like(sums, np.nan)
        np.divide(sums, total, out=means, where=total > 0)
        ends = np.minimum(starts + self._stretch, len(values)) - 1
        return np.array(self._places)[ends], means

    def history(self, timing: Iterable[dict[str, Any]] = ()) -> History:
        """What was recorded so far; the timing as for `seconds_at`.

        Raises:
            AppError: It cannot be read.
        """
        recorded = [*self._means, *([self._averaged()] if self._values else [])]
        shape = (0, len(self._names), len(self._seeds))
        places = np.concatenate([np.zeros((0, 2), int), *(ends for ends, _ in recorded)])
        means = np.concatenate([np.zeros(shape), *(mean for _, mean in recorded)])
        metrics = {name: means[:, i] for i, name in enumerate(self._names)}
        updates, steps = places.T
        seconds = seconds_at(updates, timing)
        return History(self._seeds, updates, steps, seconds, metrics, self._num_updates)


def read_history(run: Run) -> History:
    """Read the metrics of a run.

    Raises:
        AppError: It has none yet, or they cannot be read.
    """
    recorder = Recorder(run.settings.seeds, run.config.num_updates)
    for row in read_rows(run.metrics):
        recorder.add_row(row)
    history = recorder.history(read_rows(run.timing))
    if not len(history.updates):
        raise AppError(f"{run.path} has no metrics yet: its first update is not done")
    return history


def _is_positive(value: Any) -> bool:
    """Whether a value is a number greater than 0."""
    return isinstance(value, (int, float)) and value > 0


def seconds_at(updates: np.ndarray, timing: Iterable[dict[str, Any]]) -> np.ndarray:
    """Seconds of training at the end of each update [num_updates], evenly within each piece.

    Without compilation: the first piece after a start, which contains it, counts as if it had been
    as fast as the next one.

    Args:
        updates: Numbers of the updates [num_updates].
        timing: A row per piece: its last `update`, how many `updates` and `seconds` it took, and
            whether it was the `first` of a start. A row that lacks these numbers is left out.
    """
    names = ("update", "updates", "seconds")
    sound = [row for row in timing if all(_is_positive(row.get(n)) for n in names)]
    ends = np.array([0, *(row["update"] for row in sound)], float)
    counts, seconds = (np.array([row[n] for row in sound], float) for n in names[1:])
    compiled = [i == 0 or bool(row.get("first")) for i, row in enumerate(sound)]
    for i in range(len(sound) - 2, -1, -1):
        if compiled[i]:
            seconds[i] = min(seconds[i], counts[i] * seconds[i + 1] / counts[i + 1])
    return np.interp(updates, ends, np.cumsum([0.0, *seconds]))
