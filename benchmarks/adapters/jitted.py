"""Shared by the adapters of JAX implementations: compiling and timing a whole training."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import protocol


@dataclass(frozen=True)
class Program:
    """A training of one agent or of many, as a function that JAX compiles."""

    train: Callable[..., Any]
    """The training."""
    arguments: Callable[[int], tuple[Any, ...]]
    """seed -> the arguments of `train`."""
    returns: Callable[[Any], Any]
    """Result of `train` -> mean return of the episodes [..., num_updates], NaN where unknown."""
    compiler_options: dict[str, Any] | None = None
    """As for `jax.jit`."""


@dataclass(frozen=True)
class Trainer:
    """A compiled training, and the requests that it answers."""

    work: Any
    program: Program
    compiled: Any
    before_rss_mib: float

    def curve(self, seed: int) -> dict[str, Any]:
        """Train once; the time it took, and the mean return of every update."""
        arguments = jax.block_until_ready(self.program.arguments(seed))
        started = time.perf_counter()
        outcome = jax.block_until_ready(self.compiled(*arguments))
        seconds = time.perf_counter() - started
        returns = np.asarray(self.program.returns(outcome)).reshape(-1, self.work.num_updates)
        return {
            "seconds": seconds,
            "env_steps": protocol.env_steps(self.work),
            "returns": [protocol.number(_mean(column)) for column in returns.T],
        }

    def run(self, seed: int) -> dict[str, Any]:
        """Train once; the time it took, and the mean return of the last tenth of the updates."""
        answer = self.curve(seed)
        returns = np.array(answer.pop("returns"), float)
        last = returns[-max(1, len(returns) // 10) :]
        return {**answer, "final_return": protocol.number(_mean(last))}

    def memory(self) -> dict[str, Any]:
        """Peak memory of this process, and XLA's own count for the training."""
        count = self.compiled.memory_analysis()
        parts = ("temp_size_in_bytes", "output_size_in_bytes", "argument_size_in_bytes")
        return {
            "peak_rss_mib": protocol.peak_rss_mib(),
            "before_rss_mib": self.before_rss_mib,
            "xla_mib": sum(getattr(count, part) for part in parts) / 2**20,
        }


def serve(task: protocol.Task, program: Program, packages: Iterable[str], notes: str = "") -> None:
    """Compile a training, run it once to warm up, then answer requests.

    Args:
        task: The result of `protocol.begin`.
        program: The training.
        packages: Packages whose versions are reported.
        notes: How the training differs from the work.
    """
    import_seconds = time.time() - task.started
    arguments = jax.block_until_ready(program.arguments(0))
    before_rss_mib = protocol.peak_rss_mib()
    started = time.perf_counter()
    training = jax.jit(program.train, compiler_options=program.compiler_options)
    lowered = training.lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    description = {
        "flags": {**protocol.flags(), **(program.compiler_options or {})},
        "versions": protocol.versions(("jax", "jaxlib", "numpy", *packages), task.checkout),
        "import_seconds": import_seconds,
        "trace_seconds": traced - started,
        "compile_seconds": done - traced,
        "device": jax.devices()[0].device_kind,
        "notes": notes,
    }
    trainer = Trainer(task.work, program, compiled, before_rss_mib)
    requests = {"run": trainer.run, "curve": trainer.curve, "memory": trainer.memory}
    protocol.serve(task, description, requests)


def keys_of(work: Any, seed: int) -> tuple[jax.Array]:
    """The arguments of a training that takes only a random key, or a key per agent."""
    key = jax.random.key(seed)
    return (key if work.num_agents == 1 else jax.random.split(key, work.num_agents),)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
