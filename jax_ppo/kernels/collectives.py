"""Communication between the devices that share the environments of one agent.

Inside `jax.shard_map`, every device runs the same functions on its shard of the environments. Each
function here finds the mesh axis by itself; where one device has all environments, it returns its
argument.
"""

from typing import Any, TypeVar

import jax
from jax.flatten_util import ravel_pytree

Tree = TypeVar("Tree")

ENV_AXIS = "envs"
"""Mesh axis over which the environments of each agent are sharded."""


def num_shards() -> int:
    """Number of devices that share the environments of this agent."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[ENV_AXIS] if ENV_AXIS in mesh.manual_axes else 1


def local_shard(array: jax.Array, axis: int = 0) -> jax.Array:
    """The shard of a replicated array that is this device's.

    Args:
        array: The whole array; its length along `axis` must be a multiple of `num_shards()`.
        axis: Axis to split.
    """
    if num_shards() == 1:
        return array
    length = array.shape[axis] // num_shards()
    start = jax.lax.axis_index(ENV_AXIS) * length
    return jax.lax.dynamic_slice_in_dim(array, start, length, axis)


def all_gather(tree: Tree) -> Tree:
    """The shards of all devices, concatenated along the first axis in the order of the devices.

    Args:
        tree: Arrays of this device [shard, ...].

    Returns:
        Arrays of all devices [num_shards * shard, ...]; `gathered_rows` says which row is where.
    """
    if num_shards() == 1:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, ENV_AXIS, tiled=True), tree)


def gathered_rows(samples: jax.Array, num_steps: int, num_envs: int) -> jax.Array:
    """Rows that samples of a rollout have after `all_gather`.

    Args:
        samples: Indices of samples, step * num_envs + env.
        num_steps: Steps of the rollout.
        num_envs: Environments of all devices.

    Returns:
        Row indices of arrays that each device flattened from [num_steps, num_envs / num_shards].
    """
    if num_shards() == 1:
        return samples
    shard = num_envs // num_shards()
    step, env = samples // num_envs, samples % num_envs
    device, env = env // shard, env % shard
    return (device * num_steps + step) * shard + env


def all_reduce_sum(tree: Tree) -> Tree:
    """Sum of each array over the devices."""
    return tree if num_shards() == 1 else jax.lax.psum(tree, ENV_AXIS)


def all_reduce_mean(tree: Any) -> Any:
    """Mean of each array over the devices, as one all-reduce of all arrays concatenated."""
    if num_shards() == 1:
        return tree
    vector, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(vector, ENV_AXIS))
