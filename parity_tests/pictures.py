"""The pictures of the report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parity_tests.horizons import Horizons
from parity_tests.learning import Comparison
from parity_tests.lockstep import Lockstep


def plot_horizons(horizons: Sequence[Horizons], title: str, path: Path) -> None:
    """Draw how the distance of the parameters grows, for each precision in a panel (a PNG)."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(horizons), sharey=True, squeeze=False)[0]
    for axes, h in zip(panels, horizons, strict=True):
        _draw_distances(axes, h.neighbour, "C1", "JAX and JAX one ulp away")
        _draw_distances(axes, h.cross, "C0", "PyTorch and JAX")
        axes.set_title(
            f"{h.precision}: same actions for {h.cross_median:g} updates "
            f"(one ulp away: {h.neighbour_median:g})",
            fontsize="medium",
        )
        axes.set_xlabel("updates")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("distance of the parameters, |a - b| / |b|")
    panels[0].legend(loc="lower right")
    figure.suptitle(f"{title}: the same draws on both sides, {len(horizons[0].seeds)} seeds")
    figure.savefig(path, dpi=120, format="png")


def plot_learning(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draw the outcomes of every seed of both sides, a row of panels per environment (a PNG)."""
    figure = Figure(figsize=(9, 3.4 * len(comparisons)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(comparisons), 2, squeeze=False)
    for panels, comparison in zip(grid, comparisons, strict=True):
        name = comparison.experiment.config.env_id
        title = f"{name}, {comparison.experiment.num_agents} seeds each"
        _draw_outcomes(panels[0], comparison, "final_return")
        panels[0].set_ylabel("episode return of the trained agent")
        _draw_outcomes(panels[1], comparison, "steps_to_threshold")
        threshold = f"{comparison.experiment.threshold:g}"
        panels[1].set_ylabel(f"environment steps to a return of {threshold}")
        panels[1].yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for axes in panels:
            axes.set_title(title, fontsize="medium")
    figure.savefig(path, dpi=120, format="png")


def _draw_distances(axes: Axes, runs: Sequence[Lockstep], color: str, label: str) -> None:
    """A thin line per seed, and a dot where the first action differs."""
    for i, run in enumerate(runs):
        updates = np.arange(1, run.num_updates + 1)
        axes.plot(updates, run.distances, color=color, linewidth=1, alpha=0.7)
        if run.identical_updates < run.num_updates:
            parted = run.identical_updates
            axes.plot(
                updates[parted],
                run.distances[parted],
                "o",
                color=color,
                markeredgecolor="black",
                markersize=6,
                zorder=3,
                label=f"{label}: first other action" if i == 0 else None,
            )
    axes.plot([], [], color=color, label=label)


def _draw_outcomes(axes: Axes, comparison: Comparison, quantity: str) -> None:
    """A dot per seed, side by side, and each side's mean with its 90% interval."""
    rng = np.random.default_rng(0)
    for i, side in enumerate(("jax", "torch")):
        values = comparison.values(quantity, side)
        axes.plot(i + rng.uniform(-0.12, 0.12, len(values)), values, "o", color=f"C{i}", alpha=0.5)
        axes.hlines(values.mean(), i - 0.25, i + 0.25, color="black", linewidth=2)
    axes.set_xticks([0, 1], ["jax_ppo", "torch_ref"])
    axes.set_xlim(-0.6, 1.6)
    axes.grid(alpha=0.3, axis="y")
