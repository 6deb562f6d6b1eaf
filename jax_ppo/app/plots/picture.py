"""Plots as data, and their drawing into PNG files with matplotlib."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, NullFormatter

from jax_ppo.app.runs import written_atomically

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b5b95", "#7f7f7f",
    "#000000", "#a6761d",
)  # fmt: skip
"""Colours of the series, in order, used cyclically; also for people with red-green blindness.

Source: Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, and four more.
"""
GREY = -1
"""Colour of what stands behind the rest."""
PANEL_SIZE = {1: (8.0, 4.5), 2: (6.0, 3.6)}
"""Width and height of a panel in inches, by the number of columns; from three on, SMALL_PANEL."""
SMALL_PANEL = (4.6, 3.0)
LEGEND_ROW = 0.25
"""Height of a row of a legend below the panels, in inches."""
POINT_SIZE = 30.0
"""Area of a point that is not faint, in square points."""
MANY_NAMES = 4
"""So many names fit under an axis or into a panel; more are turned, or stand below."""


class Line(NamedTuple):
    """A curve, with a band around it where `low` and `high` are given."""

    label: str
    """In the legend; lines of one label share an entry. Empty: no entry."""
    x: np.ndarray
    """[n]."""
    y: np.ndarray
    """[n]; NaN where there is nothing to draw."""
    low: np.ndarray | None = None
    """[n]."""
    high: np.ndarray | None = None
    """[n]."""
    colour: int = 0
    """Index into COLOURS, or GREY."""
    faint: bool = False
    """One of many that only show the spread."""

    def draw(self, axes: Axes) -> None:
        """Draw it on axes."""
        seen = np.isfinite(self.y)
        colour, (alpha, width) = _colour(self), (0.3, 1.0) if self.faint else (1.0, 2.0)
        # A line through one point shows nothing.
        dot = "o" if seen.sum() == 1 else None
        look: dict[str, Any] = {"color": colour, "alpha": alpha, "linewidth": width, "marker": dot}
        axes.plot(self.x[seen], self.y[seen], label=_label(self), **look)
        if self.low is not None and self.high is not None:
            axes.fill_between(self.x, self.low, self.high, color=colour, alpha=0.2, lw=0)


class Points(NamedTuple):
    """Single points, with error bars where `low` and `high` are given."""

    label: str
    x: np.ndarray
    """[n]; whole numbers from 0 on where the panel has names on its x axis."""
    y: np.ndarray
    """[n]."""
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    colour: int = 0
    faint: bool = False
    """Whether the points are many and small."""

    def draw(self, axes: Axes) -> None:
        """Draw them on axes."""
        colour, (size, alpha) = _colour(self), (6.0, 0.35) if self.faint else (POINT_SIZE, 1.0)
        look: dict[str, Any] = {"s": size, "alpha": alpha, "lw": 0, "color": colour}
        axes.scatter(self.x, self.y, label=_label(self), **look)
        if self.low is not None and self.high is not None:
            reach = np.array([self.y - self.low, self.high - self.y])
            axes.errorbar(self.x, self.y, reach, fmt="none", color=colour, capsize=3)


class Bars(NamedTuple):
    """A histogram."""

    label: str
    edges: np.ndarray
    """[n + 1]."""
    heights: np.ndarray
    """[n]."""
    colour: int = 0

    def draw(self, axes: Axes) -> None:
        """Draw it on axes."""
        look: dict[str, Any] = {"fill": True, "alpha": 0.7, "color": _colour(self)}
        axes.stairs(self.heights, self.edges, label=_label(self), **look)


class Span(NamedTuple):
    """A stretch of the x axis."""

    label: str
    low: float
    high: float

    def draw(self, axes: Axes) -> None:
        """Draw it on axes."""
        axes.axvspan(self.low, self.high, color="0.85", zorder=0, label=_label(self))


class Level(NamedTuple):
    """A height that something is compared with, as a dashed line."""

    label: str
    y: float

    def draw(self, axes: Axes) -> None:
        """Draw it on axes."""
        axes.axhline(self.y, color="0.4", linestyle="--", linewidth=1.0, label=_label(self))


Mark = Line | Points | Bars | Span | Level


@dataclass(frozen=True)
class Panel:
    """A pair of axes and what is drawn between them."""

    title: str
    x_label: str
    y_label: str
    marks: tuple[Mark, ...]
    log_x: bool = False
    log_y: bool = False
    from_zero: bool = False
    """Whether the x axis starts at 0."""
    x_names: tuple[str, ...] = ()
    """Names at x = 0, 1, ...; empty: numbers."""
    y_range: tuple[float, float] | None = None
    """Ends of the y axis; None: as the marks need."""


@dataclass(frozen=True)
class Picture:
    """Panels under one title."""

    title: str
    panels: tuple[Panel, ...]
    columns: int = 1
    """Panels side by side."""


def write_png(picture: Picture, path: Path) -> None:
    """Draw a picture into a file, atomically."""
    with written_atomically(path) as unfinished:
        draw(picture).savefig(unfinished, dpi=120, format="png")


def draw(picture: Picture) -> Figure:
    """A picture as a figure of matplotlib's."""
    width, height = PANEL_SIZE.get(picture.columns, SMALL_PANEL)
    rows = -(-len(picture.panels) // picture.columns)
    figure = Figure(figsize=(width * picture.columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, picture.columns, squeeze=False)
    for axes, panel in zip(grid.flat, picture.panels, strict=False):
        _draw_panel(axes, panel)
    for axes in grid.flat[len(picture.panels) :]:
        axes.set_axis_off()
    _draw_legends(figure)
    figure.suptitle(picture.title)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    """One panel: its marks, then its axes."""
    for mark in panel.marks:
        mark.draw(axes)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    axes.title.set_fontsize("medium")
    axes.grid(alpha=0.3)
    if panel.log_y:
        axes.set_yscale("log")
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if panel.from_zero:
        axes.set_xlim(left=0)
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    if panel.x_names:
        turned = len(panel.x_names) > MANY_NAMES
        look: dict[str, Any] = (
            {"rotation": 30, "ha": "right"} if turned else {"rotation": 0, "ha": "center"}
        )
        axes.set_xticks(range(len(panel.x_names)), panel.x_names, **look)
        axes.set_xlim(-0.5, len(panel.x_names) - 0.5)
    elif not panel.log_x and axes.get_xlim()[1] >= 10_000:
        axes.xaxis.set_major_formatter(FuncFormatter(_short))


def _draw_legends(figure: Figure) -> None:
    """A legend in each panel or, where one would cover the curves, one below all of them."""
    legends = [_legend_of(axes) for axes in figure.axes]
    everything = {label: handle for legend in legends for label, handle in legend.items()}
    if len(everything) > MANY_NAMES:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + LEGEND_ROW * -(-len(everything) // 2))
        look: dict[str, Any] = {"loc": "outside lower center", "ncols": 2, "fontsize": "small"}
        _make_opaque(figure.legend(everything.values(), everything.keys(), **look))
        return
    for axes, legend in zip(figure.axes, legends, strict=True):
        if legend:
            _make_opaque(axes.legend(legend.values(), legend.keys(), loc="best", fontsize="small"))


def _make_opaque(legend: Legend) -> None:
    """Draw points that are faint in the panel as normal ones in its legend."""
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_alpha(1.0)
            handle.set_sizes([POINT_SIZE])


def _legend_of(axes: Axes) -> dict[str, Artist]:
    """The artist of each label of a panel."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def _colour(mark: Line | Points | Bars) -> str:
    return "0.6" if mark.colour == GREY else COLOURS[mark.colour % len(COLOURS)]


def _label(mark: Mark) -> str:
    return mark.label or "_nolegend_"


def _short(value: float, _: int) -> str:
    """A number of steps in a few characters: 1.5M, 300k."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
