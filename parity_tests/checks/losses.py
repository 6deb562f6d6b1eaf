"""The terms of the loss, and the loss."""

from typing import Any

import numpy as np

from parity_tests import oracles
from parity_tests.checks.check import Check, exported
from parity_tests.compare import Tolerance
from parity_tests.inputs import Boundary, normal
from parity_tests.measure import wide

LOG_PROBS = {"far apart": 12.0, "equal": 0.0}
"""Factors on a spread of 0.3: ratios up to e^10, and ratios of exactly 1."""

E = np.exp(wide(1))


def _boundary(label: str, inputs: dict[str, float], slopes: dict[str, Any]) -> Boundary:
    """A point of one sample, and the slopes that are expected of both sides there."""
    expected = {f"d/d {name}": array for name, array in _one_sample(slopes).items()}
    return Boundary(label, _one_sample(inputs), jax=expected, torch=expected)


def _one_sample(numbers: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays [1], except for the coefficients."""
    return {
        name: np.asarray(number if name.endswith("clip_eps") else [number])
        for name, number in numbers.items()
    }


CLIPPED_SURROGATE = Check(
    level=2,
    **exported("clipped_surrogate_loss"),
    inputs={
        "log_prob": normal("batch_size", loc=-1.0, scale=0.3, extremes=LOG_PROBS),
        "old_log_prob": normal("batch_size", loc=-1.0, scale=0.3, extremes={}),
        "advantages": normal("batch_size"),
        "clip_eps": np.asarray(0.2),
    },
    oracle=oracles.clipped_surrogate_loss,
    terms=oracles.clipped_surrogate_terms,
    boundaries=(
        # The band has no width and the ratio is on both edges of it: max(r, 1) and min(., 1) each
        # pass half of the slope, and so do the two branches of the outer minimum, which tie:
        # 1/2 + 1/2 * 1/4 = 5/8 of -A.
        _boundary(
            "ratio on both clip edges",
            {"log_prob": -1.0, "old_log_prob": -1.0, "advantages": 2.0, "clip_eps": 0.0},
            {"log_prob": -1.25, "old_log_prob": 1.25, "advantages": -1.0},
        ),
        # r = e lies outside [1/2, 3/2] but both branches are 0: half of each branch's slope.
        _boundary(
            "no advantage",
            {"log_prob": 0.5, "old_log_prob": -0.5, "advantages": 0.0, "clip_eps": 0.5},
            {"log_prob": 0.0, "advantages": -(E + 1.5) / 2},
        ),
    ),
    sizes={"batch_size": 8},
    tolerance=Tolerance(1, 2),
)

VALUES = {name: normal("batch_size") for name in ("values", "old_values", "returns")}

VALUE_LOSS = Check(
    level=2,
    **exported("value_loss"),
    inputs=VALUES,
    oracle=oracles.value_loss,
    terms=oracles.value_loss_terms,
    sizes={"batch_size": 8},
    tolerance=Tolerance(0.5, 1),
)

CLIPPED_VALUE_LOSS = VALUE_LOSS.replace(
    name="value_loss, clipped",
    inputs={**VALUES, "value_clip_eps": np.asarray(0.4)},
    boundaries=(
        # V = V_old + eps: the clip passes half, and so does each branch of the maximum. The slope
        # is 3/4 of V - R = 1/2: all of the plain error's half and half of the other's.
        _boundary(
            "value on the clip edge",
            {"values": 1.5, "old_values": 1.0, "returns": 1.0, "value_clip_eps": 0.5},
            {"values": 0.375, "old_values": 0.125, "returns": -0.5, "value_clip_eps": 0.125},
        ),
        # V = 2 and V_clip = 1 are equally far from R = 3/2; each error counts half.
        _boundary(
            "both errors equal",
            {"values": 2.0, "old_values": 0.0, "returns": 1.5, "value_clip_eps": 1.0},
            {"values": 0.25, "old_values": -0.25, "returns": 0.0, "value_clip_eps": -0.25},
        ),
    ),
    tolerance=Tolerance(1, 1),
)

CHECKS = (CLIPPED_SURROGATE, VALUE_LOSS, CLIPPED_VALUE_LOSS)
