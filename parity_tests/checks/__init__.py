"""Every comparison of the two sides, as data: tests run them, and so does the report."""

from parity_tests.checks import (
    advantages,
    diagnostics,
    distributions,
    learn,
    losses,
    networks,
    normalize,
    optimizer,
    schedules,
    update,
)
from parity_tests.checks.check import Check

ALL_CHECKS: tuple[Check, ...] = (
    *advantages.CHECKS,
    *losses.CHECKS,
    *distributions.CHECKS,
    *diagnostics.CHECKS,
    *normalize.CHECKS,
    *schedules.CHECKS,
    *networks.CHECKS,
    *optimizer.CHECKS,
    *update.CHECKS,
    *learn.CHECKS,
)
"""In order of the chapters."""

__all__ = ["ALL_CHECKS", "Check"]
