"""Driving a run: pieces of training, and between them everything that is written to disk.

Nothing here changes what is learned, and nothing here depends on the framework.
"""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from jax_ppo.app.checkpoints import Arrays, list_checkpoints, set_aside_later, write_checkpoint
from jax_ppo.app.logs import Log
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, append_rows, truncate_rows
from jax_ppo.app.signals import Interrupted, StopRequest

States = TypeVar("States")

CAPACITY = 256
"""Largest number of updates in one piece."""
PIECE_SECONDS = 0.5
"""How long a piece should take: short enough for a live display, long enough to cost nothing."""


def drive(
    run: Run,
    states: States,
    update: int,
    display: Display,
    *,
    advance: Callable[[States, int], tuple[States, Any]],
    to_arrays: Callable[[States], Arrays],
    log: Log,
    check_lock: Callable[[], None],
) -> States:
    """Train the agents of a run to the end: piece after piece, check, log, save.

    Args:
        run: The run; what its logs contain of later updates is dropped.
        states: The agents after `update` updates.
        update: Updates done.
        display: Shows how far training is.
        advance: (states, number of updates) -> (states, metrics by name [updates, num_agents]).
        to_arrays: states -> what to write into a checkpoint.
        log: Takes the metrics.
        check_lock: Raises AppError if another process may train in the folder; `only_trainer` gives
            it.

    Returns:
        The trained agents.

    Raises:
        Interrupted: A signal asked to stop; a checkpoint was written first.
        NonFiniteError: The log found that training diverged; the last good checkpoint is kept.
    """
    display.begin(update)
    for problem in log.begin(update) + truncate_rows(run.timing, update):
        display.say(problem)
    set_aside_later(run.checkpoints, update)
    if not list_checkpoints(run.checkpoints):
        write_checkpoint(run, update, to_arrays(states))
    saved = time.monotonic()
    length, first = 1, True
    with StopRequest() as stop, closing(log):
        while update < run.config.num_updates:
            started = time.monotonic()
            count = min(length, run.config.num_updates - update)
            states, metrics = advance(states, count)
            check_lock()
            returns = log.add(metrics, update, count)
            seconds = time.monotonic() - started
            update += count
            piece = {"update": update, "updates": count, "seconds": seconds, "first": first}
            append_rows(run.timing, [piece])
            first = False
            try:
                display.advance(update, returns)
                for warning in log.warnings(update - count, update, partial(to_arrays, states)):
                    display.say(warning)
            except (BrokenPipeError, SystemExit):  # nobody reads the output any more
                write_checkpoint(run, update, to_arrays(states))
                raise
            due = time.monotonic() - saved >= run.settings.checkpoint_seconds
            if due or stop.signal_number or update == run.config.num_updates:
                write_checkpoint(run, update, to_arrays(states))
                saved = time.monotonic()
            if stop.signal_number and update < run.config.num_updates:
                raise Interrupted(stop.signal_number, _farewell(run, update))
            # What fits into PIECE_SECONDS, but at most double.
            fitting = int(PIECE_SECONDS * count / max(seconds, 1e-6))
            length = max(1, min(fitting, 2 * count, CAPACITY))
    return states


def _farewell(run: Run, update: int) -> str:
    """The message for a user who stopped a run."""
    text = f"stopped and saved after update {update} of {run.config.num_updates} in {run.path}"
    folder = run.path.parent if run.in_sweep else run.path
    return f"{text}; continue with `jax-ppo resume {folder}`" if run.framework == "jax" else text
