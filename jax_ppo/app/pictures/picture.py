"""What a picture shows, apart from how it is drawn."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b5b95", "#7f7f7f",
    "#000000", "#a6761d",
)  # fmt: skip
"""Colours of the series, in order; told apart by people who do not see red or green.

Source: Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, and four more.
"""


class Line(NamedTuple):
    """A curve, with a band around it where `low` and `high` are given."""

    label: str
    """What the legend calls it; lines of one label share an entry. Empty: no entry."""
    x: np.ndarray
    """[n]."""
    y: np.ndarray
    """[n]; NaN where there is nothing to draw."""
    low: np.ndarray | None = None
    """[n]."""
    high: np.ndarray | None = None
    """[n]."""
    colour: int = 0
    """Index into COLOURS, taken round and round."""
    faint: bool = False
    """One of many that only show the spread."""


class Points(NamedTuple):
    """Single points, with error bars where `low` and `high` are given."""

    label: str
    x: np.ndarray
    """[n]; whole numbers from 0 on where the panel names the places on its x axis."""
    y: np.ndarray
    """[n]."""
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    colour: int = 0
    faint: bool = False
    """Whether the points are many and small."""


class Bars(NamedTuple):
    """A histogram."""

    label: str
    edges: np.ndarray
    """[n + 1]."""
    heights: np.ndarray
    """[n]."""
    colour: int = 0


class Span(NamedTuple):
    """A stretch of the x axis."""

    label: str
    low: float
    high: float


class Level(NamedTuple):
    """A height that something is compared with, as a dashed line."""

    label: str
    y: float


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
    """What stands at x = 0, 1, ...; empty: the numbers themselves."""


@dataclass(frozen=True)
class Picture:
    """Panels under one title."""

    title: str
    panels: tuple[Panel, ...]
    columns: int = 1
    """Panels side by side."""

    @property
    def rows(self) -> int:
        """Panels one above another."""
        return -(-len(self.panels) // self.columns)


def colour_of(mark: Line | Points | Bars) -> str:
    """The colour of a series."""
    return COLOURS[mark.colour % len(COLOURS)]
