"""MountainCar-v0: a car between a wall on the left and a goal on the right."""

import numpy as np

from parity_tests.environments.twin import (
    EXACT,
    Difference,
    Grid,
    Rounding,
    Twin,
    action_dtype,
    make_grid,
    observation_dtype,
)
from parity_tests.measure import Precision

ID = "MountainCar-v0"
GYMNAX = "environments/classic_control/mountain_car.py"
GYMNASIUM = "envs/classic_control/mountain_car.py"

WALL, GOAL, MAX_SPEED = -1.2, 0.5, 0.07

LEFT = (-1.2, -1.19, -1.15, -1.13, -1.0, -0.6, -0.5, -0.3)
RIGHT = (0.0, 0.3, 0.42, 0.43, 0.44, 0.49, 0.5, 0.51, 0.55, 0.59, 0.6)
"""Positions of the grid; from 0.43 one step at full speed ends exactly at the goal."""


def observe(state: np.ndarray) -> np.ndarray:
    """Position and velocity."""
    return state


def move(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Position, not yet held by the wall, and velocity after the step [n], float64."""
    position, velocity = grid.states.astype(np.float64).T
    velocity = velocity + (0.001 * (grid.actions - 1) - 0.0025 * np.cos(3 * position))
    velocity = np.clip(velocity, -MAX_SPEED, MAX_SPEED)
    return position + velocity, velocity


def wall_by_rounding(grid: Grid, precision: Precision) -> np.ndarray:
    """Short of the wall by less than float32 resolves."""
    position, velocity = move(grid)
    return (position > WALL) & (position.astype(np.float32) <= np.float32(WALL)) & (velocity < 0)


def goal_by_rounding(grid: Grid, precision: Precision) -> np.ndarray:
    """Short of the goal by less than float32 resolves."""
    position, velocity = move(grid)
    return (position < GOAL) & (position.astype(np.float32) >= np.float32(GOAL)) & (velocity >= 0)


def coast(obs: np.ndarray) -> float:
    """Never push: the car swings in the valley."""
    return 1.0


DIFFERENCES = (
    Difference(
        environment=ID,
        what="Short of the wall by less than float32 resolves, the car stops in gymnax and moves "
        "on in Gymnasium.",
        gymnax={"obs": (-1.2, 0.0)},
        gymnasium={"obs": (-1.2, -0.018454263)},
        gymnax_cause=f"{GYMNAX}, step_env: the new position is rounded to float32, which makes it "
        "equal to the wall's.",
        gymnasium_cause=f"{GYMNASIUM}, step: the new position is -1.199999997 in float64, which "
        "is not the wall's; only the observation is rounded.",
        state=(-1.1815457344055176, -0.019753940403461456),
        action=0,
        precisions=("float32",),
        affects=wall_by_rounding,
    ),
    Difference(
        environment=ID,
        what="Short of the goal by less than float32 resolves, the episode ends in gymnax and "
        "goes on in Gymnasium.",
        gymnax={"terminated": True},
        gymnasium={"terminated": False},
        gymnax_cause=f"{GYMNAX}, step_env: the new position is rounded to float32, which makes it "
        "the goal's, 0.5.",
        gymnasium_cause=f"{GYMNASIUM}, step: the new position is 0.499999996 in float64.",
        state=(0.47692346572875977, 0.022425452247262),
        action=2,
        precisions=("float32",),
        affects=goal_by_rounding,
    ),
    Difference(
        environment=ID,
        what="Action 3 does not exist: gymnax pushes twice as hard, Gymnasium raises.",
        gymnax={"invalid_action": (-0.49801683, 0.001983157)},
        gymnasium={"invalid_action": "AssertionError"},
        gymnax_cause=f"{GYMNAX}, step_env: the force is linear in the action and not looked up.",
        gymnasium_cause=f"{GYMNASIUM}, step: asserts that the space contains the action.",
        state=(-0.5, 0.00016),
        action=3,
        reachable=False,
    ),
    observation_dtype(ID, f"{GYMNASIUM}, step"),
    action_dtype(ID),
)

MOUNTAIN_CAR = Twin(
    env_id=ID,
    fields=("position", "velocity"),
    attributes={},
    observe=observe,
    keeps="float64",
    grid=make_grid(
        axes=(
            (*LEFT, *RIGHT),
            np.linspace(-MAX_SPEED, MAX_SPEED, 15).tolist(),
        ),
        actions=np.array([0, 1, 2]),
        time_limit=200,
    ),
    obs_rounding={
        "float32": Rounding(2, "float32", "gymnax computes in float32"),
        "float64": Rounding(2, "float64", "order of operations"),
    },
    reward_rounding={"float32": EXACT, "float64": EXACT},
    reset_bounds=((-0.6, -0.4), (0.0, 0.0)),
    policy=coast,
    differences=DIFFERENCES,
)
