"""Evaluating the agents of a run with JAX."""

from functools import partial
from typing import Any, NamedTuple

import jax

from jax_ppo.app.algorithms import find_algorithm
from jax_ppo.app.checkpoints import from_arrays, read_agents
from jax_ppo.app.outcome import UNLIMITED_STEPS
from jax_ppo.app.runs import Run
from jax_ppo.app.runtime import jit_with_options
from jax_ppo.app.training import population_of, shapes_of
from jax_ppo.config import PPOConfig
from jax_ppo.devices import Layout, for_each_agent
from jax_ppo.evaluate import evaluate_policy
from jax_ppo.normalize import RunningStats
from jax_ppo.ppo import AlgorithmFn, ppo
from jax_ppo.types import EpisodeResults, Params


class Agents(NamedTuple):
    """What it takes to act: the trained agents of a run."""

    params: Params
    """[num_agents, ...]."""
    obs_stats: RunningStats | None
    """[num_agents, ...]."""


def load_agents(run: Run) -> tuple[Agents, int, list[str]]:
    """Read the agents of a run, of JAX or exported to it, from its newest sound checkpoint.

    Returns:
        The agents, the updates done, and a message for each newer checkpoint that is damaged.

    Raises:
        AppError: There is no sound checkpoint, or it belongs to another config.
    """
    arrays, update, problems = read_agents(run)
    states = shapes_of(population_of(run))
    wanted = {"params": states.params, "rollout": {"obs_stats": states.rollout.obs_stats}}
    found = from_arrays(arrays, wanted, ignore_others=True)
    return Agents(found["params"], found["rollout"]["obs_stats"]), update, problems


def evaluate_run(
    run: Run, agents: Agents, num_episodes: int, *, deterministic: bool, seed: int
) -> EpisodeResults:
    """Evaluate the agents of a run: `evaluate_agents` with its config and its algorithm."""
    return evaluate_agents(
        agents,
        run.config,
        num_episodes,
        deterministic=deterministic,
        seed=seed,
        algorithm_fn=find_algorithm(run.algorithm),
    )


def evaluate_agents(
    agents: Agents,
    config: PPOConfig,
    num_episodes: int,
    *,
    deterministic: bool = True,
    seed: int = 0,
    max_steps: int | None = None,
    algorithm_fn: AlgorithmFn = ppo,
) -> EpisodeResults:
    """Evaluate several agents, each on the same number of episodes of its own.

    Args:
        agents: The agents.
        config: The config that they were trained with; a coefficient that is an array has an entry
            per agent.
        num_episodes: Episodes per agent.
        deterministic: Whether to take the mode of the policy; else a sample.
        seed: Seed of the evaluation.
        max_steps: Steps after which an episode counts as unfinished; None: the time limit.
        algorithm_fn: The algorithm that they were trained with.

    Returns:
        The outcome of every episode [num_agents, num_episodes].
    """
    num_agents = len(jax.tree.leaves(agents.params)[0])
    keys = jax.random.split(jax.random.key(seed), num_agents)
    devices = min(len(jax.devices()), num_agents) if jax.process_count() == 1 else 1
    if max_steps is None:
        max_steps = algorithm_fn(config).env.max_episode_steps or UNLIMITED_STEPS
    # The agents may lie on the devices that trained them; here they are laid out anew.
    return _evaluate(
        (keys, *jax.device_get(agents)),
        config,
        layout=Layout("map" if jax.default_backend() == "cpu" else "vmap", devices),
        algorithm_fn=algorithm_fn,
        num_episodes=num_episodes,
        deterministic=deterministic,
        max_steps=max_steps,
    )


@partial(
    jit_with_options,
    static_argnames=("layout", "algorithm_fn", "num_episodes", "deterministic", "max_steps"),
)
def _evaluate(agents: Any, config: PPOConfig, *, layout: Layout, **options: Any) -> EpisodeResults:
    return for_each_agent(partial(_evaluate_one, **options), layout)(agents, config)


def _evaluate_one(
    agent: tuple[jax.Array, Params, RunningStats | None], config: PPOConfig, **options: Any
) -> EpisodeResults:
    """The outcome of every episode of one agent [num_episodes]."""
    return evaluate_policy(*agent, config, **options)
