"""Every check of levels 1 to 5: both sides agree, and both with the oracle."""

import pytest

from parity_tests import Precision
from parity_tests.checks import ALL_CHECKS, Check
from parity_tests.levels import run_check


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.name)
def test_parity(check: Check, precision: Precision) -> None:
    run_check(check, (precision,)).assert_ok()
