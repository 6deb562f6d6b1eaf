"""Parameters by Flax's names and by PyTorch's, in the layout of each.

A layer has `<layer>.kernel` and `<layer>.bias` in Flax, `<layer>.weight` and `<layer>.bias` in
PyTorch. A dense kernel [in, out] is the transpose of a weight [out, in]; a convolution's kernel
[height, width, in, out] is [out, in, height, width] there. Both sides flatten an image after its
convolutions in the order height, width, channels, so the dense layer that follows is transposed
like any other.

Arrays of any framework are renamed and transposed, and this module imports none.
"""

from collections.abc import Mapping
from typing import Any

BARE = ("log_std",)
"""Parameters that belong to no layer."""


class WeightsError(ValueError):
    """Parameters that are not those of an actor-critic; the message names the first wrong one."""


def flat_params(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Flax's parameters, `{"params": {layer: {"kernel": ...}}}`, by dotted name: `layer.kernel`."""
    flat: dict[str, Any] = {}
    for layer, entry in tree["params"].items():
        if isinstance(entry, Mapping):
            flat.update({f"{layer}.{kind}": array for kind, array in entry.items()})
        else:
            flat[layer] = entry
    return flat


def to_torch_names(params: Mapping[str, Any], leading_axes: int = 0) -> dict[str, Any]:
    """Flax's parameters by PyTorch's names and in its layout.

    Args:
        params: By dotted name, such as `value_head.kernel`.
        leading_axes: Axes before those of a parameter, such as one over agents.

    Raises:
        WeightsError: A kernel is neither that of a dense layer nor that of a convolution.
    """
    return dict(_to_torch(name, array, leading_axes) for name, array in params.items())


def to_jax_names(params: Mapping[str, Any], leading_axes: int = 0) -> dict[str, Any]:
    """PyTorch's parameters by Flax's names and in its layout; the inverse of `to_torch_names`.

    Args:
        params: By dotted name, such as `value_head.weight`.
        leading_axes: Axes before those of a parameter, such as one over agents.

    Raises:
        WeightsError: A weight is neither that of a dense layer nor that of a convolution.
    """
    return dict(_to_jax(name, array, leading_axes) for name, array in params.items())


def check_layers(params: Mapping[str, Any], matrix: str) -> None:
    """Refuse parameters that are not those of an actor-critic.

    Args:
        params: By dotted name.
        matrix: What a layer has beside its bias: "kernel" in Flax, "weight" in PyTorch.

    Raises:
        WeightsError: A name is unknown, or a layer lacks one of its two parameters.
    """
    for name in params:
        layer, _, kind = name.rpartition(".")
        if name in BARE:
            continue
        if not layer or kind not in (matrix, "bias"):
            raise WeightsError(f"unknown parameter {name!r}: expected <layer>.{matrix} or .bias")
        for other in (matrix, "bias"):
            if f"{layer}.{other}" not in params:
                raise WeightsError(f"layer {layer!r} has no {other!r}")


def _to_torch(name: str, array: Any, leading_axes: int) -> tuple[str, Any]:
    """One parameter of Flax's."""
    if not name.endswith(".kernel"):
        return name, array
    axes = (1, 0) if _is_dense(name, array, leading_axes) else (3, 2, 0, 1)
    return f"{name.removesuffix('kernel')}weight", _permute(array, axes, leading_axes)


def _to_jax(name: str, array: Any, leading_axes: int) -> tuple[str, Any]:
    """One parameter of PyTorch's."""
    if not name.endswith(".weight"):
        return name, array
    axes = (1, 0) if _is_dense(name, array, leading_axes) else (2, 3, 1, 0)
    return f"{name.removesuffix('weight')}kernel", _permute(array, axes, leading_axes)


def _is_dense(name: str, array: Any, leading_axes: int) -> bool:
    """Whether a kernel or weight is that of a dense layer, not of a convolution."""
    own_axes = array.ndim - leading_axes
    if own_axes not in (2, 4):
        raise WeightsError(f"{name}: a kernel has 2 or 4 axes, not {own_axes}")
    return own_axes == 2


def _permute(array: Any, axes: tuple[int, ...], leading_axes: int) -> Any:
    """The axes after the leading ones reordered, of NumPy's, JAX's or PyTorch's arrays."""
    order = (*range(leading_axes), *(leading_axes + axis for axis in axes))
    return array.permute(order) if hasattr(array, "permute") else array.transpose(order)
