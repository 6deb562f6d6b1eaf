"""The returns of the presets: measuring, the file of results, and the page."""

import json
from pathlib import Path

import gymnax
import numpy as np
import pytest

from benchmarks import presets
from benchmarks.__main__ import main
from jax_ppo import PRESETS, PPOConfig
from jax_ppo.adapters.gymnax import NEEDS_DOWNLOAD
from jax_ppo.app.history import History
from jax_ppo.presets import NOTES, THRESHOLDS

TINY = {
    env_id: PPOConfig(
        env_id=env_id, total_steps=256, num_envs=4, update_epochs=1, hidden_sizes=(8,)
    )
    for env_id in ("Catch-bsuite", "Pendulum-v1")
}
RESULTS = presets.read_results(presets.FOLDER)
BUILT_IN = frozenset(gymnax.registered_envs)
"""As they are before any test registers more."""


def test_every_environment_has_a_preset() -> None:
    assert set(PRESETS) == BUILT_IN - set(NEEDS_DOWNLOAD)
    assert set(THRESHOLDS) | set(NOTES) == set(PRESETS)


def test_every_published_figure_has_a_source() -> None:
    for env_id, figure in presets.read_published().items():
        assert env_id in PRESETS
        assert np.isfinite(figure["value"])
        assert figure["who"]
        assert figure["note"]
        assert figure["url"].startswith("https://")
        assert all(figure[name] is None or figure[name] > 0 for name in ("steps", "seeds"))


def test_results_are_of_the_presets() -> None:
    assert list(RESULTS) == list(PRESETS)
    for env_id, result in RESULTS.items():
        assert result["config"] == presets.without_defaults(PRESETS[env_id])
        assert result["threshold"] == THRESHOLDS.get(env_id)


def test_the_page_is_that_of_the_results() -> None:
    page = presets.page(RESULTS, presets.read_published(), NOTES)
    assert page == presets.PAGE.read_text()
    for env_id in PRESETS:
        assert f"\n| {env_id} | " in page


def test_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results are merged in the order of the presets, and replaced one by one."""
    monkeypatch.setattr(presets, "NUM_EPISODES", 4)
    monkeypatch.setattr(presets, "PRESETS", TINY)
    monkeypatch.setenv("COLUMNS", "200")
    words = ["--num-agents", "2", "--out", str(tmp_path)]
    assert main(["presets", "Pendulum-v1", *words]) == 0
    first, maps = presets.read_results(tmp_path), Path("/proc/self/maps")
    num_maps = len(maps.read_text().splitlines()) if maps.exists() else 0
    assert list(first) == ["Pendulum-v1"]
    assert main(["presets", "Catch-bsuite", *words]) == 0
    # The programs of a preset have some 700 memory maps.
    assert not num_maps or len(maps.read_text().splitlines()) < num_maps + 300
    results = presets.read_results(tmp_path)
    assert list(results) == list(TINY)
    assert results["Pendulum-v1"] == first["Pendulum-v1"]

    result = results["Catch-bsuite"]
    assert len(result["returns"]) == len(result["steps_to_threshold"]["seeds"]) == 2
    assert result["summary"]["minimum"] == min(result["returns"])
    assert -1 <= result["random_return"] <= 0
    assert result["steps"] == 256
    assert result["seconds_with_compilation"] > result["seconds"] > 0

    page = (tmp_path / "presets.md").read_text()
    assert page == presets.page(results, presets.read_published(), NOTES)
    assert all(f"| {env_id} | " in page for env_id in TINY)
    assert "IQM" in capsys.readouterr().out


def test_steps_to_a_threshold() -> None:
    """100 updates make 50 parts of two; an update is weighted by the episodes that ended."""
    returns = np.zeros((100, 3))
    returns[[40, 41], 0] = 0.0, 8.0
    returns[80:, 1] = 5.0
    episodes = np.ones((100, 3))
    episodes[41, 0] = 3.0
    steps = np.arange(1, 101) * 10
    metrics = {"episode_return": returns, "num_episodes": episodes}
    history = History((0, 1, 2), steps // 10, steps, np.zeros(100), metrics, 100)
    assert presets.steps_to_threshold(history, 5.0) == {
        "seeds": [410.0, 810.0, None],
        "median": 810,
    }
    late = presets.steps_to_threshold(history, 5.5)
    assert late == {"seeds": [410.0, None, None], "median": None}


def test_results_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(presets.AppError, match="cannot be read"):
        presets.read_results(tmp_path)
    with pytest.raises(presets.AppError, match="no results"):
        presets.write_page(tmp_path / "nowhere")


def test_only_what_differs_is_written() -> None:
    config = PPOConfig(env_id="Catch-bsuite", hidden_sizes=(8,), gamma=0.5)
    assert presets.without_defaults(config) == {"hidden_sizes": [8], "gamma": 0.5}
    assert json.loads(json.dumps(presets.without_defaults(PPOConfig()))) == {}
