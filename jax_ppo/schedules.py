"""How coefficients change over training. Schedules count updates, not gradient steps."""

from typing import Protocol

import jax
import jax.numpy as jnp

KL_COEF_BOUNDS = (2.0**-20, 2.0**20)
"""The least and the greatest coefficient of the KL penalty that adaptation leads to."""


class Schedule(Protocol):
    """A factor that a coefficient is multiplied by, update by update."""

    def __call__(self, update: jax.Array | int, num_updates: int) -> jax.Array | float:
        """The factor [] during update number `update`, counted from 0, of `num_updates`."""


def linear(update: jax.Array | int, num_updates: int) -> jax.Array | float:
    """(num_updates - update) / num_updates: from 1 down to 1 / num_updates; 0 after the end."""
    # Not a division: XLA would multiply by the reciprocal, and eager frameworks would not.
    left = jnp.asarray(num_updates - jnp.minimum(update, num_updates), float)
    return left * (1.0 / num_updates)


def cosine(update: jax.Array | int, num_updates: int) -> jax.Array:
    """(1 + cos(pi update / num_updates)) / 2: from 1 down along half a cosine; 0 after the end.

    Source: Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
    equation 5, without restarts.
    """
    done = jnp.asarray(jnp.minimum(update, num_updates), float)
    return 0.5 * (1.0 + jnp.cos(jnp.pi * (done * (1.0 / num_updates))))


SCHEDULES: dict[str, Schedule] = {"linear": linear, "cosine": cosine}
"""Schedules by the names that a config gives them; `constant` changes nothing."""


def scheduled(
    initial: jax.Array | float,
    schedule: str | Schedule,
    update: jax.Array | int,
    num_updates: int,
) -> jax.Array | float:
    """The coefficient during update number `update`: initial * schedule(update, num_updates).

    Args:
        initial: The coefficient at the start.
        schedule: "constant", a name of SCHEDULES, or a schedule of one's own.
        update: Updates already done [].
        num_updates: Updates in all.
    """
    if schedule == "constant":
        return initial
    factor = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    return initial * factor(update, num_updates)


def warmup(share: jax.Array | float, update: jax.Array | int, num_updates: int) -> jax.Array:
    """min(1, (update + 1) / (share num_updates)): the factor of a linear warm-up.

    The first update already has a factor above 0.

    Args:
        share: Share of training that the warm-up takes, in (0, 1].
        update: Updates already done [].
        num_updates: Updates in all.
    """
    return jnp.minimum(jnp.asarray(update + 1, float) / (share * num_updates), 1.0)


def adapt_kl_coef(
    kl_coef: jax.Array | float, kl: jax.Array | float, kl_target: jax.Array | float
) -> jax.Array:
    """The KL penalty's next coefficient: halved if KL < target / 1.5, doubled if KL > 1.5 target.

    It stays within KL_COEF_BOUNDS: halved often enough it would be 0, and could not be doubled.

    Args:
        kl_coef: Coefficient of the update just done [].
        kl: Mean KL(old || new) over its batch, after its last gradient step [], in nats.
        kl_target: The divergence aimed at, in nats.

    Source: Schulman et al. (2017), section 4.
    """
    lowered = jnp.where(kl < kl_target / 1.5, kl_coef / 2.0, kl_coef)
    adapted = jnp.where(kl > kl_target * 1.5, kl_coef * 2.0, lowered)
    return jnp.clip(adapted, *KL_COEF_BOUNDS)
