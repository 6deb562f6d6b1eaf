"""How coefficients move over training. Schedules count updates, not gradient steps."""

from typing import Literal

import jax
import jax.numpy as jnp

KL_COEF_BOUNDS = (2.0**-20, 2.0**20)
"""The least and the greatest coefficient of the KL penalty that adaptation leads to."""


def scheduled(
    initial: jax.Array | float,
    schedule: Literal["constant", "linear"],
    update: jax.Array | int,
    num_updates: int,
) -> jax.Array | float:
    """The coefficient during update number `update`, counted from 0.

    constant: c.  linear: c (num_updates - update) / num_updates, so the first update uses c and the
    last one c / num_updates; zero is never reached.

    Args:
        initial: c.
        schedule: Which of the two.
        update: Updates already done [].
        num_updates: Updates in all.
    """
    if schedule == "constant":
        return initial
    # Not a division: XLA would multiply by the reciprocal, and eager frameworks would not.
    return initial * ((num_updates - update) * (1.0 / num_updates))


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
