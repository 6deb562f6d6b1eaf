"""Taking the agents of a run to the other framework."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jax_ppo.adapters.torch_params import to_jax_names, to_torch_names
from jax_ppo.app.checkpoints import Arrays, read_agents, write_checkpoint
from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import Run, create_run

STATS = "rollout.obs_stats."
"""Where a checkpoint has the statistics of observations; the same on both sides."""

JAX_PARAMS = "params.params."
"""Where a checkpoint of JAX has the parameters."""

TORCH_PARAMS = "params."
"""Where a checkpoint of PyTorch has them."""


def export_run(run: Run, framework: str, out: Path | None = None) -> Run:
    """Make a run folder with the newest agents of a run, for the other framework.

    It holds what it takes to act (parameters and the statistics of observations), so it can be
    evaluated but not trained further.

    Args:
        run: The run to take them from.
        framework: jax or torch.
        out: Folder to make; None: the run's own name with the framework behind it.

    Raises:
        AppError: The run is of that framework already, has no sound checkpoint, or the folder
            exists.
    """
    if run.framework == framework:
        raise AppError(f"{run.path} is a run of {framework} already")
    arrays, update, _ = read_agents(run)
    convert = to_torch_layout if framework == "torch" else to_jax_layout
    own = run.path.resolve()
    path = out or own.with_name(f"{own.name}-{framework}")
    exported = create_run(path, run.config, run.settings, framework, algorithm=run.algorithm)
    write_checkpoint(exported, update, convert(arrays))
    return exported


def to_torch_layout(arrays: Arrays) -> Arrays:
    """Parameters and statistics of a JAX checkpoint, by PyTorch's names and in its layout.

    Args:
        arrays: A checkpoint, every array [num_agents, ...].
    """
    return _renamed(arrays, JAX_PARAMS, TORCH_PARAMS, to_torch_names)


def to_jax_layout(arrays: Arrays) -> Arrays:
    """The inverse of `to_torch_layout`.

    Args:
        arrays: A checkpoint of PyTorch, every array [num_agents, ...].
    """
    return _renamed(arrays, TORCH_PARAMS, JAX_PARAMS, to_jax_names)


def _renamed(arrays: Arrays, before: str, after: str, rename: Callable[..., Arrays]) -> Arrays:
    """Statistics as they are, and parameters renamed; everything else is left out."""
    params = {n.removeprefix(before): a for n, a in arrays.items() if n.startswith(before)}
    converted = {name: array for name, array in arrays.items() if name.startswith(STATS)}
    for name, array in rename(params, leading_axes=1).items():
        converted[after + name] = np.ascontiguousarray(array)
    return converted
