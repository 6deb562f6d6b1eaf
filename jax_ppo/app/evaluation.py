"""Evaluating the agents of a run with JAX."""

from functools import partial
from typing import Any, NamedTuple

import jax

from jax_ppo.app.checkpoints import from_arrays, read_agents
from jax_ppo.app.outcome import UNLIMITED_STEPS
from jax_ppo.app.runs import Run
from jax_ppo.app.training import initial_states
from jax_ppo.config import PPOConfig
from jax_ppo.envs import make_env
from jax_ppo.evaluate import evaluate_policy
from jax_ppo.normalize import RunningStats
from jax_ppo.types import EpisodeResults, Params


class Agents(NamedTuple):
    """What it takes to act: the trained agents of a run."""

    params: Params
    """[num_seeds, ...]."""
    obs_stats: RunningStats | None
    """[num_seeds, ...]."""


def load_agents(run: Run) -> tuple[Agents, int, list[str]]:
    """Read the agents of a run from its newest sound checkpoint.

    Args:
        run: A run of JAX, or one exported to it.

    Returns:
        The agents, the updates they were trained for, and a message for each newer checkpoint that
        had to be passed over.

    Raises:
        AppError: There is no sound checkpoint, or it belongs to another config.
    """
    arrays, update, problems = read_agents(run.checkpoints)
    states = jax.eval_shape(lambda: initial_states(run))
    wanted = {"params": states.params, "rollout": {"obs_stats": states.rollout.obs_stats}}
    found = from_arrays(arrays, wanted, ignore_others=True)
    return Agents(found["params"], found["rollout"]["obs_stats"]), update, problems


def evaluate_agents(
    agents: Agents, config: PPOConfig, num_episodes: int, deterministic: bool, seed: int
) -> EpisodeResults:
    """Evaluate several agents, each on the same number of episodes of its own.

    Args:
        agents: The agents.
        config: The config that they were trained with.
        num_episodes: Episodes per agent.
        deterministic: Whether to take the mode of the policy; else a sample.
        seed: Seed of the evaluation.

    Returns:
        The outcome of every episode [num_seeds, num_episodes].
    """
    num_seeds = jax.tree.leaves(agents.params)[0].shape[0]
    keys = jax.random.split(jax.random.key(seed), num_seeds)
    limit = make_env(config).max_episode_steps or UNLIMITED_STEPS
    return _evaluate(keys, *agents, config, num_episodes, deterministic, limit)


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
