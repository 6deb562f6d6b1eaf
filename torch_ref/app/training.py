"""Training the agents of a run with PyTorch, in turn, update by update."""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import torch

from jax_ppo.app.checkpoints import Arrays
from jax_ppo.app.driver import drive
from jax_ppo.app.logs import RunLog
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, only_trainer, record_start
from torch_ref.ppo import Algorithm, ppo
from torch_ref.types import TrainState


def train_run(run: Run, display: Display) -> list[TrainState]:
    """Train the agents of a new run to the end.

    PyTorch runs in one thread: at these sizes several would only wait for each other.

    Args:
        run: The run; Gymnasium's environments cannot be saved, so it starts from the beginning.
        display: Shows how far training is.

    Returns:
        The trained agents, one per seed.

    Raises:
        Interrupted: A signal asked to stop; a checkpoint was written first.
        NonFiniteError: Training diverged; the last good checkpoint is kept.
    """
    torch.set_num_threads(1)
    record_start(run, "cpu", ["cpu"])
    algorithm = ppo(run.config)
    states = [algorithm.init(torch.Generator().manual_seed(seed)) for seed in run.settings.seeds]
    advance = partial(_advance, algorithm=algorithm)
    with only_trainer(run) as check_lock:
        return drive(
            run,
            states,
            0,
            display,
            advance=advance,
            to_arrays=to_arrays,
            log=RunLog(run),
            check_lock=check_lock,
        )


def to_arrays(states: list[TrainState]) -> Arrays:
    """What a checkpoint holds of the agents: all but the environments and the generator.

    Args:
        states: One per agent.

    Returns:
        Name to array [num_agents, ...], such as `params.value_head.bias`.
    """
    trees = [_named_tensors(_without_environments(state)) for state in states]
    return {name: np.stack([tree[name].numpy() for tree in trees]) for name in trees[0]}


def _advance(
    states: list[TrainState], num_updates: int, *, algorithm: Algorithm
) -> tuple[list[TrainState], dict[str, np.ndarray]]:
    """Some more updates of every agent, and their metrics [num_updates, num_agents]."""
    rows = []
    for _ in range(num_updates):
        stepped = [algorithm.step(state) for state in states]
        states = [state for state, _ in stepped]
        rows.append([metrics.as_dict() for _, metrics in stepped])
    columns = {
        name: np.array([[metrics[name].numpy() for metrics in row] for row in rows])
        for name in rows[0][0]
    }
    return states, columns


def _without_environments(state: TrainState) -> dict[str, Any]:
    """The parts of a state that are tensors."""
    rollout = {
        field.name: getattr(state.rollout, field.name)
        for field in dataclasses.fields(state.rollout)
        if field.name != "env_state"
    }
    return {
        "params": state.params,
        "opt_state": state.opt_state._asdict(),
        "rollout": rollout,
        "update": state.update,
        "kl_coef": state.kl_coef,
    }


def _named_tensors(tree: Any, name: str = "") -> dict[str, torch.Tensor]:
    """The tensors of nested dicts and records, by their path with dots."""
    if tree is None:
        return {}
    if isinstance(tree, torch.Tensor):
        return {name: tree.detach()}
    if dataclasses.is_dataclass(tree):
        tree = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    prefix = f"{name}." if name else ""
    parts = [_named_tensors(branch, f"{prefix}{key}") for key, branch in tree.items()]
    return {key: tensor for part in parts for key, tensor in part.items()}
