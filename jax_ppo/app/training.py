"""Training the agents of a run with JAX."""

from functools import partial

import jax
import numpy as np

from jax_ppo.app.checkpoints import from_arrays, read_newest, to_arrays
from jax_ppo.app.driver import CAPACITY, drive
from jax_ppo.app.errors import AppError
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, record_start
from jax_ppo.config import PPOConfig
from jax_ppo.train import init_train_state, train_updates
from jax_ppo.types import Metrics, TrainState


def train_run(run: Run, display: Display) -> TrainState:
    """Train the agents of a run, from its newest sound checkpoint to the end.

    The pieces run one compiled program whatever their length, so a run that was interrupted and
    resumed ends where an uninterrupted one does, bit for bit.

    Args:
        run: The run; where it has no checkpoint it starts from the beginning.
        display: Shows how far training is.

    Returns:
        The trained agents, every leaf [num_seeds, ...].

    Raises:
        Interrupted: A signal asked to stop; a checkpoint was written first.
        NonFiniteError: Training diverged; the last good checkpoint is kept.
        CheckpointMismatchError: The checkpoint belongs to another config.
        AppError: The run was exported, and so holds nothing but agents.
    """
    arrays, update, problems = read_newest(run.checkpoints)
    for problem in problems:
        display.say(f"{problem}; going back to update {update}")
    if arrays is None:
        states = initial_states(run)
    elif "key" not in arrays:
        raise AppError(f"{run.path} was exported: its agents can be evaluated, but not trained on")
    else:
        states = from_arrays(arrays, jax.eval_shape(lambda: initial_states(run)))
    record_start(run, jax.default_backend(), [str(device) for device in jax.devices()])
    return drive(run, states, update, display, partial(_advance, config=run.config), to_arrays)


def initial_states(run: Run) -> TrainState:
    """The agents of a run before their first update, every leaf [num_seeds, ...]."""
    keys = jax.vmap(jax.random.key)(np.asarray(run.settings.seeds, np.uint32))
    return _init_train_states(keys, run.config)


_init_train_states = jax.jit(jax.vmap(init_train_state, in_axes=(0, None)))


@partial(jax.jit, donate_argnums=0)
def _advance(states: TrainState, num_updates: int, config: PPOConfig) -> tuple[TrainState, Metrics]:
    return train_updates(states, config, num_updates, CAPACITY)
