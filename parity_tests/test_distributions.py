"""Both action distributions, on both sides and in forty digits."""

import pytest

from parity_tests import Precision
from parity_tests.checks.check import Check
from parity_tests.checks.distributions import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_parity(check: Check, precision: Precision) -> None:
    """Both sides agree, and both with the oracle."""
    check.run((precision,)).assert_ok()
