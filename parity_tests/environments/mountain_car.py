"""MountainCar-v0 and MountainCarContinuous-v0: a car between a wall and a goal on its right."""

import numpy as np

from parity_tests.environments import twin
from parity_tests.environments.twin import Difference, Grid, Rounding, Twin
from parity_tests.measure import Precision

GYMNAX = "environments/classic_control/mountain_car.py"
GYMNASIUM = "envs/classic_control/mountain_car.py"
CONTINUOUS_GYMNAX = "environments/classic_control/continuous_mountain_car.py"
CONTINUOUS_GYMNASIUM = "envs/classic_control/continuous_mountain_car.py"

WALL, GOAL, CONTINUOUS_GOAL, MAX_SPEED = -1.2, 0.5, 0.45, 0.07

LEFT = (-1.2, -1.19, -1.15, -1.13, -1.0, -0.6, -0.5, -0.3)
RIGHT = (0.0, 0.3, 0.42, 0.43, 0.44, 0.49, 0.5, 0.51, 0.55, 0.59, 0.6)
CONTINUOUS_RIGHT = (0.0, 0.3, 0.37, 0.38, 0.39, 0.43, 0.45, 0.46, 0.5, 0.55, 0.59, 0.6)
"""Positions of the grids; from 0.43, and from 0.38, one step at full speed ends at the goal."""

SPEEDS = np.linspace(-MAX_SPEED, MAX_SPEED, 15).tolist()

REWARD = "the reward is squared, scaled and added in another order"


def move(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Position, not yet held by the wall, and velocity after the step [n], float64."""
    position, velocity = grid.states.astype(np.float64).T
    if grid.actions.ndim == 1:
        push = 0.001 * (grid.actions - 1)
    else:
        push = 0.0015 * np.clip(grid.actions[:, 0], -1, 1)
    velocity = velocity + (push - 0.0025 * np.cos(3 * position))
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


def against_the_wall(grid: Grid, precision: Precision) -> np.ndarray:
    """The car moves left and reaches the wall."""
    position, velocity = move(grid)
    return (position <= WALL) & (velocity < 0)


def away_from_the_goal(grid: Grid, precision: Precision) -> np.ndarray:
    """The car moves left and stays at or behind the goal."""
    position, velocity = move(grid)
    return (position >= CONTINUOUS_GOAL) & (velocity < 0)


def reward_size(grid: Grid) -> np.ndarray:
    """What the reward adds up: 100 at the goal, and the price of the force [n]."""
    position, velocity = move(grid)
    at_goal = (position >= CONTINUOUS_GOAL) & (velocity >= 0)
    return 100 * at_goal + 0.1 * grid.actions[:, 0] ** 2


DIFFERENCES = (
    Difference(
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
        what="Action 3 does not exist: gymnax pushes twice as hard, Gymnasium raises.",
        gymnax={"invalid_action": (-0.49801683, 0.001983157)},
        gymnasium={"invalid_action": "AssertionError"},
        gymnax_cause=f"{GYMNAX}, step_env: the force is linear in the action and not looked up.",
        gymnasium_cause=f"{GYMNASIUM}, step: asserts that the space contains the action.",
        state=(-0.5, 0.00016),
        action=3,
        reachable=False,
    ),
    twin.observation_dtype(f"{GYMNASIUM}, step"),
    twin.ACTION_DTYPE,
)

CONTINUOUS_DIFFERENCES = (
    Difference(
        what="A car that runs into the left wall keeps its velocity in gymnax and stops in "
        "Gymnasium.",
        gymnax={"obs": (-1.2, -0.049258104)},
        gymnasium={"obs": (-1.2, 0.0)},
        gymnax_cause=f"{CONTINUOUS_GYMNAX}, step_env: negative velocities are set to 0 "
        "where the position is at or behind the goal, instead of at the least position.",
        gymnasium_cause=f"{CONTINUOUS_GYMNASIUM}, step: negative velocities are set to 0 at the "
        "least position.",
        state=(-1.2, -0.05),
        action=-1.0,
        affects=against_the_wall,
    ),
    Difference(
        what="A car that rolls back behind the goal ends the episode and is given 100 in gymnax; "
        "it rolls on in Gymnasium.",
        gymnax={"obs": (0.48982316, 0.0), "reward": 100.0, "terminated": True},
        gymnasium={"obs": (0.48982316, -0.010176843), "reward": 0.0, "terminated": False},
        gymnax_cause=f"{CONTINUOUS_GYMNAX}, step_env: there the negative velocity is set to 0, "
        "which is at least the velocity that the goal asks for.",
        gymnasium_cause=f"{CONTINUOUS_GYMNASIUM}, step: the velocity stays negative, and the "
        "goal asks for at least 0.",
        state=(0.5, -0.01),
        action=0.0,
        affects=away_from_the_goal,
        reachable=False,
    ),
    Difference(
        what="In double precision Gymnasium still takes actions, computes the velocity and keeps "
        "the state in float32.",
        gymnax={"obs": (-0.49002684300416927, 0.00997315699583074), "reward": -0.001},
        gymnasium={
            "obs": (-0.4900268316268921, 0.00997315719723701),
            "reward": -0.0010000000298023227,
        },
        gymnax_cause=f"{CONTINUOUS_GYMNAX}, step_env: all is in the type that JAX computes in.",
        gymnasium_cause=f"{CONTINUOUS_GYMNASIUM}, step: the force is an entry of the action, which "
        "its space (and so torch_ref) makes float32, and with it the acceleration; the new state "
        "is stored in a float32 array.",
        state=(-0.5, 0.01),
        action=0.1,
        precisions=("float64",),
    ),
    twin.observation_dtype(f"{CONTINUOUS_GYMNASIUM}, step"),
)

MOUNTAIN_CAR = Twin(
    env_id="MountainCar-v0",
    fields=("position", "velocity"),
    grid=twin.make_grid(
        axes=((*LEFT, *RIGHT), SPEEDS), actions=np.array([0, 1, 2]), time_limit=200
    ),
    reset_bounds=((-0.6, -0.4), (0.0, 0.0)),
    policy=lambda _: 1.0,  # no push: the car swings in the valley
    differences=DIFFERENCES,
)

MOUNTAIN_CAR_CONTINUOUS = Twin(
    env_id="MountainCarContinuous-v0",
    fields=("position", "velocity"),
    keeps="float32",
    grid=twin.make_grid(
        axes=((*LEFT, *CONTINUOUS_RIGHT), SPEEDS),
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
    policy=lambda _: 0.0,  # no push
    differences=CONTINUOUS_DIFFERENCES,
)
