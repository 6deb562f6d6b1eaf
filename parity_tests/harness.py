"""Whether a JAX function and a PyTorch function are the same function.

    report = check_parity(jax_loss, torch_loss, {"values": normal(8), "returns": normal(8)})
    print(report)
    report.assert_ok()

Both are called with the same numbers, in float32 and in float64, and their values and gradients are
compared. `example_own_loss.py` is a complete example.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from parity_tests.compare import Comparer, Tolerance
from parity_tests.inputs import Boundary, boundary_case, expand_cases
from parity_tests.measure import PRECISIONS, Precision
from parity_tests.precision import precision_of
from parity_tests.report import Entry, ParityReport, without_unseen
from parity_tests.sides import (
    JaxSide,
    Layout,
    jax_arrays,
    oracle_side,
    terms_of,
    to_numpy,
    torch_side,
)

DEFAULT_TOLERANCE = Tolerance()


def check_parity(
    jax_fn: Callable[..., Any],
    torch_fn: Callable[..., Any],
    inputs: Mapping[str, Any],
    gradients: bool = True,
    *,
    oracle: Callable[..., Any] | None = None,
    oracle_gradients: bool = True,
    boundaries: Sequence[Boundary] = (),
    tolerance: Tolerance = DEFAULT_TOLERANCE,
    terms: Callable[..., Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    samples: int = 3,
    seed: int = 0,
    precisions: Sequence[Precision] = PRECISIONS,
) -> ParityReport:
    """Compare two functions in value and gradient, at random inputs, extremes and boundaries.

    All three functions are called with the inputs by position, in the order of `inputs`, and
    return arrays in any nesting of tuples, dictionaries and dataclasses. Gradients are those of
    each output, summed with the fixed weights of `cotangent` if it is not a scalar, to each input
    of floating-point type.

    Args:
        jax_fn: Takes and returns JAX arrays; it is jitted.
        torch_fn: Takes and returns PyTorch tensors.
        inputs: What to call them with, by argument, in pytrees: a `Spec` (`normal`, `uniform`,
            `flags`, `integers`) is drawn anew in each case, an array stays, and a Python number is
            passed as it is, and not differentiated.
        gradients: Whether gradients are compared.
        oracle: An independent version: takes NumPy arrays of the widest type, returns the same
            outputs.
        oracle_gradients: Whether gradients are compared with the oracle's central differences.
        boundaries: Points without a gradient; each gives the slopes that are expected where the
            sides differ.
        tolerance: Rounding units that are allowed.
        terms: As the oracle, but returns sum |terms| for each output: what the rounding of a sum
            that cancels is relative to.
        sizes: Length of each named axis of the specs; each is also tried at 1.
        samples: Random cases.
        seed: Decides every draw.
        precisions: "float32", "float64" or both.

    Returns:
        The report; `print` it, or call its `assert_ok`. An output, or a gradient, of which nothing
        finite was compared in any case is a failure.

    Raises:
        ValueError: A spec's axis has no size, or a boundary leaves an input undetermined.
    """
    cases = [*expand_cases(inputs, sizes or {}, samples, seed)]
    cases += [boundary_case(inputs, boundary) for boundary in boundaries]
    layout = Layout.of(cases[0].inputs)
    jax_side = jax.jit(JaxSide(jax_fn, layout, gradients))
    entries: list[Entry] = []
    for precision in precisions:
        with precision_of(precision):
            for case in cases:
                arrays = layout.arrays(case.inputs, precision)
                left = to_numpy(jax_side(*jax_arrays(arrays)))
                right = torch_side(torch_fn, layout, arrays, gradients)
                comparer = Comparer(case, precision, tolerance, terms_of(terms, layout, arrays))
                entries += comparer.sides(left, right)
                if oracle is not None:
                    truth = oracle_side(oracle, layout, arrays, gradients and oracle_gradients)
                    entries += comparer.oracle("jax", left, truth)
                    entries += comparer.oracle("torch", right, truth)
    return ParityReport(without_unseen(entries))
