"""How an adapter talks to the program that started it: one JSON object per line.

An adapter greets once it is ready, then answers orders, each a line of standard input, until
`quit`. It imports nothing but the standard library, this and the implementation that it stands for.
"""

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

FLAGS = ("XLA_FLAGS", "NPROC", "OMP_NUM_THREADS", "JAX_PLATFORMS", "XLA_PYTHON_CLIENT_PREALLOCATE")
"""Environment variables that can change how fast an implementation is."""


@dataclass(frozen=True)
class Task:
    """What an adapter was started for."""

    work: Any
    """The fields of a work, as attributes."""
    checkout: Path | None
    """Where the source of the implementation lies, if it has to be given."""
    started: float
    """When the process was started, by `time.time()`."""
    channel: TextIO
    """What was standard output."""


def begin() -> Task:
    """Read the command line, and keep standard output for the protocol.

    From here on, whatever a library prints goes to standard error.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("work", metavar="WORK_JSON", type=json.loads)
    parser.add_argument("--checkout", type=Path)
    parser.add_argument("--started", type=float, default=time.time())
    options = parser.parse_args()
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    work = SimpleNamespace(**options.work)
    return Task(work, options.checkout, options.started, channel)


def serve(
    task: Task, greeting: Mapping[str, Any], orders: Mapping[str, Callable[..., dict[str, Any]]]
) -> None:
    """Greet, then answer orders until `quit` or the end of standard input.

    Args:
        task: What `begin` gave.
        greeting: What to say first; unless it has flags, those of the environment are added.
        orders: What to call, by the first word of the line; the other words are whole numbers.
    """
    _say(task, {"flags": flags(), **greeting})
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "quit":
            return
        _say(task, orders[name](*map(int, numbers)))


def flags() -> dict[str, str]:
    """Those of `FLAGS` that are set."""
    return {name: os.environ[name] for name in FLAGS if name in os.environ}


def env_steps(work: Any) -> int:
    """Environment steps of one run, over all agents."""
    return work.num_envs * work.num_steps * work.num_updates * work.num_seeds


def versions(packages: Iterable[str], checkout: Path | None = None) -> dict[str, str]:
    """Python's version, those of packages, and the commit of a checkout."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    found |= {name: metadata.version(name) for name in packages}
    if checkout is not None:
        command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=False)
        found["commit"] = commit.stdout.strip() or "unknown"
    return found


def peak_rss_mib() -> float:
    """Most memory that this process has had at any time, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: a child's peak there starts from what its parent had.
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def number(value: float) -> float | None:
    """A number as JSON knows it: None in place of NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def _say(task: Task, content: Mapping[str, Any]) -> None:
    """Write one line."""
    task.channel.write(json.dumps(content, allow_nan=False) + "\n")
    task.channel.flush()
