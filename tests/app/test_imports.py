"""What the commands import: what the user typed, and nothing that only a folder names."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jax_ppo.app.cli import main
from jax_ppo.app.imports import check_imports, modules_in
from jax_ppo.app.runs import Run

PAYLOAD = """
from pathlib import Path
import payload_helper_of_test
Path("executed").touch()
import gymnax
"""


@pytest.fixture
def infected(finished_run: Run) -> Run:
    """A run folder whose run.json names a module of the current folder."""
    Path("payload_of_test.py").write_text(PAYLOAD)
    Path("payload_helper_of_test.py").touch()
    file = finished_run.path / "run.json"
    content = json.loads(file.read_text())
    content["config"]["env_id"] = "payload_of_test:CartPole-v1"
    file.write_text(json.dumps(content))
    return finished_run


@pytest.mark.parametrize("command", ["evaluate", "doctor", "report", "play", "resume"])
def test_opening_a_run_folder_runs_no_code(
    command: str, infected: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(infected.path)]) == 2
    error = capsys.readouterr().err
    assert f"names the module payload_of_test ({Path.cwd() / 'payload_of_test.py'})" in error
    assert "--allow-import" in error
    assert not Path("executed").exists()
    assert "payload_of_test" not in sys.modules


def test_consent_is_given_once(infected: Run) -> None:
    """In other processes, so that nothing is imported already; helpers of the module are found."""
    program = "import sys; from jax_ppo.app.cli import main; sys.exit(main())"
    words = [sys.executable, "-P", "-c", program, "doctor", str(infected.path)]
    for consent, status in ([], 2), (["--allow-import"], 0), ([], 0):
        done = subprocess.run([*words, *consent], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert Path("executed").exists() == (status == 0)
    # Another file under the same name is another module.
    Path("elsewhere").mkdir()
    Path("payload_of_test.py").rename("elsewhere/payload_of_test.py")
    done = subprocess.run(words, capture_output=True, text=True, cwd="elsewhere")
    assert done.returncode == 2


def test_files_of_the_current_folder_shadow_nothing() -> None:
    """Packages that other packages import if they are there, such as libtpu, are not looked for."""
    for name in ("libtpu", "ipywidgets", "boto3", "tensorboardX_of_test"):
        Path(f"{name}.py").write_text("from pathlib import Path\nPath(f'ran_{__name__}').touch()\n")
    program = "import sys; from jax_ppo.app.cli import main; sys.exit(main(['envs']))"
    # -P: without it Python itself puts the current folder on the path of `python -c`.
    subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True)
    assert not list(Path().glob("ran_*"))


@pytest.mark.parametrize(
    ("words", "modules"),
    [
        (["train", "mine.envs:Maze-v0", "--algorithm=other:own"], ["mine", "other"]),
        (["--grid", "algorithm=ppo,a:b,c:d"], ["a", "c"]),
        (["--sample", "gamma=uniform:0.9,1", "--out", "C:\\runs", "x:"], []),
        ([None, 3.5, (1, 2), "CartPole-v1"], []),
    ],
)
def test_modules_in_words(words: list, modules: list[str]) -> None:
    assert modules_in(words) == modules


def test_a_folder_that_names_no_module_needs_no_consent() -> None:
    check_imports(Path("run"), ("CartPole-v1", "ppo"), consent=False)
