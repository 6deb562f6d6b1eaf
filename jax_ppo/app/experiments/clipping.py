"""The experiment that looks at the samples of one training's updates."""

from pathlib import Path

import numpy as np
from rich.console import Console

from jax_ppo.app.experiments.catalogue import verdict
from jax_ppo.app.history import History, read_history
from jax_ppo.app.progress import Display
from jax_ppo.app.reports import write_report
from jax_ppo.app.runs import RunSettings, create_run, open_run, write_json
from jax_ppo.app.runtime import set_up
from jax_ppo.app.training import train_run
from jax_ppo.config import PPOConfig

QUESTION = "What does clipping do to the samples of an update?"

TEXT = (
    "The histogram shows how far the probabilities of the actions taken have moved by the end of "
    "an early update: most samples stay inside the clip range, and those beyond it on the better "
    "side have no gradient. The scatter plot shows which: to the right with positive advantages, "
    "to the left with negative ones; the others beyond the range still have a gradient back. Over "
    "training the clip fraction follows the KL divergence, and both fall with the learning rate."
)
"""What to look for."""


def run_clipping(
    config: PPOConfig, settings: RunSettings, path: Path, console: Console
) -> tuple[list[str], Path]:
    """Train a few agents and report on them; gives each claim with its numbers, and the page."""
    set_up(config, settings)
    run = open_run(path) if path.exists() else create_run(path, config, settings)
    with Display(run, console) as display:
        train_run(run, display)
    claims = evaluate_clipping(read_history(run))
    write_json(run.path / "claims.json", claims)
    return claims, write_report(run)


def evaluate_clipping(history: History) -> list[str]:
    """Each claim with its two numbers, and whether it holds; of the median agent."""
    clipped = np.median(history.metrics["clip_fraction"], axis=1)
    divergence = np.median(history.metrics["approx_kl"], axis=1)
    tenth = max(1, len(clipped) // 10)
    early, late = float(clipped[:tenth].mean()), float(clipped[-tenth:].mean())
    together = float(np.corrcoef(clipped, divergence)[0, 1])
    return [
        verdict("more samples are clipped early than late", early, late),
        verdict("clip fraction and KL divergence are correlated", together, 0.5),
    ]
