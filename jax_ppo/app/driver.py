"""Driving a run: pieces of training, and between them everything that has to be written.

Nothing here can change what is learned, and nothing here knows which framework learns it.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from jax_ppo.app.checkpoints import Arrays, list_checkpoints, set_aside_later, write_checkpoint
from jax_ppo.app.doctor import examine
from jax_ppo.app.history import read_history
from jax_ppo.app.metrics import check_finite, metric_rows
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, append_rows, read_rows, truncate_rows
from jax_ppo.app.signals import Interrupted, StopRequest

States = TypeVar("States")

CAPACITY = 256
"""Largest number of updates in one piece."""

LOOKS = 4
"""How often the doctor looks at the metrics of a run, at equal distances; the last is the end."""

PIECE_SECONDS = 0.5
"""How long a piece should take: often enough for a live display, rarely enough to cost nothing."""


def drive(
    run: Run,
    states: States,
    update: int,
    display: Display,
    advance: Callable[[States, int], tuple[States, Any]],
    to_arrays: Callable[[States], Arrays],
) -> States:
    """Train the agents of a run to the end: piece after piece, check, log, save.

    Args:
        run: The run; what its logs say of later updates is dropped.
        states: The agents after `update` updates.
        update: Where training stands.
        display: Shows how far training is.
        advance: (states, number of updates) -> (states, metrics by name [updates, num_seeds]).
        to_arrays: states -> what to write into a checkpoint.

    Returns:
        The trained agents.

    Raises:
        Interrupted: A signal asked to stop; a checkpoint was written first.
        NonFiniteError: Training diverged; the last good checkpoint is kept.
    """
    # tensorboardX imports PyTorch where it is installed, which takes more than a second: no command
    # but training should wait for it.
    from jax_ppo.app.tensorboard import EventLog

    display.begin(update)
    truncate_rows(run.metrics, update)
    truncate_rows(run.timing, update)
    set_aside_later(run.checkpoints, update)
    if not list_checkpoints(run.checkpoints):
        _save(run, update, to_arrays(states))
    saved = time.monotonic()
    length, warned = 1, frozenset[str]()
    with StopRequest() as stop, EventLog(run.path / "tensorboard") as events:
        events.add(read_rows(run.metrics))
        while update < run.config.num_updates:
            started = time.monotonic()
            count = min(length, run.config.num_updates - update)
            states, metrics = advance(states, count)
            rows = list(metric_rows(metrics, update, count, run))
            seconds = time.monotonic() - started
            check_finite(rows, run)
            update += count
            append_rows(run.metrics, rows)
            append_rows(run.timing, [{"update": update, "updates": count, "seconds": seconds}])
            events.add(rows)
            display.advance(update, rows)
            if _is_look_due(update - count, update, run.config.num_updates):
                warned = _warn(run, to_arrays(states), display, warned)
            due = time.monotonic() - saved >= run.settings.checkpoint_seconds
            if due or stop.signal_number or update == run.config.num_updates:
                _save(run, update, to_arrays(states))
                saved = time.monotonic()
            if stop.signal_number and update < run.config.num_updates:
                raise Interrupted(stop.signal_number, _farewell(run, update))
            length = _next_length(count, seconds)
    return states


def _next_length(count: int, seconds: float) -> int:
    """Updates in the next piece: what fits into PIECE_SECONDS, but at most double."""
    fitting = int(PIECE_SECONDS * count / max(seconds, 1e-6))
    return max(1, min(fitting, 2 * count, CAPACITY))


def _farewell(run: Run, update: int) -> str:
    """What to tell a user who stopped a run."""
    text = f"stopped and saved after update {update} of {run.config.num_updates} in {run.path}"
    return f"{text}; go on with `jax-ppo resume {run.path}`" if run.framework == "jax" else text


def _is_look_due(before: int, update: int, num_updates: int) -> bool:
    """Whether a piece of training went past one of the points at which the doctor looks."""
    return LOOKS * update // num_updates > LOOKS * before // num_updates


def _warn(run: Run, arrays: Arrays, display: Display, warned: frozenset[str]) -> frozenset[str]:
    """Say what the metrics so far show to be wrong and was not said before."""
    findings = [
        f for f in examine(run.config, read_history(run), arrays) if f.rule.name not in warned
    ]
    for finding in findings:
        display.say(f"warning: {finding}; `jax-ppo doctor {run.path}` says what to try")
    return warned | {finding.rule.name for finding in findings}


def _save(run: Run, update: int, arrays: Arrays) -> None:
    """Write a checkpoint."""
    write_checkpoint(run.checkpoints, update, arrays, run.settings.keep_checkpoints)
