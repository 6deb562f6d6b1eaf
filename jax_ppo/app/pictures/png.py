"""Drawing a picture into a PNG file, with matplotlib."""

from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, NullFormatter

from jax_ppo.app.pictures.picture import (
    Bars,
    Level,
    Line,
    Mark,
    Panel,
    Picture,
    Points,
    Span,
    colour_of,
)
from jax_ppo.app.runs import written_whole

PANEL_SIZE = {1: (8.0, 4.5), 2: (6.0, 3.6)}
"""Width and height of a panel in inches, by the number of columns; from three on, SMALL_PANEL."""
SMALL_PANEL = (4.6, 3.0)
LEGEND_ROW = 0.25
"""Height of a row of a legend that stands below the panels, in inches."""
POINT_SIZE = 30.0
"""Area of a point that is not faint, in square points."""
MANY_NAMES = 4
"""So many names fit under an axis or into a panel; more are turned, or stand below."""


def write_png(picture: Picture, path: Path) -> None:
    """Draw a picture into a file, whole or not at all.

    Args:
        picture: What to draw.
        path: Where; an older file is replaced.
    """
    with written_whole(path) as unfinished:
        draw(picture).savefig(unfinished, dpi=120, format="png")


def draw(picture: Picture) -> Figure:
    """A picture as a figure of matplotlib's."""
    width, height = PANEL_SIZE.get(picture.columns, SMALL_PANEL)
    size = (width * picture.columns, height * picture.rows)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(picture.rows, picture.columns, squeeze=False)
    for axes, panel in zip(grid.flat, picture.panels, strict=False):
        _draw_panel(axes, panel)
    for axes in grid.flat[len(picture.panels) :]:
        axes.set_axis_off()
    _draw_legends(figure)
    figure.suptitle(picture.title)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    """One panel: its marks, then what stands around them."""
    for mark in panel.marks:
        _draw_mark(axes, mark)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    if panel.from_zero:
        axes.set_xlim(left=0)
    if panel.x_names:
        turned = len(panel.x_names) > MANY_NAMES
        axes.set_xticks(
            range(len(panel.x_names)),
            panel.x_names,
            rotation=30 if turned else 0,
            ha="right" if turned else "center",
        )
        axes.set_xlim(-0.5, len(panel.x_names) - 0.5)
    elif not panel.log_x and axes.get_xlim()[1] >= 10_000:
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
    if panel.log_x:
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(panel.title, fontsize="medium")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(alpha=0.3)


def _draw_legends(figure: Figure) -> None:
    """A legend in each panel or, where one would cover the curves, one below all of them."""
    legends = [_legend_of(axes) for axes in figure.axes]
    everything = {label: handle for legend in legends for label, handle in legend.items()}
    if len(everything) > MANY_NAMES:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + LEGEND_ROW * -(-len(everything) // 2))
        _make_plain(
            figure.legend(
                everything.values(),
                everything.keys(),
                loc="outside lower center",
                ncols=2,
                fontsize="small",
            )
        )
        return
    for axes, legend in zip(figure.axes, legends, strict=True):
        if legend:
            _make_plain(axes.legend(legend.values(), legend.keys(), loc="best", fontsize="small"))


def _make_plain(legend: Legend) -> None:
    """Let points that are faint in the panel be seen in its legend."""
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_alpha(1.0)
            handle.set_sizes([POINT_SIZE])


def _legend_of(axes: Axes) -> dict[str, Artist]:
    """What stands for each label of a panel."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def _draw_mark(axes: Axes, mark: Mark) -> None:
    """One mark of a panel."""
    label = mark.label or "_nolegend_"
    match mark:
        case Line():
            seen = np.isfinite(mark.y)
            # A line through one point shows nothing.
            dot = "o" if seen.sum() == 1 else None
            alpha, width = (0.3, 1.0) if mark.faint else (1.0, 2.0)
            colour = colour_of(mark)
            axes.plot(
                mark.x[seen],
                mark.y[seen],
                color=colour,
                alpha=alpha,
                linewidth=width,
                marker=dot,
                label=label,
            )
            if mark.low is not None and mark.high is not None:
                axes.fill_between(mark.x, mark.low, mark.high, color=colour, alpha=0.2, lw=0)
        case Points():
            size, alpha = (6.0, 0.35) if mark.faint else (POINT_SIZE, 1.0)
            colour = colour_of(mark)
            axes.scatter(mark.x, mark.y, s=size, alpha=alpha, lw=0, color=colour, label=label)
            if mark.low is not None and mark.high is not None:
                reach = np.array([mark.y - mark.low, mark.high - mark.y])
                axes.errorbar(mark.x, mark.y, reach, fmt="none", color=colour, capsize=3)
        case Bars():
            axes.stairs(
                mark.heights, mark.edges, fill=True, alpha=0.7, color=colour_of(mark), label=label
            )
        case Span():
            axes.axvspan(mark.low, mark.high, color="0.85", zorder=0, label=label)
        case Level():
            axes.axhline(mark.y, color="0.4", linestyle="--", linewidth=1.0, label=label)


def _short(value: float, _: int) -> str:
    """A number of steps in a few characters: 1.5M, 300k."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
