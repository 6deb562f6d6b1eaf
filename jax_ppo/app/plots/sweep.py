"""Plots of a sweep: the ranking, each field's effect, and learning curves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jax_ppo.app.history import History
from jax_ppo.app.plots.curves import (
    GAUGES,
    MAX_COLOURED,
    STEPS_LABEL,
    compared_curves,
    curve_of,
    median_line,
    thin,
)
from jax_ppo.app.plots.picture import GREY, Line, Panel, Picture, Points
from jax_ppo.app.statistics import MIN_VALUES, show_number, show_spread
from jax_ppo.app.sweeps.sweep import Ranked, Sweep, show_value

SCORE_LABEL = "evaluation return"
MAX_RANKED = 30
"""Trials in the plot of the ranking; the table has them all."""
NUM_BINS = 40
"""Points of a learning curve."""
MANY_TRIALS = 40
"""More of them are drawn as small points."""
NARROWEST = 0.05
"""Half the height of a y axis, at least, as a share of the largest return."""
MAX_VALUES = 8
"""So many different values have names on the axis; more are drawn as numbers."""


def ranking_picture(sweep: Sweep, ranked: Sequence[Ranked]) -> Picture:
    """The best trials with the intervals of their IQM."""
    best = ranked[:MAX_RANKED]
    summaries = [entry.summary for entry in best]
    scores, low, high = np.array([(s.score, s.ci_low, s.ci_high) for s in summaries]).T
    places = np.arange(len(best), dtype=float)
    each = [(place, v) for place, s in enumerate(summaries) for v in s.values if s.num_values > 1]
    label = "mean over agents" if each else "IQM over agents, 95% interval"
    marks = [Points(label, places, scores, *(() if np.isnan(low).all() else (low, high)))]
    if each:
        x, y = np.array(each, float).T
        marks.append(Points("one agent", x, y, colour=GREY, faint=True))
    names = tuple(f"{place}: {_short(sweep, e.trial)}" for place, e in enumerate(best, 1))
    left_out = f", {len(best)} of {len(ranked)}" if len(best) < len(ranked) else ""
    panel = Panel(f"trials, best first{left_out}", "", SCORE_LABEL, tuple(marks), x_names=names)
    return Picture(title_of(sweep, "ranking"), (panel,))


def marginal_picture(sweep: Sweep, ranked: Sequence[Ranked]) -> Picture:
    """For each field, the score of every trial against its value, and the mean of each value.

    All panels have one y axis, which is never so narrow that noise looks like an effect.
    """
    ends = [x for _, s, _ in ranked for x in (s.minimum, s.maximum) if np.isfinite(x)] or [0.0]
    low, high = min(ends), max(ends)
    room = max(0.05 * (high - low), NARROWEST * max(abs(low), abs(high)) - 0.5 * (high - low))
    y_range = None if room == 0 else (low - room, high + room)
    panels = tuple(
        replace(_marginal(sweep, ranked, name), y_range=y_range) for name in sweep.fields
    )
    return Picture(title_of(sweep, "effect of each field"), panels, min(len(panels), 3))


def curves_picture(
    sweep: Sweep, ranked: Sequence[Ranked], histories: Mapping[int, History]
) -> Picture:
    """The learning curves of all trials: the best ones in colours, with their names."""
    curves = {
        sweep.name_of(entry.trial): curve_of(histories[entry.trial], NUM_BINS)
        for entry in ranked
        if entry.trial in histories
    }
    best = f", the best {MAX_COLOURED} in colours" if len(curves) > MAX_COLOURED else ""
    title = title_of(sweep, f"learning curves{best}")
    return compared_curves(title, curves, against_time=False)


def metrics_picture(
    sweep: Sweep, histories: Mapping[int, History], metrics: Sequence[str]
) -> Picture:
    """Some metrics of every trial over training, a panel each: the median over its agents."""
    panels = []
    for gauge in GAUGES:
        if gauge.metric in metrics:
            lines = tuple(
                _metric_line(sweep.name_of(trial), history, gauge.metric, colour)
                for colour, (trial, history) in enumerate(sorted(histories.items()))
                if gauge.metric in history.metrics
            )
            panels.append(Panel(gauge.title, STEPS_LABEL, gauge.unit, lines, from_zero=True))
    view = "diagnostics" + (", median over agents" if sweep.settings.num_agents > 1 else "")
    return Picture(title_of(sweep, view), tuple(panels), columns=min(len(panels), 3))


def _metric_line(label: str, history: History, name: str, colour: int) -> Line:
    """One diagnostic of one trial, in NUM_BINS stretches; the bands of many would hide them."""
    steps, values = thin(history.steps, history.metrics[name], NUM_BINS)
    seen = np.isfinite(values).any(axis=1)
    return median_line(label, steps[seen], values[seen], colour)._replace(low=None, high=None)


def title_of(sweep: Sweep, view: str = "") -> str:
    """The title of a plot: what is asked or varied, and below it environment, agents and steps."""
    steps = sweep.base.num_updates * sweep.base.batch_size
    agents = sweep.settings.num_agents
    what = sweep.title or f"Sweep of {', '.join(sweep.fields)}"
    if view:
        what = f"{what} {view.capitalize()}" if what.endswith("?") else f"{what}: {view}"
    each = f"{agents} agents each" if agents > 1 else "one agent each"
    return f"{what}\n{sweep.base.env_id}, {each}, {steps:,} steps"


def score_table(sweep: Sweep, ranked: Sequence[Ranked]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the ranking."""
    few = sweep.settings.num_agents < MIN_VALUES
    score = ["mean", "each agent"] if few else ["IQM", "95% interval"]
    columns = ["rank", "trial", *sweep.fields, *score, "worst", "best", "diverged"]
    rows = []
    for place, (trial, summary, diverged) in enumerate(ranked, 1):
        values = [show_value(sweep.trials[trial].get(name, "")) for name in sweep.fields]
        extremes = (show_number(summary.minimum), show_number(summary.maximum))
        row = [
            str(place),
            str(trial),
            *values,
            show_number(summary.score),
            show_spread(summary),
            *extremes,
        ]
        rows.append([*row, str(diverged or "")])
    return columns, rows


def _marginal(sweep: Sweep, ranked: Sequence[Ranked], name: str) -> Panel:
    """The score of every trial against its value of one field."""
    entries = [entry for entry in ranked if name in sweep.trials[entry.trial]]
    values = [sweep.trials[entry.trial][name] for entry in entries]
    scores = np.array([entry.summary.score for entry in entries])
    numeric = all(isinstance(value, (int, float)) for value in values)
    if numeric and len(set(values)) > MAX_VALUES:
        x = np.array(values, float)
        wide = bool((x > 0).all() and x.max() > 20.0 * x.min())
        return Panel(name, name, SCORE_LABEL, (Points("one trial", x, scores),), log_x=wide)
    texts = list(dict.fromkeys(map(show_value, sorted(values, key=_order))))
    places = np.array([texts.index(show_value(value)) for value in values], float)
    means = np.array([scores[places == place].mean() for place in range(len(texts))])
    marks = (
        Points("one trial", places, scores, faint=len(places) > MANY_TRIALS),
        Points("mean of the trials", np.arange(len(texts), dtype=float), means, colour=1),
    )
    return Panel(name, name, SCORE_LABEL, marks, x_names=tuple(texts))


def _order(value: Any) -> tuple[bool, Any]:
    """Sorts numbers by size, and before anything else."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (False, value) if is_number else (True, str(value))


def _short(sweep: Sweep, trial: int) -> str:
    """A trial's name, or its values without the names of the fields."""
    if sweep.names:
        return sweep.names[trial]
    return ", ".join(show_value(value) for value in sweep.trials[trial].values())
