"""Action distributions: categorical, and Gaussian with a diagonal covariance.

Both are values with five methods: sample, mode, log_prob, entropy, kl. Sampling takes its noise as
an argument, so that another implementation can be given the same draws.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class Categorical:
    """Discrete distribution over `num_actions` actions, p_i = softmax(logits)_i."""

    logits: torch.Tensor
    """Unnormalized log-probabilities [..., num_actions]."""

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """Action argmax_i(logits_i + g_i), distributed as p if g is standard Gumbel noise.

        Args:
            noise: Gumbel noise [..., num_actions].

        Returns:
            Actions [...], int64.

        Source: the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014, section 2).
        """
        return torch.argmax(self.logits + noise, dim=-1)

    def mode(self) -> torch.Tensor:
        """Most probable action, argmax_i logits_i [...], int64."""
        return torch.argmax(self.logits, dim=-1)

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """Log p_action = logits_action - log sum_i exp(logits_i) [...], in nats.

        Args:
            action: Actions [...], of any integer type.
        """
        log_probs = torch.log_softmax(self.logits, dim=-1)
        return torch.gather(log_probs, -1, action.long()[..., None])[..., 0]

    def entropy(self) -> torch.Tensor:
        """H = -sum_i p_i log p_i [...], in nats; an action with p_i = 0 adds nothing."""
        log_probs = torch.log_softmax(self.logits, dim=-1)
        return -_expectation(torch.exp(log_probs), log_probs)

    def kl(self, other: "Categorical") -> torch.Tensor:
        """KL(self || other) = sum_i p_i (log p_i - log q_i) [...], in nats."""
        log_probs = torch.log_softmax(self.logits, dim=-1)
        log_ratio = log_probs - torch.log_softmax(other.logits, dim=-1)
        return _expectation(torch.exp(log_probs), log_ratio)


@dataclass(frozen=True)
class DiagGaussian:
    """Normal distribution with independent components, N(mean, diag(exp(log_std))^2)."""

    mean: torch.Tensor
    """[..., action_dim]."""
    log_std: torch.Tensor
    """Logarithm of the standard deviation [..., action_dim]."""

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """Action mean + exp(log_std) * noise [..., action_dim].

        Args:
            noise: Standard normal noise [..., action_dim].

        Source: the reparametrization of Kingma and Welling (2013), section 2.4.
        """
        return self.mean + torch.exp(self.log_std) * noise

    def mode(self) -> torch.Tensor:
        """The mean [..., action_dim]."""
        return self.mean

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """Log-density -sum_k [z_k^2 / 2 + log_std_k + log(2 pi) / 2] [...], z = (a - mean)/std."""
        z = (action - self.mean) * torch.exp(-self.log_std)
        terms = 0.5 * torch.square(z) + self.log_std + 0.5 * math.log(2 * math.pi)
        return -torch.sum(terms, dim=-1)

    def entropy(self) -> torch.Tensor:
        """Differential entropy sum_k [log_std_k + (1 + log(2 pi)) / 2] [...], in nats."""
        return torch.sum(self.log_std + 0.5 * (1.0 + math.log(2 * math.pi)), dim=-1)

    def kl(self, other: "DiagGaussian") -> torch.Tensor:
        """KL(self || other) in closed form [...], in nats.

        sum_k [log(s'_k / s_k) + (s_k^2 + (m_k - m'_k)^2) / (2 s'_k^2) - 1/2], primes for `other`.
        """
        variance_ratio = torch.exp(2.0 * (self.log_std - other.log_std))
        shift = torch.square((self.mean - other.mean) * torch.exp(-other.log_std))
        log_ratio = other.log_std - self.log_std
        return torch.sum(log_ratio + 0.5 * (variance_ratio + shift - 1.0), dim=-1)


class Distribution(Protocol):
    """What the trainer asks of an action distribution.

    Any frozen dataclass of tensors [..., n] with these methods can be used.
    """

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """An action made of the given noise."""

    def mode(self) -> torch.Tensor:
        """The most probable action."""

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """Log-probability or log-density of an action [...], in nats."""

    def entropy(self) -> torch.Tensor:
        """Entropy [...], in nats."""

    def kl(self, other: Any) -> torch.Tensor:
        """KL(self || other) [...], in nats, for another of the same kind."""


def _expectation(probs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """sum_i p_i v_i over the last axis, with 0 * infinity = 0 in value and in gradient."""
    safe_values = torch.where(probs > 0, values, 0.0)
    return torch.sum(probs * safe_values, dim=-1)
