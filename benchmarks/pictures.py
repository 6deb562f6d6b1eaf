"""The picture of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

AXES = {
    "num_envs": "environments per agent",
    "num_agents": "agents trained at once",
}
"""Labels of the two x-axes, by the field of a work that they show."""


def plot_scaling(content: Mapping[str, Any], path: Path) -> None:
    """Draw steps per second against the number of environments, and of agents.

    Args:
        content: Results of `scaling`.
        path: Where to write the picture (PNG).
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (field, label) in zip(panels, AXES.items(), strict=True):
        _draw(axes, field, content[field])
        axes.set_xlabel(f"{label} (log scale)")
    panels[0].set_ylabel("environment steps per second, all agents (log scale)")
    panels[0].legend(loc="best")
    cores = content["machine"]["cpu_count"]
    figure.suptitle(f"Training on {content['device']}, {cores} cores: median and whole range")
    figure.savefig(path, dpi=120, format="png")


def _draw(axes: Axes, field: str, comparisons: Sequence[Mapping[str, Any]]) -> None:
    """A line per implementation."""
    names = [side["name"] for side in comparisons[0]["sides"]] if comparisons else []
    for i, name in enumerate(names):
        sides = [_side(comparison, name) for comparison in comparisons]
        speeds = [side["steps_per_second"] for side in sides]
        values = [comparison["work"][field] for comparison in comparisons]
        axes.plot(values, [speed["median"] for speed in speeds], "o-", color=f"C{i}", label=name)
        lows, highs = ([speed[end] for speed in speeds] for end in ("low", "high"))
        axes.fill_between(values, lows, highs, color=f"C{i}", alpha=0.2)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(alpha=0.3)


def _side(comparison: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One implementation of a comparison."""
    return next(side for side in comparison["sides"] if side["name"] == name)
