"""The terms of the loss, and the loss."""

import numpy as np

import jax_ppo
import torch_ref
from parity_tests import oracles
from parity_tests.checks.check import Check
from parity_tests.compare import Tolerance
from parity_tests.inputs import Boundary, normal
from parity_tests.measure import wide

LOG_PROBS = {"far apart": 12.0, "equal": 0.0}
"""Factors on a spread of 0.3: ratios up to e^10, and ratios of exactly 1."""

E = np.exp(wide(1))

CLIPPED_SURROGATE = Check(
    level=2,
    name="clipped_surrogate_loss",
    jax_fn=jax_ppo.clipped_surrogate_loss,
    torch_fn=torch_ref.clipped_surrogate_loss,
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
        Boundary(
            "ratio on both clip edges",
            {
                "log_prob": np.array([-1.0]),
                "old_log_prob": np.array([-1.0]),
                "advantages": np.array([2.0]),
                "clip_eps": np.asarray(0.0),
            },
            jax={"d/d log_prob": [-1.25], "d/d old_log_prob": [1.25], "d/d advantages": [-1.0]},
            torch={"d/d log_prob": [-1.25], "d/d old_log_prob": [1.25], "d/d advantages": [-1.0]},
        ),
        # r = e lies outside [1/2, 3/2] but both branches are 0: half of each branch's slope.
        Boundary(
            "no advantage",
            {
                "log_prob": np.array([0.5]),
                "old_log_prob": np.array([-0.5]),
                "advantages": np.array([0.0]),
                "clip_eps": np.asarray(0.5),
            },
            jax={"d/d log_prob": [0.0], "d/d advantages": [-(E + 1.5) / 2]},
            torch={"d/d log_prob": [0.0], "d/d advantages": [-(E + 1.5) / 2]},
        ),
    ),
    sizes={"batch_size": 8},
    tolerance=Tolerance(1, 2),
)

VALUES = {
    "values": normal("batch_size"),
    "old_values": normal("batch_size"),
    "returns": normal("batch_size"),
}

VALUE_LOSS = Check(
    level=2,
    name="value_loss",
    jax_fn=jax_ppo.value_loss,
    torch_fn=torch_ref.value_loss,
    inputs=VALUES,
    oracle=oracles.value_loss,
    terms=oracles.value_loss_terms,
    sizes={"batch_size": 8},
    tolerance=Tolerance(0.5, 1),
)

EDGE = {
    "d/d values": [0.375],  # 3/4 of V - R = 1/2: all of the plain error's half, half of the other
    "d/d old_values": [0.125],
    "d/d returns": [-0.5],
    "d/d value_clip_eps": 0.125,
}
TIE = {
    "d/d values": [0.25],
    "d/d old_values": [-0.25],
    "d/d returns": [0.0],
    "d/d value_clip_eps": -0.25,
}

CLIPPED_VALUE_LOSS = Check(
    level=2,
    name="value_loss, clipped",
    jax_fn=jax_ppo.value_loss,
    torch_fn=torch_ref.value_loss,
    inputs={**VALUES, "value_clip_eps": np.asarray(0.4)},
    oracle=oracles.value_loss,
    terms=oracles.value_loss_terms,
    boundaries=(
        # V = V_old + eps: the clip passes half, and so does each branch of the maximum.
        Boundary(
            "value on the clip edge",
            {
                "values": np.array([1.5]),
                "old_values": np.array([1.0]),
                "returns": np.array([1.0]),
                "value_clip_eps": np.asarray(0.5),
            },
            jax=EDGE,
            torch=EDGE,
        ),
        # V = 2 and V_clip = 1 are equally far from R = 3/2; each error counts half.
        Boundary(
            "both errors equal",
            {
                "values": np.array([2.0]),
                "old_values": np.array([0.0]),
                "returns": np.array([1.5]),
                "value_clip_eps": np.asarray(1.0),
            },
            jax=TIE,
            torch=TIE,
        ),
    ),
    sizes={"batch_size": 8},
    tolerance=Tolerance(1, 1),
)

CHECKS = (CLIPPED_SURROGATE, VALUE_LOSS, CLIPPED_VALUE_LOSS)
