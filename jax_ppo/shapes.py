"""Checks of shapes, for the arrays of either framework."""

from collections.abc import Mapping
from typing import Any

from jax_ppo.config import ConfigError


def check_same_shape(function: str, **arrays: Any) -> None:
    """Refuse arrays of different shapes: broadcasting would mix their samples up unseen.

    A column [batch_size, 1] beside a row [batch_size] would make a square of all pairs, whose mean
    is a number like any other.

    Args:
        function: Name of the function that was called, for the message.
        arrays: Arrays of either framework by the name of the argument; numbers count as [].

    Raises:
        ValueError: Two shapes differ; the message has every name and shape.
    """
    shapes = {name: list(getattr(array, "shape", ())) for name, array in arrays.items()}
    if any(shape != next(iter(shapes.values())) for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{function}: all of these must have one shape: {found}")


def check_flags(function: str, **arrays: Any) -> None:
    """Refuse flags that are not of type bool.

    Args:
        function: Name of the function that was called, for the message.
        arrays: Arrays of either framework by the name of the argument.

    Raises:
        TypeError: One is of another type.
    """
    for name, array in arrays.items():
        if not str(getattr(array, "dtype", type(array).__name__)).endswith("bool"):
            raise TypeError(f"{function}: {name} must be an array of type bool, got {array.dtype}")


def check_scalars(function: str, metrics: Mapping[str, Any]) -> None:
    """Refuse metrics that are not single numbers.

    Args:
        function: Name of the function that returned them, for the message.
        metrics: Arrays of either framework by name.

    Raises:
        ConfigError: One has an axis; the message has its name and shape.
    """
    for name, value in metrics.items():
        if shape := list(getattr(value, "shape", ())):
            raise ConfigError(
                f"{function}: the metric {name} has shape {shape}, but must be a scalar"
            )
