"""The experiment that compares a TRPO step with each of PPO's updates, on the same samples."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from jax_ppo.advantages import normalize_advantages
from jax_ppo.app.errors import AppError
from jax_ppo.app.experiments.catalogue import verdict
from jax_ppo.app.plots import page
from jax_ppo.app.plots.curves import median_line
from jax_ppo.app.plots.picture import Level, Panel, Picture
from jax_ppo.app.runs import RunSettings, write_json
from jax_ppo.app.runtime import keep_compiled_programs
from jax_ppo.app.training import keys_of
from jax_ppo.config import PPOConfig
from jax_ppo.distributions import Distribution
from jax_ppo.networks import Network
from jax_ppo.ppo import ppo
from jax_ppo.types import Batch, Params, TrainState
from jax_ppo.variants.clip_anatomy import next_update
from jax_ppo.variants.trpo import DEFAULT_REGION, mean_kl, surrogate_improvement, trpo_step

QUESTION = "How far does TRPO step where PPO does an update?"

TEXT = (
    "PPO trains; at each update TRPO's step is computed on the same samples. TRPO goes "
    "near the edge of its trust region nearly every time, in one step. PPO's "
    "updates have no such bound: look at how their divergence varies, and falls with the learning "
    "rate, and at what each step gains on the samples themselves."
)
"""What to look for."""

BOUND = float(DEFAULT_REGION.max_kl)
"""Largest divergence of a TRPO step, in nats."""


class Steps(NamedTuple):
    """What the two steps did: arrays, each [num_updates] for an agent."""

    ppo_kl: Any
    """Divergence of the new policy from the old one, in nats."""
    ppo_gain: Any
    """mean((r - 1) A) on the samples, with normalized advantages."""
    trpo_kl: Any
    """The same of TRPO's step."""
    trpo_gain: Any
    """The same of TRPO's step."""


def compare_steps(key: jax.Array, config: PPOConfig) -> Steps:
    """Train an agent with PPO, and compute TRPO's step on each of its batches."""
    update = partial(_update_both_ways, config=config)
    return jax.lax.scan(update, ppo(config).init(key), length=config.num_updates)[1]


def run_trust_region(
    config: PPOConfig, settings: RunSettings, path: Path, console: Console
) -> tuple[list[str], Path]:
    """Compare the steps of a few agents; gives each claim with its numbers, and the page."""
    if path.exists():
        raise AppError(f"{path} exists already: give another folder")
    keep_compiled_programs()
    compare = jax.jit(jax.vmap(compare_steps, in_axes=(0, None)))
    steps = jax.tree.map(np.asarray, compare(keys_of(settings.seeds), config))
    claims = evaluate_steps(steps)
    path.mkdir(parents=True)
    write_json(path / "claims.json", claims)
    pictures = {"steps": steps_picture(steps, config)}
    parts = [page.paragraph(TEXT), page.bullets(claims), *page.figures(path, pictures)]
    page.write_page(path / "index.html", QUESTION, parts)
    return claims, path / "index.html"


def evaluate_steps(steps: Steps) -> list[str]:
    """Each claim with its two numbers, and whether it holds."""
    largest = float(np.max(steps.trpo_kl))
    spreads = [float(np.std(kl) / np.mean(kl)) for kl in (steps.ppo_kl, steps.trpo_kl)]
    return [
        verdict("TRPO never leaves its region", BOUND * (1 + 1e-5), largest),
        verdict("PPO's divergences vary more (deviation over mean)", *spreads),
    ]


def steps_picture(steps: Steps, config: PPOConfig) -> Picture:
    """Divergence and gain of both against environment steps: the median agent, band: all."""
    x = np.arange(1, config.num_updates + 1) * config.batch_size
    label = "environment steps of each agent"
    kls, gains = (
        (median_line("PPO", x, of_ppo.T), median_line("TRPO", x, of_trpo.T, colour=1))
        for of_ppo, of_trpo in ((steps.ppo_kl, steps.trpo_kl), (steps.ppo_gain, steps.trpo_gain))
    )
    kl_marks = (*kls, Level("TRPO's bound", BOUND))
    num_agents = len(steps.ppo_kl)
    agents = f"median and range of {num_agents} agents" if num_agents > 1 else "one agent"
    return Picture(
        f"{QUESTION}\n{config.env_id}, {agents}, {x[-1]:,} steps",
        (
            Panel("change of the policy", label, "KL divergence (nats)", kl_marks, from_zero=True),
            Panel("gain on the samples", label, "mean((r - 1) A)", gains, from_zero=True),
        ),
        columns=2,
    )


def _update_both_ways(state: TrainState, _: Any, config: PPOConfig) -> tuple[TrainState, Steps]:
    """PPO's update, and TRPO's step on the same samples."""
    algorithm = ppo(config)
    network = algorithm.network
    after, batch, _ = next_update(state, config, algorithm)
    batch = dataclasses.replace(batch, advantages=normalize_advantages(batch.advantages))
    trpo_params = trpo_step(state.params, batch, network)[0]
    old = network.apply(state.params, batch.obs)[0]
    both = [_measure(params, old, batch, network) for params in (after.params, trpo_params)]
    return after, Steps(*both[0], *both[1])


def _measure(
    params: Params, old: Distribution, batch: Batch, network: Network
) -> tuple[jax.Array, jax.Array]:
    """Divergence of a step, and its gain on the samples."""
    kl = mean_kl(params, old, batch.obs, network)
    return kl, surrogate_improvement(params, batch, network)
