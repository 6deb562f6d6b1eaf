"""Saving agents that were trained with the library as a run folder."""

from pathlib import Path
from typing import Any

import jax

from jax_ppo.app.algorithms import make_algorithm
from jax_ppo.app.checkpoints import to_arrays, write_checkpoint
from jax_ppo.app.errors import AppError
from jax_ppo.app.logs import RunLog
from jax_ppo.app.runs import Run, RunSettings, create_run
from jax_ppo.config import PPOConfig
from jax_ppo.types import Metrics, TrainState


def save_run(
    path: Path,
    states: TrainState,
    config: PPOConfig,
    *,
    metrics: Metrics | None = None,
    seed: int = 0,
    algorithm: str = "ppo",
) -> Run:
    """Make a run folder of trained agents, which every command of `jax-ppo` takes.

    Args:
        path: The folder to make.
        states: What `train` gives, or `train_agents` [num_agents, ...].
        config: What they were trained with; its coefficients are numbers.
        metrics: Their metrics [num_updates] or [num_updates, num_agents]; without them there is no
            learning curve.
        seed: The number that the first agent is listed under; the others follow it.
        algorithm: What trained them: a name that `jax-ppo train --algorithm` takes.

    Raises:
        AppError: The folder exists already, or the states are of another config or algorithm.
    """
    if states.update.ndim == 0:
        states = jax.tree.map(lambda leaf: leaf[None], states)
        metrics = jax.tree.map(lambda leaf: leaf[:, None], metrics)
    wanted = jax.eval_shape(make_algorithm(config, algorithm).init, jax.random.key(0))
    found = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), states)
    if _shapes(wanted) != _shapes(found):
        raise AppError("the states are not those of this config and algorithm")
    num_agents, update = len(states.update), int(states.update[0])
    settings = RunSettings(seed=seed, num_agents=num_agents)
    run = create_run(path, config, settings, algorithm=algorithm)
    write_checkpoint(run, update, to_arrays(jax.device_get(states)))
    if metrics is not None:
        log = RunLog(run)
        log.begin(0)
        log.add(metrics.as_dict(), 0, update)
        log.close()
    return run


def _shapes(tree: TrainState) -> Any:
    """Structure, shapes and types."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
