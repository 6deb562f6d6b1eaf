"""Diagnostics of an update; no gradient is taken of them."""

import jax
import jax.numpy as jnp

from jax_ppo.shapes import check_same_shape

ROUNDING_UNITS = 4.0
"""Returns that differ by no more than this many units of rounding are taken to be equal."""


def approx_kl(log_ratio: jax.Array) -> jax.Array:
    """Estimate of KL(old || new) from samples of the old policy: mean((r - 1) - log r), in nats.

    Unbiased, never negative, and of lower variance than mean(-log r).

    Args:
        log_ratio: log r = log pi_new(a|s) - log pi_old(a|s), any shape.

    Source: Schulman (2020), "Approximating KL divergence", estimator k3.
    """
    return jnp.mean(jnp.expm1(log_ratio) - log_ratio)


def clip_fraction(ratio: jax.Array, clip_eps: jax.Array | float) -> jax.Array:
    """Share of samples whose probability ratio has left [1 - clip_eps, 1 + clip_eps], in [0, 1].

    Args:
        ratio: pi_new(a|s) / pi_old(a|s), any shape.
        clip_eps: Half width of the band.
    """
    outside = jnp.abs(ratio - 1.0) > clip_eps
    return jnp.mean(outside.astype(ratio.dtype))


def explained_variance(values: jax.Array, returns: jax.Array) -> jax.Array:
    """1 - Var(returns - values) / Var(returns): 1 for a perfect critic, 0 for a constant one.

    It is 0 where the returns are all equal up to rounding, and have no variance to explain.

    Args:
        values: The critic's estimates, any shape.
        returns: Their targets, the same shape.

    Raises:
        ValueError: The two differ in shape.
    """
    check_same_shape("explained_variance", values=values, returns=returns)
    size = jnp.maximum(jnp.max(jnp.abs(returns)), jnp.max(jnp.abs(values)))
    vary = jnp.ptp(returns) > ROUNDING_UNITS * jnp.finfo(returns.dtype).eps * size
    unexplained = jnp.var(returns - values) / jnp.where(vary, jnp.var(returns), 1.0)
    return jnp.where(vary, 1.0 - unexplained, 0.0)
