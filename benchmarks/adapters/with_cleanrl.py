"""Adapter of CleanRL: its `ppo.py` is a program, so each run is a process of its own.

The time is taken from the speed that the program prints, which is counted from its first reset:
the start of the process is left out.
"""

import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import protocol

NOTES = """\
PyTorch on 1 thread. It bootstraps from zero where a time limit cut an episode, and has one \
network only, which is that of the works. Its speed is the one it prints, logging included."""

KEPT = 100
"""Episodes whose returns are averaged."""


def run(work: Any, program: Path, seed: int) -> dict[str, Any]:
    """Train once, and read speed and returns from its output."""
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run(
            [sys.executable, str(program), *arguments(work, seed)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ).stdout
    env_steps = protocol.env_steps(work)
    returns = [float(x) for x in re.findall(r"episodic_return=\[?([\d.]+)", output)][-KEPT:]
    return {
        "seconds": env_steps / int(re.findall(r"^SPS: (\d+)", output, re.MULTILINE)[-1]),
        "env_steps": env_steps,
        "final_return": sum(returns) / len(returns) if returns else None,
    }


def arguments(work: Any, seed: int) -> list[str]:
    """The command-line options of a work."""
    options = {
        "seed": seed,
        "env-id": work.env_id,
        "total-timesteps": protocol.env_steps(work),
        "num-envs": work.num_envs,
        "num-steps": work.num_steps,
        "num-minibatches": work.num_minibatches,
        "update-epochs": work.update_epochs,
        "learning-rate": work.learning_rate,
        "gamma": work.gamma,
        "gae-lambda": work.gae_lambda,
        "clip-coef": work.clip_eps,
        "ent-coef": work.ent_coef,
        "vf-coef": work.vf_coef,
        "max-grad-norm": work.max_grad_norm,
    }
    words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
    return [*words, "--no-cuda"]


if __name__ == "__main__":
    task = protocol.begin()
    assert task.checkout is not None
    packages = ("torch", "gymnasium", "numpy")
    description = {
        "versions": protocol.versions(packages, task.checkout),
        "import_seconds": 0.0,
        "trace_seconds": 0.0,
        "compile_seconds": 0.0,
        "device": "cpu",
        "notes": NOTES,
    }
    program = task.checkout / "cleanrl" / "ppo.py"
    protocol.serve(task, description, {"run": partial(run, task.work, program)})
