"""The metrics of a run as arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import Run, read_rows

INDEX = ("update", "steps", "seed")
"""Entries of a row that are not metrics."""


@dataclass(frozen=True)
class History:
    """The metrics of a run, update by update."""

    seeds: tuple[int, ...]
    """Seed of every agent."""
    updates: np.ndarray
    """Numbers of the updates [num_updates]."""
    steps: np.ndarray
    """Environment steps of each agent after them [num_updates]."""
    seconds: np.ndarray
    """Time that training had taken by then [num_updates]."""
    metrics: dict[str, np.ndarray]
    """By name [num_updates, num_agents]; NaN where there was nothing to measure."""


def read_history(run: Run) -> History:
    """Read the metrics of a run.

    Raises:
        AppError: It has none yet.
    """
    history = make_history(read_rows(run.metrics), run.settings.seeds, read_rows(run.timing))
    if not len(history.updates):
        raise AppError(f"{run.path} has no metrics yet: its first update is not done")
    return history


def make_history(
    rows: Iterable[dict[str, Any]], seeds: Iterable[int], timing: Iterable[dict[str, Any]] = ()
) -> History:
    """Metrics as arrays, of a row per update and seed and the timing as for `seconds_at`.

    An update that not every agent has a row of is left out.
    """
    seeds = tuple(seeds)
    by_update: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_update.setdefault(row["update"], []).append(row)
    whole = [group for group in by_update.values() if len(group) == len(seeds)]
    names = [name for name in whole[0][0] if name not in INDEX] if whole else []
    updates, steps = (np.array([g[0][name] for g in whole], int) for name in ("update", "steps"))
    metrics = {name: np.array([[row[name] for row in g] for g in whole], float) for name in names}
    return History(seeds, updates, steps, seconds_at(updates, timing), metrics)


def seconds_at(updates: np.ndarray, timing: Iterable[dict[str, Any]]) -> np.ndarray:
    """Seconds of training at the end of each update [num_updates], evenly within each piece.

    `timing` has a row per piece: its last update, and how many seconds it took.
    """
    pieces = [(0, 0.0), *((row["update"], row["seconds"]) for row in timing)]
    ends, lengths = np.array(pieces, float).T
    return np.interp(updates, ends, np.cumsum(lengths))
