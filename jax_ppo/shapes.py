"""Checks of shapes, for the arrays of either framework."""

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
        dtype = str(getattr(array, "dtype", type(array).__name__))
        if not dtype.endswith("bool"):
            raise TypeError(f"{function}: {name} must be an array of type bool, got {dtype}")


def check_loss(result: Any, metrics_type: type) -> None:
    """Refuse what a loss returns unless it is a scalar and a record of scalars.

    Args:
        result: What the loss returned.
        metrics_type: Class of the record, of either framework.

    Raises:
        ConfigError: It is not (loss, metrics), or one of them is no scalar, or a metric in `extra`
            has the name of another.
    """
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], metrics_type)):
        raise ConfigError(f"loss_fn must return (loss, Metrics), got {_describe(result)}")
    loss, metrics = result
    if taken := sorted(set(metrics.extra) & set(vars(metrics))):
        raise ConfigError(f"loss_fn: extra has {taken[0]}, which is the name of another metric")
    for name, value in {"loss": loss, **metrics.as_dict()}.items():
        if shape := list(getattr(value, "shape", ())):
            raise ConfigError(f"loss_fn: the metric {name} has shape {shape}, but must be a scalar")


def _describe(result: Any) -> str:
    """A result in words: its type, and those of its entries."""
    if isinstance(result, tuple):
        return f"({', '.join(type(entry).__name__ for entry in result)})"
    shape = getattr(result, "shape", None)
    return type(result).__name__ + ("" if shape is None else f" of shape {list(shape)}")
