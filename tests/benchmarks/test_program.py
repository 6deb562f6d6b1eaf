"""The command line: the files it writes, and its error messages."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.ceiling import Part
from benchmarks.compare import Comparison, Side, Start, spread
from benchmarks.report import SECTIONS
from benchmarks.results import default_folder, save
from benchmarks.work import find_work

HELLO = {
    "versions": {"python": "3.11.0", "jax": "0.10.2"},
    "device": "cpu",
    "flags": {"XLA_FLAGS": "--xla_some_flag"},
    "notes": "It clips each entry.",
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speed"], "there is no command 'speed'"),
        (["throughput", "narow"], "there is no work 'narow'; did you mean narrow?"),
        (["throughput", "narrow", "--num-updates", "0"], "must be at least 1, got 0"),
        (["throughput", "--rounds", "0"], "number of rounds must be at least 1, got 0"),
        (["throughput", "--peers", "rejx"], "no implementation 'rejx'; did you mean rejax"),
        (
            ["throughput", "--peers", "rejax"],
            "`python -m benchmarks install rejax --folder",
        ),
        (["scaling", "--peers", "cleanrl"], "cleanrl is not compiled as a whole"),
        (["compile", "--pythons", "rejax"], "--pythons takes NAME=PATH"),
        (["install", "torch_ref"], "torch_ref runs in this environment"),
        (["regression", "no-such-commit", "HEAD"], "git log"),
        (["report", "--out", "nowhere"], "there are no results in nowhere"),
        (["report", "--ut", "nowhere"], "--out"),
        (["presets", "Catch"], "there is no preset 'Catch'; did you mean Catch-bsuite"),
        (["presets", "Catch-bsuite", "--num-agents", "0"], "num_agents must be at least 1"),
    ],
)
def test_one_clear_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert message in said.err
    assert said.out == ""


def test_a_missing_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = tmp_path / "python"
    python.touch()
    words = ["memory", "--peers", "purejaxrl", "--pythons", f"purejaxrl={python}"]
    assert main(words) == 2
    source = ".peers/purejaxrl-source"
    command = f"`git clone https://github.com/luchris429/purejaxrl {source}`"
    assert command in capsys.readouterr().err


def test_no_command_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in (*SECTIONS, "install", "report"))


def test_the_report_has_everything(tmp_path: Path) -> None:
    for command, found in fixed_results().items():
        save(tmp_path, command, 3, {"jax_ppo": HELLO, "rejax": HELLO}, found)
    assert main(["report", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "README.md").read_text()
    for line in (
        "| narrow | jax_ppo | 2,048 | 200 (100 to 300) |  | 21 |",
        "| narrow | rejax | 2,048 | 100 (50 to 150) | 2.00 (1.50 to 4.00) | - |",
        "| 4 | rejax | 100 (50 to 150) |",
        "| jax_ppo | 2.00 (1.00 to 3.00) | 0.50 (0.50 to 0.50) | 3.00 (3.00 to 3.00) | 0.25 ",
        "| jax_ppo | 10,000,000 | 700.0 | 400.0 | 1.5 |",
        "| jax_ppo | 2 of 3 | 1,024 | 2.00 | 1.00, 2.00, - |",
        "| rollout | 1,000,000 (1,000,000 to 1,000,000) | 25% |",
        "| sum of the phases | 1,000,000 | 25% |",
        "| gradient steps | 2,000,000 (2,000,000 to 2,000,000) | 500,000 | 25% | 3.0 |",
        "| environment steps per second, alone | 1,000 |",
        "Measured on ",
        "rounds: 3.",
        "| rejax | python 3.11.0, jax 0.10.2 | cpu | XLA_FLAGS --xla_some_flag | It clips each",
    ):
        assert line in page
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert set(SECTIONS) == set(fixed_results())


def fixed_results() -> dict[str, dict[str, Any]]:
    """A small result of every command, two of them with keys of earlier versions."""
    work = find_work("narrow", 4)
    ours = Side("jax_ppo", 2048, spread([100.0, 200.0, 300.0]), (20.0, 21.0, 22.0))
    theirs = Side("rejax", 2048, spread([50.0, 100.0, 150.0]), (None, None, None))
    compared = [Comparison(work, (ours, theirs), {"rejax": spread([1.5, 2.0, 4.0])})]
    start = Start("jax_ppo", spread([1.0, 2.0, 3.0]), *(spread([x]) for x in (0.5, 3.0, 0.25)))
    sizes = {"peak_rss_mib": 700.0, "before_rss_mib": 300.0, "xla_mib": 1.5}
    seeds = [{"seconds": s, "env_steps": n} for s, n in ((1.0, 512), (2.0, 1024), (None, None))]
    phases = {"rollout": spread([1.0]), "train_step": spread([4.0])}
    rates = {"env_steps_per_second": 1e3, "product_gflops": 9.0, "flops": 5e6, "bytes": 7e6}
    parts = [Part("gradient steps", spread([2.0]), 0.5, 3_000_000)]
    return {
        "throughput": {"works": compared},
        "scaling": {"num_envs": compared, "num_seeds": compared},
        "compile": {"starts": [start]},
        "memory": {"trainings": [{"name": "jax_ppo", "env_steps": 10_000_000, **sizes}]},
        "threshold": {"threshold": 475.0, "seeds": {"jax_ppo": seeds}},
        "phases": {"works": [{"work": work, "phases": phases}]},
        "ceiling": {"works": [{"work": work, "parts": parts, "rates": rates}]},
        "regression": {"commits": ["old", "new"], "works": compared},
    }


def test_results_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "throughput.json").write_text("{")
    assert main(["report", "--out", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_folder_is_named_after_the_device() -> None:
    assert default_folder().parent.name == "results"
    assert default_folder().name.islower()


@pytest.mark.slow
def test_pieces_of_an_update_are_measured(tmp_path: Path) -> None:
    for command in ("phases", "ceiling"):
        assert main([command, "narrow", "--rounds", "1", "--out", str(tmp_path)]) == 0
        assert (tmp_path / f"{command}.json").is_file()
