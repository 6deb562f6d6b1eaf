"""The protocol: a real adapter in a process of its own, and adapters that fail."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.compare import compare
from benchmarks.peers import OURS, Installed, locate
from benchmarks.process import Adapter
from benchmarks.work import NARROW
from jax_ppo.app.errors import AppError

TINY = dataclasses.replace(NARROW, num_updates=3, num_steps=16, hidden_sizes=(8,))
MINE = locate(OURS, Path(), {}, {})

PRINTS = """
print("a library says hello")
import protocol
task = protocol.begin()
print("and more")
protocol.serve(task, {}, {"run": lambda seed: {"seed": seed}, "fail": lambda: {}[0]})
"""


def fake(folder: Path, program: str) -> Any:
    """An implementation whose adapter is `program`."""
    script = folder / "adapter.py"
    script.write_text(program)
    implementation = SimpleNamespace(name="fake", adapter=script, share_of=lambda work: work)
    return Installed(implementation, MINE.python, tree=OURS.adapter.parent)  # type: ignore[arg-type]


def test_jax_ppo_answers() -> None:
    with Adapter(MINE, TINY, limit=120.0) as adapter:
        assert adapter.description["versions"]["jax"]
        assert adapter.description["device"]
        assert {"flags", "import_seconds", "trace_seconds"} <= set(adapter.description)
        assert adapter.description["compile_seconds"] > 0
        run = adapter.ask("run 1")
        assert run["env_steps"] == TINY.env_steps == 3 * 4 * 16
        assert run["seconds"] > 0
        curve = adapter.ask("curve 1")
        assert len(curve["returns"]) == 3
        assert curve["returns"][-1] == run["final_return"]
        memory = adapter.ask("memory")
        assert memory["peak_rss_mib"] > memory["before_rss_mib"] > 0
        assert memory["xla_mib"] > 0


def test_several_agents_without_peers() -> None:
    work = dataclasses.replace(TINY, num_agents=2)
    comparison, descriptions = compare(work, MINE, [], rounds=2, limit=120.0)
    (side,) = comparison.sides
    assert side.env_steps == 2 * TINY.env_steps
    assert len(side.steps_per_second.values) == len(side.final_returns) == 2
    assert set(descriptions) == {"jax_ppo"}
    assert comparison.ratios == {}


def test_output_of_libraries_is_skipped_and_an_error_reported(tmp_path: Path) -> None:
    with Adapter(fake(tmp_path, PRINTS), TINY, limit=60.0) as adapter:
        assert adapter.description == {"flags": adapter.description["flags"]}
        assert adapter.ask("run 7") == {"seed": 7}
        with pytest.raises(AppError, match=r"fake ended with status 1: .*KeyError: 0"):
            adapter.ask("fail")


@pytest.mark.parametrize(
    ("program", "limit", "message"),
    [
        ("import nothing_of_that_name", 60.0, "fake ended with status 1: .*nothing_of_that_name"),
        ("input()", 0.5, "fake was killed, by the system or after --limit = 0.5 s"),
    ],
)
def test_an_adapter_that_does_not_start(
    tmp_path: Path, program: str, limit: float, message: str
) -> None:
    with pytest.raises(AppError, match=message):
        Adapter(fake(tmp_path, program), TINY, limit)
