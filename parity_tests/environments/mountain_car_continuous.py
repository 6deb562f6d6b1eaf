"""MountainCarContinuous-v0: the car in the valley, pushed with any force between two bounds."""

import numpy as np

from parity_tests.environments.twin import (
    Difference,
    Grid,
    Rounding,
    Twin,
    make_grid,
    observation_dtype,
)
from parity_tests.measure import Precision

ID = "MountainCarContinuous-v0"
GYMNAX = "environments/classic_control/continuous_mountain_car.py"
GYMNASIUM = "envs/classic_control/continuous_mountain_car.py"

WALL, GOAL, MAX_SPEED = -1.2, 0.45, 0.07

LEFT = (-1.2, -1.19, -1.15, -1.13, -1.0, -0.6, -0.5, -0.3)
RIGHT = (0.0, 0.3, 0.37, 0.38, 0.39, 0.43, 0.45, 0.46, 0.5, 0.55, 0.59, 0.6)
"""Positions of the grid; from 0.38 one step at full speed ends exactly at the goal."""

REWARD = "the reward is squared, scaled and added in another order"


def observe(state: np.ndarray) -> np.ndarray:
    """Position and velocity."""
    return state


def move(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Position, not yet held by the wall, and velocity after the step [n], float64."""
    position, velocity = grid.states.astype(np.float64).T
    force = np.clip(grid.actions[:, 0], -1, 1)
    velocity = velocity + (0.0015 * force - 0.0025 * np.cos(3 * position))
    velocity = np.clip(velocity, -MAX_SPEED, MAX_SPEED)
    return position + velocity, velocity


def against_the_wall(grid: Grid, precision: Precision) -> np.ndarray:
    """The car moves left and reaches the wall."""
    position, velocity = move(grid)
    return (position <= WALL) & (velocity < 0)


def away_from_the_goal(grid: Grid, precision: Precision) -> np.ndarray:
    """The car moves left and stays at or behind the goal."""
    position, velocity = move(grid)
    return (position >= GOAL) & (velocity < 0)


def reward_size(grid: Grid) -> np.ndarray:
    """What the reward adds up: 100 at the goal, and the price of the force [n]."""
    position, velocity = move(grid)
    at_goal = (position >= GOAL) & (velocity >= 0)
    return 100 * at_goal + 0.1 * grid.actions[:, 0] ** 2


def coast(obs: np.ndarray) -> float:
    """Never push: the car swings in the valley."""
    return 0.0


DIFFERENCES = (
    Difference(
        environment=ID,
        what="A car that runs into the left wall keeps its velocity in gymnax and stops in "
        "Gymnasium.",
        gymnax={"obs": (-1.2, -0.049258104)},
        gymnasium={"obs": (-1.2, 0.0)},
        gymnax_cause=f"{GYMNAX}, step_env: negative velocities are set to 0 where the position is "
        "at or behind the goal, instead of at the least position.",
        gymnasium_cause=f"{GYMNASIUM}, step: negative velocities are set to 0 at the least "
        "position.",
        state=(-1.2, -0.05),
        action=-1.0,
        affects=against_the_wall,
    ),
    Difference(
        environment=ID,
        what="A car that rolls back behind the goal ends the episode and is given 100 in gymnax; "
        "it rolls on in Gymnasium.",
        gymnax={"obs": (0.48982316, 0.0), "reward": 100.0, "terminated": True},
        gymnasium={"obs": (0.48982316, -0.010176843), "reward": 0.0, "terminated": False},
        gymnax_cause=f"{GYMNAX}, step_env: there the negative velocity is set to 0, which is at "
        "least the velocity that the goal asks for.",
        gymnasium_cause=f"{GYMNASIUM}, step: the velocity stays negative, and the goal asks for "
        "at least 0.",
        state=(0.5, -0.01),
        action=0.0,
        affects=away_from_the_goal,
        reachable=False,
    ),
    Difference(
        environment=ID,
        what="In double precision Gymnasium still takes actions, computes the velocity and keeps "
        "the state in float32.",
        gymnax={"obs": (-0.49002684300416927, 0.00997315699583074), "reward": -0.001},
        gymnasium={
            "obs": (-0.4900268316268921, 0.00997315719723701),
            "reward": -0.0010000000298023227,
        },
        gymnax_cause=f"{GYMNAX}, step_env: all is in the type that JAX computes in.",
        gymnasium_cause=f"{GYMNASIUM}, step: the force is an entry of the action, which its space "
        "(and so torch_ref) makes float32, and with it the acceleration; the new state is stored "
        "in a float32 array.",
        state=(-0.5, 0.01),
        action=0.1,
        precisions=("float64",),
    ),
    observation_dtype(ID, f"{GYMNASIUM}, step"),
)

MOUNTAIN_CAR_CONTINUOUS = Twin(
    env_id=ID,
    fields=("position", "velocity"),
    attributes={},
    observe=observe,
    keeps="float32",
    grid=make_grid(
        axes=(
            (*LEFT, *RIGHT),
            np.linspace(-MAX_SPEED, MAX_SPEED, 15).tolist(),
        ),
        actions=np.array([[-1.5], [-1.0], [-0.3], [0.0], [0.7], [1.0], [2.0]]),
        time_limit=999,
    ),
    obs_rounding={
        "float32": Rounding(2, "float32", "gymnax computes in float32"),
        "float64": Rounding(1, "float32", "Gymnasium computes in float32 here"),
    },
    reward_rounding={
        "float32": Rounding(2, "float32", REWARD, reward_size),
        "float64": Rounding(2, "float32", "torch_ref hands actions on in float32", reward_size),
    },
    reset_bounds=((-0.6, -0.4), (0.0, 0.0)),
    policy=coast,
    differences=DIFFERENCES,
)
