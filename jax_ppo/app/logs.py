"""What is written to the run folder while agents train."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jax_ppo.app.checkpoints import Arrays, list_checkpoints
from jax_ppo.app.doctor.rules import examine
from jax_ppo.app.errors import AppError
from jax_ppo.app.history import EPISODE_MEANS, Recorder
from jax_ppo.app.runs import Run, append_rows, read_rows, truncate_rows
from jax_ppo.app.tensorboard import EventLog

LOOKS = 4
"""How often the doctor examines the metrics of a run, at equal distances; the last is the end."""
CURVES = (
    *("episode_return", "num_episodes", "approx_kl", "clip_fraction", "entropy"),
    *("explained_variance", "kl_stop"),
)
"""The metrics that are kept of many agents at once, as far as their algorithm measures them."""
MAX_EVENTS = 20_000
"""Rows that are written as events anew where a run is resumed: of more, evenly spaced ones."""
MAY_OVERFLOW = ("approx_kl_max",)
"""The metrics that may be infinite while nothing is wrong: the KL stop kept the step from harm."""

Row = dict[str, Any]
"""Metrics of one update of one agent: `update`, `steps`, `seed`, and each metric by name."""


class NonFiniteError(AppError):
    """A metric of training is infinite or not a number."""


class Log:
    """Takes the metrics of every piece of training."""

    def __init__(self, run: Run) -> None:
        """Nothing is opened before `begin`."""
        self.run = run

    def begin(self, update: int) -> list[str]:
        """Drop what was written of updates after `update`; messages as of `truncate_rows`."""
        raise NotImplementedError

    def add(self, metrics: Mapping[str, Any], update: int, count: int) -> np.ndarray:
        """Write the metrics of `count` updates after `update`.

        Returns:
            Episode returns [count, num_agents].
        """
        raise NotImplementedError

    def warnings(self, before: int, update: int, arrays: Callable[[], Arrays]) -> list[str]:
        """New warnings after the piece from `before` to `update`; `arrays` gives a checkpoint."""
        return []

    def close(self) -> None:
        """Close what is open."""


class RunLog(Log):
    """Everything about the agents of one run: a row per update and seed, and TensorBoard events."""

    def __init__(self, run: Run) -> None:
        """Nothing is opened before `begin`."""
        super().__init__(run)
        self._recorder = Recorder(run.settings.seeds, run.config.num_updates)
        self._events = EventLog(run.path / "tensorboard")
        self._said: set[str] = set()

    def begin(self, update: int) -> list[str]:
        """Drop what was written of updates after `update`; messages as of `truncate_rows`."""
        problems = truncate_rows(self.run.metrics, update)
        every = max(1, -(-update * self.run.settings.num_agents // MAX_EVENTS))
        self._events.begin()
        self._events.add(row for row in self._recorded_rows() if row.get("update", 0) % every == 0)
        return problems

    def _recorded_rows(self) -> Iterator[Row]:
        """The rows of the updates that are done, each recorded too."""
        for row in read_rows(self.run.metrics):
            self._recorder.add_row(row)
            yield row

    def add(self, metrics: Mapping[str, Any], update: int, count: int) -> np.ndarray:
        """Write a row per update and seed.

        Raises:
            NonFiniteError: Training diverged.
            AppError: A metric of the user's own has several numbers per update.
        """
        rows = list(_metric_rows(metrics, update, count, self.run))
        _check_finite(rows, self.run)
        append_rows(self.run.metrics, rows)
        self._events.add(rows)
        for row in rows:
            self._recorder.add_row(row)
        return np.asarray(metrics["episode_return"])[:count]

    def warnings(self, before: int, update: int, arrays: Callable[[], Arrays]) -> list[str]:
        """The findings of the doctor, at a few points of training; each is given once."""
        total = self.run.config.num_updates
        if LOOKS * update // total == LOOKS * before // total:
            return []
        findings, failures = examine(self.run.config, self._recorder.history(), arrays())
        advice = f"`jax-ppo doctor {self.run.path}` lists what to try"
        texts = {finding.rule.name: f"warning: {finding}; {advice}" for finding in findings}
        texts |= {failure: f"note: {failure}" for failure in failures}
        new = [text for name, text in texts.items() if name not in self._said]
        self._said |= set(texts)
        return new

    def close(self) -> None:
        """Close the event files."""
        self._events.close()


class CurveLog(Log):
    """The curves of many agents: a row per update, with a list over the agents for each metric.

    An agent that diverges is no reason to stop the others; its numbers become null.
    """

    def begin(self, update: int) -> list[str]:
        """Drop what was written of updates after `update`; messages as of `truncate_rows`."""
        return truncate_rows(self.run.path / "curves.jsonl", update)

    def add(self, metrics: Mapping[str, Any], update: int, count: int) -> np.ndarray:
        """Write a row per update."""
        columns = {name: np.asarray(metrics[name])[:count] for name in CURVES if name in metrics}
        numbers = range(update + 1, update + count + 1)
        rows = (
            {"update": number, "steps": number * self.run.config.batch_size}
            | {name: _short_numbers(column[i]) for name, column in columns.items()}
            for i, number in enumerate(numbers)
        )
        append_rows(self.run.path / "curves.jsonl", rows)
        return columns["episode_return"]


def _metric_rows(metrics: Mapping[str, Any], update: int, count: int, run: Run) -> Iterator[Row]:
    """One row per update and seed, of the first `count` updates of the metrics."""
    columns = {name: _numbers(name, np.asarray(metrics[name])[:count]) for name in metrics}
    for i, number in enumerate(range(update + 1, update + count + 1)):
        for j, seed in enumerate(run.settings.seeds):
            row = {name: column[i][j] for name, column in columns.items()}
            if row.get("num_episodes") == 0:
                row |= {name: math.nan for name in EPISODE_MEANS if name in row}
            steps = number * run.config.batch_size
            yield {"update": number, "steps": steps, "seed": seed, **row}


def _check_finite(rows: list[Row], run: Run) -> None:
    """Raise NonFiniteError for the first metric that is not a finite number and should be one."""
    for row in rows:
        for name, value in row.items():
            no_episode = name in EPISODE_MEANS and row["num_episodes"] == 0
            if not np.isfinite(value) and not no_episode and name not in MAY_OVERFLOW:
                newest = list_checkpoints(run.checkpoints)[-1]
                raise NonFiniteError(
                    f"{name} became {value} at update {row['update']} (seed {row['seed']}); "
                    f"training stopped, and the checkpoint of update {newest.update} is kept "
                    f"in {run.path}. Try a smaller --learning-rate, or --normalize-observations."
                )


def _numbers(name: str, values: np.ndarray) -> list[Any]:
    """An array as Python numbers; a float32 as the shortest decimal that stands for it."""
    if values.ndim != 2:
        raise AppError(f"the metric {name} is an array; each metric must be a single number")
    return (values.astype(str).astype(float) if values.dtype.kind == "f" else values).tolist()


def _short_numbers(values: np.ndarray) -> list[float | None]:
    """Numbers to four digits, which is all that a curve shows; None where there is none."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]
