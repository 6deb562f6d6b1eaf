"""Carrying parameters and states from one side to the other, exactly and both ways.

A layer is `{"kernel": ..., "bias": ...}` in flax and `name.weight`, `name.bias` in PyTorch; a dense
kernel [in, out] is the transpose of a weight [out, in], a convolution's kernel
[height, width, in, out] is [out, in, height, width] there. Both sides flatten an image after its
convolutions in the order height, width, channels, so the dense layer that follows is transposed
like any other.

Parameters keep the type they have: `rename_to_torch` and `rename_to_jax` only rename and transpose
whatever arrays they are given (and PyTorch differentiates through them); the others make the other
framework's arrays.
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

FlaxParams = dict[str, Any]
"""`{"params": {layer: {"kernel", "bias"}, ..., "log_std"}}`."""

TorchParams = dict[str, Any]
"""`{"layer.weight", "layer.bias", ..., "log_std"}`."""

BARE = ("log_std",)
"""Parameters that belong to no layer."""


class WeightsError(ValueError):
    """Parameters that are not the ones of an actor-critic; the message names the odd one out."""


def rename_to_torch(params: FlaxParams) -> TorchParams:
    """Flax parameters by PyTorch's names and in its layout, of whatever array type they are.

    Args:
        params: `{"params": {...}}`.

    Raises:
        WeightsError: A name is unknown, or a layer lacks its kernel or bias.
    """
    _check_names("the tree", set(params), {"params"})
    renamed: TorchParams = {}
    for layer, tree in sorted(params["params"].items()):
        if layer in BARE:
            renamed[layer] = tree
            continue
        if not isinstance(tree, Mapping):
            raise WeightsError(f"unknown parameter {layer!r}: it is neither a layer nor in {BARE}")
        _check_names(f"layer {layer!r}", set(tree), {"kernel", "bias"})
        renamed[f"{layer}.weight"] = _weight(tree["kernel"], layer)
        renamed[f"{layer}.bias"] = tree["bias"]
    return renamed


def rename_to_jax(params: TorchParams) -> FlaxParams:
    """PyTorch parameters by flax's names and in its layout; the inverse of `rename_to_torch`.

    Args:
        params: `{"layer.weight", "layer.bias", ...}`.

    Raises:
        WeightsError: A name is unknown, or a layer lacks its weight or bias.
    """
    layers: dict[str, Any] = {}
    for name, value in params.items():
        layer, _, kind = name.rpartition(".")
        if name in BARE:
            layers[name] = value
        elif layer and kind == "weight":
            layers.setdefault(layer, {})["kernel"] = _kernel(value, layer)
        elif layer and kind == "bias":
            layers.setdefault(layer, {})["bias"] = value
        else:
            raise WeightsError(f"unknown parameter {name!r}: expected <layer>.weight or .bias")
    for layer in set(layers) - set(BARE):
        _check_names(f"layer {layer!r}", set(layers[layer]), {"kernel", "bias"})
    return {"params": layers}


def params_to_torch(params: FlaxParams) -> TorchParams:
    """Flax parameters as PyTorch has them, of the same precision."""
    return {name: to_tensor(value) for name, value in rename_to_torch(params).items()}


def params_to_jax(params: TorchParams) -> FlaxParams:
    """PyTorch parameters as flax has them, of the same precision (float64 needs enable_x64)."""
    return jax.tree.map(to_jax, rename_to_jax(params))


def adam_to_torch(opt_state: Any, params: FlaxParams) -> torch_ref.AdamState:
    """Adam's count and moments, out of the state of an optax chain.

    Args:
        opt_state: JAX's.
        params: Whose moments they are.

    Raises:
        WeightsError: The chain does not hold exactly one Adam.
    """
    adam = adam_in(opt_state, params)
    moments = params_to_torch(adam.mu), params_to_torch(adam.nu)
    return torch_ref.AdamState(to_tensor(adam.count), *moments)


def adam_to_jax(state: torch_ref.AdamState, like: Any) -> Any:
    """The state of an optax chain, with Adam's count and moments replaced.

    Args:
        state: PyTorch's.
        like: A state of the chain, `optimizer.init(params)`: what is not Adam's is kept.

    Raises:
        WeightsError: The chain does not hold exactly one Adam.
    """
    moments = [ravel_pytree(params_to_jax(moment))[0] for moment in (state.mu, state.nu)]
    replaced = _flat_adam_in(like)._replace(count=to_jax(state.count), mu=moments[0], nu=moments[1])
    return jax.tree.map(
        lambda part: replaced if isinstance(part, optax.ScaleByAdamState) else part,
        like,
        is_leaf=lambda part: isinstance(part, optax.ScaleByAdamState),
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


def adam_in(opt_state: Any, params: FlaxParams) -> Any:
    """The one Adam state in the state of an optax chain, its moments as trees like `params`.

    Raises:
        WeightsError: The chain does not hold exactly one Adam.
    """
    adam = _flat_adam_in(opt_state)
    _, unravel = ravel_pytree(params)
    return adam._replace(mu=unravel(adam.mu), nu=unravel(adam.nu))


def _flat_adam_in(opt_state: Any) -> Any:
    """The one Adam state in the state of an optax chain, its moments as the vectors they are."""
    parts = jax.tree.leaves(opt_state, is_leaf=lambda p: isinstance(p, optax.ScaleByAdamState))
    adams = [part for part in parts if isinstance(part, optax.ScaleByAdamState)]
    if len(adams) != 1:
        raise WeightsError(f"expected one Adam in the optimizer's state, found {len(adams)}")
    return adams[0]


def _check_names(where: str, names: set[str], expected: set[str]) -> None:
    """Raise WeightsError unless the names are the expected ones."""
    if missing := sorted(expected - names):
        raise WeightsError(f"{where} has no {missing[0]!r}")
    if unknown := sorted(names - expected):
        raise WeightsError(f"{where} has an unknown entry {unknown[0]!r}")


def _weight(kernel: Any, layer: str) -> Any:
    """A kernel of flax in PyTorch's layout."""
    return _permute(kernel, {2: (1, 0), 4: (3, 2, 0, 1)}, layer)


def _kernel(weight: Any, layer: str) -> Any:
    """A weight of PyTorch in flax's layout."""
    return _permute(weight, {2: (1, 0), 4: (2, 3, 1, 0)}, layer)


def _permute(array: Any, axes: dict[int, tuple[int, ...]], layer: str) -> Any:
    """Axes reordered, as many as there are; the same for every kind of array."""
    if array.ndim not in axes:
        raise WeightsError(f"layer {layer!r}: a kernel has 2 or 4 axes, not {array.ndim}")
    order = axes[array.ndim]
    return array.permute(order) if isinstance(array, torch.Tensor) else array.transpose(order)
