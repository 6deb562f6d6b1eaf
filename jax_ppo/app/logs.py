"""What is written down while agents train."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jax_ppo.app.checkpoints import Arrays
from jax_ppo.app.history import read_history
from jax_ppo.app.metrics import check_finite, metric_rows
from jax_ppo.app.reporting.doctor import examine
from jax_ppo.app.runs import Run, append_rows, read_rows, truncate_rows

if TYPE_CHECKING:
    from jax_ppo.app.tensorboard import EventLog

LOOKS = 4
"""How often the doctor looks at the metrics of a run, at equal distances; the last is the end."""

CURVES = (
    "episode_return",
    "num_episodes",
    "approx_kl",
    "clip_fraction",
    "entropy",
    "explained_variance",
    "kl_stop",
)
"""The metrics that are kept of many agents at once."""


class Log(Protocol):
    """Takes the metrics of every piece of training."""

    def begin(self, update: int) -> None:
        """Drop what was written of updates after `update`."""

    def add(self, metrics: Mapping[str, Any], update: int, count: int) -> np.ndarray:
        """Write down the metrics of `count` updates after `update`.

        Returns:
            Episode returns [count, num_agents].
        """

    def warnings(self, before: int, update: int, arrays: Callable[[], Arrays]) -> list[str]:
        """What looks wrong after the piece from `before` to `update`, and was not said before."""

    def close(self) -> None:
        """Close what is open."""


class RunLog:
    """Everything about the agents of one run: a row per update and seed, and TensorBoard events."""

    def __init__(self, run: Run) -> None:
        """Nothing is opened before `begin`."""
        self._run = run
        self._events: EventLog | None = None
        self._said: set[str] = set()

    def begin(self, update: int) -> None:
        """Drop what was written of updates after `update`."""
        # tensorboardX imports PyTorch where it is installed, which takes more than a second: no
        # command but training should wait for it.
        from jax_ppo.app.tensorboard import EventLog

        truncate_rows(self._run.metrics, update)
        self._events = EventLog(self._run.path / "tensorboard")
        self._events.add(read_rows(self._run.metrics))

    def add(self, metrics: Mapping[str, Any], update: int, count: int) -> np.ndarray:
        """Write a row per update and seed.

        Raises:
            NonFiniteError: Training diverged.
        """
        rows = list(metric_rows(metrics, update, count, self._run))
        check_finite(rows, self._run)
        append_rows(self._run.metrics, rows)
        if self._events is not None:
            self._events.add(rows)
        return np.asarray(metrics["episode_return"])[:count]

    def warnings(self, before: int, update: int, arrays: Callable[[], Arrays]) -> list[str]:
        """What the doctor says, at a few points of training."""
        total = self._run.config.num_updates
        if LOOKS * update // total == LOOKS * before // total:
            return []
        findings = examine(self._run.config, read_history(self._run), arrays())
        new = [finding for finding in findings if finding.rule.name not in self._said]
        self._said |= {finding.rule.name for finding in new}
        advice = f"`jax-ppo doctor {self._run.path}` says what to try"
        return [f"warning: {finding}; {advice}" for finding in new]

    def close(self) -> None:
        """Close the event files."""
        if self._events is not None:
            self._events.close()


class CurveLog:
    """The curves of many agents: a row per update, with a list over the agents for each metric.

    An agent that diverges is no reason to stop the others; its numbers become null.
    """

    def __init__(self, run: Run) -> None:
        """Nothing is opened before `begin`."""
        self._run = run
        self._path = run.path / "curves.jsonl"

    def begin(self, update: int) -> None:
        """Drop what was written of updates after `update`."""
        truncate_rows(self._path, update)

    def add(self, metrics: Mapping[str, Any], update: int, count: int) -> np.ndarray:
        """Write a row per update."""
        columns = {name: np.asarray(metrics[name])[:count] for name in CURVES}
        append_rows(
            self._path,
            (
                {
                    "update": update + i + 1,
                    "steps": (update + i + 1) * self._run.config.batch_size,
                    **{name: _short_numbers(column[i]) for name, column in columns.items()},
                }
                for i in range(count)
            ),
        )
        return columns["episode_return"]

    def warnings(self, before: int, update: int, arrays: Callable[[], Arrays]) -> list[str]:
        """Nothing: among many settings some are bound to be bad."""
        return []

    def close(self) -> None:
        """Nothing is open."""


def _short_numbers(values: np.ndarray) -> list[float | None]:
    """Numbers to four digits, which is all that a curve shows; None where there is none."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]
