"""Pendulum-v1: a pendulum that turns freely, as fast as a limit, under a limited torque."""

import math

import numpy as np

from parity_tests.environments import twin
from parity_tests.environments.twin import Difference, Grid, Rounding, Twin

ID = "Pendulum-v1"
GYMNAX = "environments/classic_control/pendulum.py"
GYMNASIUM = "envs/classic_control/pendulum.py"

ANGLES = (-math.pi, -2.0, -math.pi / 2, -0.3, 0.0, 0.1, 1.0, math.pi / 2, 3.0, math.pi)
FAR_ANGLES = (-80.0, -7.0, 3.5, 2 * math.pi, 40.0)
"""Angles of the grid; 200 steps at full speed turn by 80."""

FLOAT64 = float(np.finfo(np.float64).eps / np.finfo(np.float32).eps)
"""float64's rounding in units of float32's."""

TORQUE = "Gymnasium computes what the torque adds in float32"
ANGLE = "gymnax computes in float32, where an angle is known to eps times its size"


def observe(state: np.ndarray) -> np.ndarray:
    """Cosine and sine of the angle, and its velocity."""
    angle, velocity = state
    return np.array([np.cos(angle), np.sin(angle), velocity])


def angle_scale(grid: Grid) -> np.ndarray:
    """The angle, which grows without bound over turns; at least the greatest velocity [n, 1]."""
    return np.maximum(np.abs(grid.states[:, :1]), 8.0)


def cost_scale(grid: Grid) -> np.ndarray:
    """How much an error in the angle or the velocity changes their squares [n]."""
    return math.pi * angle_scale(grid)[:, 0]


def torque_scale(grid: Grid) -> np.ndarray:
    """What the torque adds to the velocity, and the float64 part of the rounding [n, 1]."""
    return 0.15 * np.abs(np.clip(grid.actions, -2, 2)) + FLOAT64 * angle_scale(grid)


def torque_cost(grid: Grid) -> np.ndarray:
    """What the torque costs, and the float64 part of the rounding [n]."""
    return 0.001 * np.clip(grid.actions[:, 0], -2, 2) ** 2 + FLOAT64 * cost_scale(grid)


DIFFERENCES = (
    Difference(
        what="In double precision Gymnasium still takes the torque, its square and its triple in "
        "float32, which shows in reward and velocity.",
        gymnax={"obs": (0.9999659689430206, 0.00824990641438099, 0.165), "reward": -0.00121},
        gymnasium={
            "obs": (0.9999659689390867, 0.00824990689120192, 0.16500000953674318),
            "reward": -0.0012100001331418753,
        },
        gymnax_cause=f"{GYMNAX}, step_env: all is in the type that JAX computes in.",
        gymnasium_cause=f"{GYMNASIUM}, step: the torque is an entry of the action, which its space "
        "(and so torch_ref) makes float32, and with it every product of the torque alone.",
        state=(0.0, 0.0),
        action=1.1,
        precisions=("float64",),
    ),
    twin.observation_dtype(f"{GYMNASIUM}, _get_obs"),
)

PENDULUM = Twin(
    env_id=ID,
    fields=("theta", "theta_dot"),
    observe=observe,
    grid=twin.make_grid(
        axes=((*ANGLES, *FAR_ANGLES), (-8.0, -7.9, -4.0, -1.0, 0.0, 0.2, 2.0, 7.5, 8.0)),
        actions=np.array([[-2.5], [-2.0], [-0.7], [0.0], [0.1], [1.0], [2.0], [3.0]]),
        time_limit=200,
    ),
    obs_rounding={
        "float32": Rounding(1, "float32", ANGLE, angle_scale),
        "float64": Rounding(1, "float32", TORQUE, torque_scale),
    },
    reward_rounding={
        "float32": Rounding(2, "float32", ANGLE, cost_scale),
        "float64": Rounding(2, "float32", TORQUE, torque_cost),
    },
    reset_bounds=((-math.pi, math.pi), (-1.0, 1.0)),
    policy=lambda _: 0.0,  # no torque; no episode ends before the time limit
    differences=DIFFERENCES,
)
