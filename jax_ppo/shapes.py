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
    if mistake := _wrong_flag(function, arrays):
        raise TypeError(mistake)


def _wrong_flag(function: str, arrays: Mapping[str, Any]) -> str | None:
    """What is wrong with the first of some arrays that is not of type bool."""
    for name, array in arrays.items():
        dtype = str(getattr(array, "dtype", type(array).__name__))
        if not dtype.endswith("bool"):
            return f"{function}: {name} must be an array of type bool, got {dtype}"
    return None


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


def check_policy(result: Any, batch_size: int) -> None:
    """Refuse what a network returns unless it is a distribution and a value for each sample.

    Args:
        result: What `Network.apply` returned.
        batch_size: How many observations it was given.

    Raises:
        ConfigError: It is not (distribution, values [batch_size]).
    """
    wanted = f"network.apply must return (distribution, values [{batch_size}])"
    if not isinstance(result, tuple) or len(result) != 2:
        raise ConfigError(f"{wanted}, got {_describe(result)}")
    distribution, values = result
    if not all(hasattr(distribution, name) for name in ("sample", "log_prob", "entropy", "mode")):
        raise ConfigError(
            f"{wanted}, got {_describe(result)}; Categorical(logits) makes a distribution of logits"
        )
    shape = list(getattr(values, "shape", ()))
    if shape != [batch_size]:
        raise ConfigError(f"{wanted}, got values of shape {shape}")


def check_step(result: Any, step_type: type) -> None:
    """Refuse what an environment's step returns unless it is an EnvStep with flags of type bool.

    Args:
        result: What `Environment.step` returned.
        step_type: Class of the record, of either framework.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(result, step_type):
        raise ConfigError(f"env.step must return an EnvStep, got {_describe(result)}")
    flags = {name: getattr(result, name) for name in ("terminated", "truncated")}
    if mistake := _wrong_flag("env.step", flags):
        raise ConfigError(mistake)


def check_observations(obs: Any, obs_shape: tuple[int, ...]) -> None:
    """Refuse observations that are no batch [batch_size, *obs_shape].

    Args:
        obs: An array of either framework.
        obs_shape: Shape of one observation.

    Raises:
        ValueError: They have another shape.
    """
    if tuple(obs.shape[1:]) != obs_shape or len(obs.shape) != len(obs_shape) + 1:
        raise ValueError(
            f"the network takes observations [batch_size, {', '.join(map(str, obs_shape))}], got "
            f"shape {list(obs.shape)}; of one alone make a batch: obs[None]"
        )


def _describe(result: Any) -> str:
    """A result in words: its type, and those of its entries."""
    if isinstance(result, tuple):
        return f"({', '.join(type(entry).__name__ for entry in result)})"
    shape = getattr(result, "shape", None)
    return type(result).__name__ + ("" if shape is None else f" of shape {list(shape)}")
