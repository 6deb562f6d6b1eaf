"""approx_kl, clip_fraction and explained_variance."""

import numpy as np

from parity_tests import oracles
from parity_tests.checks.check import Check, exported
from parity_tests.compare import Tolerance
from parity_tests.inputs import normal

CHECKS = (
    Check(
        level=1,
        **exported("approx_kl"),
        inputs={"log_ratio": normal(16, scale=0.3, extremes={"far": 20.0, "tiny": 1e-6})},
        oracle=oracles.approx_kl,
        terms=oracles.approx_kl_terms,
        tolerance=Tolerance(1.5, 2, slope=1 / 16),
    ),
    Check(
        level=1,
        **exported("clip_fraction"),
        inputs={"ratio": normal("batch_size", loc=1.0, scale=0.3), "clip_eps": np.asarray(0.25)},
        oracle=oracles.clip_fraction,
        gradients=False,
        sizes={"batch_size": 64},
        tolerance=Tolerance(0, 0),
    ),
    Check(
        level=1,
        **exported("explained_variance"),
        inputs={"values": normal("batch_size"), "returns": normal("batch_size", loc=1.0)},
        oracle=oracles.explained_variance,
        terms=oracles.explained_variance_terms,
        gradients=False,
        sizes={"batch_size": 16},
        tolerance=Tolerance(0.5, 0),
    ),
)
