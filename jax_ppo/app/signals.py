"""Turning Ctrl-C, SIGTERM and SIGHUP into a request to stop, checked between pieces."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupted(Exception):  # noqa: N818
    """Training stopped because a signal asked for it; all that was learned is saved."""

    def __init__(self, signal_number: int, message: str) -> None:
        """Keep the signal's number, and the message for the user."""
        super().__init__(message)
        self.signal_number = signal_number


SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""SIGHUP, which Windows lacks, comes when the terminal is closed."""


class StopRequest:
    """While this context is open, the first signal is noted and the second one acts as usual."""

    def __init__(self) -> None:
        """No signal has come yet."""
        self.signal_number = 0
        """Number of the signal that asked to stop; 0 while none has."""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Handle the signals, where this is the thread that receives them."""
        if threading.current_thread() is threading.main_thread():
            ignored = signal.getsignal(SIGNALS[-1]) is signal.SIG_IGN  # by nohup
            handled = SIGNALS[:2] if ignored else SIGNALS
            self._previous = {number: signal.signal(number, self._note) for number in handled}
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the handlers from before."""
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
