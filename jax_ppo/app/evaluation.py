"""Evaluating the agents of a run, and saying how they do."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from jax_ppo.app.statistics import Summary, summarize
from jax_ppo.config import PPOConfig
from jax_ppo.envs import make_env
from jax_ppo.evaluate import evaluate_policy
from jax_ppo.types import EpisodeResults, TrainState

UNLIMITED_STEPS = 100_000
"""Steps after which an episode counts as unfinished where the environment sets no limit."""


def evaluate_states(
    states: TrainState, config: PPOConfig, num_episodes: int, deterministic: bool, seed: int
) -> EpisodeResults:
    """Evaluate several agents, each on the same number of episodes of its own.

    Args:
        states: The agents, every leaf [num_seeds, ...].
        config: The config that they were trained with.
        num_episodes: Episodes per agent.
        deterministic: Whether to take the mode of the policy; else a sample.
        seed: Seed of the evaluation.

    Returns:
        The outcome of every episode [num_seeds, num_episodes].
    """
    keys = jax.random.split(jax.random.key(seed), states.update.shape[0])
    limit = make_env(config).max_episode_steps or UNLIMITED_STEPS
    return _evaluate(
        keys, states.params, states.rollout.obs_stats, config, num_episodes, deterministic, limit
    )


@partial(jax.jit, static_argnames=("num_episodes", "deterministic", "max_steps"))
def _evaluate(
    keys: jax.Array,
    params: Any,
    obs_stats: Any,
    config: PPOConfig,
    num_episodes: int,
    deterministic: bool,
    max_steps: int,
) -> EpisodeResults:
    def evaluate_one(key: jax.Array, params: Any, obs_stats: Any) -> EpisodeResults:
        return evaluate_policy(
            key,
            params,
            obs_stats,
            config,
            num_episodes=num_episodes,
            deterministic=deterministic,
            max_steps=max_steps,
        )

    return jax.vmap(evaluate_one)(keys, params, obs_stats)


def report(results: EpisodeResults, seeds: Iterable[int]) -> dict[str, Any]:
    """The outcome as data: a summary per agent, and one over the means of all agents.

    Args:
        results: The outcome of every episode [num_seeds, num_episodes].
        seeds: The agents' seeds.
    """
    returns = np.asarray(results.episode_return)
    return {
        "per_seed": {
            str(seed): {
                **summarize(row)._asdict(),
                "mean_length": float(length),
                "unfinished": int(unfinished),
            }
            for seed, row, length, unfinished in zip(
                seeds,
                returns,
                jnp.mean(results.episode_length, axis=1),
                jnp.sum(~results.finished, axis=1),
                strict=True,
            )
        },
        "over_seeds": summarize(returns.mean(axis=1))._asdict(),
    }


def report_table(content: dict[str, Any], title: str) -> Table:
    """The outcome as a table for the terminal."""
    table = Table(title=title, title_justify="left")
    for name in ("seed", "mean", "median", "IQM", "IQM, 95% CI", "min", "max", "length"):
        table.add_column(name, justify="right")
    for seed, row in content["per_seed"].items():
        table.add_row(seed, *_cells(row), f"{row['mean_length']:.1f}")
    if len(content["per_seed"]) > 1:
        table.add_section()
        table.add_row("means", *_cells(content["over_seeds"]), "")
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    """A summary's entries as text."""
    summary = Summary(**{name: row[name] for name in Summary._fields})
    interval = f"{summary.ci_low:.1f} .. {summary.ci_high:.1f}"
    numbers = (summary.mean, summary.median, summary.iqm)
    extremes = (summary.minimum, summary.maximum)
    return [*(f"{x:.1f}" for x in numbers), interval, *(f"{x:.1f}" for x in extremes)]
