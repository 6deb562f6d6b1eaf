"""What devices tell one another when they share the environments of one agent.

Inside `jax.shard_map`, every device runs the same functions on its share of the environments, and
`axis_name` names the axis of the mesh that they are spread over. With None, where one device has
all of them, each function here gives back what it is given.
"""

from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

Tree = TypeVar("Tree")


def own_share(array: jax.Array, axis_name: str | None, axis: int = 0) -> jax.Array:
    """The part of an array that is this device's: as many equal parts as there are devices.

    Args:
        array: The whole, the same on every device; its length must be a multiple of their number.
        axis_name: Axis of the mesh, or None.
        axis: Axis of the array to cut.
    """
    if axis_name is None:
        return array
    length = array.shape[axis] // jax.lax.axis_size(axis_name)
    start = jax.lax.axis_index(axis_name) * length
    return jax.lax.dynamic_slice_in_dim(array, start, length, axis)


def gather_shares(tree: Tree, axis_name: str | None, axis: int) -> Tree:
    """The whole of which every device has a part, in the order of the devices.

    Args:
        tree: Arrays.
        axis_name: Axis of the mesh, or None.
        axis: Axis of the arrays along which the parts are put together.
    """
    if axis_name is None:
        return tree
    gather = partial(_gather, axis_name=axis_name, axis=axis)
    gather_on_cpu = partial(_gather_on_cpu, axis_name=axis_name, axis=axis)
    return jax.tree.map(
        lambda x: jax.lax.platform_dependent(x, cpu=gather_on_cpu, default=gather), tree
    )


def _gather(x: jax.Array, axis_name: str, axis: int) -> jax.Array:
    """One array of `gather_shares`."""
    return jax.lax.all_gather(x, axis_name, axis=axis, tiled=True)


def _gather_on_cpu(x: jax.Array, axis_name: str, axis: int) -> jax.Array:
    """The same, by sending every device a copy.

    Between the cores of a CPU, XLA adds arrays that are zero but for one part. Four devices with
    3.3 MB each, AMD EPYC (Zen 5), jax 0.10.2: 24 ms, and 2.2 ms in this way.
    """
    num_devices = jax.lax.axis_size(axis_name)
    copies = jnp.broadcast_to(x[None], (num_devices, *x.shape))
    parts = jax.lax.all_to_all(copies, axis_name, 0, 0)
    return jnp.concatenate(list(parts), axis=axis)


def sum_over_devices(tree: Tree, axis_name: str | None) -> Tree:
    """Sum of each array over the devices."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def mean_over_devices(tree: Any, axis_name: str | None) -> Any:
    """Mean of each array over the devices, told in one message: on a CPU one costs 0.1 ms."""
    if axis_name is None:
        return tree
    vector, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(vector, axis_name))
