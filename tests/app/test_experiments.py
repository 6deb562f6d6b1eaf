"""Named experiments: each runs and reports its results, and its claims hold."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from jax_ppo import PPOConfig, reinforce, train
from jax_ppo.app.algorithms import ALGORITHMS, ESTIMATORS, gae_with_truncation_as_termination
from jax_ppo.app.checkpoints import read_newest
from jax_ppo.app.cli import main
from jax_ppo.app.commands.experiment import OTHERS, ExperimentOptions, make_sweep
from jax_ppo.app.experiments.catalogue import EXPERIMENTS, Experiment, Results
from jax_ppo.app.experiments.clipping import evaluate_clipping
from jax_ppo.app.experiments.trust_region import compare_steps
from jax_ppo.app.history import History
from jax_ppo.app.plots.picture import Panel, Picture, draw
from jax_ppo.app.plots.sweep import curves_picture, metrics_picture, ranking_picture
from jax_ppo.app.runs import open_run
from jax_ppo.app.sweeps.search_space import ADVANTAGES, algorithm_of, apply_trial
from jax_ppo.app.sweeps.sweep import Outcome, open_sweep, parts_of, rank


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_trial_can_be_trained_and_every_claim_speaks_of_trials(name: str) -> None:
    experiment = EXPERIMENTS[name]
    for trial in experiment.trials.values():
        config = apply_trial(experiment.base, trial)
        algorithm_fn = algorithm_of(trial)
        if ADVANTAGES in trial:
            assert algorithm_fn.keywords["advantage_fn"] in ESTIMATORS.values()
        else:
            assert algorithm_fn in ALGORITHMS.values()
        assert config.num_updates >= 20
    results = made_up(experiment)
    for claim in experiment.claims:
        numbers = claim.measure(results)
        assert np.isfinite(numbers).all(), claim.text


def made_up(experiment: Experiment) -> Results:
    """Results in which every number is there."""
    ranked = rank(Outcome(i, 0, float(i), False) for i in range(len(experiment.trials)))
    names = list(experiment.trials)
    measured = (
        *("episode_return", "num_episodes", "approx_kl", "clip_fraction", "entropy"),
        *("explained_variance", "kl_stop"),
    )
    metrics = dict.fromkeys(measured, np.ones((8, 2)))
    history = History((0, 1), np.arange(8), np.arange(8), np.arange(8.0), metrics, 8)
    return Results({names[entry.trial]: entry for entry in ranked}, dict.fromkeys(names, history))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_pictures_name_every_trial_and_cut_no_text_off(name: str) -> None:
    experiment = EXPERIMENTS[name]
    results = made_up(experiment)
    sweep = make_sweep(experiment, ExperimentOptions(), Path("unused"))
    ranked = list(results.ranked.values())
    histories = dict(enumerate(results.histories[trial] for trial in experiment.trials))
    curves = draw(curves_picture(sweep, ranked, histories))
    legends = [*curves.legends, *(axes.get_legend() for axes in curves.axes)]
    named = {text.get_text() for legend in legends if legend for text in legend.get_texts()}
    assert named == set(experiment.trials)
    others = ranking_picture(sweep, ranked), metrics_picture(sweep, histories, experiment.metrics)
    for figure in (curves, *map(draw, others)):
        assert not reaches_over_its_edge(figure)


def reaches_over_its_edge(figure: Figure) -> bool:
    """Whether anything that is drawn would be cut off."""
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return drawn.x0 < 0 or drawn.y0 < 0 or drawn.x1 > width or drawn.y1 > height


def test_a_title_that_is_too_long_is_seen() -> None:
    panel = Panel("panel", "x", "y", ())
    assert not reaches_over_its_edge(draw(Picture("short", (panel,))))
    assert reaches_over_its_edge(draw(Picture("long " * 40, (panel,))))


def test_an_experiment_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "clip"
    words = ["experiment", "clip", "--total-steps", "10240", "--num-agents", "2", "--out", str(out)]
    assert main([*words, "--eval-episodes", "2"]) == 0
    said = capsys.readouterr().out
    assert "What does clipping do?" in said
    claims = json.loads((out / "claims.json").read_text())
    assert len(claims) == 2
    assert all(claim.startswith(("seen: ", "NOT seen: ")) for claim in claims)
    for name in ("ranking", "curves", "diagnostics"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "KL divergence first" in (out / "index.html").read_text()
    (out / "claims.json").unlink()
    assert main([*words, "--eval-episodes", "2"]) == 0  # done already: drawn again
    assert json.loads((out / "claims.json").read_text()) == claims


def test_reinforce_is_trained_with_its_own_estimator(tmp_path: Path) -> None:
    """The agent of the sweep is the one that `train` makes with that algorithm."""
    out = tmp_path / "origins"
    words = ["--total-steps", "1024", "--num-agents", "1", "--eval-episodes", "1"]
    assert main(["experiment", "origins", *words, "--out", str(out)]) == 0
    sweep = open_sweep(out)
    part = next(part for part in parts_of(sweep) if 0 in part.trials)
    config = apply_trial(sweep.base, sweep.trials[0])
    assert sweep.names[0] == "REINFORCE"
    alone, _ = jax.jit(train, static_argnames="algorithm_fn")(
        jax.random.key(0), config, algorithm_fn=reinforce
    )
    arrays, _, _ = read_newest(open_run(part.path))
    assert arrays is not None
    np.testing.assert_allclose(
        arrays["params.params.policy_head.kernel"][0],
        alone.params["params"]["policy_head"]["kernel"],
        rtol=1e-4,
        atol=1e-6,
    )


def test_truncation_as_termination_loses_the_future() -> None:
    """One step, cut: r + gamma V' - V in truth, r - V as if it had ended. By hand."""
    rewards, values, next_values = (np.full((1, 1), x) for x in (1.0, 2.0, 10.0))
    cut, kept = np.ones((1, 1), bool), np.zeros((1, 1), bool)
    rest = {"terminated": kept, "truncated": cut, "gamma": 0.9, "gae_lambda": 0.95}
    wrong, _ = gae_with_truncation_as_termination(rewards, values, next_values, **rest)
    right, _ = ESTIMATORS["gae"](rewards, values, next_values, **rest)
    assert float(wrong[0, 0]) == pytest.approx(-1.0)
    assert float(right[0, 0]) == pytest.approx(8.0)


def test_anatomy_is_a_run_with_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "anatomy"
    words = ["--total-steps", "20480", "--num-agents", "1", "--out", str(out)]
    assert main(["experiment", "anatomy", *words]) == 0
    assert "What does clipping do" in capsys.readouterr().out
    assert (out / "clip_anatomy.png").read_bytes().startswith(b"\x89PNG")
    assert "Findings of the doctor" in (out / "report.html").read_text()
    assert len(json.loads((out / "claims.json").read_text())) == 2


def test_trust_region_beside_ppo(tmp_path: Path) -> None:
    out = tmp_path / "trust-region"
    words = ["--total-steps", "10240", "--num-agents", "2", "--out", str(out)]
    assert main(["experiment", "trust-region", *words]) == 0
    claims = json.loads((out / "claims.json").read_text())
    assert claims[0].startswith("seen: TRPO never leaves its region")
    assert (out / "steps.png").read_bytes().startswith(b"\x89PNG")
    assert main(["experiment", "trust-region", *words]) == 2


def test_ppo_is_the_same_with_trpo_beside_it(tiny_config: PPOConfig) -> None:
    """The divergences are those of the training that `train` does, and TRPO keeps its bound."""
    steps = jax.jit(compare_steps)(jax.random.key(0), tiny_config)
    still = jax.jit(compare_steps)(jax.random.key(0), tiny_config.replace(learning_rate=0.0))
    assert (np.asarray(steps.ppo_kl) > 0).all()
    np.testing.assert_allclose(still.ppo_kl, 0.0, atol=1e-6)
    for kl in (steps.trpo_kl, still.trpo_kl):
        assert (np.asarray(kl) <= 0.01 * (1 + 1e-5)).all()
    np.testing.assert_allclose(still.trpo_kl[0], steps.trpo_kl[0], rtol=1e-3)


def test_claims_about_clipping_follow_from_the_numbers() -> None:
    """Clipping that falls together with the divergence, and the other way round."""
    falling = np.linspace(0.2, 0.0, 20)[:, None]
    for verdict, metrics in (
        ("seen", {"clip_fraction": falling, "approx_kl": falling**2}),
        ("NOT seen", {"clip_fraction": falling[::-1], "approx_kl": falling}),
    ):
        history = History((0,), np.arange(20), np.arange(20), np.arange(20.0), metrics, 20)
        assert all(claim.startswith(verdict) for claim in evaluate_clipping(history))


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in EXPERIMENTS)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["clipp"], "there is no experiment 'clipp'; did you mean clip"),
        (["clip", "--num-agents", "0"], "num_agents must be at least 1"),
        (["clip", "--total-steps", "10"], "less than one update"),
    ],
)
def test_mistakes(words: Sequence[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", *words]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXPERIMENTS, *OTHERS])
def test_claims_are_seen(name: str, tmp_path: Path) -> None:
    assert main(["experiment", name, "--out", str(tmp_path / name)]) == 0
    claims = json.loads((tmp_path / name / "claims.json").read_text())
    assert [claim for claim in claims if not claim.startswith("seen: ")] == []
