"""What an agent observes and what it may do.

Whatever follows from the kind of action is asked of its space: the size of the policy's output, the
distribution made of it, and the noise that a sample takes.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from torch_ref.distributions import Categorical, DiagGaussian, Distribution


@dataclass(frozen=True)
class ArraySpace:
    """One tensor of floating-point numbers."""

    shape: tuple[int, ...]
    """Shape of a single observation, without a batch axis."""


ObservationSpace = Any
"""An `ArraySpace`, or a dictionary of them with the structure of an observation."""


class ActionSpace(Protocol):
    """What an agent may do; a class with these members can be a space of one's own."""

    @property
    def output_size(self) -> int:
        """Number of outputs of the policy head for one observation."""

    @property
    def has_log_std(self) -> bool:
        """Whether the policy also has a log standard deviation, a parameter [output_size]."""

    def distribution(self, output: torch.Tensor, log_std: torch.Tensor | None) -> Distribution:
        """The policy.

        Args:
            output: Output of the policy head [..., output_size].
            log_std: [output_size] where the space has_log_std, else None.
        """

    def draw_noise(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
        """The noise that `Distribution.sample` takes [*shape, output_size].

        Args:
            generator: Source of random numbers; it advances.
            shape: Batch shape.
        """

    def to_env(self, action: torch.Tensor) -> torch.Tensor:
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

    def distribution(
        self, output: torch.Tensor, log_std: torch.Tensor | None = None
    ) -> Categorical:
        """A Categorical over the actions.

        Args:
            output: Logits [..., num_actions].
            log_std: Not used.
        """
        return Categorical(logits=output)

    def draw_noise(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
        """Standard Gumbel noise [*shape, num_actions].

        It is -log(-log(u)) with u uniform on (0, 1); a u of exactly 0 is raised to the smallest
        normal number, so that no entry is infinite.

        Args:
            generator: Source of random numbers; it advances.
            shape: Batch shape.
        """
        uniform = torch.rand((*shape, self.num_actions), generator=generator)
        positive = torch.clamp(uniform, min=torch.finfo(uniform.dtype).tiny)
        return -torch.log(-torch.log(positive))

    def to_env(self, action: torch.Tensor) -> torch.Tensor:
        """The action unchanged."""
        return action


@dataclass(frozen=True, eq=False)
class ContinuousActions:
    """Real vectors between two bounds, which may be infinite, with a DiagGaussian policy."""

    low: torch.Tensor
    """[action_dim]."""
    high: torch.Tensor
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

    def distribution(self, output: torch.Tensor, log_std: torch.Tensor | None) -> DiagGaussian:
        """A DiagGaussian whose standard deviation is the same for every observation.

        Args:
            output: Means [..., action_dim].
            log_std: Log standard deviation [action_dim].
        """
        assert log_std is not None
        return DiagGaussian(mean=output, log_std=log_std.expand_as(output))

    def draw_noise(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
        """Standard normal noise [*shape, action_dim].

        Args:
            generator: Source of random numbers; it advances.
            shape: Batch shape.
        """
        return torch.randn((*shape, self.output_size), generator=generator)

    def to_env(self, action: torch.Tensor) -> torch.Tensor:
        """The action clipped to the bounds, in the environment's own shape.

        Args:
            action: [num_envs, action_dim].
        """
        clipped = torch.clamp(action, self.low[None], self.high[None])
        return clipped.reshape(action.shape[0], *self.shape)
