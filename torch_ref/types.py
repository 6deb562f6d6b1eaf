"""The tensors that flow from chapter to chapter, each with its shape.

Two leading axes recur: time `num_steps` and environments `num_envs`; a batch is both of them
flattened into `batch_size = num_steps * num_envs`. Floating-point tensors are of torch's default
dtype.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from torch_ref.distributions import Distribution
from torch_ref.normalize import RunningStats

Params = dict[str, torch.Tensor]
"""Network parameters by name, such as `policy_trunk_dense_0.weight`; a valid state_dict."""


@dataclass(frozen=True)
class Metrics:
    """The measurements of one update, each a scalar; `train` stacks them to [num_updates].

    A field is None where the algorithm does not measure it. The measurements of the loss are means
    over the gradient steps taken (over the one that fired the KL stop if none was).
    """

    episode_return: torch.Tensor | None = None
    """Mean return of the episodes that ended, in units of reward; NaN where none ended."""
    episode_length: torch.Tensor | None = None
    """Mean length of these episodes, in steps; NaN where none ended."""
    num_episodes: torch.Tensor | None = None
    """Number of these episodes, int32."""
    reward_mean: torch.Tensor | None = None
    """Mean reward of a step, scaled if the config says so."""
    loss: torch.Tensor | None = None
    """The loss that gradients were taken of."""
    policy_loss: torch.Tensor | None = None
    """Its policy term, in units of advantage."""
    value_loss: torch.Tensor | None = None
    """Its value term, in units of value squared."""
    entropy: torch.Tensor | None = None
    """Mean entropy of the policy, in nats."""
    approx_kl: torch.Tensor | None = None
    """Estimate of KL(old || new) from samples, in nats; see `diagnostics.approx_kl`."""
    approx_kl_max: torch.Tensor | None = None
    """Largest approx_kl of a minibatch, that of the step that fired the KL stop included."""
    clip_fraction: torch.Tensor | None = None
    """Share of samples whose probability ratio left the clip range, in [0, 1]."""
    kl: torch.Tensor | None = None
    """KL(old || new) in closed form, in nats: with a KL penalty during the gradient steps; of TRPO
    that of its step."""
    grad_norm: torch.Tensor | None = None
    """Global norm of the gradient, before clipping."""
    kl_stop: torch.Tensor | None = None
    """1 if the KL stop ended the gradient steps of this update, else 0."""
    gradient_steps: torch.Tensor | None = None
    """Number of gradient steps taken."""
    kl_after_update: torch.Tensor | None = None
    """KL(old || new) over the whole batch after the last gradient step, in nats."""
    kl_coef: torch.Tensor | None = None
    """Weight of the KL penalty in this update."""
    surrogate_improvement: torch.Tensor | None = None
    """mean((r - 1) A) of TRPO's step, in units of advantage."""
    step_fraction: torch.Tensor | None = None
    """TRPO's step as a part of the longest step; 0 if no step was taken."""
    cg_residual: torch.Tensor | None = None
    """|H x - g| / |g| of TRPO's conjugate gradients."""
    explained_variance: torch.Tensor | None = None
    """1 - Var(returns - values) / Var(returns) of the batch."""
    advantage_std: torch.Tensor | None = None
    """Standard deviation of the advantages before normalization, in units of advantage."""
    value_mean: torch.Tensor | None = None
    """Mean of the critic's values in the batch."""
    param_norm: torch.Tensor | None = None
    """Global norm of the parameters after the update."""
    learning_rate: torch.Tensor | None = None
    """Learning rate of this update."""
    clip_eps: torch.Tensor | None = None
    """Half width of the clip range in this update."""
    extra: dict[str, torch.Tensor] = field(default_factory=dict)
    """Whatever else a loss or an algorithm of one's own measures, by name."""

    def as_dict(self) -> dict[str, torch.Tensor]:
        """What was measured, by name, with `extra` among the others."""
        fields = {name: value for name, value in vars(self).items() if name != "extra"}
        measured = {name: value for name, value in fields.items() if value is not None}
        return {**measured, **self.extra}

    def merge(self, other: "Metrics") -> "Metrics":
        """Both measurements in one record; where both have a field, that of `other`."""
        fields = {name: value for name, value in vars(other).items() if name != "extra"}
        measured = {name: value for name, value in fields.items() if value is not None}
        return dataclasses.replace(self, **measured, extra={**self.extra, **other.extra})


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
    """What the next rollout starts from."""

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
    """Noise that turns a distribution into a sample [num_steps, num_envs, output_size]."""
    env_keys: torch.Tensor
    """A seed per environment step [num_steps, num_envs], int64."""
    permutations: torch.Tensor
    """An order of the samples per epoch [update_epochs, batch_size], int64."""


@dataclass(frozen=True)
class Rollout:
    """What `Algorithm.collect` gives to `Algorithm.learn`."""

    transitions: Transition
    """Every tensor [num_steps, num_envs, ...]."""
    permutations: torch.Tensor
    """An order of the samples per epoch [update_epochs, batch_size], int64."""
    metrics: Metrics
    """Of the episodes that ended."""


@dataclass(frozen=True)
class TrainState:
    """Everything that training carries from one update to the next."""

    params: Params
    """Network parameters."""
    opt_state: Any
    """State of the optimizer, such as Adam's moments and step count."""
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
        first: A tensor, None, or a dataclass or dictionary of those; the result is of the same
            form.
        others: More records of that form.
    """
    if first is None:
        return None
    if isinstance(first, torch.Tensor):
        return function(first, *others)
    records = (first, *others)
    if isinstance(first, Mapping):
        return {name: map_tensors(function, *(r[name] for r in records)) for name in first}
    names = [spec.name for spec in dataclasses.fields(first)]
    changes = {name: map_tensors(function, *(getattr(r, name) for r in records)) for name in names}
    return dataclasses.replace(first, **changes)
