"""Named experiments: a sweep each, with what to look for and the expected results.

They are in catalogue.toml. A claim there is a comparison that the experiment is expected to show.
It is a finding of our own runs: another environment or budget may show something else, and the page
then says so.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jax_ppo.app.history import History
from jax_ppo.app.sweeps.search_space import Trial, parse_value
from jax_ppo.app.sweeps.sweep import Ranked
from jax_ppo.config import PPOConfig
from jax_ppo.presets import preset

CARTPOLE = preset("CartPole-v1").replace(total_steps=100_000)
QUANTITIES = {"training_return": "mean training return", "score": "evaluation return"}
"""What claims compare besides metrics: methods of `Results`, and their names in texts."""


class Results(NamedTuple):
    """The results of an experiment, by the trial's name."""

    ranked: Mapping[str, Ranked]
    histories: Mapping[str, History]

    def score(self, name: str) -> float:
        """IQM over the agents of their evaluation returns, or the mean of few."""
        return self.ranked[name].summary.score

    def training_return(self, name: str) -> float:
        """Mean return of all episodes of training: it rises with the speed of learning."""
        metrics = self.histories[name].metrics
        episodes = metrics["num_episodes"]
        returns = np.where(episodes > 0, metrics["episode_return"], 0.0)
        return float((returns * episodes).sum() / episodes.sum())

    def value(self, name: str, quantity: str) -> float:
        """One of QUANTITIES, or the mean of a metric over agents and the middle of training."""
        if quantity in QUANTITIES:
            return float(getattr(self, quantity)(name))
        values = self.histories[name].metrics[quantity]
        quarter = len(values) // 4
        return float(np.nanmean(values[quarter : len(values) - quarter]))


class Claim(NamedTuple):
    """Something that an experiment is expected to show."""

    quantity: str
    """Is higher in `first` than in `second`; or "within D": their evaluations differ by less."""
    first: str
    second: str

    @property
    def text(self) -> str:
        """The claim in words."""
        if self.quantity.startswith("within "):
            distance = self.quantity.split()[1]
            names = f"{self.first} and {self.second}"
            return f"evaluation returns with {names} differ by less than {distance}"
        name = QUANTITIES.get(self.quantity, self.quantity)
        return f"{name} is higher with {self.first} than with {self.second}"

    def measure(self, results: Results) -> tuple[float, float]:
        """The two numbers that are compared; the first should be greater."""
        if self.quantity.startswith("within "):
            difference = results.score(self.first) - results.score(self.second)
            return float(self.quantity.split()[1]), abs(difference)
        first, second = (results.value(name, self.quantity) for name in (self.first, self.second))
        return first, second


def verdict(text: str, greater: float, smaller: float) -> str:
    """A claim with its two numbers, and whether the first is the greater one here."""
    seen = "seen" if greater > smaller else "NOT seen"
    return f"{seen}: {text} ({greater:.4g} against {smaller:.4g})"


@dataclass(frozen=True)
class Experiment:
    """A question, the trials that answer it, and the expected results."""

    question: str
    text: str
    """What to look for."""
    base: PPOConfig
    trials: Mapping[str, Trial]
    """By name."""
    claims: tuple[Claim, ...]
    metrics: tuple[str, ...]
    """The diagnostics to plot."""
    num_agents: int = 8


def _read_experiment(content: dict[str, Any]) -> Experiment:
    """An experiment of catalogue.toml."""
    base = preset(content["preset"]) if "preset" in content else PPOConfig()
    return Experiment(
        question=content["question"],
        text=content["text"],
        base=base.replace(**content.get("base", {})),
        trials={name: _read_trial(trial) for name, trial in content["trials"].items()},
        claims=tuple(Claim(*claim) for claim in content["claims"]),
        metrics=tuple(content["metrics"]),
    )


def _read_trial(content: dict[str, Any]) -> Trial:
    """A trial of catalogue.toml, whose texts are those of `jax-ppo sweep --grid`."""
    return {
        name: parse_value(name, value) if isinstance(value, str) else value
        for name, value in content.items()
    }


EXPERIMENTS = {
    name: _read_experiment(content)
    for name, content in tomllib.loads(
        Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    ).items()
}
"""Experiments by their names on the command line."""
