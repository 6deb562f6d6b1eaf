"""gymnax's environments and Gymnasium's do the same, except for the listed differences."""

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parity_tests.environments import (
    TWINS,
    Comparison,
    Difference,
    Outcome,
    Twin,
    compare,
    compare_resets,
    known_differences,
    step_both,
)
from parity_tests.environments.cartpole import CARTPOLE
from parity_tests.environments.mountain_car import MOUNTAIN_CAR
from parity_tests.environments.pendulum import PENDULUM
from parity_tests.environments.sides import (
    blank_state,
    ending_gymnasium,
    ending_gymnax,
    facts_gymnasium,
    facts_gymnax,
    step_gymnasium,
)
from parity_tests.environments.twin import Grid
from parity_tests.measure import PRECISIONS, Precision
from parity_tests.precision import precision_of

DIFFERENCES = [(twin, difference) for twin in TWINS for difference in twin.differences]

every_twin = pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.env_id)

Stepped = Callable[[Twin, Precision], Outcome]


@pytest.fixture(scope="module")
def stepped() -> Stepped:
    """`step_both`, which computes each outcome once."""
    outcomes: dict[tuple[str, Precision], Outcome] = {}

    def once(twin: Twin, precision: Precision) -> Outcome:
        if (twin.env_id, precision) not in outcomes:
            outcomes[twin.env_id, precision] = step_both(twin, precision)
        return outcomes[twin.env_id, precision]

    return once


@pytest.fixture
def outcome(twin: Twin, precision: Precision, stepped: Stepped) -> Outcome:
    """The steps of the test's environment, in the test's precision."""
    return stepped(twin, precision)


def differences(choose: Callable[[Difference], bool]) -> pytest.MarkDecorator:
    """A test for each of some of the differences."""
    chosen = [(twin, difference) for twin, difference in DIFFERENCES if choose(difference)]
    return pytest.mark.parametrize(
        ("twin", "difference"), chosen, ids=[f"{t.env_id}-{d.what[:50]}" for t, d in chosen]
    )


affecting = differences(lambda difference: difference.affects is not None)


def failures(comparisons: list[Comparison]) -> set[str]:
    """The quantities that do not agree."""
    return {comparison.quantity for comparison in comparisons if not comparison.ok}


@every_twin
class TestOneStep:
    def test_agrees_except_where_known(
        self, twin: Twin, precision: Precision, outcome: Outcome
    ) -> None:
        """Everywhere but at the affected points both agree, and at every one of those they do not.

        So no predicate is too narrow or too wide.
        """
        for comparison in compare(twin, precision, outcome):
            assert comparison.ok, str(comparison)

    def test_grid_covers_the_space(self, twin: Twin, outcome: Outcome) -> None:
        grid, _, steps = outcome
        assert 1000 < len(grid.states) < 5000
        assert 0.2 < steps.truncated.mean() < 0.5
        ends = twin is not PENDULUM
        assert ends == (steps.terminated & steps.truncated).any()
        assert ends == (steps.terminated & ~steps.truncated).any()
        assert (~steps.terminated & ~steps.truncated).any()

    def test_truncated_on_the_last_step_only(self, twin: Twin, outcome: Outcome) -> None:
        grid, left, right = outcome
        last = grid.elapsed + 1 == facts_gymnasium(twin).time_limit
        np.testing.assert_array_equal(left.truncated, last)
        np.testing.assert_array_equal(right.truncated, last)

    def test_resets_where_either_flag_is_set(self, outcome: Outcome) -> None:
        for steps in outcome[1:]:
            same = (steps.first_obs == steps.obs).all(axis=1)
            np.testing.assert_array_equal(same, ~(steps.terminated | steps.truncated))

    def test_only_the_rounding_to_float32_is_undone(self, twin: Twin, stepped: Stepped) -> None:
        """Rounding the observations that are compared in float64 gives Gymnasium's own."""
        grid, _, steps = stepped(twin, "float32")
        unrounded = step_gymnasium(twin, grid, "float64").obs
        np.testing.assert_array_equal(unrounded.astype(np.float32), steps.obs)

    def test_tolerance_of_float32_is_needed(
        self, twin: Twin, precision: Precision, outcome: Outcome
    ) -> None:
        """Where float64 results may differ by float32's rounding they do."""
        for comparison in compare(twin, precision, outcome):
            if comparison.rounding.of != precision and comparison.rounding.units:
                assert comparison.relative > 1e6 * np.finfo(precision).eps


class TestDifferences:
    def test_what_they_say(self) -> None:
        """Every difference names both results, under the same names, and both causes."""
        assert len(known_differences()) == len(DIFFERENCES)
        for _, difference in DIFFERENCES:
            assert difference.gymnax.keys() == difference.gymnasium.keys()
            for quantity, result in difference.gymnax.items():
                assert result != difference.gymnasium[quantity]
            assert all((difference.gymnax_cause, difference.gymnasium_cause))
            assert (difference.state is None) == (difference.action is None)

    def test_every_kind_is_pinned(self) -> None:
        """By one of the tests below."""
        kinds = {*facts_gymnax(CARTPOLE)._fields, "state", "invalid_action"}
        for _, difference in DIFFERENCES:
            assert difference.is_of_a_step or difference.gymnax.keys() <= kinds

    @differences(lambda difference: difference.is_of_a_step)
    def test_a_step_shows_it(self, twin: Twin, difference: Difference, stepped: Stepped) -> None:
        """Both results are as written down, and no other quantity differs there."""
        for precision in difference.precisions:
            grid, left, right = stepped(twin, precision)
            index = index_of(grid, twin, difference)
            for name in ("obs", "reward", "terminated", "truncated"):
                a, b = getattr(left, name)[index], getattr(right, name)[index]
                if name in difference.gymnax:
                    assert_pinned(difference, a, difference.gymnax[name])
                    assert_pinned(difference, b, difference.gymnasium[name])
                else:
                    assert_pinned(difference, a, b)

    @affecting
    def test_none_is_superfluous(
        self, twin: Twin, difference: Difference, stepped: Stepped
    ) -> None:
        """Without it the comparison fails, in its quantities and its precisions alone."""
        rest = tuple(other for other in twin.differences if other is not difference)
        unaware = dataclasses.replace(twin, differences=rest)
        for precision in PRECISIONS:
            outcome = stepped(twin, precision)
            expected = {*difference.gymnax} if precision in difference.precisions else set()
            assert failures(compare(unaware, precision, outcome)) == expected

    @affecting
    def test_a_wider_predicate_fails(
        self, twin: Twin, difference: Difference, stepped: Stepped
    ) -> None:
        """A predicate that holds everywhere fails at the points that agree."""
        wider = dataclasses.replace(difference, affects=everywhere)
        known = dataclasses.replace(twin, differences=(*twin.differences, wider))
        precision = difference.precisions[0]
        found = failures(compare(known, precision, stepped(twin, precision)))
        assert found == {*difference.gymnax}

    @differences(lambda difference: "invalid_action" in difference.gymnax)
    def test_actions_that_do_not_exist(self, twin: Twin, difference: Difference) -> None:
        """gymnax computes something, Gymnasium raises."""
        obs, _ = raw_step_gymnax(twin, difference)
        assert_pinned(difference, obs, difference.gymnax["invalid_action"])
        with pytest.raises((AssertionError, IndexError)) as raised:
            raw_step_gymnasium(twin, difference)
        assert raised.type.__name__ == difference.gymnasium["invalid_action"]

    @differences(lambda difference: "state" in difference.gymnax)
    def test_states_that_observations_do_not_show(self, twin: Twin, difference: Difference) -> None:
        """The states after the step differ, the observations do not."""
        with precision_of("float64"):
            left_obs, left = raw_step_gymnax(twin, difference)
        right_obs, right = raw_step_gymnasium(twin, difference)
        assert_pinned(difference, left, difference.gymnax["state"])
        assert_pinned(difference, right, difference.gymnasium["state"])
        np.testing.assert_allclose(left_obs, right_obs, atol=1e-15)

    @every_twin
    def test_facts(self, twin: Twin) -> None:
        """Spaces, types and time limits are the same but for what is written down."""
        left, right = facts_gymnax(twin)._asdict(), facts_gymnasium(twin)._asdict()
        for difference in twin.differences:
            for name in difference.gymnax.keys() & left.keys():
                assert left.pop(name) == difference.gymnax[name]
                assert right.pop(name) == difference.gymnasium[name]
        assert left == right


def everywhere(grid: Grid, precision: Precision) -> np.ndarray:
    return np.ones(len(grid.states), bool)


def index_of(grid: Grid, twin: Twin, difference: Difference) -> int:
    """Where `Twin.points` has put the point that shows a difference."""
    shown = [d for d in twin.differences if d.is_of_a_step and d.state is not None]
    return len(grid.states) - len(shown) + shown.index(difference)


def assert_pinned(difference: Difference, result: Any, expected: Any) -> None:
    """The result that is listed, to the precision's rounding."""
    rtol = 1e-6 if "float32" in difference.precisions else 1e-12
    result, expected = np.asarray(result), np.asarray(expected)
    np.testing.assert_allclose(result, expected, rtol=rtol, atol=rtol / 100)


def raw_step_gymnax(twin: Twin, difference: Difference) -> tuple[np.ndarray, np.ndarray]:
    """Observation and state after one step of gymnax from the difference's state."""
    env, params = gymnax.make(twin.env_id)
    state = blank_state(env.reset_env, jax.random.key(0), params)
    assert difference.state is not None
    values = dict(zip(twin.fields, map(jnp.asarray, difference.state), strict=True))
    state = dataclasses.replace(state, **values)
    action = jnp.asarray(difference.action, jnp.int32)
    obs, state, *_ = jax.jit(env.step_env)(jax.random.key(0), state, action, params)
    return np.asarray(obs), np.asarray([getattr(state, name) for name in twin.fields])


def raw_step_gymnasium(twin: Twin, difference: Difference) -> tuple[np.ndarray, np.ndarray]:
    """Observation and state after one step of Gymnasium from the difference's state."""
    env = gymnasium.make(twin.env_id, disable_env_checker=True)
    inner: Any = env.unwrapped
    env.reset(seed=0)
    inner.state = np.array(difference.state)
    obs, *_ = env.step(difference.action)
    return obs, np.asarray(inner.state)


@every_twin
def test_resets(twin: Twin) -> None:
    """Both draw from the uniform distribution that is written down, each variable by itself."""
    comparisons = compare_resets(twin)
    for comparison in comparisons:
        assert comparison.inside
        assert comparison.p_value > 1e-3, f"{comparison.side}: {comparison.variable}"
    for side in ("gymnax", "gymnasium"):
        varying = [c.samples for c in comparisons if c.side == side and np.ptp(c.samples) > 0]
        correlation = np.atleast_2d(np.corrcoef(varying)) - np.eye(len(varying))
        # Of 4000 independent pairs the correlation has a standard deviation of 0.016.
        assert np.abs(correlation).max() < 0.06


def test_resets_from_elsewhere() -> None:
    """Bounds that are 10 % too wide, or shifted by 5 %, are detected."""
    for comparison in compare_resets(CARTPOLE):
        for bounds in ((-0.055, 0.055), (-0.045, 0.055)):
            assert dataclasses.replace(comparison, bounds=bounds).p_value < 1e-3


class TestTimeLimit:
    @every_twin
    def test_whole_episode(self, twin: Twin) -> None:
        """Step by step from the reset, the first flag comes at the time limit."""
        limit = facts_gymnasium(twin).time_limit
        assert ending_gymnax(twin) == ending_gymnasium(twin) == (limit, False, True)

    def test_another_limit(self) -> None:
        """As a config sets it."""
        limit = {"max_steps_in_episode": 7}
        expected = (7, False, True)
        assert ending_gymnax(CARTPOLE, limit) == expected
        assert ending_gymnasium(CARTPOLE, limit) == expected


class TestWrongVariants:
    """The comparison detects what is wrong, and nothing else."""

    @pytest.mark.parametrize(
        ("twin", "env_params", "expected"),
        [
            (CARTPOLE, {"gravity": 9.8 * 1.001}, {"obs"}),
            (CARTPOLE, {"max_steps_in_episode": 499}, {"truncated"}),
            (MOUNTAIN_CAR, {"max_speed": 1.0}, {"obs"}),
            (PENDULUM, {"max_torque": 3.0}, {"obs", "reward"}),
        ],
    )
    def test_fails(self, twin: Twin, env_params: dict[str, float], expected: set[str]) -> None:
        outcome = step_both(twin, "float32", env_params)
        assert failures(compare(twin, "float32", outcome)) == expected

    @every_twin
    def test_small_error_in_the_result(
        self, twin: Twin, precision: Precision, outcome: Outcome
    ) -> None:
        """One number of the thousands, off by three times the tolerance."""
        moved = outcome.gymnax.obs.astype(np.float64)
        allowed = twin.rounding("obs", precision).allowed(outcome.grid, moved)
        index = np.flatnonzero(~twin.affected("obs", outcome.grid, precision))[20]
        moved[index, -1] += 3 * allowed[index, -1]
        wrong = outcome._replace(gymnax=outcome.gymnax._replace(obs=moved))
        assert failures(compare(twin, precision, wrong)) == {"obs"}
