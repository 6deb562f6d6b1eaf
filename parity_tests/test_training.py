"""A whole training: each side equals the oracle, and no mistake that both make escapes it."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
import pytest

from parity_tests.checks.tiny import Architecture
from parity_tests.planted import APPLIED, DRAWN, Planted
from parity_tests.training import (
    STOPPING,
    TRAININGS,
    Outcome,
    by_oracle,
    on_jax,
    on_torch,
    wrong_numbers,
)

SIDES = pytest.mark.parametrize("side", [on_jax, on_torch], ids=["jax", "torch"])
Side = Callable[[Architecture], Outcome]
Oracle = Callable[[Architecture], Outcome]


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    """The oracle's numbers, computed once."""
    known = {training.name: by_oracle(training) for training in TRAININGS}
    return lambda training: known[training.name]


@pytest.fixture
def quick_compilation() -> Iterator[None]:
    """A mistake changes a number by far more than how XLA rounds it."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@SIDES
@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)
def test_a_training_equals_the_oracle(side: Side, training: Architecture, oracle: Oracle) -> None:
    assert wrong_numbers(side(training), oracle(training)) == []


def test_the_trainings_cover_what_they_are_for(oracle: Oracle) -> None:
    """Everything that has an effect now and then has it in one update, and not in another."""
    penalty, stopping = (oracle(training) for training in TRAININGS)
    assert set(penalty["metrics.clip_fraction"] > 0) == {False, True}
    assert list(stopping["metrics.kl_stop"]) == [0, 0, 1, 0]
    assert list(stopping["metrics.gradient_steps"]) == [4, 4, 2, 4]
    steps = np.diff(np.log2(penalty["metrics.kl_coef"].astype(float)))
    assert list(steps) == [-1, -1, 0], "halved twice, then kept"
    for outcome, training in ((penalty, TRAININGS[0]), (stopping, STOPPING)):
        assert outcome["metrics.grad_norm"].min() > training.config.max_grad_norm


@SIDES
@pytest.mark.parametrize("mistake", APPLIED, ids=lambda mistake: mistake.name)
def test_a_mistake_on_both_sides_is_found(
    mistake: Planted, side: Side, oracle: Oracle, quick_compilation: None
) -> None:
    with mistake.on_both_sides():
        assert wrong_numbers(side(mistake.training), oracle(mistake.training))


def test_names_are_unique() -> None:
    mistakes = (*APPLIED, *DRAWN)
    assert len({mistake.name for mistake in mistakes}) == len(mistakes)
