"""Learning curves: of one run, and of several beside one another."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jax_ppo.app.history import History
from jax_ppo.app.pictures.picture import Line, Panel, Picture
from jax_ppo.app.runs import Run
from jax_ppo.app.statistics import interval_of_curves

NUM_BINS = 100
"""Points of a learning curve: each is the mean of the episodes that ended between two of them."""

MAX_BANDS = 4
"""So many curves can have an interval each."""

RETURN_LABEL = "episode return (sum of rewards)"


class Curve(NamedTuple):
    """Episode returns over the course of a training."""

    steps: np.ndarray
    """Environment steps of each agent, at the middle of each stretch [num_points]."""
    seconds: np.ndarray
    """Time that training had taken by then [num_points]."""
    returns: np.ndarray
    """[num_seeds, num_points]; NaN where no episode ended."""


def curve_of(history: History, num_bins: int = NUM_BINS) -> Curve:
    """Average the episode returns of each agent over equal stretches of training.

    An update counts with as many episodes as ended in it.

    Args:
        history: The metrics of a run.
        num_bins: Number of stretches.
    """
    edges = np.linspace(0, history.steps[-1], min(num_bins, len(history.steps)) + 1)
    bins = np.searchsorted(edges, history.steps) - 1
    episodes = history.metrics["num_episodes"]
    returns = np.where(episodes > 0, history.metrics["episode_return"], 0.0)
    sums, counts = np.zeros((2, len(edges) - 1, len(history.seeds)))
    np.add.at(sums, bins, returns * episodes)
    np.add.at(counts, bins, episodes)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    steps = 0.5 * (edges[1:] + edges[:-1])
    seconds = np.interp(steps, history.steps, history.seconds)
    return Curve(steps, seconds, means.T)


def learning_curve(run: Run, history: History) -> Picture:
    """Episode return against steps and against time, a faint line per agent and their IQM."""
    curve = curve_of(history)
    seeds = "one seed" if len(history.seeds) > 1 else ""
    spread = [
        Line(seeds, curve.steps, row, faint=True) for row in curve.returns if len(history.seeds) > 1
    ]
    return Picture(
        f"PPO on {title_of(run)}",
        (
            _against_steps((*spread, _summary_line(_summary_label(curve), curve, curve.steps))),
            _against_time((_summary_line(_summary_label(curve), curve, curve.seconds),)),
        ),
        columns=2,
    )


def compared_curves(title: str, curves: Mapping[str, Curve], against_time: bool = True) -> Picture:
    """The learning curves of several runs, against steps and against time.

    Args:
        title: What is compared.
        curves: By the name that the legend is to have.
        against_time: Whether the time that each took says anything.
    """
    what = _what_lines_show(curves)
    panels: tuple[Panel, ...] = (_against_steps(_lines(curves, "steps"), what),)
    if against_time:
        panels += (_against_time(_lines(curves, "seconds"), what),)
    return Picture(title, panels, columns=len(panels))


def title_of(run: Run) -> str:
    """Environment, seeds and steps of a run, for a title."""
    steps = run.config.num_updates * run.config.batch_size
    return f"{run.config.env_id}, {name_seeds(run.settings.seeds)}, {steps:,} steps"


def name_seeds(seeds: Sequence[int]) -> str:
    """A range of seeds in words."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _lines(curves: Mapping[str, Curve], x: str) -> tuple[Line, ...]:
    """A line for each run; of many, the bands would hide one another."""
    lines = tuple(
        _summary_line(name, curve, getattr(curve, x), colour)
        for colour, (name, curve) in enumerate(curves.items())
    )
    if len(lines) > MAX_BANDS:
        return tuple(line._replace(low=None, high=None) for line in lines)
    return lines


def _what_lines_show(curves: Mapping[str, Curve]) -> str:
    """What the lines of several runs, and the bands around them, are; empty: single agents."""
    if all(len(curve.returns) == 1 for curve in curves.values()):
        return ""
    return "IQM over seeds" + (", 95% interval" if len(curves) <= MAX_BANDS else "")


def _summary_label(curve: Curve) -> str:
    """What the legend says of a summary line."""
    return "IQM over seeds, 95% interval" if len(curve.returns) > 1 else "episode return"


def _summary_line(label: str, curve: Curve, x: np.ndarray, colour: int = 0) -> Line:
    """The interquartile mean over the agents, with its interval."""
    middle, low, high = interval_of_curves(_without_gaps(curve.returns))
    if len(curve.returns) == 1:
        return Line(label, x, middle, colour=colour)
    return Line(label, x, middle, low, high, colour)


def _against_steps(lines: tuple[Line, ...], what: str = "") -> Panel:
    x_label = "environment steps of each agent"
    return _returns_panel("against steps", x_label, lines, what)


def _against_time(lines: tuple[Line, ...], what: str = "") -> Panel:
    x_label = "time of all agents together, with compilation (s)"
    return _returns_panel("against time", x_label, lines, what)


def _returns_panel(title: str, x_label: str, lines: tuple[Line, ...], what: str) -> Panel:
    """Returns against something; `what` says what the lines are, where the legend does not."""
    title = f"{title}: {what}" if what else title
    return Panel(title, x_label, RETURN_LABEL, lines, from_zero=True)


def _without_gaps(curves: np.ndarray) -> np.ndarray:
    """Curves [num_seeds, n] with lines across their gaps; NaN before the first episode."""
    places = np.arange(curves.shape[1])
    filled = np.full_like(curves, np.nan)
    for row, curve in zip(filled, curves, strict=True):
        seen = np.isfinite(curve)
        if seen.any():
            row[:] = np.interp(places, places[seen], curve[seen], left=np.nan, right=np.nan)
    return filled
