"""The evaluation of agents as data, and as a table."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.table import Table

from jax_ppo.app.statistics import Summary, show_number, show_score, summarize

UNLIMITED_STEPS = 100_000
"""Steps after which an episode counts as unfinished where the environment sets no limit."""
NUMBERS = tuple(name for name in Summary._fields if name != "values")
"""The fields of a summary that are numbers."""


def report(results: Any, seeds: Iterable[int]) -> dict[str, Any]:
    """EpisodeResults of either framework [num_agents, num_episodes] as data.

    The summary of an agent is one of its episodes, the summary over all of the agents' means.
    """
    returns = np.asarray(results.episode_return)
    lengths = np.asarray(results.episode_length).mean(axis=1)
    unfinished = np.sum(~np.asarray(results.finished), axis=1)
    per_seed = {
        str(seed): {
            **summarize(row)._asdict(),
            "mean_length": float(length),
            "unfinished": int(number),
        }
        for seed, row, length, number in zip(seeds, returns, lengths, unfinished, strict=True)
    }
    return {"per_seed": per_seed, "over_seeds": summarize(returns.mean(axis=1))._asdict()}


def summary_of(content: dict[str, Any]) -> Summary:
    """A summary as it was before it was written, also by an older version.

    Raises:
        TypeError: It is no summary.
    """
    numbers: dict[str, Any] = {
        name: np.nan if content.get(name) is None else content[name] for name in NUMBERS
    }
    summary = Summary(**numbers, values=tuple(content.get("values", ())))
    if not all(isinstance(value, (int, float)) for value in (*numbers.values(), *summary.values)):
        raise TypeError("it holds texts where numbers belong")
    return summary


def report_table(content: dict[str, Any]) -> Table:
    """The episodes of each agent as a table for the terminal."""
    table = Table()
    for name in ("seed", "mean", "median", "min", "max", "length"):
        table.add_column(name, justify="right")
    for seed, row in content["per_seed"].items():
        numbers = (row[name] for name in ("mean", "median", "minimum", "maximum"))
        table.add_row(seed, *map(show_number, numbers), f"{row['mean_length']:.1f}")
    return table


def report_line(content: dict[str, Any]) -> str:
    """All agents in one line; the return of each is the mean over its episodes."""
    summary = summary_of(content["over_seeds"])
    return f"over the {summary.num_values} agents' means: {show_score(summary)}"
