"""The tensors that flow from chapter to chapter, each with its shape.

Two leading axes recur: time `num_steps` and environments `num_envs`; a batch is both of them
flattened into `batch_size = num_steps * num_envs`. Floating-point tensors are of torch's default
dtype.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from torch_ref.distributions import Distribution
from torch_ref.normalize import RunningStats

Params = dict[str, torch.Tensor]
"""Network parameters by name, such as `policy_trunk_dense_0.weight`; a valid state_dict."""

Metrics = dict[str, torch.Tensor]
"""Name to scalar, one entry per diagnostic; `train` stacks them to [num_updates]."""


@dataclass(frozen=True)
class Transition:
    """One step of every environment; a rollout stacks them to [num_steps, num_envs, ...]."""

    obs: torch.Tensor
    """Observation that the policy saw (normalized if the config says so) [num_envs, *obs_shape]."""
    action: torch.Tensor
    """Sampled action, before clipping to the bounds of the space [num_envs]
    (discrete) or [num_envs, action_dim]."""
    reward: torch.Tensor
    """Reward of the step (scaled if the config says so) [num_envs]."""
    terminated: torch.Tensor
    """Whether the episode reached an end of its own: nothing follows [num_envs], bool."""
    truncated: torch.Tensor
    """Whether a time limit cut the episode: the future still has value [num_envs], bool."""
    next_obs: torch.Tensor
    """Observation s'_t before autoreset, as the policy would see it [num_envs, *obs_shape]."""


@dataclass(frozen=True)
class Batch:
    """Samples that the loss is averaged over [batch_size, ...] or [minibatch_size, ...]."""

    obs: torch.Tensor
    """[batch_size, *obs_shape]."""
    action: torch.Tensor
    """[batch_size] (discrete) or [batch_size, action_dim]."""
    old_distribution: Distribution | None
    """Policy that collected the sample; only with a KL penalty, else None."""
    old_log_prob: torch.Tensor
    """[batch_size]."""
    old_value: torch.Tensor
    """[batch_size]."""
    advantages: torch.Tensor
    """[batch_size]."""
    returns: torch.Tensor
    """Value targets, advantages + old_value [batch_size]."""


@dataclass(frozen=True)
class RolloutState:
    """What one rollout hands to the next."""

    env_state: Any
    """The environments' own states; for Gymnasium, the vector environment itself."""
    obs: torch.Tensor
    """Current observation as the environment gave it [num_envs, *obs_shape]."""
    episode_return: torch.Tensor
    """Sum of unscaled rewards since each episode began [num_envs]."""
    episode_length: torch.Tensor
    """Steps since each episode began [num_envs], int32."""
    discounted_return: torch.Tensor
    """Running discounted sum of unscaled rewards, for reward scaling [num_envs]."""
    obs_stats: RunningStats | None
    """Statistics of observations [*obs_shape]; None when they are not normalized."""
    return_stats: RunningStats | None
    """Statistics of discounted_return []; None when rewards are not normalized."""


@dataclass(frozen=True)
class RandomDraws:
    """Every random number of one train step, drawn up front."""

    noise: torch.Tensor
    """Noise that turns a distribution into a sample [num_steps, num_envs, noise_dim]."""
    env_keys: torch.Tensor
    """A seed per environment step [num_steps, num_envs], int64."""
    permutations: torch.Tensor
    """An order of the samples per epoch [update_epochs, batch_size], int64."""


@dataclass(frozen=True)
class TrainState:
    """Everything that training carries from one update to the next."""

    params: Params
    """Network parameters."""
    opt_state: Any
    """State of the optimizer: Adam's moments and step count."""
    rollout: RolloutState
    """Where the environments stand, and the running statistics."""
    generator: torch.Generator
    """Source of the next train step's random numbers, which works on a copy of it."""
    update: torch.Tensor
    """Updates done so far [], int32."""
    kl_coef: torch.Tensor | None
    """Current weight of the KL penalty []; None without one."""


@dataclass(frozen=True)
class EpisodeResults:
    """Outcome of an evaluation, one entry per episode."""

    episode_return: torch.Tensor
    """Sum of unscaled rewards [num_episodes]."""
    episode_length: torch.Tensor
    """Steps taken [num_episodes], int32."""
    finished: torch.Tensor
    """Whether the episode ended within the step limit [num_episodes], bool."""


def map_tensors(function: Callable[..., torch.Tensor], first: Any, *others: Any) -> Any:
    """Apply a function to each tensor of a record, or to the matching tensors of several.

    Args:
        function: Takes one tensor from every record, gives the tensor of the result.
        first: A tensor, None, or a dataclass of those; the result is of the same form.
        others: More records of that form.
    """
    if first is None:
        return None
    if isinstance(first, torch.Tensor):
        return function(first, *others)
    records = (first, *others)
    names = [spec.name for spec in dataclasses.fields(first)]
    changes = {name: map_tensors(function, *(getattr(r, name) for r in records)) for name in names}
    return dataclasses.replace(first, **changes)
