"""Pages about runs, the diagnostics, and what is drawn of clipping."""

import dataclasses
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo import PPOConfig, a2c, ppo, train_agents, trpo
from jax_ppo.app.cli import main
from jax_ppo.app.errors import AppError
from jax_ppo.app.history import read_history
from jax_ppo.app.plots.curves import Curve, compared_curves, learning_curve
from jax_ppo.app.plots.picture import (
    Bars,
    Level,
    Line,
    Panel,
    Picture,
    Points,
    Span,
    draw,
    write_png,
)
from jax_ppo.app.reports import agent_at, write_report
from jax_ppo.app.runs import Run, open_run
from jax_ppo.app.save import save_run
from jax_ppo.app.statistics import interval_of_curves
from jax_ppo.losses import clipped_surrogate_loss
from jax_ppo.variants.clip_anatomy import clip_anatomy, is_clipped
from jax_ppo.variants.policy_gradient import NO_CLIPPING

from .conftest import CONFIG

EVERYTHING = Picture(
    "every mark",
    (
        Panel(
            "left",
            "steps (1)",
            "return (1)",
            (
                Line("a", np.arange(3.0), np.array([1.0, np.nan, 2.0]), colour=1),
                Line("b", np.arange(3.0), np.ones(3), np.zeros(3), np.full(3, 2.0)),
                Level("limit", 1.5),
                Span("band", 0.5, 1.5),
            ),
            from_zero=True,
        ),
        Panel("right", "ratio", "samples", (Bars("", np.arange(4.0), np.array([1, 2, 0])),)),
        Panel(
            "below",
            "value",
            "return",
            (Points("p", np.arange(2.0), np.ones(2), np.zeros(2), np.full(2, 3.0)),),
            x_names=("tanh", "relu"),
        ),
    ),
    columns=2,
)


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_every_mark_is_drawn(tmp_path: Path) -> None:
    write_png(EVERYTHING, tmp_path / "all.png")
    assert is_png(tmp_path / "all.png")
    left, right, below, unused = draw(EVERYTHING).axes
    drawn = [set(axes.get_legend_handles_labels()[1]) for axes in (left, right, below)]
    assert drawn == [{"a", "b", "limit", "band"}, set(), {"p"}]
    assert list(left.lines[0].get_ydata()) == [1.0, 2.0]
    assert left.get_xlabel() == "steps (1)"
    assert right.patches
    assert [text.get_text() for text in below.get_xticklabels()] == ["tanh", "relu"]
    assert not unused.axison


def test_report(finished_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(finished_run.path, tmp_path / "run"))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    for text in ("CartPole-v1", "num_envs", "<td>ppo</td>", "not evaluated"):
        assert text in page
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 3
    assert "<script" not in page
    for name in ("learning_curve", "diagnostics", "clip_anatomy"):
        assert is_png(run / f"{name}.png")
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["both", "both.html", "both.png"])
def test_compare(name: str, finished_run: Run, new_run, tmp_path: Path) -> None:
    """Of two runs with the same metrics; the name may have either ending."""
    other = new_run("other", finished_run.config.replace(gamma=0.5))
    for file in ("metrics.jsonl", "timing.jsonl"):
        shutil.copy(finished_run.path / file, other.path)
    runs = [str(finished_run.path), str(other.path)]
    assert main(["compare", *runs, "--out", str(tmp_path / name)]) == 0
    assert {path.name for path in tmp_path.glob("both*")} == {"both.html", "both.png"}
    page = (tmp_path / "both.html").read_text()
    assert "<th>gamma</th>" in page
    assert "<th>gae_lambda</th>" not in page
    assert is_png(tmp_path / "both.png")


def test_compare_draws_each_environment_and_overwrites_nothing(finished_run: Run, new_run) -> None:
    other = new_run("other", finished_run.config.replace(env_id="Pendulum-v1"))
    for file in ("metrics.jsonl", "timing.jsonl"):
        shutil.copy(finished_run.path / file, other.path)
    words = ["compare", str(finished_run.path), str(other.path)]
    assert main(words) == main(words) == 0
    assert len(list(Path().glob("comparison-*.html"))) == 2
    assert len(list(Path().glob("comparison-*-2.png"))) == 2


def test_few_agents_have_no_interval(finished_run: Run) -> None:
    """Two lines and their mean; of five agents a band."""
    history = read_history(finished_run)
    several = dataclasses.replace(
        history,
        seeds=tuple(range(5)),
        metrics={name: np.repeat(v[:, :1], 5, axis=1) for name, v in history.metrics.items()},
    )
    for found, banded in ((history, False), (several, True)):
        steps, _ = learning_curve(finished_run, found).panels
        *_, line = steps.marks
        assert (line.low is not None) == banded
        assert line.label == ("IQM over agents, 95% interval" if banded else "mean over agents")


def test_of_many_curves_the_best_stand_out() -> None:
    curve = Curve(np.arange(3.0), np.arange(3.0), np.ones((1, 3)))
    (panel,) = compared_curves(
        "many", {str(i): curve for i in range(12)}, against_time=False
    ).panels
    assert [line.label for line in panel.marks[:2]] == ["the others"] * 2
    assert [line.label for line in panel.marks[2:]] == [str(i) for i in range(10)]


def test_a_run_of_agents_trained_with_the_library(tmp_path: Path) -> None:
    """Evaluated, reported, and trained to its end already."""
    keys = jax.random.split(jax.random.key(0), 2)
    states, metrics = jax.jit(train_agents)(keys, CONFIG)
    run = save_run(tmp_path / "mine", states, CONFIG, metrics=metrics, seed=3)
    assert open_run(run.path) == run
    assert main(["evaluate", str(run.path), "--num-episodes", "2"]) == 0
    assert main(["resume", str(run.path), "--eval-episodes", "2"]) == 0
    np.testing.assert_allclose(
        read_history(run).metrics["entropy"], np.asarray(metrics.entropy), rtol=1e-6
    )
    with pytest.raises(AppError, match="not those of this config"):
        save_run(tmp_path / "other", states, CONFIG.replace(hidden_sizes=(4,)))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["compare", "RUN"], "at least two runs"),
        (["compare", "RUN", "RUN"], "the same run is given twice"),
        (["compare", "RUN", "nowhere"], "nowhere is not a run folder"),
        (["compare", "RUN", "RUN", "--out", "no/where"], "there is no folder no"),
    ],
)
def test_mistakes(
    words: list[str], error: str, finished_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(finished_run.path) if word == "RUN" else word for word in words]) == 2
    assert error in capsys.readouterr().err


def test_a_run_without_metrics(new_run, capsys: pytest.CaptureFixture[str]) -> None:
    run = new_run("new")
    for command in ("report", "doctor"):
        assert main([command, str(run.path)]) == 2
        assert "has no metrics yet" in capsys.readouterr().err


def test_interval_holds_the_middle_and_shrinks_with_agents() -> None:
    draws = np.random.default_rng(0).normal(size=(64, 5))
    middle, low, high = interval_of_curves(draws)
    assert (low < middle).all()
    assert (middle < high).all()
    _, few_low, few_high = interval_of_curves(draws[:8])
    assert (high - low < few_high - few_low).all()


def test_clipped_samples_are_those_without_a_gradient() -> None:
    """Against the objective's own derivative with respect to the log-probability."""
    ratio = jnp.array([0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 1.1, 0.9])
    advantages = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 2.0, -2.0])
    gradient = jax.grad(clipped_surrogate_loss)(
        jnp.log(ratio), jnp.zeros_like(ratio), advantages, 0.2
    )
    clipped = is_clipped(ratio, advantages, 0.2)
    np.testing.assert_array_equal(clipped, gradient == 0)
    assert clipped.tolist() == [False, True, False, False, True, False, False, False]


def test_anatomy_of_an_update_that_does_nothing(tiny_config: PPOConfig) -> None:
    config = tiny_config.replace(learning_rate=0.0)
    anatomy = clip_anatomy(ppo(config).init(jax.random.key(0)), config)
    np.testing.assert_allclose(anatomy.ratio, 1.0, atol=1e-6)
    assert not anatomy.clipped.any()
    state = ppo(tiny_config).init(jax.random.key(0))
    moved = clip_anatomy(state, tiny_config.replace(learning_rate=0.1))
    assert moved.clipped.any()
    assert moved.ratio.shape == (tiny_config.batch_size,)


def test_the_clip_range_is_that_of_the_algorithm(tiny_config: PPOConfig) -> None:
    anatomy = clip_anatomy(a2c(tiny_config).init(jax.random.key(0)), tiny_config, a2c)
    assert anatomy.clip_eps == NO_CLIPPING
    assert not anatomy.clipped.any()
    with pytest.raises(ValueError, match="no clip range"):
        clip_anatomy(trpo(tiny_config).init(jax.random.key(0)), tiny_config, trpo)


def test_no_picture_of_a_clip_range_where_there_is_none(finished_run: Run) -> None:
    rows = finished_run.metrics.read_text()
    finished_run.metrics.write_text(re.sub('"clip_eps": [^,}]+', '"clip_eps": 1e6', rows))
    assert write_report(finished_run).read_text().count("<img") == 2


def test_an_earlier_agent_is_found_again(finished_run: Run) -> None:
    """The run keeps checkpoints of updates 6, 11 and 12 or so; none of 3."""
    earlier, later = agent_at(finished_run, 3), agent_at(finished_run, 12)
    assert int(earlier.update) == 3
    assert int(later.update) == 12
    again = agent_at(finished_run, 3)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, earlier.params, again.params))
    assert not jax.tree.all(jax.tree.map(jnp.array_equal, earlier.params, later.params))
