"""CartPole-v1: a cart between two ends of a track, a pole on it between two angles."""

import math
from functools import partial

import numpy as np

from parity_tests.environments import twin
from parity_tests.environments.twin import Difference, Grid, Twin
from parity_tests.measure import Precision

ID = "CartPole-v1"
GYMNAX = "environments/classic_control/cartpole.py"
GYMNASIUM = "envs/classic_control/cartpole.py"

LIMITS = {0: 2.4, 2: 12 * 2 * math.pi / 360}
"""Largest magnitude of the position and of the angle, by their place in the state."""

FLOAT32_MAX = float(np.finfo(np.float32).max)

TAU = 0.02
"""Seconds in a step."""


def beyond(values: np.ndarray, limit: float, precision: Precision) -> np.ndarray:
    """Whether a magnitude is larger than a limit, both rounded to a type first."""
    return np.abs(values.astype(precision)) > np.asarray(limit, precision)


def next_values(grid: Grid, variable: int) -> np.ndarray:
    """Position or angle after the step [n], float64: it moves at the velocity from before."""
    states = grid.states.astype(np.float64)
    return states[:, variable] + TAU * states[:, variable + 1]


def between_limits(variable: int, grid: Grid, precision: Precision) -> np.ndarray:
    """Beyond the float64 limit and not beyond the float32 one, and no other reason to end."""
    moved = next_values(grid, variable)
    limit, other = LIMITS[variable], 2 - variable
    between = beyond(moved, limit, "float64") & ~beyond(moved, limit, "float32")
    return between & ~beyond(next_values(grid, other), LIMITS[other], "float32")


def terminal_already(grid: Grid, precision: Precision) -> np.ndarray:
    """States that are beyond a limit before the step."""
    out = [beyond(grid.states[:, i], limit, precision) for i, limit in LIMITS.items()]
    return np.logical_or(*out)


def balance(obs: np.ndarray) -> float:
    """Push towards where the pole falls, and a little against the cart's drift."""
    return float(obs @ [0.1, 0.2, 1.0, 1.0] > 0)


def limit_difference(variable: int, name: str) -> Difference:
    """That the float32 limit is larger than the float64 one."""
    limit = float(np.float32(LIMITS[variable]))
    state = tuple(limit if i == variable else 0.0 for i in range(4))
    return Difference(
        what=f"A {name} of {limit!r}, the float32 nearest to its limit {LIMITS[variable]!r}, "
        "ends the episode in Gymnasium and not in gymnax.",
        gymnax={"terminated": False},
        gymnasium={"terminated": True},
        gymnax_cause=f"{GYMNAX}, is_terminated: state and limit are float32, and equal.",
        gymnasium_cause=f"{GYMNASIUM}, step: the comparison is made in float64, where the limit "
        "lies below the nearest float32.",
        state=state,
        action=1,
        precisions=("float32",),
        affects=partial(between_limits, variable),
    )


def space_bounds(sign: int, velocity: float) -> tuple[float, ...]:
    """A bound of the observation space: twice the limits, in float32, and one for velocities."""
    position, angle = (float(np.float32(2 * limit)) for limit in LIMITS.values())
    return sign * position, sign * velocity, sign * angle, sign * velocity


DIFFERENCES = (
    limit_difference(0, "position"),
    limit_difference(2, "pole angle"),
    Difference(
        what="A step from a state that is terminal already is rewarded with 0 in gymnax, with 1 "
        "in Gymnasium if it is the first since the reset.",
        gymnax={"reward": 0.0},
        gymnasium={"reward": 1.0},
        gymnax_cause=f"{GYMNAX}, step_env: the reward is 1 less whether the state from before the "
        "step was terminal.",
        gymnasium_cause=f"{GYMNASIUM}, step: the first terminal step is rewarded wherever it "
        "began; only later ones, counted by steps_beyond_terminated, are not.",
        state=(3.0, 0.0, 0.0, 0.0),
        action=1,
        affects=terminal_already,
        reachable=False,
    ),
    Difference(
        what="Velocities are bounded by the largest float32 in gymnax's observation space, by "
        "infinity in Gymnasium's.",
        gymnax={"obs_low": space_bounds(-1, FLOAT32_MAX), "obs_high": space_bounds(1, FLOAT32_MAX)},
        gymnasium={"obs_low": space_bounds(-1, math.inf), "obs_high": space_bounds(1, math.inf)},
        gymnax_cause=f"{GYMNAX}, observation_space.",
        gymnasium_cause=f"{GYMNASIUM}, __init__.",
    ),
    Difference(
        what="Action 2 does not exist: gymnax pushes with three times the force, Gymnasium raises.",
        gymnax={"invalid_action": (0.0, 0.5853658, 0.0, -0.8780488)},
        gymnasium={"invalid_action": "AssertionError"},
        gymnax_cause=f"{GYMNAX}, step_env: the force is linear in the action and not looked up.",
        gymnasium_cause=f"{GYMNASIUM}, step: asserts that the space contains the action.",
        state=(0.0, 0.0, 0.0, 0.0),
        action=2,
        reachable=False,
    ),
    twin.observation_dtype(f"{GYMNASIUM}, step"),
    twin.ACTION_DTYPE,
)

CARTPOLE = Twin(
    env_id=ID,
    fields=("x", "x_dot", "theta", "theta_dot"),
    attributes={"steps_beyond_terminated": None},
    grid=twin.make_grid(
        axes=(
            (-4.8, -2.4, -2.39, 0.0, 1.0, 2.4, 3.0),
            (-4.0, -0.4, 0.0, 0.6, 4.0),
            (-0.42, -LIMITS[2], -0.2, 0.0, 0.1, LIMITS[2], 0.3),
            (-8.0, -0.4, 0.0, 0.5, 8.0),
        ),
        actions=np.array([0, 1]),
        time_limit=500,
    ),
    reset_bounds=((-0.05, 0.05),) * 4,
    policy=balance,
    differences=DIFFERENCES,
)
