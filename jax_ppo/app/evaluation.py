"""Evaluating the agents of a run with JAX."""

from functools import partial
from typing import Any, NamedTuple

import jax

from jax_ppo.app.checkpoints import from_arrays, read_agents
from jax_ppo.app.devices import Program
from jax_ppo.app.outcome import UNLIMITED_STEPS
from jax_ppo.app.runs import Run
from jax_ppo.app.training import population_of, shapes_of
from jax_ppo.config import PPOConfig
from jax_ppo.envs import make_env
from jax_ppo.evaluate import evaluate_policy
from jax_ppo.execution import Execution, for_each_agent
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
    states = shapes_of(population_of(run))
    wanted = {"params": states.params, "rollout": {"obs_stats": states.rollout.obs_stats}}
    found = from_arrays(arrays, wanted, ignore_others=True)
    return Agents(found["params"], found["rollout"]["obs_stats"]), update, problems


def evaluate_agents(
    agents: Agents,
    config: PPOConfig,
    num_episodes: int,
    deterministic: bool,
    seed: int,
    max_steps: int | None = None,
) -> EpisodeResults:
    """Evaluate several agents, each on the same number of episodes of its own.

    Args:
        agents: The agents.
        config: The config that they were trained with; a coefficient that is an array has an entry
            per agent.
        num_episodes: Episodes per agent.
        deterministic: Whether to take the mode of the policy; else a sample.
        seed: Seed of the evaluation.
        max_steps: Steps after which an episode counts as unfinished; None: the time limit of the
            config's environment.

    Returns:
        The outcome of every episode [num_seeds, num_episodes].
    """
    num_agents = len(jax.tree.leaves(agents.params)[0])
    keys = jax.random.split(jax.random.key(seed), num_agents)
    devices = min(len(jax.devices()), num_agents) if jax.process_count() == 1 else 1
    execution = Execution("map" if jax.default_backend() == "cpu" else "vmap", devices)
    if max_steps is None:
        max_steps = make_env(config).max_episode_steps or UNLIMITED_STEPS
    # The agents may lie on the devices that trained them; here they are laid out anew.
    all_agents = (keys, *jax.device_get(agents))
    return _evaluate(all_agents, config, execution, num_episodes, deterministic, max_steps)


@partial(Program, static_argnames=("execution", "num_episodes", "deterministic", "max_steps"))
def _evaluate(
    agents: tuple[jax.Array, Params, RunningStats | None],
    config: PPOConfig,
    execution: Execution,
    num_episodes: int,
    deterministic: bool,
    max_steps: int,
) -> EpisodeResults:
    evaluate_one = partial(
        _evaluate_one,
        num_episodes=num_episodes,
        deterministic=deterministic,
        max_steps=max_steps,
    )
    return for_each_agent(evaluate_one, execution)(agents, config)


def _evaluate_one(
    agent: tuple[jax.Array, Params, RunningStats | None], config: PPOConfig, **how: Any
) -> EpisodeResults:
    """The outcome of every episode of one agent [num_episodes]."""
    key, params, obs_stats = agent
    return evaluate_policy(key, params, obs_stats, config, **how)
