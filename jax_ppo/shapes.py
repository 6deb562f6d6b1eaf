"""Arrays that belong together have one shape: broadcasting would mix their samples up unseen."""

from typing import Any


def check_same_shape(function: str, **arrays: Any) -> None:
    """Refuse arrays of different shapes.

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
