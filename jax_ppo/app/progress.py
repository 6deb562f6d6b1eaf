"""Progress of training: a live bar, or plain lines where there is no terminal."""

import time
from collections import deque
from datetime import timedelta
from typing import Self

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from jax_ppo.app.runs import Run
from jax_ppo.app.statistics import show_number

LINE_SECONDS = 10.0
"""Time between two lines where there is no terminal."""
SPEED_WINDOW = 20
"""Pieces of training that the speed is measured over."""


class Display:
    """Progress of one run: steps done, steps per second, episode return, time left."""

    def __init__(self, run: Run, console: Console, name: str = "") -> None:
        """Prepare; nothing is shown before the context is entered. `name` replaces the env_id."""
        self._name, self._run, self._console = name or run.config.env_id, run, console
        self._times: deque[tuple[float, int]] = deque(maxlen=SPEED_WINDOW)
        self._last_line = time.monotonic()
        self._returns = np.full(run.settings.num_agents, np.nan)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task(
            escape(self._name), total=run.config.num_updates, status="compiling ..."
        )

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, update: int) -> None:
        """Show that training continues from `update`."""
        self._bar.update(self._task, completed=update)
        if update == self._run.config.num_updates:
            self.say(f"trained to the end already: {update} updates")
        elif update:
            self.say(f"continuing after update {update} of {self._run.config.num_updates}")

    def advance(self, update: int, episode_returns: np.ndarray) -> None:
        """Show that training has reached `update`; returns are the newest [count, num_agents]."""
        now = time.monotonic()
        self._times.append((now, update))
        for returns in episode_returns:
            self._returns = np.where(np.isfinite(returns), returns, self._returns)
        self._bar.update(self._task, completed=update, status=self._status())
        finished = update == self._run.config.num_updates
        if not self._console.is_terminal and (finished or now - self._last_line > LINE_SECONDS):
            self._last_line = now
            agents = self._run.settings.num_agents
            times = f" x {agents} agents" if agents > 1 else ""
            steps = f"{update * self._run.config.batch_size:,} steps{times}"
            left = "" if finished else self._time_left(update)
            self.say(f"{self._name}: {', '.join(filter(None, (steps, self._status(), left)))}")

    def __enter__(self) -> Self:
        """Show the bar, if there is a terminal to show it on."""
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the bar as it stands."""
        if self._console.is_terminal:
            self._bar.stop()

    def _time_left(self, update: int) -> str:
        """How long the rest will take at the speed of the last pieces, where that is known."""
        (t0, update0), (t1, update1) = self._times[0], self._times[-1]
        if update1 == update0:
            return ""
        seconds = (self._run.config.num_updates - update) * (t1 - t0) / (update1 - update0)
        return f"{timedelta(seconds=round(seconds))} left"

    def _status(self) -> str:
        """Speed, and the mean over the agents of the last episode returns."""
        parts = []
        (t0, update0), (t1, update1) = self._times[0], self._times[-1]
        if update1 > update0:
            per_update = self._run.config.batch_size * self._run.settings.num_agents
            parts.append(f"{(update1 - update0) * per_update / (t1 - t0):,.0f} steps/s")
        if np.isfinite(self._returns).any():
            parts.append(f"episode return {show_number(np.nanmean(self._returns))}")
        return ", ".join(parts)
