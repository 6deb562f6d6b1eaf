"""Environments as two functions, reset and step, over a whole batch at a time.

`step` resets by itself: where an episode ended, it returns the first observation of the next one,
and beside it the observation before the reset, which is what the critic must evaluate.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from torch_ref.spaces import ActionSpace, ObservationSpace

EnvState = Any
"""Where the environments stand. Gymnasium's environments keep that to themselves, so the state is
the vector environment itself: an object that `step` changes."""


class EnvStep(NamedTuple):
    """What one step of every environment gives."""

    obs: torch.Tensor
    """Observation to act on next, after the reset if the episode ended [num_envs, *obs_shape]."""
    state: EnvState
    """Next state, likewise after the reset."""
    reward: torch.Tensor
    """[num_envs]."""
    terminated: torch.Tensor
    """The episode reached an end of its own [num_envs], bool."""
    truncated: torch.Tensor
    """The time limit cut it [num_envs], bool."""
    next_obs: torch.Tensor
    """Observation that the step led to, before any reset [num_envs, *obs_shape]."""


class ResetFn(Protocol):
    """Starts an episode in every environment."""

    def __call__(self, keys: torch.Tensor) -> tuple[torch.Tensor, EnvState]:
        """Seeds [num_envs] -> (obs [num_envs, *obs_shape], state)."""


class StepFn(Protocol):
    """Steps every environment, and starts a new episode where one ended."""

    def __call__(self, keys: torch.Tensor, state: EnvState, action: torch.Tensor) -> EnvStep:
        """Seeds [num_envs], state and action [num_envs, ...] -> EnvStep."""


@dataclass(frozen=True)
class Environment:
    """A batch of independent environments, as functions."""

    reset: ResetFn
    """Starts an episode in every environment."""
    step: StepFn
    """Steps every environment."""
    observation_space: ObservationSpace
    """Shapes of one observation, as the network sees it."""
    action_space: ActionSpace
    """What the agent may do."""
    max_episode_steps: int | None
    """The time limit; None if there is none."""


def draw_env_keys(generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Seeds of environments, uniform on 0, ..., 2^31 - 1 [*shape], int64.

    Args:
        generator: Source of random numbers; it advances.
        shape: How many.
    """
    return torch.randint(2**31, shape, generator=generator)
