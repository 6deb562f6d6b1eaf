"""Each side of a comparison as named arrays: outputs, and gradients of each to each input."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from parity_tests.derivatives import Derivative, central_differences
from parity_tests.inputs import leaf_names
from parity_tests.measure import Precision, wide


def cotangent(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weights under which an output is summed before it is differentiated.

    One for a scalar; else multiples of 1/64 between -2 and 2, none of them zero, which are exact
    in every precision and distinguish the rows of a Jacobian.

    Args:
        name: The output's name.
        shape: Its shape.
    """
    if shape == ():
        return np.ones(())
    rng = np.random.default_rng(zlib.crc32(f"{name}{shape}".encode()))
    return np.asarray(rng.integers(1, 128, shape) * rng.choice([-1, 1], shape) / 64)


def flatten(tree: Any, name: str = "") -> dict[str, Any]:
    """The arrays in any nesting of dictionaries, tuples and dataclasses, by dotted name.

    None holds nothing; an array by itself is called "value".
    """
    if tree is None:
        return {}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        items = [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    elif isinstance(tree, Mapping):
        items = [(str(key), tree[key]) for key in sorted(tree)]
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        items = list(zip(tree._fields, tree, strict=True))
    elif isinstance(tree, (tuple, list)):
        items = [(str(i), leaf) for i, leaf in enumerate(tree)]
    else:
        return {name or "value": tree}
    leaves: dict[str, Any] = {}
    for key, leaf in items:
        leaves.update(flatten(leaf, f"{name}.{key}" if name else key))
    return leaves


Arrays = dict[str, Any]
"""Arrays by name."""


class Outcome(NamedTuple):
    """What one side gives in one case."""

    values: Arrays
    """Outputs by name."""
    gradients: Arrays
    """Gradients by name, such as "d loss/d log_prob"."""


@dataclass(frozen=True)
class Layout:
    """How the inputs of a case are taken apart into named arrays and put together again."""

    treedef: Any
    """Structure of the tuple of arguments."""
    names: tuple[str, ...]
    """Name of each leaf."""
    constants: Mapping[str, Any]
    """Leaves that are no arrays."""

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> "Layout":
        """The layout of a case's inputs."""
        leaves, treedef = jax.tree.flatten(tuple(inputs.values()))
        names = _names(inputs)
        pairs = zip(names, leaves, strict=True)
        return cls(
            treedef, names, {n: leaf for n, leaf in pairs if not isinstance(leaf, np.ndarray)}
        )

    def arrays(self, inputs: Mapping[str, Any], precision: Precision) -> tuple[Arrays, Arrays]:
        """(arrays of floating-point type, rounded to `precision`; all others), by name.

        Raises:
            ValueError: The inputs are laid out differently, or a constant is another one.
        """
        leaves = jax.tree.leaves(tuple(inputs.values()))
        pairs = dict(zip(_names(inputs), leaves, strict=True))
        for name, constant in self.constants.items():
            if pairs.get(name) is not constant and pairs.get(name) != constant:
                raise ValueError(f"constant {name!r} must be the same in every case")
        arrays = {name: leaf for name, leaf in pairs.items() if name not in self.constants}
        floats = {n: a.astype(precision) for n, a in arrays.items() if a.dtype.kind == "f"}
        return floats, {n: a for n, a in arrays.items() if n not in floats}

    def arguments(self, *groups: Arrays) -> tuple[Any, ...]:
        """The tuple of arguments that the functions take."""
        known = {**self.constants}
        for group in groups:
            known.update(group)
        return tuple(jax.tree.unflatten(self.treedef, [known[name] for name in self.names]))


def _names(inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """A name for each leaf, in the order of the arguments."""
    names: list[str] = []
    for argument, tree in inputs.items():
        names += [f"{argument}.{leaf}" if leaf else argument for leaf in leaf_names(tree)]
    return tuple(names)


def _gradient_name(output: str, argument: str) -> str:
    """The way derivatives are written."""
    return f"d/d {argument}" if output == "value" else f"d {output}/d {argument}"


def jax_arrays(arrays: tuple[Arrays, Arrays]) -> tuple[Arrays, Arrays]:
    """The same arrays as JAX has them."""
    floats, others = ({n: jnp.asarray(a) for n, a in group.items()} for group in arrays)
    return floats, others


@dataclass(frozen=True, eq=False)
class JaxSide:
    """(floats, others) -> Outcome of a JAX function; jittable."""

    function: Callable[..., Any]
    layout: Layout
    gradients: bool

    def __call__(self, floats: Arrays, others: Arrays) -> Outcome:
        """Outputs, and the gradient of each to each of `floats`."""
        if not self.gradients:
            return Outcome(flatten(self.function(*self.layout.arguments(floats, others))), {})
        smooth, pullback, rest = jax.vjp(
            lambda leaves: self._outputs(leaves, others), floats, has_aux=True
        )
        gradients = {}
        for name, output in smooth.items():
            weights = {n: jnp.zeros_like(o) for n, o in smooth.items()}
            weights[name] = jnp.asarray(cotangent(name, output.shape), output.dtype)
            (slopes,) = pullback(weights)
            gradients.update({_gradient_name(name, n): slope for n, slope in slopes.items()})
        return Outcome({**smooth, **rest}, gradients)

    def _outputs(self, floats: Arrays, others: Arrays) -> tuple[Arrays, Arrays]:
        """Outputs of floating-point type, and the others."""
        outputs = flatten(self.function(*self.layout.arguments(floats, others)))
        outputs = {name: jnp.asarray(leaf) for name, leaf in outputs.items()}
        smooth = {n: o for n, o in outputs.items() if jnp.issubdtype(o.dtype, jnp.floating)}
        return smooth, {n: o for n, o in outputs.items() if n not in smooth}


def to_numpy(outcome: Outcome) -> Outcome:
    """The same arrays as NumPy has them."""
    return Outcome(*jax.tree.map(np.asarray, (outcome.values, outcome.gradients)))


def torch_side(
    function: Callable[..., Any], layout: Layout, arrays: tuple[Arrays, Arrays], gradients: bool
) -> Outcome:
    """Outcome of a PyTorch function."""
    floats, others = ({n: torch.tensor(a) for n, a in group.items()} for group in arrays)
    for leaf in floats.values():
        leaf.requires_grad_(gradients)
    outputs = flatten(function(*layout.arguments(floats, others)))
    tensors = {name: torch.as_tensor(leaf) for name, leaf in outputs.items()}
    slopes: Arrays = {}
    for name, output in tensors.items():
        if gradients and output.is_floating_point():
            pulled = _torch_pullback(output, cotangent(name, tuple(output.shape)), floats)
            slopes.update({_gradient_name(name, n): slope for n, slope in pulled.items()})
    return Outcome({name: leaf.detach().numpy() for name, leaf in tensors.items()}, slopes)


def _torch_pullback(output: torch.Tensor, weights: np.ndarray, leaves: Arrays) -> Arrays:
    """Gradient of sum(weights * output) to each leaf; zero where it does not depend on it."""
    if not output.requires_grad or not leaves:
        return {name: np.zeros_like(leaf.detach().numpy()) for name, leaf in leaves.items()}
    slopes = torch.autograd.grad(
        output,
        list(leaves.values()),
        torch.tensor(weights, dtype=output.dtype),
        retain_graph=True,
        materialize_grads=True,
    )
    return {name: slope.numpy() for name, slope in zip(leaves, slopes, strict=True)}


class Truth(NamedTuple):
    """What the oracle gives in one case."""

    values: Arrays
    gradients: dict[str, Derivative]


def oracle_side(
    oracle: Callable[..., Any], layout: Layout, arrays: tuple[Arrays, Arrays], gradients: bool
) -> Truth:
    """Values of the oracle in the widest precision, and its central differences."""
    floats, others = arrays
    wide_floats = {name: array.astype(wide) for name, array in floats.items()}
    outputs = flatten(oracle(*layout.arguments(wide_floats, others)))
    values = {name: np.asarray(output) for name, output in outputs.items()}
    smooth = [name for name, output in values.items() if output.dtype.kind == "f"]
    slopes: dict[str, Derivative] = {}
    for argument in floats if gradients and smooth else ():
        summed = _SummedOutputs(oracle, layout, wide_floats, others, argument, smooth)
        by_entry = central_differences(summed, wide_floats[argument], summed.terms(values))
        for i, name in enumerate(smooth):
            shape = floats[argument].shape
            slopes[_gradient_name(name, argument)] = Derivative(
                np.array([entry.value[i] for entry in by_entry], wide).reshape(shape),
                np.array([entry.uncertainty[i] for entry in by_entry], wide).reshape(shape),
                by_entry[0].natural[i],
            )
    return Truth(values, slopes)


@dataclass(frozen=True)
class _SummedOutputs:
    """An argument -> each output, summed with its weights: what is differentiated."""

    oracle: Callable[..., Any]
    layout: Layout
    floats: Arrays
    others: Arrays
    argument: str
    outputs: list[str]

    def __call__(self, value: np.ndarray) -> np.ndarray:
        arguments = self.layout.arguments({**self.floats, self.argument: value}, self.others)
        return np.array([np.sum(x) for x in self._weighted(flatten(self.oracle(*arguments)))], wide)

    def terms(self, values: Arrays) -> np.ndarray:
        """Sum of the absolute values of what is summed for each output."""
        return np.array([np.sum(np.abs(x)) for x in self._weighted(values)], wide)

    def _weighted(self, values: Arrays) -> list[np.ndarray]:
        return [cotangent(name, np.shape(values[name])) * values[name] for name in self.outputs]


def terms_of(
    terms: Callable[..., Any] | None, layout: Layout, arrays: tuple[Arrays, Arrays]
) -> Arrays:
    """The sum of |terms| of each output, where the caller has given a function for it."""
    if terms is None:
        return {}
    floats, others = arrays
    wide_floats = {name: array.astype(wide) for name, array in floats.items()}
    return flatten(terms(*layout.arguments(wide_floats, others)))
