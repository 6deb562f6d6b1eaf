"""Shared by the adapters of implementations that train one agent step by step in Python."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import protocol

THREADS = 1
"""Threads of PyTorch: for networks this small, more threads are not faster."""


@dataclass(frozen=True)
class Trainer:
    """A training, and the requests that it answers."""

    work: Any
    prepare: Callable[[Any, int], Any]
    """(work, seed) -> the argument of `train`; not timed."""
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
        """Peak memory of this process."""
        return {"peak_rss_mib": protocol.peak_rss_mib(), "before_rss_mib": self.before_rss_mib}


def serve(
    task: protocol.Task,
    prepare: Callable[[Any, int], Any],
    train: Callable[[Any, Any], float],
    packages: Iterable[str],
    notes: str = "",
) -> None:
    """Train once to warm up, then answer requests.

    Args:
        task: The result of `protocol.begin`.
        prepare: See `Trainer`.
        train: See `Trainer`.
        packages: Packages whose versions are reported.
        notes: How the training differs from the work.
    """
    import_seconds = time.time() - task.started
    trainer = Trainer(task.work, prepare, train, protocol.peak_rss_mib())
    trainer.run(0)
    description = {
        "versions": protocol.versions(packages, task.checkout),
        "import_seconds": import_seconds,
        "trace_seconds": 0.0,
        "compile_seconds": 0.0,
        "device": "cpu",
        "notes": f"PyTorch on {THREADS} thread. {notes}".strip(),
    }
    protocol.serve(task, description, {"run": trainer.run, "memory": trainer.memory})
