"""Algorithms by name: the same one trains, resumes, evaluates and is reported on."""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jax_ppo import a2c, ppo, train, trpo
from jax_ppo.app.algorithms import ALGORITHMS, find_algorithm
from jax_ppo.app.checkpoints import list_checkpoints, read_newest
from jax_ppo.app.cli import main
from jax_ppo.app.runs import Run, open_run
from jax_ppo.app.sweeps import sweep as sweeps
from jax_ppo.app.sweeps.sweep import open_sweep, parts_of
from tests.app.conftest import TINY
from tests.app.test_devices import finish, last_start, start
from tests.app.test_pictures_and_logs import events

SMALL = (*TINY, "--total-steps", "768")
"""24 updates, enough for the doctor."""
OWN = """
import dataclasses
from functools import partial
import jax.numpy as jnp
from jax_ppo import ppo, ppo_loss

def loss(distribution, values, batch, config, *, clip_eps, kl_coef):
    total, metrics = ppo_loss(
        distribution, values, batch, config, clip_eps=clip_eps, kl_coef=kl_coef
    )
    return total, dataclasses.replace(metrics, extra={"mean_advantage": jnp.mean(batch.advantages)})

own = partial(ppo, loss_fn=loss)

def wide(config):
    algorithm = ppo(config)
    def learn(state, rollout):
        state, metrics = algorithm.learn(state, rollout)
        return state, dataclasses.replace(metrics, extra={"wide": jnp.zeros(3)})
    return algorithm._replace(learn=learn)
"""
"""A module with a loss that measures something of its own."""


@pytest.fixture(autouse=True)
def _own_module(own_folder: None) -> None:
    Path("own_algorithm_of_test.py").write_text(OWN)


def test_a_name_always_gives_the_same_object() -> None:
    for name in (*ALGORITHMS, "own_algorithm_of_test:own", "jax_ppo:trpo"):
        sys.path.insert(0, ".")
        assert find_algorithm(name) is find_algorithm(name)
        assert find_algorithm(name, "baseline") is find_algorithm(name, "baseline")
    assert (find_algorithm("ppo"), find_algorithm("jax_ppo:trpo")) == (ppo, trpo)


def test_every_command_takes_the_algorithm_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The agent is the one that `train` makes; a resumed run ends in the same bytes."""
    assert main(["train", "CartPole-v1", "--algorithm", "trpo", *SMALL, "--out", "run"]) == 0
    run = open_run(Path("run"))
    assert run.algorithm == json.loads(Path("run/run.json").read_text())["algorithm"] == "trpo"
    _, metrics = jax.jit(train, static_argnames="algorithm_fn")(
        jax.random.key(0), run.config, algorithm_fn=trpo
    )
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert set(rows[0]) - {"update", "steps", "seed"} == set(metrics.as_dict())
    np.testing.assert_allclose([row["kl"] for row in rows], metrics.kl, rtol=1e-3, atol=1e-7)

    newest = list_checkpoints(run.checkpoints)[-1].path
    expected = newest.read_bytes()
    newest.unlink()
    capsys.readouterr()
    assert main(["resume", "run", "--eval-episodes", "2"]) == 0
    assert newest.read_bytes() == expected
    for command in ("evaluate", "doctor", "report"):
        assert main([command, "run"]) == 0
    assert "TRPO on CartPole-v1" in Path("run/report.html").read_text()
    assert not Path("run/clip_anatomy.png").exists()
    assert main(["export", "run", "--to", "torch", "--out", "exported"]) == 0
    assert open_run(Path("exported")).algorithm == "trpo"
    assert "failed" not in capsys.readouterr().out


def test_an_algorithm_on_two_devices(tmp_path: Path) -> None:
    """Agents are the same bit for bit, as users compile. The option may stand before ENV_ID."""
    words = ["train", "--algorithm", "trpo", "CartPole-v1", *TINY, "--num-agents", "2"]
    for devices in ("1", "2"):
        out = ["--devices", devices, "--out", str(tmp_path / devices)]
        output = finish(start([*words, *out], {"JAX_LOG_COMPILES": "1", "XLA_FLAGS": ""}))
        assert output.count("Compiling jit(_train_updates)") == 1
        assert len(last_start(tmp_path / devices)) == int(devices)
        assert open_run(tmp_path / devices).algorithm == "trpo"
    one, two = ((tmp_path / devices / "metrics.jsonl").read_text() for devices in "12")
    assert one == two


def test_a_sweep_over_algorithms() -> None:
    words = [*TINY, "--num-agents", "2", "--grid", "algorithm=ppo,a2c,trpo", "--out", "sweep"]
    assert main(["sweep", "CartPole-v1", *words]) == 0
    sweep = open_sweep(Path("sweep"))
    assert [part.trials for part in parts_of(sweep)] == [(0,), (1,), (2,)]
    assert [open_run(part.path).algorithm for part in parts_of(sweep)] == ["ppo", "a2c", "trpo"]
    histories = sweeps.histories_of(sweep)
    assert "approx_kl" not in histories[2].metrics
    alone, _ = jax.jit(train, static_argnames="algorithm_fn")(
        jax.random.key(1), sweep.base, algorithm_fn=a2c
    )
    arrays, _, _ = read_newest(open_run(parts_of(sweep)[1].path))
    assert arrays is not None
    kernel = alone.params["params"]["policy_head"]["kernel"]
    found = arrays["params.params.policy_head.kernel"][1]
    np.testing.assert_allclose(found, kernel, rtol=1e-4, atol=1e-6)
    assert "a2c" in Path("sweep/results.csv").read_text()


def test_metrics_of_a_loss_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *TINY, "--algorithm", "own_algorithm_of_test:own", "--out", "run"]
    assert main(words) == 0
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert all(abs(row["mean_advantage"]) < 1e-5 for row in rows), "they are normalized"
    (path,) = Path("run/tensorboard/seed_0").iterdir()
    tags = {value.tag for event in events(path) for value in event.summary.value}
    assert "mean_advantage" in tags
    assert main([*words[:-3], "own_algorithm_of_test:wide", "--out", "other"]) == 2
    assert "the metric wide is an array" in capsys.readouterr().err


def test_without_optional_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tensorboardX", "optuna", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["train", *TINY, "--out", "run"]) == 0
    assert not Path("run/tensorboard").exists()
    assert capsys.readouterr().err == ""
    assert main(["sweep", *TINY, "--adaptive", "--sample", "gamma=uniform:0.9,1"]) == 2
    assert "--adaptive needs Optuna: pip install 'jax-ppo[optuna]'" in capsys.readouterr().err


OLD_RUN = """{
  "framework": "jax",
  "in_sweep": false,
  "config": %s,
  "settings": {
    "seed": 0, "num_seeds": 2, "checkpoint_seconds": 0.0, "keep_checkpoints": 3, "devices": null
  }
}
"""
"""run.json as versions before `algorithm` and `num_agents` wrote it."""


def test_a_run_of_an_older_version(finished_run: Run) -> None:
    """It is evaluated, and resumed to the same numbers."""
    expected, _, _ = read_newest(finished_run)
    list_checkpoints(finished_run.checkpoints)[-1].path.unlink()
    config = dataclasses.asdict(finished_run.config)
    del config["learning_rate_warmup"]
    (finished_run.path / "run.json").write_text(OLD_RUN % json.dumps(config))
    run = open_run(finished_run.path)
    assert run == dataclasses.replace(finished_run, id="")
    assert main(["evaluate", str(run.path), "--num-episodes", "2"]) == 0
    assert main(["resume", str(run.path), "--eval-episodes", "2"]) == 0
    jax.tree.map(np.testing.assert_array_equal, read_newest(run)[0], expected)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux counts maps there")
@pytest.mark.parametrize("num_parts", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_a_sweep_releases_the_programs_of_each_part(
    num_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that differ in the size of the network, a program each; memory maps after every one."""
    counts: list[int] = []
    clear = jax.clear_caches

    def clear_and_count() -> None:
        clear()
        counts.append(len(Path("/proc/self/maps").read_text().splitlines()))

    monkeypatch.setattr(jax, "clear_caches", clear_and_count)
    grid = f"hidden_sizes={','.join(map(str, range(4, 4 + num_parts)))}"
    words = [*TINY, "--total-steps", "64", "--num-agents", "1", "--grid", grid, "--out", "sizes"]
    assert main(["sweep", "CartPole-v1", *words]) == 0
    assert len(counts) == num_parts
    assert max(counts[1:]) <= counts[0] + 200
