"""The advantage estimators that a sweep can choose between, by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_ppo.advantages import compute_gae
from jax_ppo.ancestors import baseline_advantages, monte_carlo_returns


def gae_with_truncation_as_termination(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    gae_lambda: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """GAE as many implementations have it: a time limit counts as an end without a future.

    It is wrong, and here to show what that costs; see `compute_gae` for the arguments.

    Source: Pardo et al. (2018), "Time limits in reinforcement learning", section 2.
    """
    done = terminated | truncated
    nothing_cut = jnp.zeros_like(truncated)
    return compute_gae(rewards, values, next_values, done, nothing_cut, gamma, gae_lambda)


ESTIMATORS: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {
    "gae": compute_gae,
    "monte_carlo": monte_carlo_returns,
    "baseline": baseline_advantages,
    "truncation_as_termination": gae_with_truncation_as_termination,
}
"""Functions with the arguments and results of `compute_gae`."""
