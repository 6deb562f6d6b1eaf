"""Pictures of a sweep: the ranking, each field's effect, and learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax_ppo.app.history import History
from jax_ppo.app.pictures.curves import compared_curves, curve_of
from jax_ppo.app.pictures.dashboard import GAUGES, median_line, thin
from jax_ppo.app.pictures.picture import COLOURS, Line, Panel, Picture, Points
from jax_ppo.app.statistics import show_number
from jax_ppo.app.sweeping.sweeps import Ranked, Sweep, show_value

SCORE_LABEL = "evaluation return"
MAX_RANKED = 30
"""Trials in the picture of the ranking; the table has them all."""
NUM_BINS = 40
"""Points of a learning curve."""
MANY_TRIALS = 40
"""More of them are drawn as small points."""
MAX_VALUES = 8
"""So many different values get a place each on the axis; more are drawn as numbers."""


def ranking_picture(sweep: Sweep, ranked: Sequence[Ranked]) -> Picture:
    """The best trials with the intervals of their IQM."""
    best = ranked[:MAX_RANKED]
    summaries = [entry.summary for entry in best]
    points = Points(
        "IQM over seeds, 95% interval",
        np.arange(len(best), dtype=float),
        np.array([summary.iqm for summary in summaries]),
        np.array([summary.ci_low for summary in summaries]),
        np.array([summary.ci_high for summary in summaries]),
    )
    names = tuple(f"{i}: {_short(sweep, e.trial)}" for i, e in enumerate(best, 1))
    left_out = f", {len(best)} of {len(ranked)}" if len(best) < len(ranked) else ""
    panel = Panel(f"trials, best first{left_out}", "", SCORE_LABEL, (points,), x_names=names)
    return Picture(title_of(sweep, "ranking"), (panel,))


def marginal_picture(sweep: Sweep, ranked: Sequence[Ranked]) -> Picture:
    """For each field, the score of every trial against its value, and the mean of each value."""
    panels = tuple(_marginal(sweep, ranked, name) for name in sweep.fields)
    columns = min(len(panels), 3)
    return Picture(title_of(sweep, "effect of each field"), panels, columns)


def curves_picture(
    sweep: Sweep, ranked: Sequence[Ranked], histories: Mapping[int, History]
) -> Picture:
    """The learning curves of the best trials."""
    shown = [entry.trial for entry in ranked[: len(COLOURS)]]
    left_out = f" of the best {len(shown)} of {len(ranked)}" if len(shown) < len(ranked) else ""
    curves = {
        sweep.name_of(trial): curve_of(histories[trial], NUM_BINS)
        for trial in sorted(shown)
        if trial in histories
    }
    title = title_of(sweep, f"learning curves{left_out}")
    return compared_curves(title, curves, against_time=False)


def metrics_picture(
    sweep: Sweep, histories: Mapping[int, History], metrics: Sequence[str]
) -> Picture:
    """Diagnostics of every trial over training: the median over its agents.

    Args:
        sweep: The sweep.
        histories: The curves of its trials.
        metrics: Names of what to show, a panel each.
    """
    panels = tuple(
        Panel(
            gauge.title,
            "environment steps of each agent",
            gauge.unit,
            tuple(
                _metric_line(sweep.name_of(trial), history, gauge.metric, colour)
                for colour, (trial, history) in enumerate(sorted(histories.items()))
            ),
            from_zero=True,
        )
        for gauge in GAUGES
        if gauge.metric in metrics
    )
    view = "diagnostics" + (", median over seeds" if sweep.settings.num_seeds > 1 else "")
    return Picture(title_of(sweep, view), panels, columns=min(len(panels), 3))


def _metric_line(label: str, history: History, name: str, colour: int) -> Line:
    """One diagnostic of one trial, in NUM_BINS stretches; the bands of many would hide them."""
    steps, values = thin(history.steps, history.metrics[name], NUM_BINS)
    seen = np.isfinite(values).any(axis=1)
    return median_line(label, steps[seen], values[seen], colour)._replace(low=None, high=None)


def title_of(sweep: Sweep, view: str = "") -> str:
    """What the pictures call a sweep: what is asked, and below it of whom.

    Args:
        sweep: The sweep.
        view: What the picture shows of it.
    """
    steps = sweep.base.num_updates * sweep.base.batch_size
    seeds = sweep.settings.num_seeds
    what = sweep.title or f"Sweep of {', '.join(sweep.fields)}"
    if view:
        what = f"{what} {view.capitalize()}" if what.endswith("?") else f"{what}: {view}"
    agents = f"{seeds} seeds each" if seeds > 1 else "one seed each"
    return f"{what}\n{sweep.base.env_id}, {agents}, {steps:,} steps"


def score_table(sweep: Sweep, ranked: Sequence[Ranked]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the ranking."""
    columns = ["rank", "trial", *sweep.fields, "IQM", "95% interval", "worst", "best", "diverged"]
    rows = []
    for place, (trial, summary, diverged) in enumerate(ranked, 1):
        values = [show_value(sweep.trials[trial].get(name, "")) for name in sweep.fields]
        interval = f"{show_number(summary.ci_low)} to {show_number(summary.ci_high)}"
        extremes = (show_number(summary.minimum), show_number(summary.maximum))
        row = [str(place), str(trial), *values, show_number(summary.iqm), interval, *extremes]
        rows.append([*row, str(diverged or "")])
    return columns, rows


def _marginal(sweep: Sweep, ranked: Sequence[Ranked], name: str) -> Panel:
    """The score of every trial against its value of one field."""
    entries = [entry for entry in ranked if name in sweep.trials[entry.trial]]
    values = [sweep.trials[entry.trial][name] for entry in entries]
    scores = np.array([entry.summary.iqm for entry in entries])
    different = sorted(set(map(_sortable, values)), key=lambda pair: pair[0])
    if len(different) > MAX_VALUES and all(isinstance(value, (int, float)) for value in values):
        return _scatter(name, np.array(values, float), scores)
    texts = list(dict.fromkeys(show_value(value) for _, value in different))
    places = np.array([texts.index(show_value(value)) for value in values], float)
    means = np.array([scores[places == place].mean() for place in range(len(texts))])
    marks = (
        Points("one trial", places, scores, faint=len(places) > MANY_TRIALS),
        Points("mean of the trials", np.arange(len(texts), dtype=float), means, colour=1),
    )
    return Panel(name, name, SCORE_LABEL, marks, x_names=tuple(texts))


def _scatter(name: str, values: np.ndarray, scores: np.ndarray) -> Panel:
    """Scores against a field that was sampled; logarithmic where it spans much."""
    wide = bool((values > 0).all() and values.max() > 20.0 * values.min())
    return Panel(name, name, SCORE_LABEL, (Points("one trial", values, scores),), log_x=wide)


def _sortable(value: Any) -> tuple[tuple[int, Any], Any]:
    """A value with a key: numbers by size, and before anything else."""
    hashable = tuple(value) if isinstance(value, list) else value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return ((0, value) if is_number else (1, str(value))), hashable


def _short(sweep: Sweep, trial: int) -> str:
    """A trial's name, or its values without the names of the fields."""
    if sweep.names:
        return sweep.names[trial]
    return ", ".join(show_value(value) for value in sweep.trials[trial].values())
