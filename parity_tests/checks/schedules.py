"""The linear schedule and the adaptive KL coefficient."""

from typing import Any

import numpy as np

from parity_tests import oracles
from parity_tests.checks.check import Check, written_once
from parity_tests.compare import Tolerance
from parity_tests.inputs import Boundary, integers, normal

NUM_UPDATES = 73


def scheduled(package: Any, initial: Any, update: Any) -> Any:
    """The coefficient at one of NUM_UPDATES updates, if it is constant and if it falls."""
    return {
        name: package.scheduled(initial, name, update, NUM_UPDATES)
        for name in ("constant", "linear")
    }


def scheduled_oracle(initial: Any, update: Any) -> dict[str, Any]:
    """The same by definition."""
    return {"constant": initial, "linear": oracles.linear_schedule(initial, update, NUM_UPDATES)}


def adapted(package: Any, kl_coef: Any, kl: Any, kl_target: Any) -> Any:
    """The KL penalty's next coefficient."""
    return package.adapt_kl_coef(kl_coef, kl, kl_target)


def _divergence(label: str, kl: float) -> Boundary:
    """A point of the adaptation with coefficient 1/2 and target 1/4."""
    point = {"kl_coef": np.asarray(0.5), "kl": np.asarray(kl), "kl_target": np.asarray(0.25)}
    return Boundary(label, point)


CHECKS = (
    Check(
        level=1,
        name="scheduled",
        **written_once(scheduled),
        inputs={"initial": normal(loc=1e-3, scale=1e-4), "update": integers(high=NUM_UPDATES)},
        oracle=scheduled_oracle,
        terms=lambda initial, _: {"linear": abs(initial)},
        samples=12,
        tolerance=Tolerance(0, 0, slope=1.0, oracle_value=1, oracle_gradient=1),
    ),
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
