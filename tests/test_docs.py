"""The documentation: tutorials run as they stand, pages are found, links lead somewhere."""

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EXECUTED = [DOCS / "index.md", *sorted((DOCS / "tutorials").glob("*.md"))]


def blocks_of(page: Path) -> Iterator[tuple[str, int, str]]:
    """(language, number of the line before, text) of every fenced block."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        yield match[1], text[: match.start(2)].count("\n"), match[2]


def commands_of(block: str) -> list[list[str]]:
    """The words of the lines of a shell block that call one of the two programs."""
    lines = block.replace("\\\n", " ").splitlines()
    calls = [line for line in lines if line.startswith(("jax-ppo ", "torch-ref "))]
    return [shlex.split(line, comments=True) for line in calls]


def run_page(page: Path) -> None:
    """Run the blocks of a page in the order that it has them, in the current folder."""
    import jax

    programs = {"jax-ppo": "jax_ppo.app.cli", "torch-ref": "torch_ref.app.cli"}
    jax.config.update("jax_numpy_rank_promotion", "raise")
    warnings.simplefilter("error")
    names: dict[str, Any] = {"__name__": "page"}
    for language, line, block in blocks_of(page):
        if language == "python":  # the empty lines make the numbers in a traceback the page's
            exec(compile("\n" * line + block, str(page), "exec"), names)
        elif language == "sh":
            for program, *words in commands_of(block):
                status = importlib.import_module(programs[program]).main(words)
                assert status == 0, (page.name, program, words)


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    """In a process of its own: environments are registered and devices settled in it."""
    done = subprocess.run(
        [sys.executable, __file__, str(page)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_every_block_says_what_it_is(page: Path) -> None:
    languages = [language for language, _, _ in blocks_of(page)]
    assert languages
    assert set(languages) <= {"python", "sh", "text"}


def nav_pages(entries: Any) -> Iterator[str]:
    """The files that a nav names, in order."""
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from nav_pages(entry)


def test_nav_has_every_page_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = list(nav_pages(yaml.safe_load(text)["nav"]))
    assert sorted(nav) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


def anchors_of(page: Path) -> set[str]:
    """What a link into a page may name after #."""
    prose = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_relative_to(ROOT), target
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in anchors_of(path), target


def documented() -> list[str]:
    """The modules on the pages of the reference."""
    texts = [page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md"))]
    return re.findall(r"^::: ([\w.]+)$", "\n".join(texts), flags=re.MULTILINE)


def test_reference_has_every_public_module_once() -> None:
    paths = [path for name in ("jax_ppo", "torch_ref") for path in (ROOT / name).rglob("*.py")]
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    modules = {".".join(names) for names in parts if "app" not in names and names[-1][0] != "_"}
    names = documented()
    assert len(set(names)) == len(names)
    assert modules <= set(names)
    assert "parity_tests.harness" in names
    assert all(importlib.util.find_spec(name) for name in names)


def test_site_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir"]
    done = subprocess.run(
        [*command, str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for page in PAGES:
        name = page.relative_to(DOCS).with_suffix("")
        folder = name.parent if name.name == "index" else name
        assert (tmp_path / "site" / folder / "index.html").exists(), name


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
