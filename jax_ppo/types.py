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

Metrics = dict[str, jax.Array]
"""Name to scalar, one entry per diagnostic; `train` stacks them to [num_updates]."""


@struct.dataclass
class Transition:
    """One step of every environment; a rollout stacks them to [num_steps, num_envs, ...]."""

    obs: jax.Array
    """Observation that the policy saw (normalized if the config says so) [num_envs, *obs_shape]."""
    action: jax.Array
    """Sampled action, before clipping to the bounds of the space [num_envs]
    (discrete) or [num_envs, action_dim]."""
    reward: jax.Array
    """Reward of the step (scaled if the config says so) [num_envs]."""
    terminated: jax.Array
    """Whether the episode reached an end of its own: nothing follows [num_envs], bool."""
    truncated: jax.Array
    """Whether a time limit cut the episode: the future still has value [num_envs], bool."""
    next_obs: jax.Array
    """Observation s'_t before autoreset, as the policy would see it [num_envs, *obs_shape]."""


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
    """What one rollout hands to the next."""

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
    """Noise that turns a distribution into a sample [num_steps, num_envs, noise_dim]."""
    env_keys: jax.Array
    """A random key per environment step [num_steps, num_envs]."""
    permutations: jax.Array
    """An order of the samples per epoch [update_epochs, batch_size], int32."""


@struct.dataclass
class TrainState:
    """Everything that training carries from one update to the next; all that a checkpoint holds."""

    params: Params
    """Network parameters."""
    opt_state: Any
    """State of the optax optimizer: Adam's moments and step count."""
    rollout: RolloutState
    """Where the environments stand, and the running statistics."""
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
