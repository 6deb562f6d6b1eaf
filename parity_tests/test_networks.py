"""Networks forward and backward, and the whole loss to every parameter."""

import pytest

from parity_tests import Precision
from parity_tests.checks.check import Check
from parity_tests.checks.networks import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_parity(check: Check, precision: Precision) -> None:
    """Both sides agree, and both with the oracle."""
    check.run((precision,)).assert_ok()
