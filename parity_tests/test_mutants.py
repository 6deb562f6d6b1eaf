"""Known mistakes of other implementations: every one is caught, in either precision."""

import pytest

from parity_tests import Precision
from parity_tests.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(mutant: Mutant, precision: Precision) -> None:
    """By comparing the two sides alone, on the quantity that is wrong."""
    assert mutant.without_oracle().caught((precision,))


def test_the_oracle_says_which_side_is_wrong() -> None:
    """The JAX side, which is right, agrees with the oracle; the mutant does not."""
    mutant = next(m for m in MUTANTS if m.name == "value loss without 1/2")
    wrong = {entry.compared for entry in mutant.check.run().failures()}
    assert wrong == {"jax - torch", "torch - oracle"}


def test_the_list_is_long_and_names_are_unique() -> None:
    """At least fifteen, and the unmutated checks of the same names all pass elsewhere."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 15
