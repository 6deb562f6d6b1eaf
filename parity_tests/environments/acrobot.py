"""Acrobot-v1: two links, a torque between them, and a height to reach."""

import math

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.classic_control import acrobot

from parity_tests.environments import twin
from parity_tests.environments.twin import Difference, Grid, Rounding, Twin
from parity_tests.precision import precision_of

ID = "Acrobot-v1"
GYMNAX = "environments/classic_control/acrobot.py"
GYMNASIUM = "envs/classic_control/acrobot.py"

FIELDS = ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2")


def observe(state: np.ndarray) -> np.ndarray:
    """Cosine and sine of both angles, and their velocities."""
    first, second, *velocities = state
    return np.array([np.cos(first), np.sin(first), np.cos(second), np.sin(second), *velocities])


def sensitivity(grid: Grid) -> np.ndarray:
    """What relative changes of the state make of the observation, and its own size [n, 6].

    A step at full speed turns a link by more than a revolution and amplifies every rounding error
    of its four stages hundreds of times, a step at rest does not.
    """
    step = 1e-6
    size = np.maximum(np.abs(grid.states), 1.0)
    total = np.ones((len(grid.states), 6))
    with precision_of("float64"):
        for i in range(4):
            change = step * size * np.eye(4)[i]
            ahead, behind = (
                np.asarray(_next_obs(grid.states + sign * change, grid.actions))
                for sign in (1.0, -1.0)
            )
            total += np.abs(ahead - behind) / (2 * step)
    return total


@jax.jit
def _next_obs(states: jax.Array, actions: jax.Array) -> jax.Array:
    """Gymnax's observations after a step [n, 6]."""
    env, params = gymnax.make(ID)
    columns = dict(zip(FIELDS, states.T, strict=True))
    state = acrobot.EnvState(**columns, time=jnp.zeros(len(states), jnp.int32))
    step = jax.vmap(env.step_env, in_axes=(None, 0, 0, None))
    return step(jax.random.key(0), state, actions, params)[0]


AFTER_ACTION_3 = 0.99991202, -0.01326257, 0.99941224, 0.03428052, -0.12866183, 0.33450112
"""What gymnax observes from rest."""

DIFFERENCES = (
    Difference(
        what="An angle of exactly pi becomes -pi in gymnax and stays in Gymnasium: cosine and "
        "sine, and so observations, are the same but for rounding.",
        gymnax={"state": (-math.pi, 0.0, 0.0, 0.0)},
        gymnasium={"state": (math.pi, 0.0, 0.0, 0.0)},
        gymnax_cause=f"{GYMNAX}, wrap: a turn is subtracted from pi on.",
        gymnasium_cause=f"{GYMNASIUM}, wrap: a turn is subtracted beyond pi only.",
        state=(math.pi, 0.0, 0.0, 0.0),
        action=1,
        precisions=("float64",),
    ),
    Difference(
        what="Action 3 does not exist: gymnax takes the last torque, Gymnasium raises.",
        gymnax={"invalid_action": AFTER_ACTION_3},
        gymnasium={"invalid_action": "IndexError"},
        gymnax_cause=f"{GYMNAX}, step_env: JAX clamps an index to the array.",
        gymnasium_cause=f"{GYMNASIUM}, step: the torque is looked up in a list.",
        state=(0.0, 0.0, 0.0, 0.0),
        action=3,
        reachable=False,
    ),
    Difference(
        what="In double precision a reset draws a float64 state in gymnax, and one rounded to "
        "float32 in Gymnasium.",
        gymnax={"reset_dtype": "float64"},
        gymnasium={"reset_dtype": "float32"},
        gymnax_cause=f"{GYMNAX}, reset_env: all is in the type that JAX computes in.",
        gymnasium_cause=f"{GYMNASIUM}, reset: the draw is rounded; steps compute in float64.",
        precisions=("float64",),
    ),
    twin.observation_dtype(f"{GYMNASIUM}, _get_ob"),
    twin.ACTION_DTYPE,
)

ACROBOT = Twin(
    env_id=ID,
    fields=FIELDS,
    observe=observe,
    grid=twin.make_grid(
        axes=(
            (-math.pi, -2.0, -0.4, 0.0, 1.3, 2.6, 3.1),
            (-3.0, -1.7, 0.0, 0.6, 2.2, math.pi),
            (-4 * math.pi, -3.0, 0.0, 5.0, 4 * math.pi),
            (-9 * math.pi, -6.0, 0.0, 2.0, 9 * math.pi),
        ),
        actions=np.array([0, 1, 2]),
        time_limit=500,
    ),
    obs_rounding={
        "float32": Rounding(
            16, "float32", "gymnax computes in float32; four stages amplify it", sensitivity
        ),
        "float64": Rounding(
            16, "float64", "order of operations; four stages amplify it", sensitivity
        ),
    },
    reset_bounds=((-0.1, 0.1),) * 4,
    policy=lambda _: 1.0,  # no torque: the links swing a little, as they were started
    differences=DIFFERENCES,
)
