"""The page of pitfalls: its numbers are computed, and the tests and mutants that it names exist."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.mutants import MUTANTS

ROOT = Path(__file__).parents[1]
PATH = ROOT / "docs" / "pitfalls.md"
INTRODUCTION, *SECTIONS = re.split(r"^### ", PATH.read_text(encoding="utf-8"), flags=re.MULTILINE)
ENTRIES = dict(section.split("\n", 1) for section in SECTIONS)
"""Heading to text."""

for_each_entry = pytest.mark.parametrize("heading", ENTRIES)


def blocks(text: str) -> list[str]:
    """The Python in a piece of the page."""
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def run(heading: str) -> dict[str, Any]:
    """Every name after the first block of the page and an entry's own."""
    names: dict[str, Any] = {}
    for block in (*blocks(INTRODUCTION), *blocks(ENTRIES[heading])):
        exec(compile(block, f"{PATH.name}: {heading}", "exec"), names)
    return names


def asserted(heading: str) -> list[str]:
    """Names x of the lines `assert np.isclose(x, number)`: those that are compared with a number.

    A number is one that is written out, or NaN or infinity.
    """
    number = r"-?(?:\d+(?:\.\d+)?|np\.inf|np\.nan)"
    line = rf"^assert np\.isclose\((\w+), {number}(?:, (?:atol=1e-6|equal_nan=True))?\)"
    (block,) = blocks(ENTRIES[heading])
    return re.findall(line, block, flags=re.MULTILINE)


def caught_by(heading: str) -> list[str]:
    """Tests and mutants that an entry names."""
    _, _, names = ENTRIES[heading].partition("\nCaught by ")
    return re.findall(r"`([^`]+)`", names.split("\n\n")[0])


def test_headings_differ() -> None:
    assert len(ENTRIES) == len(SECTIONS) >= 18
    assert len(blocks(INTRODUCTION)) == 1


@for_each_entry
def test_numbers(heading: str) -> None:
    """The block's own assertions hold, and every wrong number is far from its right one."""
    names = run(heading)
    for name in asserted(heading):
        kind, _, variant = name.partition("_")
        if kind == "wrong":
            right = names.get(f"right_{variant}", names["right"])
            assert not np.isclose(names[name], right, rtol=0.02, atol=0.02), name


@for_each_entry
def test_one_block_asserts_right_and_wrong(heading: str) -> None:
    assert {"right", "wrong"} <= set(asserted(heading))
    (block,) = blocks(ENTRIES[heading])
    stored = {
        node.id
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    compared = {name for name in stored if re.match("(right|wrong)", name)}
    assert compared <= set(asserted(heading)), "every one of them is compared with its number"
    assert max(map(len, block.splitlines())) <= 100


@for_each_entry
def test_what_catches_it_exists(heading: str) -> None:
    names = caught_by(heading)
    assert names
    tests = [name for name in names if "::" in name]
    assert set(names) - set(tests) <= {mutant.name for mutant in MUTANTS}
    for test in tests:
        file, *_, function = test.split("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in defined, test
