"""Schedules, the warm-up and the adaptive KL coefficient."""

from typing import Any

import numpy as np

import jax_ppo
import torch_ref
from parity_tests import oracles
from parity_tests.checks.check import Check, written_once
from parity_tests.checks.optimizer import harmonic
from parity_tests.compare import Tolerance
from parity_tests.inputs import Boundary, integers, normal, uniform

NUM_UPDATES = 73

OWN = {"harmonic": harmonic}
"""A schedule of a user's own."""


def scheduled(package: Any, *names: str) -> Any:
    """The coefficient at one of NUM_UPDATES updates, under each of some schedules."""

    def compute(initial: Any, update: Any) -> dict[str, Any]:
        return {
            name: package.scheduled(initial, OWN.get(name, name), update, NUM_UPDATES)
            for name in names
        }

    return compute


def warmup(package: Any, share: Any, update: Any) -> Any:
    """The factor of the warm-up at one of NUM_UPDATES updates."""
    return package.warmup(share, update, NUM_UPDATES)


def adapted(package: Any, kl_coef: Any, kl: Any, kl_target: Any) -> Any:
    """The KL penalty's next coefficient."""
    return package.adapt_kl_coef(kl_coef, kl, kl_target)


def _divergence(label: str, kl: float) -> Boundary:
    """A point of the adaptation with coefficient 1/2 and target 1/4."""
    point = {"kl_coef": np.asarray(0.5), "kl": np.asarray(kl), "kl_target": np.asarray(0.25)}
    return Boundary(label, point)


def _scheduled_check(label: str, tolerance: Tolerance, *names: str) -> Check:
    """One or more schedules, at random updates."""
    return Check(
        level=1,
        name=label,
        jax_fn=scheduled(jax_ppo, *names),
        torch_fn=scheduled(torch_ref, *names),
        inputs={"initial": normal(loc=1e-3, scale=1e-4), "update": integers(high=NUM_UPDATES)},
        oracle=lambda initial, update: {
            name: oracles.SCHEDULES[name](initial, update, NUM_UPDATES) for name in names
        },
        terms=lambda initial, _: {name: abs(initial) for name in names if name != "constant"},
        samples=12,
        tolerance=tolerance,
    )


LINEAR = _scheduled_check(
    "scheduled", Tolerance(0, 0, slope=1.0, oracle_value=1, oracle_gradient=1), "constant", "linear"
)
# The cosine of each framework's own library, on a number that is itself rounded.
COSINE = _scheduled_check(
    "scheduled, cosine and a user's own", Tolerance(2, 2, slope=1.0), "cosine", "harmonic"
)

WARMUP = Check(
    level=1,
    name="warmup",
    **written_once(warmup),
    inputs={"share": uniform(low=0.05, high=1.0), "update": integers(high=NUM_UPDATES)},
    oracle=lambda share, update: oracles.warmup(share, update, NUM_UPDATES),
    samples=12,
    tolerance=Tolerance(1, 4),
)

CHECKS = (
    LINEAR,
    COSINE,
    WARMUP,
    Check(
        level=1,
        name="adapt_kl_coef",
        **written_once(adapted),
        inputs={
            "kl_coef": normal(loc=1.0, scale=0.1),
            "kl": normal(loc=1.0, scale=0.3, extremes={}),
            "kl_target": normal(loc=1.0, scale=0.1, extremes={}),
        },
        oracle=oracles.adapted_kl_coef,
        boundaries=(
            _divergence("far below", 0.0),
            _divergence("at 1.5 times the target, not above it", 0.375),
            _divergence("above", 0.376),
        ),
        samples=12,
        tolerance=Tolerance(0, 0),
    ),
)
