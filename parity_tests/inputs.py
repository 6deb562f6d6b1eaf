"""What a pair of functions is compared on: random inputs, extremes, and boundaries."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
"""(random generator, shape) -> array of that shape."""


@dataclass(frozen=True)
class Spec:
    """How one input is drawn."""

    shape: tuple[int | str, ...]
    """Each axis a number, or the name of one of `check_parity`'s sizes."""
    draw: Draw
    """An ordinary value."""
    extremes: Mapping[str, Draw] = field(default_factory=dict)
    """Values at the edge of what can happen, by label; each gives a case of its own."""

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape with every name replaced by its number.

        Raises:
            ValueError: A name is not in `sizes`.
        """
        unknown = [axis for axis in self.shape if isinstance(axis, str) and axis not in sizes]
        if unknown:
            raise ValueError(f"axis {unknown[0]!r} has no size; pass sizes={{{unknown[0]!r}: 8}}")
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.shape)


@dataclass(frozen=True)
class Boundary:
    """A point where the function has no gradient, only one-sided slopes: a clip edge, a tie.

    Values are compared there as everywhere. Gradients are listed for both sides; where the two may
    differ, or where the choice matters, give the expected value of each.
    """

    label: str
    """Name of the point in the report."""
    inputs: Mapping[str, Any]
    """A value for every input that is given as a `Spec`; others may be replaced too."""
    jax: Mapping[str, Any] = field(default_factory=dict)
    """Expected gradients of the JAX side, by the report's names, such as "d/d ratio"."""
    torch: Mapping[str, Any] = field(default_factory=dict)
    """Expected gradients of the PyTorch side, likewise."""


@dataclass(frozen=True)
class Case:
    """One point at which both functions are evaluated."""

    label: str
    """Which random draw, extreme or boundary it is."""
    inputs: Mapping[str, Any]
    """Pytrees of NumPy arrays and constants, by argument."""
    boundary: Boundary | None = None
    """The boundary that it lies on, if any."""


def normal(
    *shape: int | str,
    loc: float = 0.0,
    scale: float = 1.0,
    extremes: Mapping[str, float] | None = None,
) -> Spec:
    """Gaussian numbers.

    Args:
        shape: Axes, numbers or names.
        loc: Mean.
        scale: Standard deviation.
        extremes: Factors on `scale`, by label; by default huge (1e6) and tiny (1e-6).
    """
    factors = {"huge": 1e6, "tiny": 1e-6} if extremes is None else extremes
    extremes_of = {label: _gaussian(loc, scale * factor) for label, factor in factors.items()}
    return Spec(shape, _gaussian(loc, scale), extremes_of)


def uniform(*shape: int | str, low: float, high: float) -> Spec:
    """Numbers between two bounds; both bounds themselves are extremes."""
    extremes = {f"= {bound:g}": _constant(bound) for bound in (low, high)}
    return Spec(shape, lambda rng, sizes: np.asarray(rng.uniform(low, high, sizes)), extremes)


def flags(*shape: int | str, probability: float = 0.25) -> Spec:
    """Bits; none set and all set are extremes."""
    extremes = {"none": _constant(False), "all": _constant(True)}
    return Spec(shape, lambda rng, sizes: np.asarray(rng.random(sizes) < probability), extremes)


def integers(*shape: int | str, high: int) -> Spec:
    """Whole numbers 0, 1, ..., high - 1, such as actions."""
    return Spec(shape, lambda rng, sizes: rng.integers(0, high, sizes))


def expand_cases(
    inputs: Mapping[str, Any], sizes: Mapping[str, int], samples: int, seed: int
) -> Iterator[Case]:
    """Random cases, then each extreme of each input by itself, then each size set to one.

    Args:
        inputs: Pytrees of specs, arrays and constants, by argument.
        sizes: Length of each named axis.
        samples: Random cases.
        seed: Decides every draw.
    """
    rng = np.random.default_rng(seed)
    for i in range(samples):
        yield Case(f"random {i}", _draw_tree(inputs, sizes, rng))
    for name, spec in _specs(inputs):
        for label, draw in spec.extremes.items():
            yield Case(f"{name} {label}", _draw_tree(inputs, sizes, rng, {name: draw}))
    for name in sizes:
        yield Case(f"{name} = 1", _draw_tree(inputs, {**sizes, name: 1}, rng))


def boundary_case(inputs: Mapping[str, Any], boundary: Boundary) -> Case:
    """The case that lies on a boundary.

    Raises:
        ValueError: The boundary names no such input, or leaves one undetermined.
    """
    unknown = set(boundary.inputs) - set(inputs)
    if unknown:
        raise ValueError(f"boundary {boundary.label!r}: there is no input {sorted(unknown)[0]!r}")
    chosen = {**inputs, **boundary.inputs}
    missing = [name for name, _ in _specs(chosen)]
    if missing:
        raise ValueError(f"boundary {boundary.label!r} gives no value for {missing[0]!r}")
    return Case(boundary.label, jax.tree.map(as_array, chosen), boundary)


def as_array(leaf: Any) -> Any:
    """Lists, NumPy and JAX arrays as NumPy arrays; constants (numbers, names) as they are."""
    return np.asarray(leaf) if hasattr(leaf, "dtype") else leaf


def leaf_names(tree: Any) -> list[str]:
    """A readable name for each leaf of a pytree, in JAX's order: "params.log_std"."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


def _specs(inputs: Mapping[str, Any]) -> list[tuple[str, Spec]]:
    """Every spec among the inputs, with its name."""
    pairs = zip(leaf_names(dict(inputs)), jax.tree.leaves(dict(inputs)), strict=True)
    return [(name, leaf) for name, leaf in pairs if isinstance(leaf, Spec)]


def _draw_tree(
    inputs: Mapping[str, Any],
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    replaced: Mapping[str, Draw] | None = None,
) -> dict[str, Any]:
    """The inputs with each spec replaced by a draw from it, or from the draw in `replaced`."""
    leaves, treedef = jax.tree.flatten(dict(inputs))
    drawn = []
    for name, leaf in zip(leaf_names(dict(inputs)), leaves, strict=True):
        if isinstance(leaf, Spec):
            draw = (replaced or {}).get(name, leaf.draw)
            drawn.append(np.asarray(draw(rng, leaf.sized(sizes))))
        else:
            drawn.append(as_array(leaf))
    values = jax.tree.unflatten(treedef, drawn)
    return {name: values[name] for name in inputs}


def _gaussian(loc: float, scale: float) -> Draw:
    return lambda rng, shape: np.asarray(rng.normal(loc, scale, shape))


def _constant(value: Any) -> Draw:
    return lambda _, shape: np.full(shape, value)
