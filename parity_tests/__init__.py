"""Checks that two implementations are the same algorithm, and the tools to check your own."""

from parity_tests.compare import Tolerance
from parity_tests.harness import check_parity
from parity_tests.inputs import Boundary, Spec, flags, integers, normal, uniform
from parity_tests.measure import PRECISIONS, Precision
from parity_tests.precision import precision_of
from parity_tests.report import Entry, ParityError, ParityReport
from parity_tests.sides import cotangent

__all__ = [
    "Boundary",
    "Entry",
    "PRECISIONS",
    "ParityError",
    "ParityReport",
    "Precision",
    "Spec",
    "Tolerance",
    "check_parity",
    "cotangent",
    "flags",
    "integers",
    "normal",
    "precision_of",
    "uniform",
]
