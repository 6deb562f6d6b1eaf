"""Two hundred steps of Adam and AdamW: parameters and moments."""

import pytest

from parity_tests import Precision
from parity_tests.checks.check import Check
from parity_tests.checks.optimizer import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_parity(check: Check, precision: Precision) -> None:
    """Both sides agree, and both with the oracle."""
    check.run((precision,)).assert_ok()
