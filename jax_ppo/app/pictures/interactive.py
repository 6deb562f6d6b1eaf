"""Drawing a picture for a browser, with Plotly."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

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

PANEL_HEIGHT = 380
"""Pixels."""
LINE_HEIGHT = 24
"""Pixels of a line of the title."""
BELOW = 60
"""Pixels below all panels, for the labels of the last ones."""


def make_figure(picture: Picture) -> go.Figure:
    """A picture as a Plotly figure."""
    figure = make_subplots(
        rows=picture.rows,
        cols=picture.columns,
        subplot_titles=[panel.title for panel in picture.panels],
        vertical_spacing=0.32 / picture.rows,
        horizontal_spacing=0.2 / picture.columns,
    )
    named: set[str] = set()
    for index, panel in enumerate(picture.panels):
        row, column = divmod(index, picture.columns)
        _draw_panel(figure, panel, {"row": row + 1, "col": column + 1}, named)
    lines = picture.title.split("\n")
    # The title's lines, the space around them, and the titles of the uppermost panels.
    above = LINE_HEIGHT * (len(lines) + 2)
    figure.update_layout(
        title={
            "text": "<br>".join(lines),
            "x": 0.5,
            "y": 1.0,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": LINE_HEIGHT // 2},
        },
        height=PANEL_HEIGHT * picture.rows + above,
        template="plotly_white",
        margin={"t": above, "b": BELOW},
        legend={"itemsizing": "constant"},
        hovermode="closest",
    )
    return figure


def _draw_panel(figure: go.Figure, panel: Panel, place: dict[str, int], named: set[str]) -> None:
    """One panel; `named` holds what the legend has already."""
    # Plotly draws no spans and levels where there is nothing else yet.
    for mark in sorted(panel.marks, key=lambda mark: isinstance(mark, (Span, Level))):
        look = {
            "name": mark.label,
            "legendgroup": mark.label,
            "showlegend": bool(mark.label) and mark.label not in named,
        }
        named.add(mark.label)
        _draw_mark(figure, mark, look, place)
    figure.update_xaxes(title_text=panel.x_label, type="log" if panel.log_x else "linear", **place)
    figure.update_yaxes(title_text=panel.y_label, type="log" if panel.log_y else "linear", **place)
    if panel.from_zero:
        figure.update_xaxes(rangemode="tozero", **place)
    if panel.x_names:
        places = list(range(len(panel.x_names)))
        ends = [-0.5, len(places) - 0.5]
        figure.update_xaxes(tickvals=places, ticktext=list(panel.x_names), range=ends, **place)


def _draw_mark(figure: go.Figure, mark: Mark, look: dict[str, Any], place: dict[str, int]) -> None:
    """One mark of a panel."""
    match mark:
        case Line():
            colour = colour_of(mark)
            if mark.low is not None and mark.high is not None:
                figure.add_trace(_band(mark, mark.low, mark.high), **place)
            seen = np.isfinite(mark.y)
            figure.add_scatter(
                x=mark.x[seen],
                y=mark.y[seen],
                mode="lines+markers" if seen.sum() == 1 else "lines",
                line={"color": colour, "width": 1 if mark.faint else 2.5},
                opacity=0.35 if mark.faint else 1.0,
                **look,
                **place,
            )
        case Points():
            figure.add_scatter(
                x=mark.x,
                y=mark.y,
                mode="markers",
                error_y=_error_bars(mark),
                marker={"color": colour_of(mark), "size": 4 if mark.faint else 8},
                opacity=0.4 if mark.faint else 1.0,
                **look,
                **place,
            )
        case Bars():
            figure.add_bar(
                x=0.5 * (mark.edges[1:] + mark.edges[:-1]),
                y=mark.heights,
                width=np.diff(mark.edges),
                marker={"color": colour_of(mark), "line": {"width": 0}},
                opacity=0.7,
                **look,
                **place,
            )
        case Span():
            figure.add_vrect(
                x0=mark.low, x1=mark.high, fillcolor="lightgrey", opacity=0.5, layer="below",
                line_width=0, annotation_text=mark.label, annotation_position="top left", **place,
            )  # fmt: skip
        case Level():
            figure.add_hline(
                y=mark.y, line={"color": "grey", "dash": "dash", "width": 1},
                annotation_text=mark.label, annotation_position="bottom right", **place,
            )  # fmt: skip


def _band(mark: Line, low: np.ndarray, high: np.ndarray) -> go.Scatter:
    """The band around a line, as one closed outline."""
    seen = np.isfinite(low) & np.isfinite(high)
    x = mark.x[seen]
    return go.Scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([high[seen], low[seen][::-1]]),
        fill="toself",
        fillcolor=colour_of(mark),
        opacity=0.2,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=mark.label,
    )


def _error_bars(mark: Points) -> dict[str, Any] | None:
    """Plotly's error bars, if the points have some."""
    if mark.low is None or mark.high is None:
        return None
    return {"array": mark.high - mark.y, "arrayminus": mark.y - mark.low, "symmetric": False}
