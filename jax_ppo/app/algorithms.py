"""Algorithms and advantage estimators by name, as the command line and run folders give them.

An algorithm is a static argument of compiled programs, so a name always gives the same object.
"""

import importlib
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from jax_ppo.advantages import AdvantageFn, compute_gae
from jax_ppo.app.errors import AppError
from jax_ppo.config import ConfigError, PPOConfig, unknown_name
from jax_ppo.ppo import Algorithm, AlgorithmFn, ppo
from jax_ppo.variants import a2c, reinforce, reinforce_with_baseline, trpo
from jax_ppo.variants.policy_gradient import baseline_advantages, monte_carlo_returns

ALGORITHMS: dict[str, AlgorithmFn] = {
    "ppo": ppo,
    "a2c": a2c,
    "reinforce": reinforce,
    "reinforce-with-baseline": reinforce_with_baseline,
    "trpo": trpo,
}
"""The algorithms of this package; any other is named module:name."""


def gae_with_truncation_as_termination(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    *,
    terminated: jax.Array,
    truncated: jax.Array,
    **coefficients: Any,
) -> tuple[jax.Array, jax.Array]:
    """`compute_gae` with a common mistake, to show its cost: a time limit counts as a termination.

    Source: Pardo et al. (2018), "Time limits in reinforcement learning", section 2.
    """
    return compute_gae(
        rewards,
        values,
        next_values,
        terminated=terminated | truncated,
        truncated=jnp.zeros_like(truncated),
        **coefficients,
    )


ESTIMATORS: dict[str, AdvantageFn] = {
    "gae": compute_gae,
    "monte_carlo": monte_carlo_returns,
    "baseline": baseline_advantages,
    "truncation_as_termination": gae_with_truncation_as_termination,
}
"""Advantage estimators that a sweep can choose between."""


@cache
def find_algorithm(name: str = "ppo", estimator: str | None = None) -> AlgorithmFn:
    """One of ALGORITHMS, or module:name; the same object for the same arguments.

    An `estimator`, one of ESTIMATORS, replaces the algorithm's own advantage_fn.

    Raises:
        AppError: There is no such algorithm or estimator, or its module cannot be imported.
    """
    algorithm_fn = _import_algorithm(name) if ":" in name else ALGORITHMS.get(name)
    if algorithm_fn is None:
        raise AppError(unknown_name("algorithm", name, ALGORITHMS))
    if estimator is None:
        return algorithm_fn
    if estimator not in ESTIMATORS:
        raise AppError(unknown_name("estimator", estimator, ESTIMATORS))
    return partial(algorithm_fn, advantage_fn=ESTIMATORS[estimator])  # type: ignore[call-arg]


def make_algorithm(config: PPOConfig, name: str = "ppo", estimator: str | None = None) -> Algorithm:
    """`find_algorithm` for a config, which checks that environment and network can be built.

    Raises:
        AppError: There is no such algorithm, or it cannot be made for a config.
        ConfigError: The environment or the network cannot be built as the config says.
    """
    algorithm_fn = find_algorithm(name, estimator)
    try:
        algorithm = algorithm_fn(config)
    except ConfigError:
        raise
    except Exception as error:
        raise AppError(f"{name}(config) fails: {type(error).__name__}: {error}") from error
    if not isinstance(algorithm, Algorithm):
        raise AppError(
            f"{name}(config) must return an Algorithm, not {type(algorithm).__name__}; "
            "see jax_ppo.AlgorithmFn"
        )
    return algorithm


def _import_algorithm(name: str) -> AlgorithmFn:
    """The function that module:name names."""
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise AppError(f"cannot import {name} ({type(error).__name__}: {error})") from error
    if not callable(found):
        raise AppError(f"{name} is no function of a config, but {type(found).__name__}")
    return found
