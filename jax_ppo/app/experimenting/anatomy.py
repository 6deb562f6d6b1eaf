"""The experiment that looks inside one training instead of comparing several."""

from pathlib import Path

import numpy as np
from rich.console import Console

from jax_ppo.app.commands import say
from jax_ppo.app.devices import keep_compiled_programs, set_up_devices
from jax_ppo.app.experimenting.catalogue import verdict
from jax_ppo.app.history import History, read_history
from jax_ppo.app.progress import Display
from jax_ppo.app.reporting.command import write_report
from jax_ppo.app.runs import Run, RunSettings, create_run, open_run, write_json
from jax_ppo.app.training import train_run
from jax_ppo.config import PPOConfig

QUESTION = "What does the clip do to the samples of an update?"

TEXT = (
    "The histogram shows how far the probabilities of the actions taken have moved by the end of "
    "an early update: most samples stay inside the band, and those beyond it on the better side "
    "move the policy no further. The scatter shows which: to the right with positive advantages, "
    "to the left with negative ones; the others beyond the band are still pulled back. Over "
    "training the clip fraction follows the KL divergence, and both fall with the learning rate."
)
"""What to look for."""

NUM_SEEDS = 4
"""Agents that are trained."""


def run_anatomy(config: PPOConfig, settings: RunSettings, path: Path, console: Console) -> None:
    """Train a few agents, and write the report of their run with what is claimed of it.

    Args:
        config: What to train.
        settings: Gives the seeds.
        path: Run folder to make, or to go on in.
        console: Where to show the progress and the outcome.
    """
    keep_compiled_programs()
    set_up_devices(config, settings)
    run: Run = open_run(path) if path.exists() else create_run(path, config, settings)
    with Display(run, console) as display:
        train_run(run, display)
    claims = judge_anatomy(read_history(run))
    write_json(run.path / "claims.json", claims)
    page = write_report(run)
    for claim in claims:
        say(console, claim)
    say(console, f"\n{TEXT}\n\nwritten to {page}")


def judge_anatomy(history: History) -> list[str]:
    """Each claim with its two numbers, and whether it holds; of the median agent."""
    clipped = np.median(history.metrics["clip_fraction"], axis=1)
    divergence = np.median(history.metrics["approx_kl"], axis=1)
    tenth = max(1, len(clipped) // 10)
    early, late = float(clipped[:tenth].mean()), float(clipped[-tenth:].mean())
    together = float(np.corrcoef(clipped, divergence)[0, 1])
    return [
        verdict("more samples are clipped early than late", early, late),
        verdict("the clip fraction goes with the KL divergence (correlation)", together, 0.5),
    ]
