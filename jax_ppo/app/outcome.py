"""The evaluation of agents as data, and as a table."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.table import Table

from jax_ppo.app.statistics import show_number, summarize

UNLIMITED_STEPS = 100_000
"""Steps after which an episode counts as unfinished where the environment sets no limit."""


def report(results: Any, seeds: Iterable[int]) -> dict[str, Any]:
    """EpisodeResults of either framework [num_agents, num_episodes] as data.

    There is a summary per agent, and one over the means of all agents.
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
    texts = {name: show_number(value) for name, value in row.items()}
    interval = f"{texts['ci_low']} .. {texts['ci_high']}"
    middles, ends = ("mean", "median", "iqm"), ("minimum", "maximum")
    return [*(texts[name] for name in middles), interval, *(texts[name] for name in ends)]
