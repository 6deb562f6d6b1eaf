"""Peak memory of whole trainings of different lengths, each in a process of its own.

    python benchmarks/memory.py --steps 1000000 10000000

The metrics of every update are kept, and nothing of the environment steps, so ten times the steps
should cost a few megabytes more.
"""

import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version

import tyro

PROGRAM = """
import resource, sys, jax
from jax_ppo import PPOConfig, train
_, metrics = jax.jit(train)(jax.random.key(0), PPOConfig(total_steps=int(sys.argv[1])))
jax.block_until_ready(metrics)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
"""Trains the default config for a number of steps, and prints the peak resident memory in MiB."""


@dataclass(frozen=True)
class Options:
    """Measure the peak memory of `jax.jit(train)`."""

    steps: tuple[int, ...] = (1_000_000, 10_000_000)
    """Lengths of training, in environment steps."""


def peak_memory(steps: int) -> int:
    """Peak resident memory of training for so many steps, in MiB."""
    command = [sys.executable, "-c", PROGRAM, str(steps)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure each length and print a line for it."""
    options = tyro.cli(Options)
    print(f"jax {version('jax')}, Python {platform.python_version()}, {platform.machine()}")
    for steps in options.steps:
        print(f"{steps:>12,} steps: {peak_memory(steps):,} MiB at most")


if __name__ == "__main__":
    main()
