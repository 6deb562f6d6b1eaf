"""Converting parameters and states from one side to the other, exactly and in both directions.

`rename_to_torch` and `rename_to_jax` rename and transpose arrays of either framework, as
`adapters.torch_params` describes; PyTorch differentiates through them. The others make the other
framework's arrays, of the same floating-point type.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jax.flatten_util import ravel_pytree

import jax_ppo
import torch_ref
from jax_ppo.adapters.torch_params import (
    WeightsError,
    check_layers,
    flat_params,
    to_jax_names,
    to_torch_names,
)

FlaxParams = dict[str, Any]
"""`{"params": {layer: {"kernel", "bias"}, ..., "log_std"}}`."""

TorchParams = dict[str, Any]
"""`{"layer.weight", "layer.bias", ..., "log_std"}`."""

MOMENTS = (optax.ScaleByAdamState, optax.ScaleByRmsState, optax.TraceState)
"""States of optax that have moments; those of the config's optimizers are single vectors."""


def rename_to_torch(params: FlaxParams) -> TorchParams:
    """Flax parameters by PyTorch's names and in its layout, of whatever array type they are.

    Raises:
        WeightsError: A name is unknown, or a layer lacks its kernel or bias.
    """
    if set(params) != {"params"}:
        raise WeightsError(f"expected the one entry 'params', got {sorted(params)}")
    flat = flat_params(params)
    check_layers(flat, "kernel")
    return to_torch_names(dict(sorted(flat.items())))


def rename_to_jax(params: TorchParams) -> FlaxParams:
    """PyTorch parameters by flax's names and in its layout; the inverse of `rename_to_torch`.

    Raises:
        WeightsError: A name is unknown, or a layer lacks its weight or bias.
    """
    check_layers(params, "weight")
    layers: dict[str, Any] = {}
    for name, value in to_jax_names(params).items():
        layer, _, kind = name.rpartition(".")
        if layer:
            layers.setdefault(layer, {})[kind] = value
        else:
            layers[name] = value
    return {"params": layers}


def params_to_torch(params: FlaxParams) -> TorchParams:
    """Flax parameters as PyTorch has them, of the same precision."""
    return {name: to_tensor(value) for name, value in rename_to_torch(params).items()}


def params_to_jax(params: TorchParams) -> FlaxParams:
    """PyTorch parameters as flax has them, of the same precision (float64 needs enable_x64)."""
    return jax.tree.map(to_jax, rename_to_jax(params))


def optimizer_to_torch(opt_state: Any, params: FlaxParams) -> Any:
    """The state of one of the config's optimizers, out of an optax chain."""
    state = moments_in(opt_state, params)
    if isinstance(state, optax.ScaleByAdamState):
        moments = params_to_torch(state.mu), params_to_torch(state.nu)
        return torch_ref.AdamState(to_tensor(state.count), *moments)
    if isinstance(state, optax.ScaleByRmsState):
        return torch_ref.RMSPropState(params_to_torch(state.nu))
    return torch_ref.SGDState()


def optimizer_to_jax(state: Any, like: Any) -> Any:
    """The inverse of `optimizer_to_torch`.

    Args:
        state: PyTorch's.
        like: A state of the chain, `optimizer.init(params)`: what has no counterpart is kept.
    """
    replaced = {
        name: to_jax(value) if name == "count" else ravel_pytree(params_to_jax(value))[0]
        for name, value in state._asdict().items()
    }
    return jax.tree.map(
        lambda part: part._replace(**replaced) if isinstance(part, MOMENTS) else part,
        like,
        is_leaf=lambda part: isinstance(part, MOMENTS),
    )


def record_to_torch(record: Any) -> Any:
    """A Batch, Transition, distribution, RunningStats or metrics of JAX as PyTorch's.

    Raises:
        WeightsError: `torch_ref` has no class of that name.
    """
    return _convert_record(record, torch_ref, to_tensor)


def record_to_jax(record: Any) -> Any:
    """A Batch, Transition, distribution, RunningStats or metrics of PyTorch as JAX's.

    Raises:
        WeightsError: `jax_ppo` has no class of that name.
    """
    return _convert_record(record, jax_ppo, to_jax)


def to_tensor(array: Any) -> torch.Tensor:
    """An array as a tensor of the same type, in memory of its own."""
    return torch.tensor(np.asarray(array))


def to_jax(tensor: Any) -> jax.Array:
    """A tensor as a JAX array of the same type.

    Raises:
        WeightsError: JAX would round it, because 64-bit types are switched off.
    """
    array = tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else tensor
    converted = jnp.asarray(array)
    if array.dtype == np.float64 and converted.dtype != np.float64:
        raise WeightsError("a float64 tensor would be rounded: convert it inside enable_x64(True)")
    return converted


def _convert_record(record: Any, package: Any, convert: Any) -> Any:
    """A record field by field, into the class of the same name in another package."""
    if record is None:
        return None
    if isinstance(record, Mapping):
        return {name: _convert_record(value, package, convert) for name, value in record.items()}
    if not dataclasses.is_dataclass(record):
        return convert(record)
    name = type(record).__name__
    if not hasattr(package, name):
        raise WeightsError(f"{package.__name__} has no {name}")
    values = {
        field.name: _convert_record(getattr(record, field.name), package, convert)
        for field in dataclasses.fields(record)
    }
    return getattr(package, name)(**values)


def moments_in(opt_state: Any, params: FlaxParams) -> Any:
    """The part of an optax chain's state that has moments, as trees like `params`, or None.

    Raises:
        WeightsError: The chain has several.
    """
    parts = jax.tree.leaves(opt_state, is_leaf=lambda part: isinstance(part, MOMENTS))
    found = [part for part in parts if isinstance(part, MOMENTS)]
    if len(found) > 1:
        raise WeightsError(f"expected one optimizer in the state, found {len(found)}")
    if not found:
        return None
    _, unravel = ravel_pytree(params)
    trees = {
        name: value if name == "count" or isinstance(value, Mapping) else unravel(value)
        for name, value in found[0]._asdict().items()
    }
    return found[0]._replace(**trees)
