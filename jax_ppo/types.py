"""The arrays that flow from chapter to chapter, each with its shape.

Two leading axes recur: time `num_steps` and environments `num_envs`; a batch is both of them
flattened into `batch_size = num_steps * num_envs`.
"""

import dataclasses
from typing import Any

import jax
from flax import struct

from jax_ppo.config import COEFFICIENTS, PPOConfig
from jax_ppo.distributions import Distribution
from jax_ppo.normalize import RunningStats

Params = Any
"""A pytree of network parameters."""


@struct.dataclass
class Metrics:
    """The measurements of one update, each a scalar; `train` stacks them to [num_updates].

    A field is None where the algorithm does not measure it. The measurements of the loss are means
    over the gradient steps taken (over the one that fired the KL stop if none was).
    """

    episode_return: jax.Array | None = None
    """Mean return of the episodes that ended, in units of reward; NaN where none ended."""
    episode_length: jax.Array | None = None
    """Mean length of these episodes, in steps; NaN where none ended."""
    num_episodes: jax.Array | None = None
    """Number of these episodes, int32."""
    reward_mean: jax.Array | None = None
    """Mean reward of a step, scaled with normalize_rewards."""
    loss: jax.Array | None = None
    """The loss that gradients were taken of."""
    policy_loss: jax.Array | None = None
    """Its policy term, in units of advantage."""
    value_loss: jax.Array | None = None
    """Its value term, in units of value squared."""
    entropy: jax.Array | None = None
    """Mean entropy of the policy, in nats."""
    approx_kl: jax.Array | None = None
    """Estimate of KL(old || new) from samples, in nats; see `diagnostics.approx_kl`."""
    approx_kl_max: jax.Array | None = None
    """Largest approx_kl of a minibatch, that of the step that fired the KL stop included."""
    clip_fraction: jax.Array | None = None
    """Share of samples whose probability ratio left the clip range, in [0, 1]."""
    kl: jax.Array | None = None
    """KL(old || new) in closed form, in nats: with a KL penalty during the gradient steps; of TRPO
    that of its step."""
    grad_norm: jax.Array | None = None
    """Global norm of the gradient, before clipping."""
    kl_stop: jax.Array | None = None
    """1 if the KL stop ended the gradient steps of this update, else 0."""
    gradient_steps: jax.Array | None = None
    """Number of gradient steps taken."""
    kl_after_update: jax.Array | None = None
    """KL(old || new) over the whole batch after the last gradient step, in nats."""
    kl_coef: jax.Array | None = None
    """Weight of the KL penalty in this update."""
    surrogate_improvement: jax.Array | None = None
    """mean((r - 1) A) of TRPO's step, in units of advantage."""
    step_fraction: jax.Array | None = None
    """TRPO's step as a part of the longest step; 0 if no step was taken."""
    cg_residual: jax.Array | None = None
    """|H x - g| / |g| of TRPO's conjugate gradients."""
    explained_variance: jax.Array | None = None
    """1 - Var(returns - values) / Var(returns) of the batch."""
    advantage_std: jax.Array | None = None
    """Standard deviation of the advantages before normalization, in units of advantage."""
    value_mean: jax.Array | None = None
    """Mean of the critic's values in the batch."""
    param_norm: jax.Array | None = None
    """Global norm of the parameters after the update."""
    learning_rate: jax.Array | None = None
    """Learning rate of this update."""
    clip_eps: jax.Array | None = None
    """Half width of the clip range in this update."""
    extra: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    """Whatever else a loss or an algorithm of one's own measures, by name."""

    def as_dict(self) -> dict[str, jax.Array]:
        """What was measured, by name, with `extra` among the others."""
        fields = {name: value for name, value in vars(self).items() if name != "extra"}
        measured = {name: value for name, value in fields.items() if value is not None}
        return {**measured, **self.extra}

    def merge(self, other: "Metrics") -> "Metrics":
        """Both measurements in one record; where both have a field, that of `other`."""
        fields = {name: value for name, value in vars(other).items() if name != "extra"}
        measured = {name: value for name, value in fields.items() if value is not None}
        return dataclasses.replace(self, **measured, extra={**self.extra, **other.extra})


@struct.dataclass
class Transition:
    """One step of every environment; a rollout stacks them to [num_steps, num_envs, ...]."""

    obs: jax.Array
    """Input of the policy, normalized with normalize_observations [num_envs, *obs_shape]."""
    action: jax.Array
    """Sampled action, before clipping to the bounds of the space [num_envs]
    (discrete) or [num_envs, action_dim]."""
    reward: jax.Array
    """Reward of the step, scaled with normalize_rewards [num_envs]."""
    terminated: jax.Array
    """Whether the episode ended in a terminal state, which has no future [num_envs], bool."""
    truncated: jax.Array
    """Whether a time limit ended the episode, whose future still has value [num_envs], bool."""
    next_obs: jax.Array
    """Observation s'_t before autoreset, normalized likewise [num_envs, *obs_shape]."""


@struct.dataclass
class Batch:
    """Samples that the loss is averaged over [batch_size, ...] or [minibatch_size, ...]."""

    obs: jax.Array
    """[batch_size, *obs_shape]."""
    action: jax.Array
    """[batch_size] (discrete) or [batch_size, action_dim]."""
    old_distribution: Distribution | None
    """Policy that collected the sample; only with a KL penalty, else None."""
    old_log_prob: jax.Array
    """[batch_size]."""
    old_value: jax.Array
    """[batch_size]."""
    advantages: jax.Array
    """[batch_size]."""
    returns: jax.Array
    """Value targets, advantages + old_value [batch_size]."""


@struct.dataclass
class RolloutState:
    """What the next rollout starts from."""

    env_state: Any
    """The environments' own states, every leaf [num_envs, ...]."""
    obs: jax.Array
    """Current observation as the environment gave it [num_envs, *obs_shape]."""
    episode_return: jax.Array
    """Sum of unscaled rewards since each episode began [num_envs]."""
    episode_length: jax.Array
    """Steps since each episode began [num_envs], int32."""
    discounted_return: jax.Array
    """Running discounted sum of unscaled rewards, for reward scaling [num_envs]."""
    obs_stats: RunningStats | None
    """Statistics of observations [*obs_shape]; None when they are not normalized."""
    return_stats: RunningStats | None
    """Statistics of discounted_return []; None when rewards are not normalized."""


@struct.dataclass
class RandomDraws:
    """Every random number of one train step, drawn up front."""

    noise: jax.Array
    """Noise that turns a distribution into a sample [num_steps, num_envs, output_size]."""
    env_keys: jax.Array
    """A random key per environment step [num_steps, num_envs]."""
    permutations: jax.Array
    """An order of the samples per epoch [update_epochs, batch_size], int32."""


@struct.dataclass
class Rollout:
    """What `Algorithm.collect` gives to `Algorithm.learn`."""

    transitions: Transition
    """Every leaf [num_steps, num_envs, ...]."""
    permutations: jax.Array
    """An order of the samples per epoch [update_epochs, batch_size], int32."""
    metrics: Metrics
    """Of the episodes that ended."""


@struct.dataclass
class TrainState:
    """Everything that training carries from one update to the next; all that a checkpoint holds."""

    params: Params
    """Network parameters."""
    opt_state: Any
    """State of the optimizer, such as Adam's moments and step count."""
    rollout: RolloutState
    """State of the environments, and the running statistics."""
    key: jax.Array
    """Random key of the next train step []."""
    update: jax.Array
    """Updates done so far [], int32."""
    kl_coef: jax.Array | None
    """Current weight of the KL penalty []; None without one."""


@struct.dataclass
class EpisodeResults:
    """Outcome of an evaluation, one entry per episode."""

    episode_return: jax.Array
    """Sum of unscaled rewards [num_episodes]."""
    episode_length: jax.Array
    """Steps taken [num_episodes], int32."""
    finished: jax.Array
    """Whether the episode ended within the step limit [num_episodes], bool."""


def _flatten_config(config: PPOConfig) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
    """Split a config into its pytree leaves, by name, and its hashable static part."""
    leaves = [(jax.tree_util.GetAttrKey(n), getattr(config, n)) for n in _CONFIG_LEAVES]
    static = tuple(getattr(config, name) for name in _CONFIG_STATIC)
    return leaves, (*static, tuple(sorted(config.env_kwargs.items())))


def _unflatten_config(static: tuple[Any, ...], leaves: Any) -> PPOConfig:
    """Rebuild a config around whatever JAX put in its leaves, without checking values."""
    config = object.__new__(PPOConfig)
    values = zip((*_CONFIG_LEAVES, *_CONFIG_STATIC), (*leaves, *static[:-1]), strict=True)
    for name, value in (*values, ("env_kwargs", dict(static[-1]))):
        object.__setattr__(config, name, value)
    return config


_CONFIG_LEAVES = ("env_params", *COEFFICIENTS)
_CONFIG_STATIC = tuple(
    spec.name
    for spec in dataclasses.fields(PPOConfig)
    if spec.name not in (*_CONFIG_LEAVES, "env_kwargs")
)
jax.tree_util.register_pytree_with_keys(PPOConfig, _flatten_config, _unflatten_config)
