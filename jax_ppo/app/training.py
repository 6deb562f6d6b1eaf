"""Driving a run: pieces of jitted training, and between them everything that has to be written.

Nothing here can change what is learned. The pieces run one compiled program whatever their length,
so a run that was interrupted and resumed ends where an uninterrupted one does, bit for bit.
"""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from jax_ppo.app.checkpoints import list_checkpoints, load_newest, save_checkpoint
from jax_ppo.app.errors import AppError
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, append_rows, read_rows, record_start, truncate_rows
from jax_ppo.app.signals import StopRequest
from jax_ppo.app.tensorboard import EventLog
from jax_ppo.config import PPOConfig
from jax_ppo.train import init_train_state, train_updates
from jax_ppo.types import Metrics, TrainState

CAPACITY = 256
"""Largest number of updates in one piece."""

PIECE_SECONDS = 0.5
"""How long a piece should take: often enough for a live display, rarely enough to cost nothing."""

EPISODE_MEANS = ("episode_return", "episode_length")
"""The metrics that are not a number where no episode ended."""


class Interrupted(Exception):  # noqa: N818
    """Training stopped because a signal asked for it; all that was learned is saved."""

    def __init__(self, signal_number: int, update: int, run: Run) -> None:
        """Note the signal's number, the updates done so far, and where they are saved."""
        super().__init__(
            f"stopped and saved after update {update} of {run.config.num_updates}; "
            f"go on with `jax-ppo resume {run.path}`"
        )
        self.signal_number = signal_number


class NonFiniteError(AppError):
    """A metric of training is infinite or not a number."""


def train_run(run: Run, display: Display) -> TrainState:
    """Train the agents of a run, from its newest sound checkpoint to the end.

    Args:
        run: The run; where it has no checkpoint it starts from the beginning.
        display: Shows how far training is.

    Returns:
        The trained agents, every leaf [num_seeds, ...].

    Raises:
        Interrupted: A signal asked to stop; a checkpoint was written first.
        NonFiniteError: Training diverged; the last good checkpoint is kept.
        CheckpointMismatchError: The checkpoint belongs to another config.
    """
    states, update, problems = load_newest(
        run.checkpoints, jax.eval_shape(lambda: initial_states(run))
    )
    for problem in problems:
        display.say(f"{problem}; going back to update {update}")
    if states is None:
        states = initial_states(run)
    display.begin(update)
    record_start(run)
    truncate_rows(run.metrics, update)
    truncate_rows(run.timing, update)
    with StopRequest() as stop, EventLog(run.path / "tensorboard") as events:
        events.add(read_rows(run.metrics))
        return _train_to_end(run, states, update, display, stop, events)


def initial_states(run: Run) -> TrainState:
    """The agents of a run before their first update, every leaf [num_seeds, ...]."""
    keys = jax.vmap(jax.random.key)(np.asarray(run.settings.seeds, np.uint32))
    return _init_train_states(keys, run.config)


def _train_to_end(
    run: Run,
    states: TrainState,
    update: int,
    display: Display,
    stop: StopRequest,
    events: EventLog,
) -> TrainState:
    """Piece after piece: train, check, log, save."""
    if not list_checkpoints(run.checkpoints):
        _save(run, states, update)
    saved = time.monotonic()
    length = 1
    while update < run.config.num_updates:
        started = time.monotonic()
        count = min(length, run.config.num_updates - update)
        states, metrics = _train_piece(states, run.config, count)
        rows = list(_metric_rows(metrics, update, count, run))
        seconds = time.monotonic() - started
        _check_finite(rows, run)
        update += count
        append_rows(run.metrics, rows)
        append_rows(run.timing, [{"update": update, "updates": count, "seconds": seconds}])
        events.add(rows)
        display.advance(update, rows)
        finished = update == run.config.num_updates
        due = time.monotonic() - saved >= run.settings.checkpoint_seconds
        if finished or stop.signal_number or due:
            _save(run, states, update)
            saved = time.monotonic()
        if stop.signal_number and not finished:
            raise Interrupted(stop.signal_number, update, run)
        length = _next_length(count, seconds)
    return states


_init_train_states = jax.jit(jax.vmap(init_train_state, in_axes=(0, None)))


@partial(jax.jit, donate_argnums=0)
def _train_piece(
    states: TrainState, config: PPOConfig, num_updates: int
) -> tuple[TrainState, Metrics]:
    return train_updates(states, config, num_updates, CAPACITY)


def _next_length(count: int, seconds: float) -> int:
    """Updates in the next piece: what fits into PIECE_SECONDS, but at most double."""
    fitting = int(PIECE_SECONDS * count / max(seconds, 1e-6))
    return max(1, min(fitting, 2 * count, CAPACITY))


def _metric_rows(
    metrics: Metrics, update: int, count: int, run: Run
) -> Iterator[dict[str, int | float]]:
    """One row per update and seed."""
    columns = {name: _numbers(np.asarray(values)[:count]) for name, values in metrics.items()}
    for i in range(count):
        steps = (update + i + 1) * run.config.batch_size
        for j, seed in enumerate(run.settings.seeds):
            row = {name: column[i][j] for name, column in columns.items()}
            yield {"update": update + i + 1, "steps": steps, "seed": seed, **row}


def _numbers(values: np.ndarray) -> list[Any]:
    """An array as Python numbers; a float32 as the shortest decimal that stands for it."""
    return (values.astype(str).astype(float) if values.dtype.kind == "f" else values).tolist()


def _check_finite(rows: list[dict[str, Any]], run: Run) -> None:
    """Raise NonFiniteError for the first metric that is no finite number and should be one."""
    for row in rows:
        for name, value in row.items():
            no_episode = name in EPISODE_MEANS and row["num_episodes"] == 0
            if not np.isfinite(value) and not no_episode:
                newest = list_checkpoints(run.checkpoints)[-1]
                raise NonFiniteError(
                    f"{name} became {value} at update {row['update']} (seed {row['seed']}); "
                    f"training stopped, and the checkpoint of update {newest.update} is kept "
                    f"in {run.path}. Try a smaller --learning-rate, or --normalize-observations."
                )


def _save(run: Run, states: TrainState, update: int) -> None:
    """Write a checkpoint."""
    save_checkpoint(run.checkpoints, update, states, run.settings.keep_checkpoints)
