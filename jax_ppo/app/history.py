"""The metrics of a run as arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import Run, read_rows

INDEX = ("update", "steps", "seed")
"""Entries of a row that say where it belongs, and are no metrics."""


@dataclass(frozen=True)
class History:
    """What a run went through, update by update."""

    seeds: tuple[int, ...]
    """Seed of every agent."""
    updates: np.ndarray
    """Numbers of the updates [num_updates]."""
    steps: np.ndarray
    """Environment steps of each agent after them [num_updates]."""
    seconds: np.ndarray
    """Time that training had taken by then [num_updates]."""
    metrics: dict[str, np.ndarray]
    """By name [num_updates, num_seeds]; NaN where there was nothing to measure."""


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
    """Metrics as arrays; an update that not every agent has a row of is left out.

    Args:
        rows: A row per update and seed, in the order of the updates.
        seeds: The agents' seeds.
        timing: A row per piece of training: its last update, and how many seconds it took.
    """
    seeds = tuple(seeds)
    by_update: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_update.setdefault(row["update"], []).append(row)
    whole = [group for group in by_update.values() if len(group) == len(seeds)]
    names = [name for name in whole[0][0] if name not in INDEX] if whole else []
    updates = np.array([group[0]["update"] for group in whole], dtype=int)
    return History(
        seeds=seeds,
        updates=updates,
        steps=np.array([group[0]["steps"] for group in whole], dtype=int),
        seconds=seconds_at(updates, timing),
        metrics={
            name: np.array([[row[name] for row in group] for group in whole], dtype=float)
            for name in names
        },
    )


def seconds_at(updates: np.ndarray, timing: Iterable[dict[str, Any]]) -> np.ndarray:
    """Seconds of training at the end of each update, evenly within each piece.

    Args:
        updates: Numbers of the updates [num_updates].
        timing: A row per piece of training: its last update, and how many seconds it took.
    """
    pieces = [(row["update"], row["seconds"]) for row in timing]
    ends = np.array([0, *(update for update, _ in pieces)], dtype=float)
    seconds = np.cumsum([0.0, *(length for _, length in pieces)])
    return np.interp(updates, ends, seconds)
