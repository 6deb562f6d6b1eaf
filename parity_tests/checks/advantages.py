"""Generalized advantage estimation and normalized advantages."""

from functools import partial
from typing import Any

import numpy as np

import jax_ppo
import torch_ref
from parity_tests import oracles
from parity_tests.checks.check import Check, exported
from parity_tests.compare import Tolerance
from parity_tests.inputs import Boundary, flags, normal, uniform
from parity_tests.measure import wide
from parity_tests.sides import cotangent

ARGUMENTS = {
    "rewards": normal("num_steps", "num_envs"),
    "values": normal("num_steps", "num_envs", scale=3.0),
    "next_values": normal("num_steps", "num_envs", scale=3.0),
    "terminated": flags("num_steps", "num_envs"),
    "truncated": flags("num_steps", "num_envs"),
    "gamma": uniform(low=0.0, high=1.0),
    "gae_lambda": uniform(low=0.0, high=1.0),
}


def estimated(advantage_fn: Any, *arguments: Any) -> Any:
    """Advantages and returns of an estimator, its arguments by name."""
    return advantage_fn(**dict(zip(ARGUMENTS, arguments, strict=True)))


GAE = Check(
    level=2,
    name="compute_gae",
    jax_fn=partial(estimated, jax_ppo.compute_gae),
    torch_fn=partial(estimated, torch_ref.compute_gae),
    inputs=ARGUMENTS,
    oracle=oracles.gae,
    terms=oracles.gae_terms,
    sizes={"num_steps": 5, "num_envs": 2},
    tolerance=Tolerance(1.5, 16, slope=1.0),
)

# Where the standard deviation is 0 its slope is 0 / 0. JAX gives NaN; PyTorch gives 0, so that only
# the slope of A - mean(A) is left. The loss takes advantages as constants: no gradient of the
# algorithm passes here.
WEIGHTS = cotangent("value", (4,))

NORMALIZE_ADVANTAGES = Check(
    level=2,
    **exported("normalize_advantages"),
    inputs={"advantages": normal(12)},
    oracle=oracles.normalized_advantages,
    terms=oracles.normalized_advantages_terms,
    boundaries=(
        Boundary(
            "all equal",
            {"advantages": np.ones(4)},
            jax={"d/d advantages": np.full(4, np.nan)},
            torch={"d/d advantages": (WEIGHTS - WEIGHTS.mean()) / wide(1e-8)},
        ),
        Boundary(
            "one sample",
            {"advantages": np.array([3.0])},
            jax={"d/d advantages": [np.nan]},
            torch={"d/d advantages": [0.0]},
        ),
    ),
    tolerance=Tolerance(1, 4),
)

CHECKS = (GAE, NORMALIZE_ADVANTAGES)
