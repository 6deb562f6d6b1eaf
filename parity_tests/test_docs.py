"""The catalogue of differences in the documentation is complete and points at tests that exist."""

import re
from pathlib import Path

from parity_tests import test_differences
from parity_tests.environments import known_differences

CATALOGUE = (Path(__file__).parents[1] / "docs" / "differences.md").read_text()


def test_every_known_difference_of_the_environments_is_listed() -> None:
    for difference in known_differences():
        assert difference["what"] in CATALOGUE


def test_every_pinned_difference_is_listed() -> None:
    """By the name of its test or of its class."""
    classes = {n: c for n, c in vars(test_differences).items() if n.startswith("Test")}
    for class_name, tests in classes.items():
        names = [name for name in vars(tests) if name.startswith("test_")]
        assert class_name in CATALOGUE or all(name in CATALOGUE for name in names), class_name


def test_every_test_that_is_named_exists() -> None:
    source = Path(test_differences.__file__).read_text()
    for name in re.findall(r"`(?:Test\w+\.)?(test_\w+)`", CATALOGUE):
        assert f"def {name}(" in source, name
    for name in re.findall(r"`(Test\w+)", CATALOGUE):
        assert f"class {name}:" in source, name
