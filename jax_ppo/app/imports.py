"""Modules that are named as module:name: by the user on the command line, or by a run folder.

What the user types may be imported from the current folder. What a run folder names would run code
that somebody else has chosen, so it is imported only after the user's consent; a module that was
typed once, or consented to once, is remembered by its file.
"""

import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import platformdirs

from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import write_json

NAMED = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_][\w.-]*")
"""module:name."""


@dataclass(frozen=True)
class CurrentFolder(MetaPathFinder):
    """Finds some modules, and what they import while they are imported, in one folder."""

    folder: str
    names: frozenset[str]
    """Top-level modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's specification; None if it is another module, or not there."""
        if fullname not in self.names:
            return None
        spec = PathFinder.find_spec(fullname, [self.folder])
        if spec is not None and spec.loader is not None:
            spec.loader = FolderLoader(spec.loader, self.folder)
        return spec


@dataclass(frozen=True)
class FolderLoader(Loader):
    """Loads a module with its folder on the path of imports."""

    loader: Any
    folder: str

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """As the module's own loader does, with the folder on the path."""
        with _on_path(self.folder):
            self.loader.exec_module(module)


@contextmanager
def _on_path(folder: str) -> Iterator[None]:
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def modules_in(words: Iterable[Any]) -> list[str]:
    """The top-level modules of each module:name in some words, as in `algorithm=ppo,mine:own`."""
    parts = [part for word in words for part in re.split("[=,]", str(word))]
    found = [match[1].partition(".")[0] for part in parts if (match := NAMED.fullmatch(part))]
    return list(dict.fromkeys(found))


def allow_imports(words: Iterable[Any]) -> None:
    """Let the modules that the user has typed be imported from the current folder too."""
    names = modules_in(words)
    if not names:
        return
    finder = CurrentFolder(str(Path.cwd()), frozenset(names))
    if finder not in sys.meta_path:
        sys.meta_path.append(finder)
    typed = {(name, file) for name in names if (file := file_of(name))}
    if not typed <= _remembered():
        _remember(typed | _remembered())


def check_imports(path: Path, words: Iterable[Any], consent: bool) -> None:
    """Refuse to import what a run folder names, unless the user has consented, now or before.

    Args:
        path: The folder, for the message.
        words: What it names: environments and algorithms.
        consent: Whether the user consents now.

    Raises:
        AppError: There is a module that was never typed nor consented to.
    """
    words = list(words)
    for name in modules_in(words):
        file = file_of(name)
        if not consent and (name, file) not in _remembered():
            raise AppError(
                f"{path} names the module {name} ({file or 'not found'}), whose code would run; "
                "if you trust it, say so once with --allow-import"
            )
    allow_imports(words)


def file_of(name: str) -> str | None:
    """The file of a top-level module, installed or in the current folder; it is not imported."""
    try:
        spec = importlib.util.find_spec(name) or PathFinder.find_spec(name, [str(Path.cwd())])
    except ValueError:  # a module without a specification, such as __main__
        return None
    return None if spec is None else spec.origin


def _memory() -> Path:
    """The file that has the modules the user has typed or consented to."""
    return Path(platformdirs.user_data_dir("jax-ppo")) / "allowed_imports.json"


def _remembered() -> set[tuple[str, str | None]]:
    try:
        return {(name, file) for name, file in json.loads(_memory().read_text())}
    except (OSError, ValueError, TypeError):
        return set()


def _remember(modules: set[tuple[str, str | None]]) -> None:
    try:
        _memory().parent.mkdir(parents=True, exist_ok=True)
        write_json(_memory(), sorted(modules, key=str))
    except OSError:
        return  # a home that cannot be written: consent has to be given again
