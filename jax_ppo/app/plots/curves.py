"""Learning curves, of one run or of several in one plot, and diagnostics."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jax_ppo.app.history import History
from jax_ppo.app.plots.picture import GREY, Level, Line, Mark, Panel, Picture
from jax_ppo.app.runs import Run
from jax_ppo.app.statistics import MIN_VALUES, interval_of_curves

NUM_BINS = 100
"""Points of a learning curve: each is the mean of the episodes that ended between two of them."""

MAX_BANDS = 4
"""So many curves can have an interval each."""
MAX_COLOURED = 10
"""So many curves have a colour each; further ones are grey."""

STEPS_LABEL = "environment steps of each agent"


class Curve(NamedTuple):
    """Episode returns over the course of a training."""

    steps: np.ndarray
    """Environment steps of each agent, at the middle of each stretch [num_points]."""
    seconds: np.ndarray
    """Time that training had taken by then, without compilation [num_points]."""
    returns: np.ndarray
    """[num_agents, num_points]; NaN where no episode ended."""


def curve_of(history: History, num_bins: int = NUM_BINS) -> Curve:
    """Average the episode returns of each agent over num_bins equal stretches of training.

    An update counts with as many episodes as ended in it.
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
    curve, several = curve_of(history), len(history.seeds) > 1
    label = _kind_of(curve) if several else "episode return"
    spread = [Line("one agent", curve.steps, row, faint=True) for row in curve.returns if several]
    lines = (*spread, _summary_line(label, curve, curve.steps))
    by_time = (_summary_line(label, curve, curve.seconds),)
    title = f"{run.algorithm.upper()} on {title_of(run)}"
    return Picture(
        title, (_returns_panel("steps", lines), _returns_panel("seconds", by_time)), columns=2
    )


def compared_curves(title: str, curves: Mapping[str, Curve], against_time: bool = True) -> Picture:
    """Learning curves, by their names in the legend, against steps and (if asked) against time.

    Of many curves the first MAX_COLOURED stand out: give the best first.
    """
    what = ""
    if any(len(curve.returns) > 1 for curve in curves.values()):
        kinds = {_kind_of(curve) for curve in curves.values()}
        kind = kinds.pop() if len(kinds) == 1 else "IQM over agents (mean of few)"
        what = f": {kind if len(curves) <= MAX_BANDS else kind.split(',')[0]}"
    axes = ("steps", "seconds") if against_time else ("steps",)
    panels = tuple(_returns_panel(axis, _lines(curves, axis), what) for axis in axes)
    return Picture(title, panels, columns=len(panels))


def title_of(run: Run) -> str:
    """Environment, seeds and steps of a run, for a title."""
    steps = run.config.num_updates * run.config.batch_size
    return f"{run.config.env_id}, {name_seeds(run.settings.seeds)}, {steps:,} steps"


def name_seeds(seeds: Sequence[int]) -> str:
    """A range of seeds in words."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _lines(curves: Mapping[str, Curve], x: str) -> tuple[Line, ...]:
    """A line for each run; the bands of many would hide one another, and so would their colours."""
    lines = tuple(
        _summary_line(name, curve, getattr(curve, x), colour)
        for colour, (name, curve) in enumerate(curves.items())
    )
    if len(lines) <= MAX_BANDS:
        return lines
    bare = [line._replace(low=None, high=None) for line in lines]
    others = [
        line._replace(label="the others", colour=GREY, faint=True) for line in bare[MAX_COLOURED:]
    ]
    return (*others, *bare[:MAX_COLOURED])


def _summary_line(label: str, curve: Curve, x: np.ndarray, colour: int = 0) -> Line:
    """The interquartile mean over the agents, with its interval; the mean of few agents."""
    curves = _without_gaps(curve.returns)
    if len(curves) < MIN_VALUES:
        return Line(label, x, curves.mean(axis=0), colour=colour)
    middle, low, high = interval_of_curves(curves)
    return Line(label, x, middle, low, high, colour)


def _kind_of(curve: Curve) -> str:
    """What is drawn of several agents."""
    return (
        "mean over agents" if len(curve.returns) < MIN_VALUES else "IQM over agents, 95% interval"
    )


def _returns_panel(axis: str, lines: tuple[Line, ...], what: str = "") -> Panel:
    """Returns against steps or seconds; `what` names the lines where the legend does not."""
    seconds = "time of all agents together, without compilation (s)"
    title, label = {"steps": ("steps", STEPS_LABEL), "seconds": ("time", seconds)}[axis]
    y_label = "episode return (sum of rewards)"
    return Panel(f"against {title}{what}", label, y_label, lines, from_zero=True)


def _without_gaps(curves: np.ndarray) -> np.ndarray:
    """Curves [num_agents, n], interpolated across their gaps; NaN before the first episode."""
    places = np.arange(curves.shape[1])
    filled = np.full_like(curves, np.nan)
    for row, curve in zip(filled, curves, strict=True):
        seen = np.isfinite(curve)
        if seen.any():
            row[:] = np.interp(places, places[seen], curve[seen], left=np.nan, right=np.nan)
    return filled


class Gauge(NamedTuple):
    """A metric and how to draw it."""

    metric: str
    title: str
    unit: str
    log: bool = False
    limit: str = ""
    """The field of the config that it is compared with."""


GAUGES = (
    Gauge("episode_return", "episode return", "sum of rewards"),
    Gauge("episode_length", "episode length", "steps"),
    Gauge("explained_variance", "explained variance", "share of 1"),
    Gauge("entropy", "entropy", "nats"),
    Gauge("approx_kl", "approximate KL divergence", "nats", limit="target_kl"),
    Gauge("clip_fraction", "clip fraction", "share of samples"),
    Gauge("policy_loss", "policy loss", "normalized advantage"),
    Gauge("value_loss", "value loss", "squared return", log=True),
    Gauge("grad_norm", "gradient norm before clipping", "norm", log=True, limit="max_grad_norm"),
    Gauge("advantage_std", "standard deviation of advantages", "return"),
    Gauge("value_mean", "mean value", "return"),
    Gauge("param_norm", "norm of the parameters", "norm"),
    Gauge("learning_rate", "learning rate", "per gradient step"),
    Gauge("kl_stop", "updates cut short by the KL stop", "share"),
    Gauge("kl_coef", "coefficient of the KL penalty", "coefficient", log=True),
)
"""What the dashboard shows, if the run measured it."""


def dashboard(run: Run, history: History) -> Picture:
    """Every diagnostic against steps: the median agent, and a band around all agents."""
    shown = [gauge for gauge in GAUGES if _is_alive(history, gauge)]
    panels = tuple(_panel(run, history, gauge) for gauge in shown)
    who = "" if len(history.seeds) == 1 else f"\nmedian of {name_seeds(history.seeds)}; band: all"
    return Picture(f"Diagnostics: {title_of(run)}{who}", panels, columns=3)


def _is_alive(history: History, gauge: Gauge) -> bool:
    """Whether there is anything to plot; not for a KL stop that never fired."""
    values = history.metrics.get(gauge.metric)
    if values is None or not np.isfinite(values).any():
        return False
    return gauge.metric != "kl_stop" or bool(np.nanmax(values) > 0)


def _panel(run: Run, history: History, gauge: Gauge) -> Panel:
    """One metric against steps."""
    steps, values = thin(history.steps, history.metrics[gauge.metric])
    seen = np.isfinite(values).any(axis=1)
    steps, values = steps[seen], values[seen]
    marks: tuple[Mark, ...] = (median_line("", steps, values),)
    limit = getattr(run.config, gauge.limit) if gauge.limit else None
    if limit is not None:
        marks += (Level(gauge.limit, limit),)
    return Panel(gauge.title, "environment steps", gauge.unit, marks, log_y=gauge.log)


def median_line(label: str, steps: np.ndarray, values: np.ndarray, colour: int = 0) -> Line:
    """The median over the agents of values [n, num_agents], with all of them inside the band."""
    middle = np.nanmedian(values, axis=1)
    if values.shape[1] == 1:
        return Line(label, steps, middle, colour=colour)
    low, high = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
    return Line(label, steps, middle, low, high, colour)


def thin(
    steps: np.ndarray, values: np.ndarray, num_bins: int = NUM_BINS
) -> tuple[np.ndarray, np.ndarray]:
    """Means over at most num_bins equal stretches of updates; NaN is left out of the means.

    Returns:
        Steps at the end of each stretch [n], and means [n, num_agents].
    """
    stretch = -(-len(steps) // num_bins)
    starts = np.arange(0, len(steps), stretch)
    known = np.isfinite(values)
    counts = np.add.reduceat(known, starts, axis=0, dtype=float)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts, axis=0)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return steps[np.minimum(starts + stretch, len(steps)) - 1], means
