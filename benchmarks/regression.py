"""One commit's speed beside another's."""

import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.compare import Comparison, Hellos, rates_of, ratios, side_of, take_turns
from benchmarks.peers import OURS, ROOT, Installed, locate
from benchmarks.process import Adapter
from benchmarks.work import Work
from jax_ppo.app.errors import AppError


def compare_commits(
    commits: tuple[str, str], works: tuple[Work, ...], rounds: int, limit: float
) -> tuple[list[Comparison], Hellos]:
    """Measure jax_ppo of two commits in turn, each with the adapter of the current tree.

    The source of each is unpacked into a temporary folder, so that the repository stays as it is.

    Args:
        commits: The old one and the new one, by any name that git knows.
        works: What to train.
        rounds: Turns of each.
        limit: Seconds that any one run may take.

    Returns:
        A comparison per work, whose ratio is the second commit's speed by the first one's.

    Raises:
        AppError: There is no such commit, or it is too old for the adapter.
    """
    hashes = tuple(_git("log", "-1", "--format=%h", commit) for commit in commits)
    with tempfile.TemporaryDirectory() as folder:
        trees = [_unpack(commit, Path(folder) / str(i)) for i, commit in enumerate(hashes)]
        compared = [_compare(hashes, trees, work, rounds, limit) for work in works]
    return [comparison for comparison, _ in compared], compared[-1][1]


def _unpack(commit: str, folder: Path) -> Path:
    """Put the files of a commit into a folder."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    _git("archive", f"--output={archive}", commit)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder


def _git(*words: str) -> str:
    """What git says; AppError if it refuses."""
    command = ["git", "-C", str(ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AppError(f"git {' '.join(words)}: {done.stderr.strip().splitlines()[0]}")
    return done.stdout.strip()


def _compare(
    commits: Sequence[str], trees: list[Path], work: Work, rounds: int, limit: float
) -> tuple[Comparison, Hellos]:
    """One work."""
    python = locate(OURS, Path(), {}, {}).python
    with ExitStack() as stack:
        adapters = [
            stack.enter_context(Adapter(Installed(OURS, python, tree=tree), work, limit))
            for tree in trees
        ]
        old, new = take_turns(adapters, rounds)
    sides = tuple(side_of(*side) for side in zip(commits, (old, new), strict=True))
    ratio = {commits[0]: ratios(rates_of(new), rates_of(old))}
    hellos = {name: adapter.hello for name, adapter in zip(commits, adapters, strict=True)}
    return Comparison(work, sides, ratio), hellos
