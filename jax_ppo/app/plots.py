"""Pictures of a run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jax_ppo.app.runs import Run, read_rows

NUM_BINS = 100
"""Points of a learning curve: each is the mean of the updates that fall between two of them."""


def plot_learning_curve(run: Run, path: Path) -> None:
    """Draw episode return against environment steps, a thin line per seed and their mean.

    Args:
        run: A run with metrics.
        path: Where to write the picture (PNG).
    """
    total_steps = run.config.num_updates * run.config.batch_size
    curves, edges = bin_returns(read_rows(run.metrics), total_steps)
    steps = 0.5 * (edges[1:] + edges[:-1])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    many = len(curves) > 1
    for curve in curves.values():
        seen = np.isfinite(curve)
        # A line through one point shows nothing.
        style = "C0." if seen.sum() == 1 else "C0"
        axes.plot(steps[seen], curve[seen], style, alpha=0.3 if many else 1.0, linewidth=1.0)
    if many:
        axes.plot([], [], color="C0", alpha=0.3, linewidth=1.0, label="one seed")
        mean = np.mean([_without_gaps(steps, curve) for curve in curves.values()], axis=0)
        axes.plot(
            steps, mean, color="C0", linewidth=2.5, label="mean, where every seed has episodes"
        )
        axes.legend(loc="best")
    axes.set_xlabel("environment steps" + (" of each agent" if many else ""))
    axes.set_ylabel("episode return (sum of rewards)")
    axes.set_xlim(0, total_steps)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(alpha=0.3)
    axes.set_title(_title(run))
    figure.savefig(path, dpi=120, format="png")


def bin_returns(
    rows: Iterable[dict[str, Any]], total_steps: int
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Average the episode returns of each seed over equal stretches of training.

    An update counts with as many episodes as ended in it.

    Args:
        rows: Rows of metrics.
        total_steps: Steps of the whole training.

    Returns:
        A curve per seed [NUM_BINS], NaN where no episode ended, and the stretches' limits
        [NUM_BINS + 1].
    """
    edges = np.linspace(0, total_steps, NUM_BINS + 1)
    sums: dict[int, np.ndarray] = {}
    for row in rows:
        seed_sums = sums.setdefault(row["seed"], np.zeros((2, NUM_BINS)))
        if row["episode_return"] is not None and row["num_episodes"] > 0:
            i = min(int(np.searchsorted(edges, row["steps"])) - 1, NUM_BINS - 1)
            weight = row["num_episodes"]
            seed_sums[:, i] += (row["episode_return"] * weight, weight)
    with np.errstate(invalid="ignore"):
        return {seed: total / count for seed, (total, count) in sums.items()}, edges


def _without_gaps(steps: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """The curve with lines across its gaps; NaN before its first episode and after its last."""
    seen = np.isfinite(curve)
    if not seen.any():
        return curve
    return np.interp(steps, steps[seen], curve[seen], left=np.nan, right=np.nan)


def _title(run: Run) -> str:
    seeds = run.settings.seeds
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    steps = run.config.num_updates * run.config.batch_size
    return f"PPO on {run.config.env_id}, {which}, {steps:,} steps"
