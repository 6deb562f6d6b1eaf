"""The protocol between an adapter and the program that started it: one JSON object per line.

Once it is ready, an adapter writes a description of itself. Then it answers requests, each a line
of standard input, until `quit`. It imports only the standard library, the modules in this folder
and the implementation that it runs.
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
"""Environment variables that can change the speed of an implementation."""


@dataclass(frozen=True)
class Task:
    """The arguments that an adapter was started with."""

    work: Any
    """The fields of a work, as attributes."""
    checkout: Path | None
    """Folder of the implementation's source, if it is not installed as a package."""
    started: float
    """When the process was started, by `time.time()`."""
    channel: TextIO
    """The process's original standard output."""


def begin() -> Task:
    """Read the command line, and reserve standard output for the protocol.

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
    task: Task,
    description: Mapping[str, Any],
    requests: Mapping[str, Callable[..., dict[str, Any]]],
) -> None:
    """Write the description, then answer requests until `quit` or the end of standard input.

    Args:
        task: The result of `begin`.
        description: Versions, seconds of the start and so on; without an entry `flags`, those of
            the environment are added.
        requests: The function for each request, by the first word of the line; the other words are
            its arguments, whole numbers.
    """
    _write(task, {"flags": flags(), **description})
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "quit":
            return
        _write(task, requests[name](*map(int, numbers)))


def flags() -> dict[str, str]:
    """The variables in `FLAGS` that are set."""
    return {name: os.environ[name] for name in FLAGS if name in os.environ}


def env_steps(work: Any) -> int:
    """Environment steps of one run, over all agents."""
    return work.num_envs * work.num_steps * work.num_updates * work.num_agents


def versions(packages: Iterable[str], checkout: Path | None = None) -> dict[str, str]:
    """Versions of Python and of packages, and the commit of a checkout."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    found |= {name: metadata.version(name) for name in packages}
    if checkout is not None:
        command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=False)
        found["commit"] = commit.stdout.strip() or "unknown"
    return found


def peak_rss_mib() -> float:
    """Peak memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: a child's peak there starts from the memory of its parent.
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def number(value: float) -> float | None:
    """A number as JSON has it: None in place of NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def _write(task: Task, content: Mapping[str, Any]) -> None:
    """Write one line."""
    task.channel.write(json.dumps(content, allow_nan=False) + "\n")
    task.channel.flush()
