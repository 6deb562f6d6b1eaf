"""The diagnostics of a run at a glance."""

from typing import NamedTuple

import numpy as np

from jax_ppo.app.history import History
from jax_ppo.app.pictures.curves import NUM_BINS, name_seeds, title_of
from jax_ppo.app.pictures.picture import Level, Line, Mark, Panel, Picture
from jax_ppo.app.runs import Run


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
    """Whether there is anything to see: a KL stop that is switched off is not."""
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
    """The median over the agents, with all of them inside the band.

    Args:
        label: What the legend calls it.
        steps: [n].
        values: [n, num_seeds]; in each row at least one is no NaN.
        colour: Index of its colour.
    """
    middle = np.nanmedian(values, axis=1)
    if values.shape[1] == 1:
        return Line(label, steps, middle, colour=colour)
    low, high = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
    return Line(label, steps, middle, low, high, colour)


def thin(
    steps: np.ndarray, values: np.ndarray, num_bins: int = NUM_BINS
) -> tuple[np.ndarray, np.ndarray]:
    """Means over equal stretches of updates.

    Args:
        steps: [num_updates].
        values: [num_updates, num_seeds]; NaN is left out of the means.
        num_bins: Stretches, at most.

    Returns:
        Steps at the end of each stretch [n], and means [n, num_seeds].
    """
    stretch = -(-len(steps) // num_bins)
    starts = np.arange(0, len(steps), stretch)
    known = np.isfinite(values)
    counts = np.add.reduceat(known, starts, axis=0, dtype=float)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts, axis=0)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return steps[np.minimum(starts + stretch, len(steps)) - 1], means
