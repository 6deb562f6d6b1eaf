"""Environments as two pure functions, reset and step, over a whole batch at a time.

`step` resets by itself: where an episode ended, it returns the first observation of the next one,
and beside it the observation before the reset, which is what the critic must evaluate.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jax_ppo.spaces import ActionSpace, ObservationSpace

EnvState = Any
"""A pytree; every leaf [num_envs, ...]."""


class EnvStep(NamedTuple):
    """What one step of every environment gives."""

    obs: jax.Array
    """Observation to act on next, after the reset if the episode ended [num_envs, *obs_shape]."""
    state: EnvState
    """Next state, likewise after the reset."""
    reward: jax.Array
    """[num_envs]."""
    terminated: jax.Array
    """The episode reached an end of its own [num_envs], bool."""
    truncated: jax.Array
    """The time limit cut it [num_envs], bool."""
    next_obs: jax.Array
    """Observation that the step led to, before any reset [num_envs, *obs_shape]."""


class ResetFn(Protocol):
    """Starts an episode in every environment."""

    def __call__(self, keys: jax.Array) -> tuple[jax.Array, EnvState]:
        """Keys [num_envs] -> (obs [num_envs, *obs_shape], state)."""


class StepFn(Protocol):
    """Steps every environment, and starts a new episode where one ended; see `autoreset`."""

    def __call__(self, keys: jax.Array, state: EnvState, action: jax.Array) -> EnvStep:
        """Keys [num_envs], state and action [num_envs, ...] -> EnvStep."""


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
    """The time limit, where it is known outside a trace; else None."""


def autoreset(
    done: jax.Array,
    reset: ResetFn,
    keys: jax.Array,
    *,
    next_obs: jax.Array,
    next_state: EnvState,
) -> tuple[jax.Array, EnvState]:
    """Start a new episode in the environments that are done.

    Args:
        done: Where the episode ended [num_envs], bool.
        reset: keys [num_envs] -> (obs, state), as `Environment.reset`.
        keys: Random keys of the resets [num_envs].
        next_obs: Observation that the step led to [num_envs, *obs_shape].
        next_state: State that it led to, every leaf [num_envs, ...].

    Returns:
        Observation and state to go on from: those of a reset where done, else the given ones.
    """

    def select(fresh: jax.Array, stepped: jax.Array) -> jax.Array:
        mask = done.reshape(done.shape + (1,) * (stepped.ndim - 1))
        return jnp.where(mask, fresh, stepped)

    return jax.tree.map(select, reset(keys), (next_obs, next_state))
