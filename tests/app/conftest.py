"""A run that trains in a blink and has everything that a checkpoint must hold."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from jax_ppo import PPOConfig
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, RunSettings, create_run
from jax_ppo.app.training import train_run

CONFIG = PPOConfig(
    env_id="CartPole-v1",
    total_steps=12 * 32,
    num_envs=4,
    num_steps=8,
    update_epochs=2,
    num_minibatches=2,
    hidden_sizes=(8,),
    normalize_observations=True,
    normalize_rewards=True,
    kl_coef=0.1,
    target_kl=0.02,
)
"""12 updates, with every optional part of the train state switched on."""

SETTINGS = RunSettings(num_agents=2, checkpoint_seconds=0.0, keep_checkpoints=3)


TINY = (
    *("--total-steps", "96", "--num-envs", "4", "--num-steps", "8", "--update-epochs", "2"),
    *("--num-minibatches", "2", "--hidden-sizes", "8", "--eval-episodes", "4"),
)
"""Options of a training that takes a blink: 3 updates."""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


class QuietDisplay(Display):
    """Shows nothing, keeps its messages, and can do something after a given update."""

    def __init__(
        self, run: Run, after: int = -1, action: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(run, Console(quiet=True))
        self.after, self.action = after, action
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def advance(self, update: int, episode_returns: np.ndarray) -> None:
        super().advance(update, episode_returns)
        if self.after >= 0 and update >= self.after:
            self.action()


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes run folders."""

    def make(name: str, config: PPOConfig = CONFIG, settings: RunSettings = SETTINGS) -> Run:
        return create_run(tmp_path / name, config, settings)

    return make


@pytest.fixture(scope="session")
def original_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went to its end without interruption; only `finished_run` reads it."""
    run = create_run(tmp_path_factory.mktemp("runs") / "finished", CONFIG, SETTINGS)
    train_run(run, QuietDisplay(run))
    return run


@pytest.fixture
def finished_run(original_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went to its end without interruption: a copy, which the test may change."""
    path = tmp_path_factory.mktemp("copy") / "finished"
    shutil.copytree(original_run.path, path)
    return dataclasses.replace(original_run, path=path)
