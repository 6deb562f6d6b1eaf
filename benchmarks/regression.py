"""The speed of one commit relative to another."""

import dataclasses
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.compare import Comparison, Descriptions, alternate, rates_of, ratios, side_of
from benchmarks.peers import OURS, ROOT, Installed, locate
from benchmarks.process import Adapter
from benchmarks.work import Work
from jax_ppo.app.errors import AppError


def compare_commits(
    commits: tuple[str, str], works: tuple[Work, ...], rounds: int, limit: float
) -> tuple[list[Comparison], Descriptions]:
    """Measure jax_ppo of two commits in alternation.

    The source of each commit is unpacked into a temporary folder, so that the repository does not
    change. Each commit runs its own adapter, which knows its functions; both get the same works.

    Args:
        commits: The old one and the new one, by any name that git knows.
        works: The trainings.
        rounds: Trainings of each commit and work.
        limit: Seconds that any one run may take.

    Returns:
        A comparison per work, whose ratio is the second commit's speed divided by the first one's.

    Raises:
        AppError: There is no such commit, or its adapter fails.
    """
    hashes = tuple(_git("log", "-1", "--format=%h", commit) for commit in commits)
    with tempfile.TemporaryDirectory() as folder:
        trees = [_unpack(commit, Path(folder) / str(i)) for i, commit in enumerate(hashes)]
        compared = [_compare(hashes, trees, work, rounds, limit) for work in works]
    return [comparison for comparison, _ in compared], compared[-1][1]


def installed_in(tree: Path) -> Installed:
    """jax_ppo as it is in a source tree, with the adapter of that tree."""
    implementation = dataclasses.replace(OURS, adapters=tree / "benchmarks" / "adapters")
    return Installed(implementation, locate(OURS, Path(), {}, {}).python, tree=tree)


def _unpack(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a folder."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    _git("archive", f"--output={archive}", commit)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder


def _git(*words: str) -> str:
    """Output of a git command; AppError if it fails."""
    command = ["git", "-C", str(ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AppError(f"git {' '.join(words)}: {done.stderr.strip().splitlines()[0]}")
    return done.stdout.strip()


def _compare(
    commits: Sequence[str], trees: list[Path], work: Work, rounds: int, limit: float
) -> tuple[Comparison, Descriptions]:
    """The comparison of one work."""
    with ExitStack() as stack:
        adapters = [stack.enter_context(Adapter(installed_in(tree), work, limit)) for tree in trees]
        old, new = alternate(adapters, rounds)
    sides = tuple(side_of(*side) for side in zip(commits, (old, new), strict=True))
    ratio = {commits[0]: ratios(rates_of(new), rates_of(old))}
    found = {name: adapter.description for name, adapter in zip(commits, adapters, strict=True)}
    return Comparison(work, sides, ratio), found
