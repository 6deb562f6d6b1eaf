"""What the adapters of implementations share that train one agent step by step in Python."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import protocol

THREADS = 1
"""Threads of PyTorch: with networks this small, more of them only wait for each other."""


@dataclass(frozen=True)
class Trainer:
    """A training, and the orders that it answers."""

    work: Any
    prepare: Callable[[Any, int], Any]
    """(work, seed) -> whatever `train` takes; its time is not counted."""
    train: Callable[[Any, Any], float]
    """(work, prepared) -> mean return of the last episodes."""
    before_rss_mib: float

    def run(self, seed: int) -> dict[str, Any]:
        """Train once."""
        prepared = self.prepare(self.work, seed)
        started = time.perf_counter()
        final_return = self.train(self.work, prepared)
        return {
            "seconds": time.perf_counter() - started,
            "env_steps": protocol.env_steps(self.work),
            "final_return": protocol.number(final_return),
        }

    def memory(self) -> dict[str, Any]:
        """The most memory that this process had."""
        return {"peak_rss_mib": protocol.peak_rss_mib(), "before_rss_mib": self.before_rss_mib}


def serve(
    task: protocol.Task,
    prepare: Callable[[Any, int], Any],
    train: Callable[[Any, Any], float],
    packages: Iterable[str],
    notes: str = "",
) -> None:
    """Train once to warm up, then answer orders.

    Args:
        task: What `protocol.begin` gave.
        prepare: See `Trainer`.
        train: See `Trainer`.
        packages: Those whose versions are to be told.
        notes: In what the training differs from the work.
    """
    import_seconds = time.time() - task.started
    trainer = Trainer(task.work, prepare, train, protocol.peak_rss_mib())
    trainer.run(0)
    greeting = {
        "versions": protocol.versions(packages, task.checkout),
        "import_seconds": import_seconds,
        "trace_seconds": 0.0,
        "compile_seconds": 0.0,
        "device": "cpu",
        "notes": f"PyTorch on {THREADS} thread. {notes}".strip(),
    }
    protocol.serve(task, greeting, {"run": trainer.run, "memory": trainer.memory})
