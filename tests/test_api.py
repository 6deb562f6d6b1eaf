"""The shape of the code: who imports whom, what is public, and how long functions are."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

import jax_ppo
from jax_ppo import Metrics

PACKAGE = Path(jax_ppo.__file__).parent
ORDER = [
    ["config"],
    ["shapes"],
    ["presets", "distributions", "normalize", "schedules", "permutations"],
    ["types", "spaces"],
    ["envs"],
    ["adapters", "networks"],
    ["rollout", "advantages", "diagnostics"],
    ["losses"],
    ["update"],
    ["ppo"],
    ["train", "evaluate"],
    ["devices", "variants"],
    ["app"],
]
"""A chapter imports from those before it, and, if it is a folder, from itself."""
RANKS = {name: rank for rank, names in enumerate(ORDER) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))
CHAPTERS = [path for path in FILES if "app" not in path.parts and "kernels" not in path.parts]
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def chapter_of(path: Path) -> str:
    """The first part of the name of a module below jax_ppo."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_by(path: Path) -> set[str]:
    """The chapters of jax_ppo that a file imports, inside functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            whole = node.module == "jax_ppo"
            names += [f"jax_ppo.{a.name}" for a in node.names] if whole else [str(node.module)]
    return {name.split(".")[1] for name in names if name.startswith("jax_ppo.")}


@each_file
def test_imports_follow_the_order_of_the_chapters(path: Path) -> None:
    """`kernels` is imported by all and imports none; `app` may import everything."""
    chapter, imported = chapter_of(path), imported_by(path)
    if chapter not in ("__init__", "__main__", "app"):
        before = {name for name in RANKS if RANKS[name] < RANKS.get(chapter, 0)}
        assert imported <= before | {chapter, "kernels"}


def test_every_chapter_has_a_place_in_the_order() -> None:
    names = {chapter_of(path) for path in FILES} - {"__init__", "__main__", "kernels"}
    assert names == set(RANKS)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_chapters_stay_simple(path: Path) -> None:
    """No mesh axis in a signature, no function longer than a screen, no kind of action asked."""
    text = path.read_text(encoding="utf-8")
    assert "axis_name" not in text
    assert path.stem == "spaces" or not re.search(r"isinstance\([^)]*Actions", text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            assert lines <= 40, node.name


# What is public


def test_all_is_what_is_imported() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    names = [alias.asname or alias.name for node in nodes for alias in node.names]
    assert sorted(names) == sorted(jax_ppo.__all__)
    assert len(set(names)) == len(names)
    assert all(hasattr(jax_ppo, name) for name in names)


def public_functions() -> Iterator[tuple[str, Any]]:
    """Functions, and the public methods of classes, by name."""
    for name in jax_ppo.__all__:
        value = getattr(jax_ppo, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            methods = inspect.getmembers(value, inspect.isroutine)
            own = [(key, method) for key, method in methods if key in vars(value)]
            yield from ((f"{name}.{key}", method) for key, method in own if key[0] != "_")


@pytest.mark.parametrize(("name", "function"), list(public_functions()))
def test_at_most_four_arguments_by_position(name: str, function: Any) -> None:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    by_position = [p.name for p in parameters if p.kind in positional and p.name != "self"]
    assert len(by_position) <= 4, by_position
    assert inspect.getdoc(function)


# Metrics


def test_every_metric_is_documented() -> None:
    """Each field of the class is followed by a string, which ends like a sentence."""
    (tree,) = ast.parse(inspect.getsource(Metrics)).body
    assert isinstance(tree, ast.ClassDef)
    documented = [
        node.target.id
        for node, text in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(text, ast.Expr)
        and ast.literal_eval(text.value).endswith(".")
    ]
    assert documented == [field.name for field in dataclasses.fields(Metrics)]


def test_metrics_as_a_dictionary_and_merged() -> None:
    one = Metrics(loss=jnp.array(1.0), entropy=jnp.array(2.0), extra={"a": jnp.array(3.0)})
    other = Metrics(loss=jnp.array(4.0), extra={"b": jnp.array(5.0)})
    assert Metrics().as_dict() == {}
    assert one.as_dict() == {"loss": 1.0, "entropy": 2.0, "a": 3.0}
    assert one.merge(other).as_dict() == {"loss": 4.0, "entropy": 2.0, "a": 3.0, "b": 5.0}
    assert other.merge(one).as_dict() == {"loss": 1.0, "entropy": 2.0, "a": 3.0, "b": 5.0}
    assert one.merge(Metrics()).as_dict() == one.as_dict()
    assert one.as_dict() == {"loss": 1.0, "entropy": 2.0, "a": 3.0}, "merging changes neither"
    assert one.merge(Metrics(extra={"a": jnp.array(9.0)})).extra == {"a": 9.0}
