"""Evaluating the agents of a run with PyTorch."""

from typing import NamedTuple

import torch

from jax_ppo.app.checkpoints import CheckpointMismatchError, read_agents
from jax_ppo.app.outcome import UNLIMITED_STEPS
from jax_ppo.app.runs import Run
from jax_ppo.config import PPOConfig
from torch_ref.evaluate import evaluate_policy
from torch_ref.normalize import RunningStats
from torch_ref.ppo import ppo
from torch_ref.types import EpisodeResults, Params

PARAMS = "params."
STATS = "rollout.obs_stats."


class Agent(NamedTuple):
    """What it takes to act."""

    params: Params
    obs_stats: RunningStats | None


def load_agents(run: Run) -> tuple[list[Agent], int, list[str]]:
    """Read the agents of a run from its newest sound checkpoint.

    Args:
        run: A run of PyTorch, or one exported to it.

    Returns:
        An agent per seed, the updates they were trained for, and a message for each newer
        checkpoint that is damaged.

    Raises:
        AppError: There is no sound checkpoint, or it belongs to another config.
    """
    arrays, update, problems = read_agents(run)
    tensors = {name: _as_default(torch.from_numpy(array)) for name, array in arrays.items()}
    agents = [_agent(tensors, i, run.config) for i in range(run.settings.num_agents)]
    return agents, update, problems


def evaluate_run(
    run: Run, agents: list[Agent], num_episodes: int, *, deterministic: bool, seed: int
) -> EpisodeResults:
    """Evaluate the agents of a run, each on the same number of episodes of its own.

    Args:
        run: Gives the config that they were trained with.
        agents: The agents.
        num_episodes: Episodes per agent.
        deterministic: Whether to take the mode of the policy; else a sample.
        seed: Seed of the evaluation.

    Returns:
        The outcome of every episode [num_agents, num_episodes].
    """
    torch.set_num_threads(1)
    limit = ppo(run.config).env.max_episode_steps or UNLIMITED_STEPS
    results = [
        evaluate_policy(
            torch.Generator().manual_seed(seed + i),
            agent.params,
            agent.obs_stats,
            run.config,
            num_episodes=num_episodes,
            deterministic=deterministic,
            max_steps=limit,
        )
        for i, agent in enumerate(agents)
    ]
    return EpisodeResults(
        episode_return=torch.stack([r.episode_return for r in results]),
        episode_length=torch.stack([r.episode_length for r in results]),
        finished=torch.stack([r.finished for r in results]),
    )


def _as_default(tensor: torch.Tensor) -> torch.Tensor:
    """Floating-point numbers in the type that PyTorch computes in; anything else as it is."""
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _agent(tensors: dict[str, torch.Tensor], index: int, config: PPOConfig) -> Agent:
    """One agent out of the stacked ones, if it fits the config."""
    params = {
        name.removeprefix(PARAMS): tensor[index]
        for name, tensor in tensors.items()
        if name.startswith(PARAMS)
    }
    _check_shapes(params, config)
    stats = {
        name.removeprefix(STATS): tensor[index]
        for name, tensor in tensors.items()
        if name.startswith(STATS)
    }
    if bool(stats) != config.normalize_observations:
        raise CheckpointMismatchError(
            "the checkpoint does not fit the run's config: "
            f"normalize_observations is {config.normalize_observations}"
        )
    return Agent(params, RunningStats(**stats) if stats else None)


def _check_shapes(params: Params, config: PPOConfig) -> None:
    """Raise CheckpointMismatchError unless the parameters are those of the config's network."""
    expected = ppo(config).network.init(torch.Generator())
    for name in sorted(set(expected) | set(params)):
        shapes = [list(tree[name].shape) if name in tree else None for tree in (params, expected)]
        if shapes[0] != shapes[1]:
            raise CheckpointMismatchError(
                f"the checkpoint does not fit the run's config: {name} is {shapes[0]}, "
                f"but the config asks for {shapes[1]}"
            )
