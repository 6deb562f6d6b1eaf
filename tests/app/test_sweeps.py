"""Sweeps: what is tried, that it is what single runs train, that it survives, and its tables."""

import csv
import dataclasses
import json
import signal
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo import ConfigError, PPOConfig
from jax_ppo.app.checkpoints import read_newest
from jax_ppo.app.cli import main
from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import RunSettings, open_run
from jax_ppo.app.sweeps import sweep as sweeps
from jax_ppo.app.sweeps.search_space import (
    Range,
    Search,
    algorithm_of,
    apply_trial,
    draw_trials,
    group_by_program,
    parse_search,
    stack_configs,
)
from jax_ppo.app.sweeps.sweep import Outcome, Sweep, open_sweep, outcomes_of, parts_of, rank
from jax_ppo.train import train
from tests.app.conftest import TINY

GRID = ["--grid", "learning_rate=1e-4,1e-2", "--grid", "activation=tanh,relu", "--num-agents", "2"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Four trials in two shapes; not to be changed."""
    path = tmp_path_factory.mktemp("sweeps") / "done"
    assert main(["sweep", "CartPole-v1", *TINY, *GRID, "--out", str(path)]) == 0
    return open_sweep(path)


def test_what_is_tried(swept: Sweep) -> None:
    assert swept.trials == tuple(
        {"learning_rate": rate, "activation": activation}
        for rate in (1e-4, 1e-2)
        for activation in ("tanh", "relu")
    )
    assert [part.trials for part in parts_of(swept)] == [(0, 2), (1, 3)]


def test_an_agent_is_the_one_that_a_single_run_trains(swept: Sweep) -> None:
    """Trial 3, seed 1 sits in the last place of the second part."""
    config = apply_trial(swept.base, swept.trials[3])
    alone, _ = jax.jit(train)(jax.random.key(1), config)
    arrays, update, _ = read_newest(open_run(parts_of(swept)[1].path))
    assert arrays is not None
    assert update == config.num_updates
    kernel = alone.params["params"]["policy_trunk_dense_0"]["kernel"]
    found = arrays["params.params.policy_trunk_dense_0.kernel"]
    np.testing.assert_allclose(found[3], kernel, rtol=1e-4, atol=1e-6)
    assert np.abs(found[1] - kernel).max() > 1e-3  # the same seed at the other learning rate


def test_tables(swept: Sweep) -> None:
    rows, ranking = (
        list(csv.DictReader((swept.path / f"{name}.csv").read_text().splitlines()))
        for name in ("results", "ranking")
    )
    assert len(rows) == 8
    assert (rows[0]["trial"], rows[0]["activation"]) == ("0", "tanh")
    best = ranking[0]["trial"]
    returns = [float(row["episode_return"]) for row in rows if row["trial"] == best]
    assert float(ranking[0]["mean"]) == pytest.approx(np.mean(returns))
    scores = [float(row["score"]) for row in ranking]
    assert scores == sorted(scores, reverse=True)


def test_pictures(swept: Sweep) -> None:
    for name in ("ranking", "fields", "curves"):
        assert (swept.path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (swept.path / "index.html").read_text()
    assert "<td>0.01</td><td>relu</td>" in page
    assert "<script" not in page


def test_report_and_doctor_take_a_sweep(swept: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    page = swept.path / "index.html"
    before = page.read_text()
    page.unlink()
    assert main(["report", str(swept.path)]) == 0
    assert page.read_text() == before
    assert main(["doctor", str(swept.path)]) == 0
    said = capsys.readouterr().out
    assert {line for line in said.splitlines() if line.startswith("trial ")} == {
        f"trial {i}: {sweeps.describe_trial(trial)}" for i, trial in enumerate(swept.trials)
    }


def test_curves_have_the_numbers_of_training(swept: Sweep) -> None:
    histories = sweeps.histories_of(swept)
    assert sorted(histories) == [0, 1, 2, 3]
    config = apply_trial(swept.base, swept.trials[2])
    _, metrics = jax.jit(train)(jax.random.key(0), config)
    np.testing.assert_allclose(histories[2].metrics["entropy"][:, 0], metrics.entropy, rtol=2e-3)
    assert histories[2].steps.tolist() == [32, 64, 96]


def test_a_sweep_survives_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in the first part, it goes on there and ends as the one that was not stopped."""
    words = ["sweep", "CartPole-v1", *TINY, *GRID, "--checkpoint-seconds", "0"]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    add = sweeps.CurveLog.add

    def add_and_stop(self, metrics, update, count):
        if update == 0:
            signal.raise_signal(signal.SIGTERM)
        return add(self, metrics, update, count)

    with monkeypatch.context() as patch:
        patch.setattr(sweeps.CurveLog, "add", add_and_stop)
        assert main([*words, "--out", str(tmp_path / "cut")]) == 128 + signal.SIGTERM
    assert f"jax-ppo resume {tmp_path / 'cut'}`" in capsys.readouterr().out
    assert not (tmp_path / "cut" / "results.csv").exists()
    assert main(["resume", str(tmp_path / "cut")]) == 0
    for name in ("results.csv", "ranking.csv", "part_000/curves.jsonl", "part_001/curves.jsonl"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_agents_that_diverge_are_marked(tmp_path: Path) -> None:
    out = tmp_path / "diverged"
    grid = ("--grid", "learning_rate=1e-3,1e38", "--grid", "max_grad_norm=none")
    words = ["sweep", "CartPole-v1", *TINY, *grid, "--num-agents", "1", "--out", str(out)]
    assert main(words) == 0
    outcomes = outcomes_of(open_sweep(out))
    assert [outcome.diverged for outcome in outcomes] == [False, True]
    for part in parts_of(open_sweep(out)):
        json.loads((part.path / "evaluation.json").read_text(), parse_constant=pytest.fail)


def test_what_diverged_comes_last() -> None:
    """By how many agents did; a trial's return is that of the agents that did not."""
    nan = float("nan")
    agents = [[(3, 0), (3, 0)], [(nan, 1), (nan, 1)], [(5, 0), (5, 0)], [(99, 0), (nan, 1)]]
    outcomes = [
        Outcome(trial, seed, float(episode_return), bool(diverged))
        for trial, pair in enumerate([*agents, [(1, 0), (1, 0)]])
        for seed, (episode_return, diverged) in enumerate(pair)
    ]
    ranked = rank(outcomes)
    assert [entry.trial for entry in ranked] == [2, 0, 4, 3, 1]
    assert [entry.diverged for entry in ranked] == [0, 0, 0, 1, 2]
    assert [entry.summary.score for entry in ranked[:4]] == [5, 3, 1, 99]
    assert np.isnan(ranked[4].summary.score)


def test_a_sweep_is_read_as_it_was_written(swept: Sweep, tmp_path: Path) -> None:
    sweep = dataclasses.replace(
        swept, path=tmp_path / "new", trials=({"hidden_sizes": (8, 4), "gamma": 0.9},)
    )
    sweeps.create_sweep(sweep)
    assert open_sweep(sweep.path) == sweep
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_sweep_killed_while_it_is_made_leaves_its_name_free(
    swept: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = dataclasses.replace(swept, path=tmp_path / "new")
    with monkeypatch.context() as patch:
        patch.setattr(sweeps, "write_sweep", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sweeps.create_sweep(sweep)
    sweeps.create_sweep(sweep)


def test_adaptive_search(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "adaptive"
    words = [
        *("sweep", "CartPole-v1", *TINY, "--num-agents", "1", "--out", str(out)),
        *("--adaptive", "--trials", "5", "--batch", "2"),
        *("--sample", "learning_rate=log:1e-4,1e-2", "--sample", "hidden_sizes=choice:8,8x8"),
    ]
    assert main(words) == 0
    sweep = open_sweep(out)
    assert len(sweep.trials) == 5
    assert len({outcome.trial for outcome in outcomes_of(sweep)}) == 5
    assert all(1e-4 <= trial["learning_rate"] <= 1e-2 for trial in sweep.trials)
    for name in ("results.csv", "ranking.csv"):
        (out / name).unlink()
    written = json.loads((out / "sweep.json").read_text())
    assert main(["resume", str(out)]) == 0
    assert json.loads((out / "sweep.json").read_text()) == written
    assert (out / "ranking.csv").exists()


def test_ranking_by_hand() -> None:
    outcomes = [
        Outcome(0, seed, value, False) for seed, value in enumerate([0.0, 10.0, 10.0, 10.0, 100.0])
    ] + [Outcome(1, seed, value, seed == 0) for seed, value in enumerate([9.0, 11.0, 12.0, 13.0])]
    first, second = rank(outcomes)
    assert (first.trial, first.summary.score, first.diverged) == (0, 10.0, 0)
    assert (second.trial, second.summary.score, second.diverged) == (1, 12.0, 1)


@given(st.integers(1, 6), st.integers(0, 100))
def test_samples_lie_in_their_ranges_and_repeat_with_the_seed(count: int, seed: int) -> None:
    ranges = {
        "learning_rate": Range("log", (1e-5, 1e-2)),
        "gamma": Range("uniform", (0.9, 0.99)),
        "update_epochs": Range("uniform", (1, 4), whole=True),
    }
    search = Search({"clip_eps": (0.1, 0.2)}, ranges, count)
    trials = draw_trials(search, seed)
    assert trials == draw_trials(search, seed)
    assert len(trials) == 2 * count
    for trial in trials:
        assert 1e-5 <= trial["learning_rate"] <= 1e-2
        assert trial["update_epochs"] in (1, 2, 3, 4)
        apply_trial(PPOConfig(), trial)


def test_log_samples_are_uniform_in_the_logarithm() -> None:
    search = Search({}, {"learning_rate": Range("log", (1e-6, 1e-2))}, 2_000)
    logs = np.log10([trial["learning_rate"] for trial in draw_trials(search, 0)])
    assert np.mean(logs) == pytest.approx(-4.0, abs=0.1)
    assert np.mean(logs < -5.0) == pytest.approx(0.25, abs=0.04)


def test_values_of_every_kind() -> None:
    search = parse_search(
        [
            *("value_clip_eps=none,0.2", "shared_trunk=true,false", "hidden_sizes=64x64,32"),
            *("num_envs=4", "activation=relu", "env_params.length=0.5,1"),
        ],
        [],
        1,
    )
    assert search.grid["value_clip_eps"] == (None, 0.2)
    assert search.grid["shared_trunk"] == (True, False)
    assert search.grid["hidden_sizes"] == ((64, 64), (32,))
    config = apply_trial(PPOConfig(), draw_trials(search, 0)[-1])
    assert config.env_params == {"length": 1.0}
    assert config.hidden_sizes == (32,)


def test_groups_differ_in_nothing_but_coefficients() -> None:
    changes = [
        {"gamma": 0.9},
        {"gamma": 0.8},
        {"value_clip_eps": 0.1},
        {"num_steps": 64},
        {"env_params": {"length": 1.0}},
        {"env_params": {"length": 2.0}},
    ]
    configs = [PPOConfig(**change) for change in changes]
    algorithms = [algorithm_of({}) for _ in configs]
    assert group_by_program(configs, algorithms) == [[0, 1], [2], [3], [4, 5]]
    for other in ({"advantages": "monte_carlo"}, {"algorithm": "a2c"}):
        algorithms[1] = algorithm_of(other)
        assert algorithms[1] is algorithm_of(other)
        assert group_by_program(configs, algorithms) == [[0], [1], [2], [3], [4, 5]]
    assert stack_configs(configs[:2]).gamma.tolist() == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize(
    ("grid", "sample", "error"),
    [
        ([], [], "give what to vary"),
        (["learning_rat=1"], [], "did you mean learning_rate"),
        (["learning_rate"], [], "NAME=VALUE"),
        (["learning_rate=a"], [], "learning_rate takes a number, not 'a'"),
        (["num_envs=1.5"], [], "num_envs takes a whole number"),
        (["shared_trunk=1"], [], "true or false"),
        (["advantages=gea"], [], "there is no estimator 'gea'; did you mean gae"),
        (["algorithm=trop"], [], "there is no algorithm 'trop'; did you mean trpo"),
        (["gamma=0.9"], ["gamma=uniform:0,1"], "gamma is given twice"),
        ([], ["gamma=0.9,0.99"], "--sample takes NAME=uniform"),
        ([], ["gamma=log:0,1"], "two positive numbers"),
        ([], ["gamma=uniform:1,0"], "the smaller first"),
        ([], ["activation=uniform:tanh,relu"], "takes two numbers"),
    ],
)
def test_searches_that_cannot_be_parsed(grid: list[str], sample: list[str], error: str) -> None:
    with pytest.raises(AppError, match=error):
        parse_search(grid, sample, 1)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--grid", "gamma=0.9,2"], "gamma must be a number in [0, 1], got 2"),
        (["--grid", "env_params.mass=1"], "there is no environment parameter 'mass'"),
        (["--grid", "num_minibatches=3"], "do not divide"),
        (["--adaptive", "--grid", "gamma=0.9"], "an adaptive search takes --sample"),
        (["--trials", "0", "--sample", "gamma=uniform:0,1"], "--trials must be at least 1"),
    ],
)
def test_mistakes(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "CartPole-v1", *words]) == 2
    assert error in capsys.readouterr().err
    assert not Path("sweeps").exists()


def test_an_existing_folder(swept: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "CartPole-v1", *TINY, *GRID, "--out", str(swept.path)]) == 2
    assert "jax-ppo resume" in capsys.readouterr().err


def test_a_part_is_no_run_of_its_own(swept: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """Its agents differ in coefficients, which its run.json does not hold."""
    part = parts_of(swept)[0].path
    assert open_run(part).settings == RunSettings(num_agents=4)
    for command in ("resume", "evaluate", "play"):
        assert main([command, str(part)]) == 2
        assert f"the sweep itself is {swept.path.resolve()}" in capsys.readouterr().err


def test_a_trial_that_cannot_be_trained_is_named() -> None:
    with pytest.raises(ConfigError):
        apply_trial(PPOConfig(), {"clip_eps": -1.0})
