"""Saying how well agents do: as data, and as a table."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.table import Table

from jax_ppo.app.statistics import Summary, show_number, summarize

UNLIMITED_STEPS = 100_000
"""Steps after which an episode counts as unfinished where the environment sets no limit."""


def report(results: Any, seeds: Iterable[int]) -> dict[str, Any]:
    """The outcome as data: a summary per agent, and one over the means of all agents.

    Args:
        results: EpisodeResults of either framework [num_seeds, num_episodes].
        seeds: The agents' seeds.
    """
    returns = np.asarray(results.episode_return)
    return {
        "per_seed": {
            str(seed): {
                **summarize(row)._asdict(),
                "mean_length": float(length),
                "unfinished": int(unfinished),
            }
            for seed, row, length, unfinished in zip(
                seeds,
                returns,
                np.asarray(results.episode_length).mean(axis=1),
                np.sum(~np.asarray(results.finished), axis=1),
                strict=True,
            )
        },
        "over_seeds": summarize(returns.mean(axis=1))._asdict(),
    }


def report_table(content: dict[str, Any], title: str) -> Table:
    """The outcome as a table for the terminal."""
    caption = "IQM: interquartile mean, that of the middle half; CI: confidence interval"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for name in ("seed", "mean", "median", "IQM", "IQM, 95% CI", "min", "max", "length"):
        table.add_column(name, justify="right")
    for seed, row in content["per_seed"].items():
        table.add_row(seed, *_cells(row), f"{row['mean_length']:.1f}")
    if len(content["per_seed"]) > 1:
        table.add_section()
        table.add_row("means", *_cells(content["over_seeds"]), "")
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    """A summary's entries as text."""
    summary = Summary(**{name: row[name] for name in Summary._fields})
    interval = f"{show_number(summary.ci_low)} .. {show_number(summary.ci_high)}"
    numbers = (summary.mean, summary.median, summary.iqm)
    extremes = (summary.minimum, summary.maximum)
    return [*map(show_number, numbers), interval, *map(show_number, extremes)]
