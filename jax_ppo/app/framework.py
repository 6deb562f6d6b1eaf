"""What differs between the two programs: jax-ppo trains with JAX, torch-ref with PyTorch."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jax_ppo.app.errors import AppError
from jax_ppo.app.evaluation import evaluate_run, load_agents
from jax_ppo.app.imports import check_imports
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, RunSettings, open_run
from jax_ppo.app.runtime import set_up
from jax_ppo.app.training import check_training, follow_run, train_run
from jax_ppo.config import PPOConfig


class Framework(NamedTuple):
    """A program and how it trains."""

    program: str
    """Name of the program."""
    name: str
    """jax or torch."""
    set_up: Callable[[PPOConfig, RunSettings], None]
    """Sets up what has to be set up before anything is computed."""
    check: Callable[[PPOConfig, str, int], None]
    """(config, algorithm, num_agents) -> raises ConfigError or AppError if that many agents cannot
    be trained; with 0 of them, if the algorithm cannot be made."""
    train_run: Callable[[Run, Display], Any]
    """Trains the agents of a run to the end."""
    follow_run: Callable[[Run], None] | None
    """Trains along with the process that leads, where several can train one run together."""
    load_agents: Callable[[Run], tuple[Any, int, list[str]]]
    """Reads (agents, updates done, damaged checkpoints) from a run."""
    evaluate_run: Callable[..., Any]
    """(run, agents, num_episodes, *, deterministic, seed) -> EpisodeResults [num_agents, ...]."""


JAX = Framework(
    "jax-ppo", "jax", set_up, check_training, train_run, follow_run, load_agents, evaluate_run
)


def open_trusted_run(path: Path, allow_import: bool) -> Run:
    """Open a run folder; AppError unless what it names may be imported: see `check_imports`."""
    run = open_run(path)
    check_imports(path, (run.config.env_id, run.algorithm), allow_import)
    return run


def open_own_run(framework: Framework, path: Path, allow_import: bool) -> Run:
    """Open a trusted run; AppError unless it is this program's own and no part of a sweep."""
    run = open_trusted_run(path, allow_import)
    if run.in_sweep:
        raise AppError(
            f"{path} is a part of a sweep; the sweep itself is {path.resolve().parent}, and an "
            "agent of it can be had alone by training with its settings"
        )
    if run.framework != framework.name:
        raise AppError(
            f"{path} is a run of {run.framework}; make one for {framework.name} with "
            f"`{framework.program} export {path} --to {framework.name}`"
        )
    return run


def load_with_warnings(framework: Framework, run: Run) -> tuple[Any, int]:
    """The agents of a run and the updates done, with a warning for each damaged checkpoint."""
    agents, update, problems = framework.load_agents(run)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return agents, update
