"""What an agent observes and what it may do.

Whatever depends on the kind of action is a member of its space: the size of the policy's output,
the distribution made of it, and the noise that a sample takes.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jax_ppo.distributions import Categorical, DiagGaussian, Distribution


@dataclass(frozen=True)
class ArraySpace:
    """One array of floating-point numbers."""

    shape: tuple[int, ...]
    """Shape of a single observation, without a batch axis."""


ObservationSpace = Any
"""A pytree of `ArraySpace`, with the structure of an observation; a single array is one leaf."""


def zero_observations(space: ObservationSpace, batch_size: int) -> Any:
    """Observations that are zero, every leaf [batch_size, *shape]."""
    return jax.tree.map(lambda leaf: jnp.zeros((batch_size, *leaf.shape)), space)


class ActionSpace(Protocol):
    """What an agent may do; a class with these members can be a space of one's own."""

    @property
    def output_size(self) -> int:
        """Number of outputs of the policy head for one observation."""

    @property
    def has_log_std(self) -> bool:
        """Whether the policy also has a log standard deviation, a parameter [output_size]."""

    def distribution(self, output: jax.Array, log_std: jax.Array | None) -> Distribution:
        """The policy.

        Args:
            output: Output of the policy head [..., output_size].
            log_std: [output_size] where the space has_log_std, else None.
        """

    def draw_noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The noise that `Distribution.sample` takes [*shape, output_size].

        Args:
            key: Random key.
            shape: Batch shape.
        """

    def to_env(self, action: jax.Array) -> jax.Array:
        """Actions [num_envs, ...] as the environment takes them."""


@dataclass(frozen=True)
class DiscreteActions:
    """Actions 0, 1, ..., num_actions - 1, with a Categorical policy."""

    num_actions: int

    @property
    def output_size(self) -> int:
        """One logit for each action."""
        return self.num_actions

    @property
    def has_log_std(self) -> bool:
        """A Categorical has none."""
        return False

    def distribution(self, output: jax.Array, log_std: jax.Array | None = None) -> Categorical:
        """A Categorical over the actions.

        Args:
            output: Logits [..., num_actions].
            log_std: Not used.
        """
        return Categorical(logits=output)

    def draw_noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Standard Gumbel noise [*shape, num_actions]."""
        return jax.random.gumbel(key, (*shape, self.num_actions))

    def to_env(self, action: jax.Array) -> jax.Array:
        """The action unchanged."""
        return action


@dataclass(frozen=True, eq=False)
class ContinuousActions:
    """Real vectors between two bounds, which may be infinite, with a DiagGaussian policy.

    Compared by identity, as arrays have no hash: an environment can be a static argument of
    `jax.jit`.
    """

    low: jax.Array
    """[action_dim]."""
    high: jax.Array
    """[action_dim]."""
    shape: tuple[int, ...]
    """Shape that the environment takes one action in."""

    @property
    def output_size(self) -> int:
        """One mean for each component of the action: action_dim."""
        return math.prod(self.shape)

    @property
    def has_log_std(self) -> bool:
        """A DiagGaussian has one."""
        return True

    def distribution(self, output: jax.Array, log_std: jax.Array | None) -> DiagGaussian:
        """A DiagGaussian whose standard deviation is the same for every observation.

        Args:
            output: Means [..., action_dim].
            log_std: Log standard deviation [action_dim].
        """
        assert log_std is not None
        return DiagGaussian(mean=output, log_std=jnp.broadcast_to(log_std, output.shape))

    def draw_noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Standard normal noise [*shape, action_dim]."""
        return jax.random.normal(key, (*shape, self.output_size))

    def to_env(self, action: jax.Array) -> jax.Array:
        """The action clipped to the bounds, in the environment's own shape.

        Args:
            action: [num_envs, action_dim].
        """
        clipped = jnp.clip(action, self.low[None], self.high[None])
        return clipped.reshape(action.shape[0], *self.shape)
