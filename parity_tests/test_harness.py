"""check_parity itself: it measures correctly, detects what it should, and reports what is wrong."""

import warnings
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity_tests import (
    Boundary,
    ParityError,
    ParityReport,
    Precision,
    Tolerance,
    check_parity,
    cotangent,
    example_own_loss,
    flags,
    integers,
    normal,
    precision_of,
    uniform,
)
from parity_tests.derivatives import central_differences
from parity_tests.inputs import expand_cases
from parity_tests.measure import allowance, measure, wide
from parity_tests.sides import flatten


def square_sum(x: Any) -> Any:
    """The same text is right for either framework."""
    return (x * x).sum()


def same(x: Any) -> Any:
    """The argument itself."""
    return x


class TestMeasure:
    """Errors in absolute, relative and ulp terms, with numbers worked by hand."""

    def test_one_ulp(self, precision: Precision) -> None:
        """The next number after 1 is one ulp away: eps, in absolute and relative terms."""
        one = np.ones(1, precision)
        eps = float(np.finfo(precision).eps)
        errors = measure(np.nextafter(one, 2 * one), one, 2 * eps, precision)
        assert errors[:4] == (eps, eps, 1.0, 0.5)

    def test_the_worst_entry_is_named(self) -> None:
        """Entry 1 is off by 1 where 1/2 is allowed; entry 2 by 2 where 8 are."""
        left, right = np.array([5.0, 7.0, 3.0]), np.array([5.0, 8.0, 1.0])
        errors = measure(left, right, np.array([1.0, 0.5, 8.0]), "float64")
        assert (errors.where, errors.share, errors.left, errors.right) == ((1,), 2.0, 7.0, 8.0)
        assert errors.absolute == errors.relative == 2.0

    @pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
    def test_what_is_not_finite(self, special: float) -> None:
        """It agrees with itself and with nothing else."""
        array = np.array([special])
        assert measure(array, array, 0.0, "float64").share == 0
        for other in (0.0, 1e300, -special if np.isfinite(special) is False else 0.0):
            same_number = other == special or (np.isnan(other) and np.isnan(special))
            share = measure(array, np.array([other]), 1.0, "float64").share
            assert share == (0 if same_number else np.inf)

    def test_an_oracle_may_be_beyond_the_precision(self) -> None:
        """1e300 is infinite in float32, and infinity is the right result there."""
        errors = measure(np.array([np.inf], np.float32), np.array([1e300]), 0.0, "float32")
        assert errors.share == 0

    def test_nothing_allowed_means_identical(self) -> None:
        """A scale of 0 leaves only underflow."""
        assert allowance(8.0, 0.0, "float32") == np.finfo(np.float32).tiny


class TestDerivatives:
    """Central differences, against derivatives known in closed form."""

    @given(st.floats(0.01, 3))
    def test_exponential(self, x: float) -> None:
        """Exp is its own derivative; the stated uncertainty covers the error."""
        (slope,) = central_differences(np.exp, np.array([x]))
        error = abs(slope.value - np.exp(wide(x)))
        assert error <= 4 * slope.uncertainty + 1e-16 * np.exp(wide(x))
        assert slope.uncertainty <= 1e-11 * np.exp(wide(x))

    def test_a_kink_is_not_certain(self) -> None:
        """|x| next to 0, on an input of size 1: every step crosses the kink."""
        slopes = central_differences(lambda x: np.abs(x).sum(), np.array([1e-9, 1.0]))
        assert slopes[0].uncertainty > 1e-9 * slopes[0].natural
        assert slopes[1].uncertainty < 1e-15

    def test_entries_are_in_order(self) -> None:
        """d(sum i x_i)/d x_i = i, over a matrix."""
        weights = np.arange(6.0).reshape(2, 3)
        slopes = central_differences(lambda x: (weights * x).sum(), np.ones((2, 3)))
        np.testing.assert_allclose([float(s.value) for s in slopes], range(6), atol=1e-14)


class TestCases:
    """Random inputs, extremes and sizes of one."""

    def test_labels(self) -> None:
        """Every extreme of every input and every axis gives a case."""
        inputs = {
            "x": normal("n"),
            "done": flags("n"),
            "gamma": uniform(low=0.0, high=1.0),
            "action": integers("n", high=3),
            "fixed": np.ones(2),
            "constant": 0.5,
        }
        labels = [case.label for case in expand_cases(inputs, {"n": 4}, samples=2, seed=0)]
        assert labels[:2] == ["random 0", "random 1"]
        assert labels[-1] == "n = 1"
        extremes = {"done none", "done all", "gamma = 0", "gamma = 1", "x huge", "x tiny"}
        assert set(labels[2:-1]) == extremes

    def test_draws(self) -> None:
        """The arrays are what the labels say; an array given as such is never changed."""
        inputs = {"x": normal("n"), "done": flags("n"), "fixed": np.arange(2.0)}
        cases = {c.label: c.inputs for c in expand_cases(inputs, {"n": 50}, samples=1, seed=0)}
        assert cases["done all"]["done"].all()
        assert not cases["done none"]["done"].any()
        assert 1e5 < np.abs(cases["x huge"]["x"]).max() < 1e7
        assert 1e-7 < np.abs(cases["x tiny"]["x"]).max() < 1e-5
        assert cases["n = 1"]["x"].shape == (1,)
        for case in cases.values():
            np.testing.assert_array_equal(case["fixed"], [0.0, 1.0])

    def test_an_axis_without_a_size(self) -> None:
        message = r"axis 'batch' has no size; pass sizes=\{'batch': 8\}"
        with pytest.raises(ValueError, match=message):
            check_parity(square_sum, square_sum, {"x": normal("batch")})

    def test_a_boundary_determines_every_input(self) -> None:
        """A boundary is one point, so nothing on it is random."""
        inputs = {"x": normal(2), "y": normal(2)}
        with pytest.raises(ValueError, match="'edge' gives no value for 'y'"):
            check_parity(add, add, inputs, boundaries=[Boundary("edge", {"x": np.zeros(2)})])
        with pytest.raises(ValueError, match="there is no input 'z'"):
            check_parity(add, add, inputs, boundaries=[Boundary("edge", {"z": np.zeros(2)})])


class TestAgreement:
    """What passes, and what it is compared in."""

    def test_both_precisions_are_what_they_say(self) -> None:
        """Values come in the type of the precision, from either side."""
        report = check_parity(same, same, {"x": normal(3)}, samples=1)
        for entry in report.entries:
            assert entry.errors.left.dtype == entry.errors.right.dtype == entry.precision
        assert {entry.precision for entry in report.entries} == {"float32", "float64"}

    def test_pytrees_integers_and_constants(self) -> None:
        """Dictionaries go in and come out; whole numbers, bits and constants get no gradient."""

        def both(tree: Any, index: Any, mask: Any, power: int) -> Any:
            return {"picked": tree["a"][index] * mask, "power": (tree["b"][0] ** power,)}

        inputs = {
            "tree": {"a": normal(5), "b": (normal(2),)},
            "index": integers(3, high=5),
            "mask": flags(3),
            "power": 3,
        }
        report = check_parity(both, both, inputs)
        report.assert_ok()
        assert {entry.quantity for entry in report.entries} == {
            *("picked", "power.0", "d picked/d tree.a", "d picked/d tree.b.0"),
            *("d power.0/d tree.a", "d power.0/d tree.b.0"),
        }

    def test_names_of_nested_outputs(self) -> None:
        """Dataclasses, named tuples, tuples and None, on either side alike."""

        class Pair(NamedTuple):
            first: int
            second: Any

        assert flatten({"a": Pair(1, (2, None)), "b": [3]}) == {
            "a.first": 1,
            "a.second.0": 2,
            "b.0": 3,
        }
        assert flatten(4) == {"value": 4}

    def test_cotangents_are_exact_and_never_zero(self) -> None:
        """So every row of a Jacobian counts, in every precision."""
        weights = cotangent("x", (1000,))
        assert (weights != 0).all()
        assert (weights * 64 == np.round(weights * 64)).all()
        assert np.abs(weights).max() < 2
        assert cotangent("x", ()) == 1

    def test_no_gradients_if_not_asked(self) -> None:
        report = check_parity(square_sum, square_sum, {"x": normal(3)}, gradients=False)
        assert {entry.quantity for entry in report.entries} == {"value"}

    def test_settings_are_put_back(self) -> None:
        """Neither framework's default type changes, even after an error."""
        with precision_of("float64"):
            assert jnp.zeros(1).dtype == np.float64
            assert torch.zeros(1).dtype == torch.float64
            with pytest.raises(ValueError, match="no size"):
                check_parity(same, same, {"x": normal("n")}, precisions=["float32"])
            assert torch.zeros(1).dtype == torch.float64
            with pytest.raises(ZeroDivisionError):
                check_parity(lambda _: 1 // 0, same, {"x": normal(1)}, precisions=["float32"])
            assert torch.zeros(1).dtype == torch.float64
        assert jnp.zeros(1).dtype == np.float32
        assert torch.zeros(1).dtype == torch.float32

    def test_older_jax(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where jax has no enable_x64, the one of jax.experimental is used."""
        if not hasattr(jax, "enable_x64"):
            pytest.skip("this JAX is an older one itself")
        current = jax.enable_x64
        monkeypatch.delattr(jax, "enable_x64")
        monkeypatch.setattr(jax.experimental, "enable_x64", current, raising=False)
        with warnings.catch_warnings(), precision_of("float64"):
            warnings.simplefilter("error")
            assert jnp.zeros(1).dtype == np.float64


def failing(torch_fn: Any, jax_fn: Any = square_sum, **options: Any) -> ParityReport:
    """A report that must not be ok."""
    report = check_parity(jax_fn, torch_fn, {"x": normal("n")}, sizes={"n": 4}, **options)
    assert not report.ok
    with pytest.raises(ParityError):
        report.assert_ok()
    return report


class TestFaults:
    """Planted faults, each seen in the right place."""

    def test_a_few_ulp_too_many(self) -> None:
        """40 eps are more than 8, and in float64 too."""
        report = failing(lambda x: square_sum(x) * (1 + 40 * torch.finfo(x.dtype).eps))
        assert {entry.precision for entry in report.failures()} == {"float32", "float64"}

    def test_the_right_value_with_a_wrong_gradient(self) -> None:
        """A detached factor changes no value."""
        report = failing(lambda x: (x * x.detach()).sum())
        assert {entry.quantity for entry in report.failures()} == {"d/d x"}

    @pytest.mark.parametrize(
        ("torch_fn", "jax_fn", "fault"),
        [
            # [1] and [] are not the same, although they broadcast.
            (lambda x: square_sum(x)[None], square_sum, "shapes () and (1,) differ"),
            # Computing in float64 where float32 is asked for hides errors.
            (lambda x: square_sum(x.double()), square_sum, "torch computed in float64"),
            # A forgotten metric.
            (lambda x: {"a": x, "b": x}, lambda x: {"a": x}, "only torch has it"),
        ],
        ids=["shape", "type", "output of one side only"],
    )
    def test_what_is_wrong_beside_the_numbers(self, torch_fn: Any, jax_fn: Any, fault: str) -> None:
        report = failing(torch_fn, jax_fn, gradients=False)
        assert {entry.fault for entry in report.failures()} == {fault}

    def test_an_infinity(self) -> None:
        """It does not agree with a number, however large."""
        assert failing(lambda x: x.sum() / 0.0).failures()[0].errors.absolute == np.inf

    def test_where_nothing_is_finite_nothing_is_compared(self) -> None:
        """NaN agrees with NaN, so it takes at least one number to tell two functions apart."""
        inputs = {"a": normal(8)}
        report = check_parity(
            lambda a: jnp.log(a).mean(), lambda a: torch.sqrt(a).mean() + 3, inputs, gradients=False
        )
        assert len(report.failures()) == len(report.entries)
        assert {entry.fault for entry in report.failures()} == {"of 5 values none was finite"}
        with pytest.raises(ParityError, match="of 5 values none was finite"):
            report.assert_ok()
        # Some that are not finite are no fault: they are counted.
        report = check_parity(jnp.log, torch.log, inputs, gradients=False).assert_ok()
        assert all(0 < row["not_finite"] < 8 * row["cases"] for row in report.rows())

    def test_an_integer_is_compared_exactly(self) -> None:
        """No tolerance for whole numbers."""
        report = check_parity(same, lambda x: x + 1, {"x": integers(3, high=9)})
        assert report.failures()[0].errors.absolute == 1

    def test_only_at_length_one(self) -> None:
        """Ddof 1 on a single sample: the case is named."""
        report = failing(lambda x: square_sum(x) if len(x) > 1 else x.sum() / 0.0)
        assert {entry.case.label for entry in report.failures()} == {"n = 1"}

    def test_both_sides_wrong_together(self) -> None:
        """Two sides that agree on the wrong answer: only the oracle detects it."""

        def wrong(x: Any) -> Any:
            return square_sum(x) / 2

        report = failing(wrong, wrong, oracle=square_sum)
        compared = {entry.compared for entry in report.failures()}
        assert compared == {"jax - oracle", "torch - oracle"}

    def test_an_oracle_on_a_kink_is_a_fault(self) -> None:
        """A point without a gradient that is not declared is reported."""
        report = check_parity(
            lambda x: jnp.abs(x).sum(),
            lambda x: x.abs().sum(),
            {"x": np.array([1e-9, 1.0])},
            oracle=lambda x: np.abs(x).sum(),
            samples=1,
        )
        assert "central differences do not converge" in report.failures()[0].fault


class TestBoundaries:
    """Points where there is no gradient."""

    def check(self, **expected: Any) -> ParityReport:
        """Two ways to clip, at the bound, and the slopes that are expected of each side."""
        return check_parity(
            lambda x: jnp.clip(x, -1.0, 1.0).sum(),
            lambda x: torch.clamp(x, -1.0, 1.0).sum(),
            {"x": normal(1)},
            boundaries=[Boundary("x = 1", {"x": np.array([1.0])}, **expected)],
        )

    def test_a_difference_there_is_reported(self) -> None:
        """jnp.clip passes half of the slope at its bound, torch.clamp all of it."""
        (failure, *others) = self.check().failures()
        assert (failure.case.label, failure.quantity) == ("x = 1", "d/d x")
        assert (failure.errors.left, failure.errors.right) == (0.5, 1.0)
        assert all(entry.case.label == "x = 1" for entry in others)

    def test_a_difference_that_is_stated_passes(self) -> None:
        """Each side is held to what is expected of it."""
        report = self.check(jax={"d/d x": [0.5]}, torch={"d/d x": [1.0]})
        report.assert_ok()
        sides = {entry.compared for entry in report.entries}
        assert sides == {"jax - torch", "jax - expected", "torch - expected"}

    def test_a_wrong_statement_fails(self) -> None:
        """Expected values are checked too."""
        failures = self.check(jax={"d/d x": [0.5]}, torch={"d/d x": [0.5]}).failures()
        assert {entry.compared for entry in failures} == {"torch - expected"}

    def test_a_misspelt_gradient_fails(self) -> None:
        """The names there are, are listed."""
        faults = {entry.fault for entry in self.check(jax={"d/d y": [0.5]}).failures()}
        assert "there is no such gradient; there are d/d x" in faults


class TestReport:
    """The printed report."""

    def test_the_message_names_the_place(self) -> None:
        """Quantity, precision, case, index, both values, difference, allowance and inputs."""
        with pytest.raises(ParityError) as caught:
            check_parity(
                same,
                lambda x: x + torch.tensor([0.0, 0.25]),
                {"x": np.array([1.0, 2.0])},
                gradients=False,
                samples=1,
                precisions=["float64"],
            ).assert_ok()
        assert str(caught.value).splitlines()[:7] == [
            "value differs in float64 (jax - torch)",
            "  in case 'random 0', at index (1,):",
            "    jax = 2.0",
            "    torch = 2.25",
            "  difference 0.25, allowed 4e-15",
            "  inputs:",
            "    x = [1. 2.]",
        ]

    def test_rows_and_the_worst(self) -> None:
        """One row per quantity, precision and pair; the numbers are the worst over the cases."""
        report = check_parity(square_sum, square_sum, {"x": normal(3)}, samples=2)
        rows = report.rows()
        assert [(row["quantity"], row["precision"]) for row in rows] == [
            ("value", "float32"),
            ("d/d x", "float32"),
            ("value", "float64"),
            ("d/d x", "float64"),
        ]
        assert all(row["cases"] == 4 and row["ok"] for row in rows)
        assert str(report).count("\n") == 4
        assert report.worst("value", "float32").quantity == "value"
        with pytest.raises(ValueError, match="compared as 'loss'; there are d/d x, value"):
            report.worst("loss")

    def test_tolerances_of_an_oracle_are_its_own(self) -> None:
        """A side may be further from the truth than the sides are from each other."""
        tolerance = Tolerance(1.0, 2.0, oracle_value=3.0)
        assert tolerance.of(gradient=False, oracle=True) == 3.0
        assert tolerance.of(gradient=True, oracle=True) == 2.0
        assert tolerance.of(gradient=False, oracle=False) == 1.0


class TestExample:
    """The example in the documentation does what it says."""

    def test_the_right_one_passes(self) -> None:
        """The value loss of one's own."""
        example_own_loss.check().assert_ok()

    def test_the_wrong_one_is_caught(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The oracle says which of the two is wrong, and the message is printed."""
        failures = example_own_loss.check(example_own_loss.wrong_torch_loss).failures()
        assert {entry.compared for entry in failures} == {"jax - torch", "torch - oracle"}
        example_own_loss.main()
        printed = capsys.readouterr().out
        assert "The wrong one is caught:" in printed
        assert "value differs in float64" in printed
