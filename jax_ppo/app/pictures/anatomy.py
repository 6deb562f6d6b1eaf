"""The clip band and the samples of one update around it."""

import numpy as np

from jax_ppo.anatomy import ClipAnatomy
from jax_ppo.app.pictures.picture import Bars, Panel, Picture, Points, Span

NUM_BINS = 60
"""Bars of the histogram."""
MAX_POINTS = 2_000
"""Points of the scatter plot; of more samples, every so many-th is shown."""


def clip_picture(title: str, anatomy: ClipAnatomy) -> Picture:
    """Histogram of ratios with the clip band, and ratios against advantages.

    Args:
        title: Which agent, and which update.
        anatomy: Arrays of one agent.
    """
    ratio, advantages = np.asarray(anatomy.ratio), np.asarray(anatomy.advantages)
    clipped, clip_eps = np.asarray(anatomy.clipped), float(anatomy.clip_eps)
    band = Span("clip band", 1.0 - clip_eps, 1.0 + clip_eps)
    reach = max(1.5 * clip_eps, float(np.quantile(np.abs(ratio - 1.0), 0.999)))
    edges = np.linspace(max(0.0, 1.0 - reach), 1.0 + reach, NUM_BINS + 1)
    heights, _ = np.histogram(np.clip(ratio, edges[0], edges[-1]), edges)
    shown = np.arange(0, len(ratio), -(-len(ratio) // MAX_POINTS))
    ratio, advantages, clipped = ratio[shown], advantages[shown], clipped[shown]
    x_label = "probability ratio, new policy over old"
    return Picture(
        f"{title}\n{np.mean(anatomy.clipped):.1%} of {len(anatomy.ratio):,} samples clipped",
        (
            Panel(
                "ratios at the end of the update; outermost bars hold all beyond",
                x_label,
                "samples",
                (band, Bars("", edges, heights)),
            ),
            Panel(
                "a clipped sample moves the policy no further",
                x_label,
                "advantage (return)",
                (
                    band,
                    Points("not clipped", ratio[~clipped], advantages[~clipped], faint=True),
                    Points("clipped", ratio[clipped], advantages[clipped], colour=1, faint=True),
                ),
            ),
        ),
        columns=2,
    )
