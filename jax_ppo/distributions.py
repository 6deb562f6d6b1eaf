"""Action distributions: categorical, and Gaussian with a diagonal covariance.

Both are pytrees with five methods: sample, mode, log_prob, entropy, kl. Sampling takes its noise as
an argument, so that another implementation can be given the same draws.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Categorical:
    """Discrete distribution over `num_actions` actions, p_i = softmax(logits)_i."""

    logits: jax.Array
    """Unnormalized log-probabilities [..., num_actions]."""

    def sample(self, noise: jax.Array) -> jax.Array:
        """Action argmax_i(logits_i + g_i), distributed as p if g is standard Gumbel noise.

        Args:
            noise: Gumbel noise [..., num_actions].

        Returns:
            Actions [...], int32.

        Source: the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014, section 2).
        """
        return jnp.argmax(self.logits + noise, axis=-1).astype(jnp.int32)

    def mode(self) -> jax.Array:
        """Most probable action, argmax_i logits_i [...], int32."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log p_action = logits_action - log sum_i exp(logits_i) [...], in nats.

        Args:
            action: Actions [...]; the result is NaN where there is no such action.
        """
        log_probs = jax.nn.log_softmax(self.logits)
        # Of few actions a masked sum is faster than an indexed read, whose gradient is a scatter.
        num_actions = self.logits.shape[-1]
        taken = jax.nn.one_hot(action, num_actions, dtype=bool)
        log_prob = jnp.sum(jnp.where(taken, log_probs, 0.0), axis=-1)
        return jnp.where((action >= 0) & (action < num_actions), log_prob, jnp.nan)

    def entropy(self) -> jax.Array:
        """H = -sum_i p_i log p_i [...], in nats; an action with p_i = 0 adds nothing."""
        log_probs = jax.nn.log_softmax(self.logits)
        return -_expectation(jnp.exp(log_probs), log_probs)

    def kl(self, other: "Categorical") -> jax.Array:
        """KL(self || other) = sum_i p_i (log p_i - log q_i) [...], in nats."""
        log_probs = jax.nn.log_softmax(self.logits)
        return _expectation(jnp.exp(log_probs), log_probs - jax.nn.log_softmax(other.logits))


@struct.dataclass
class DiagGaussian:
    """Normal distribution with independent components, N(mean, diag(exp(log_std))^2)."""

    mean: jax.Array
    """[..., action_dim]."""
    log_std: jax.Array
    """Logarithm of the standard deviation [..., action_dim]."""

    def sample(self, noise: jax.Array) -> jax.Array:
        """Action mean + exp(log_std) * noise [..., action_dim].

        Args:
            noise: Standard normal noise [..., action_dim].

        Source: the reparametrization of Kingma and Welling (2013), section 2.4.
        """
        return self.mean + jnp.exp(self.log_std) * noise

    def mode(self) -> jax.Array:
        """The mean [..., action_dim]."""
        return self.mean

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-density -sum_k [z_k^2 / 2 + log_std_k + log(2 pi) / 2] [...], z = (a - mean)/std."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -jnp.sum(0.5 * jnp.square(z) + self.log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self) -> jax.Array:
        """Differential entropy sum_k [log_std_k + (1 + log(2 pi)) / 2] [...], in nats."""
        return jnp.sum(self.log_std + 0.5 * (1.0 + math.log(2 * math.pi)), axis=-1)

    def kl(self, other: "DiagGaussian") -> jax.Array:
        """KL(self || other) in closed form [...], in nats.

        sum_k [log(s'_k / s_k) + (s_k^2 + (m_k - m'_k)^2) / (2 s'_k^2) - 1/2], primes for `other`.
        """
        variance_ratio = jnp.exp(2.0 * (self.log_std - other.log_std))
        shift = jnp.square((self.mean - other.mean) * jnp.exp(-other.log_std))
        log_ratio = other.log_std - self.log_std
        return jnp.sum(log_ratio + 0.5 * (variance_ratio + shift - 1.0), axis=-1)


class Distribution(Protocol):
    """An action distribution; any pytree with these methods can be used."""

    def sample(self, noise: jax.Array) -> jax.Array:
        """An action made of the given noise."""

    def mode(self) -> jax.Array:
        """The most probable action."""

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-probability or log-density of an action [...], in nats."""

    def entropy(self) -> jax.Array:
        """Entropy [...], in nats."""

    def kl(self, other: Any) -> jax.Array:
        """KL(self || other) [...], in nats, for another of the same kind."""


def _expectation(probs: jax.Array, values: jax.Array) -> jax.Array:
    """sum_i p_i v_i over the last axis, with 0 * infinity = 0 in value and in gradient."""
    safe_values = jnp.where(probs > 0, values, 0.0)
    return jnp.sum(probs * safe_values, axis=-1)
