"""Whether a training fits into memory, before anything of it is allocated."""

import math
import os
from typing import Any

import jax

from jax_ppo.app.errors import AppError
from jax_ppo.ppo import Algorithm

GIB = 2**30
"""Bytes of a GiB."""


def check_memory(algorithm: Algorithm, num_agents: int) -> None:
    """Raise AppError if the states and one rollout of all agents are more than there is memory.

    It is a lower bound: gradients, and what the program keeps in between, come on top.

    Args:
        algorithm: What is trained.
        num_agents: How many agents are trained together.
    """
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    rollout = jax.eval_shape(algorithm.collect, state)
    needed, available = num_agents * (num_bytes(state) + num_bytes(rollout)), memory()
    if needed > available:
        raise AppError(
            f"at least {needed / GIB:,.0f} GiB are needed for the agents and one rollout of each, "
            f"but there are {available / GIB:,.0f}; use fewer --num-envs, --num-steps, "
            "--update-epochs or --num-agents, or smaller --hidden-sizes or --conv-channels"
        )


def num_bytes(shapes: Any) -> int:
    """Bytes of a pytree of arrays, or of their shapes and types."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def memory() -> int:
    """Bytes of memory of all devices that JAX has; of a CPU, that of the machine."""
    devices = jax.devices()
    if devices[0].platform != "cpu":
        stats = [device.memory_stats() or {} for device in devices]
        found = sum(each.get("bytes_limit", 0) for each in stats)
        return found or 2**63
    if not hasattr(os, "sysconf"):  # Windows
        return 2**63
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
