"""The command line: what it does, and what it says to the obvious wrong things."""

import dataclasses
import errno
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import gymnax
import jax
import jaxlib
import pytest

from jax_ppo import PRESETS, PPOConfig, __version__, preset
from jax_ppo.app.cli import main
from jax_ppo.app.runs import Run, RunSettings, create_run, open_run
from tests.app.conftest import TINY
from tests.core.helpers import count_compilations


def test_train_without_a_word_solves_cartpole() -> None:
    assert main(["train"]) == 0
    (run,) = Path("runs").iterdir()
    assert open_run(run).config == preset("CartPole-v1")
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["over_seeds"]["mean"] >= 475


def test_train_writes_everything(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--num-agents", "2", "--learning-rate", "5e-4")
    assert main(["train", "CartPole-v1", *TINY, *options]) == 0
    (run,) = Path("runs").iterdir()
    assert {path.name for path in run.iterdir()} == {
        *("run.json", "starts.jsonl", "metrics.jsonl", "timing.jsonl", "checkpoints"),
        *("tensorboard", "learning_curve.png", "evaluation.json", "lock"),
    }
    assert open_run(run).config.learning_rate == 5e-4
    start = json.loads((run / "starts.jsonl").read_text())
    assert start["versions"]["jax"]
    assert start["devices"]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert set(evaluation["per_seed"]) == {"0", "1"}
    assert evaluation["per_seed"]["0"]["num_values"] == 4
    said = capsys.readouterr()
    assert str(run) in said.out.replace("\n", "")
    assert "96 steps x 2 agents" in said.out
    assert said.err == ""


def test_environment_that_a_user_registers() -> None:
    """In a module of the current folder, named before a colon; resuming finds it again."""
    Path("my_pole.py").write_text(
        "import gymnax\n"
        "from gymnax.environments.classic_control.cartpole import CartPole\n"
        "gymnax.register('MyPole', CartPole)\n"
    )
    assert main(["train", "my_pole:MyPole", *TINY, "--out", "mine"]) == 0
    assert open_run(Path("mine")).config.env_id == "my_pole:MyPole"
    assert main(["resume", "mine", "--eval-episodes", "1"]) == 0


def test_environment_parameters_and_arguments() -> None:
    options = ("--env-params", "max_steps_in_episode", "5", "--env-kwargs", "size", "4")
    assert main(["train", "DeepSea-bsuite", *TINY, *options[3:], "--out", "sea"]) == 0
    assert open_run(Path("sea")).config.env_kwargs == {"size": 4}
    assert main(["train", *TINY, *options[:3], "--out", "pole"]) == 0
    rows = map(json.loads, Path("pole/metrics.jsonl").read_text().splitlines())
    assert {row["episode_length"] for row in rows} == {5.0}


def test_preset_is_the_default() -> None:
    options = ("--total-steps", "2048", "--hidden-sizes", "8", "--eval-episodes", "1")
    assert main(["train", "Pendulum-v1", *options, "--out", "run"]) == 0
    expected = PRESETS["Pendulum-v1"].replace(total_steps=2048, hidden_sizes=(8,))
    assert open_run(Path("run")).config == expected
    assert main(["train", "--env-id", "Pendulum-v1", *options, "--out", "same"]) == 0
    assert open_run(Path("same")).config == expected


def test_resume_finishes_a_run_that_is_finished_already(finished_run: Run) -> None:
    before = finished_run.metrics.read_text()
    assert main(["resume", str(finished_run.path), "--eval-episodes", "2"]) == 0
    assert finished_run.metrics.read_text() == before


def test_evaluate(finished_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(finished_run.path), "--num-episodes", "5", "--out"]
    assert main([*command, "a.json"]) == 0
    assert main([*command, "b.json"]) == 0
    assert main([*command, "c.json", "--sampled"]) == 0
    assert main([*command, "d.json", "--seed", "1"]) == 0
    a, b, c, d = (json.loads(Path(f"{name}.json").read_text()) for name in "abcd")
    assert a == b
    assert (a["run"], a["env_id"]) == (str(finished_run.path), finished_run.config.env_id)
    assert a["update"] == finished_run.config.num_updates
    assert a["per_seed"] != c["per_seed"]
    assert a["per_seed"] != d["per_seed"]
    assert {"mean", "median", "iqm", "ci_low", "ci_high"} <= set(a["per_seed"]["0"])
    assert "most probable actions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("trian", "no command 'trian'"),
        ("train --lr 3", "--lr is called --learning-rate here"),
        ("train --clip_coef 3", "--clip-coef is called --clip-eps here"),
        ("train --learing-rate 3", "--learing-rate.*did you mean --learning-rate"),
        ("train --num-envs 1.5", "--num-envs"),
        ("train --env-id", "Missing value.*--env-id"),
        ("train --num-envs", "Missing value.*--num-envs"),
        ("train --optimizer adagrad", "'adam'"),
        ("train --algorithm trop", "no algorithm 'trop'; did you mean trpo"),
        ("train --algorithm nowhere:fn", "cannot import nowhere:fn .*No module named 'nowhere'"),
        ("train --algorithm bad_algorithms:missing", "bad_algorithms.* has no attribute 'missing'"),
        ("train --algorithm bad_algorithms:number", "is no function of a config, but int"),
        ("train --algorithm bad_algorithms:wrong", "must return an Algorithm, not PPOConfig"),
        ("train --algorithm bad_algorithms:failing", r"failing\(config\) fails: ZeroDivisionError"),
        ("train --algorithm trpo --shared-trunk", "TRPO trains the critic apart"),
        ("train CartPole-v1 --num-seeds 2", "--num-seeds is called --num-agents here"),
        ("sweep --grid algorithm=ppo,trop", "no algorithm 'trop'; did you mean trpo"),
        ("sweep --grid algorithm=ppo,bad_algorithms:wrong", "must return an Algorithm"),
        ("train CartPol-v1", "did you mean CartPole-v1"),
        ("train --env-id Pendulum", "did you mean Pendulum-v1"),
        ("train nowhere:MyPole", "cannot import 'nowhere'"),
        ("train bad_module:X", r"cannot import 'bad_module' \(ZeroDivisionError"),
        ("train MNISTBandit-bsuite", "download"),
        ("train --gamma 1.5", r"gamma must be a number in \[0, 1\]"),
        ("train --learning-rate nan", "learning_rate must be a finite number"),
        ("train --num-envs 0", "num_envs must be a whole number of at least 1"),
        ("train --num-steps -3", "num_steps must be a whole number of at least 1"),
        ("train --num-minibatches 7", "do not divide"),
        ("train --total-steps 100", "less than one update"),
        ("train --weight-decay 0.1", "adamw"),
        ("train --network cnn", "network = mlp"),
        ("train --env-params gravty 3", "did you mean gravity"),
        ("train --num-agents 0", "num_agents must be at least 1"),
        ("train --eval-episodes 0", "the number of episodes must be from 1 to 1,000,000, got 0"),
        ("train --checkpoint-seconds -1", "checkpoint_seconds"),
        ("train --out there", "there exists already"),
        ("train --out there/file/run", "cannot write the run folder"),
        ("train --out ''", "^error: the name of the run folder is empty$"),
        ("train --total-steps 1.5", "--total-steps: a whole number is needed, not 1.5"),
        ("train --total-steps 1e15", "neither may be more than 2,147,483,647"),
        ("train --num-agents 1000000000", "GiB are needed for the agents and one rollout of each"),
        ("train --num-envs 60000000 --total-steps 2e9", "GiB are needed for the agents and one"),
        ("train --num-envs 100000000 --total-steps 2e10", "3,200,000,000 samples; neither may be"),
        ("train --hidden-sizes 1000000 1000000", "GiB are needed for the agents"),
        ("train --devices 1000000000", "devices must be at most 65,536"),
        ("train --update-epochs 10000000000", "update_epochs must be at most 2,147,483,647"),
        ("train --update-epochs 1000000000", "GiB are needed"),
        ("train --eval-episodes 1000000000", "episodes must be from 1 to 1,000,000"),
        ("train --learning-rate 1e39", "learning_rate must be finite in float32, got 1e.39"),
        (
            "train --env-params max_steps_in_episode 10000000000",
            "max_steps_in_episode must be at most 2,147,483,647",
        ),
        ("train --target-kl nine", "--target-kl: a number or None is needed, not nine"),
        ("train --env-params gravity=5", "--env-params gravity 5"),
        ("train --seed 3 Pendulum-v1", "ENV_ID comes first"),
        ("sweep --grid gamma=0.9,0.99 clip_eps=0.1,0.2", "each --grid and each --sample has one"),
        ("train CartPole-v1 --env-id Pendulum-v1", "two environments"),
        ("train --seed 4294967296", "seeds must be below 4294967296"),
        ("train --seed 4294967295 --num-agents 2", "seeds must be below 4294967296"),
        ("train --seed -1", "seed must be at least 0"),
        ("train --env-params max_steps_in_episode 0", "at least 1"),
        ("evaluate nowhere --seed 99999999999999999999", "seeds must be below"),
        ("resume scrambled", "cannot be read"),
        ("evaluate nowhere", "nowhere is not a run folder"),
        ("evaluate", "RUN"),
        ("evaluate there", "not a run folder"),
        ("evaluate empty", "no checkpoint"),
        ("resume nowhere", "nowhere is not a run folder"),
        ("resume broken", "cannot be read"),
    ],
)
def test_mistakes(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, in two lines or in tyro's box, before anything is compiled or written."""
    Path("bad_algorithms.py").write_text(
        "number = 1\ndef wrong(config): return config\ndef failing(config): 1 / 0\n"
    )
    Path("bad_module.py").write_text("1 / 0\n")
    for folder in ("there", "broken", "scrambled"):
        Path(folder).mkdir()
    Path("there/file").touch()
    Path("broken/run.json").write_text('{"config": {}, ')
    Path("scrambled/run.json").write_bytes(b"\xff\xfe\x00")
    create_run(Path("empty"), PPOConfig(), RunSettings())
    with count_compilations() as compilations:
        assert main(shlex.split(words)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") or "For full helptext" in said.err
    assert len(said.err.splitlines()) <= (2 if said.err.startswith("error: ") else 12)
    assert "Traceback" not in said.err
    assert re.search(complaint, " ".join(said.err.replace("│", " ").split())), said.err
    assert not Path("runs").exists()
    assert max(compilations, default=0.0) < 1.0


@pytest.mark.parametrize("out", [".", "nowhere/result.json"])
def test_a_result_that_cannot_be_written(
    out: str, finished_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before the evaluation, not after it."""
    assert main(["evaluate", str(finished_run.path), "--out", out]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: cannot write {out}")


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device\n"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1e15 bytes"),
            "not enough memory; use fewer --num-envs(?s:.*)",
        ),
    ],
)
def test_a_full_disk_or_memory(
    error: Exception,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """write() fails without saying on which file."""
    monkeypatch.setattr("jax_ppo.app.commands.common.create_run", Mock(side_effect=error))
    assert main(["train", *TINY]) == 2
    assert re.fullmatch(f"error: {complaint}", capsys.readouterr().err)


def test_divergence_stops_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--learning-rate", "1e30", "--max-grad-norm", "None", "--checkpoint-seconds", "0")
    assert main(["train", *TINY, *options, "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert "became" in error
    assert "at update" in error
    assert main(["evaluate", "run", "--num-episodes", "2"]) == 0
    assert not Path("run/evaluation.json").exists()


@pytest.mark.parametrize(
    "command",
    [
        *("train", "evaluate", "resume", "envs", "play"),
        *("doctor", "report", "compare", "sweep", "experiment"),
    ],
)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: jax-ppo {command}" in capsys.readouterr().out


def test_every_field_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for spec in (*dataclasses.fields(PPOConfig), *dataclasses.fields(RunSettings)):
        assert f"--{spec.name.replace('_', '-')}" in text


def test_usage_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == main(["--version"]) == 0
    text = capsys.readouterr().out
    assert "train [ENV_ID]" in text
    assert text.endswith(f"{__version__}\n")


def test_envs_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs"]) == 0
    text = capsys.readouterr().out
    assert all(env_id in text for env_id in gymnax.registered_envs)
    assert "needs a download" in text


def test_an_evaluation_needs_no_memory_for_training(
    finished_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jax_ppo.app.memory.memory", lambda: 0)
    assert main(["evaluate", str(finished_run.path), "--num-episodes", "2"]) == 0
    assert main(["train", "--out", "run"]) == 2
    assert "GiB are needed for the agents" in capsys.readouterr().err


CACHE_SETTINGS = """
import jax
import jaxlib
from jax_ppo.app.machine import processor_features
from jax_ppo.app.runtime import keep_compiled_programs
keep_compiled_programs()
values = jax.config.values
print(values["jax_compilation_cache_max_size"], processor_features())
print(values["jax_compilation_cache_dir"])
"""


def test_the_cache_of_compiled_programs_is_bounded_and_of_one_kind_of_processor(
    tmp_path: Path,
) -> None:
    settings = {"XDG_CACHE_HOME": str(tmp_path)}
    others = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    words = [sys.executable, "-c", CACHE_SETTINGS]
    done = subprocess.run(words, env=others | settings, capture_output=True, text=True, check=True)
    (size, features), (folder,) = (line.split() for line in done.stdout.splitlines())
    assert int(size) == 2**30
    assert Path(folder).is_relative_to(tmp_path)
    assert Path(folder).name == f"compiled-{jaxlib.__version__}-{features}"
