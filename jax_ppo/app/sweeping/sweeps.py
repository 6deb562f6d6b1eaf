"""Sweeps: many settings, each on several seeds, trained as few programs on all devices.

A sweep folder:

sweep.json            what is tried: enough to start the sweep anew
part_000/ ...         a run folder for each program: the trials that differ in coefficients only
results.csv           a row per trial and seed
ranking.csv           a row per trial, best first
index.html, *.png     pictures of both
"""

import csv
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from jax_ppo.app.devices import keep_compiled_programs, set_up_devices
from jax_ppo.app.errors import AppError
from jax_ppo.app.evaluation import Agents, evaluate_agents
from jax_ppo.app.history import History, seconds_at
from jax_ppo.app.logs import CURVES, CurveLog
from jax_ppo.app.outcome import UNLIMITED_STEPS
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import RunSettings, create_run, open_run, read_rows, write_json, written_whole
from jax_ppo.app.statistics import Summary, summarize
from jax_ppo.app.sweeping.search import (
    Trial,
    apply_trial,
    components_of,
    group_by_program,
    stack_configs,
)
from jax_ppo.app.training import Population, keys_of, train_population
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.envs import make_env
from jax_ppo.networks import make_network
from jax_ppo.types import TrainState


@dataclass(frozen=True)
class Sweep:
    """A sweep folder and what is tried in it."""

    path: Path
    base: PPOConfig
    """The config that the trials change."""
    trials: tuple[Trial, ...]
    """What is tried, in the order in which it was thought of."""
    settings: RunSettings
    """Gives the seeds of every trial, and the time between checkpoints."""
    eval_episodes: int
    """Episodes that each agent is evaluated on."""
    batch_size: int
    """Trials that are thought of at a time; a program never trains trials of two batches."""
    sample: tuple[str, ...] = ()
    """Ranges that further batches are drawn from, in the words of the command line."""
    num_trials: int = 0
    """Trials in all, where further batches depend on the results of those before."""
    names: tuple[str, ...] = ()
    """What the pictures call each trial; empty: by its values."""
    title: str = ""
    """What the pictures call it; empty: the environment and what is varied."""

    @property
    def configs(self) -> list[PPOConfig]:
        """The config of every trial."""
        return [apply_trial(self.base, trial) for trial in self.trials]

    def name_of(self, trial: int) -> str:
        """What to call a trial."""
        return self.names[trial] if self.names else describe_trial(self.trials[trial])

    @property
    def fields(self) -> list[str]:
        """Names of what is varied."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial))


class Part(NamedTuple):
    """The trials of a sweep that one program trains."""

    path: Path
    trials: tuple[int, ...]
    """Indices of the trials."""


class Outcome(NamedTuple):
    """How one agent did."""

    trial: int
    seed: int
    episode_return: float
    """Mean over the evaluation episodes."""
    diverged: bool
    """Whether its parameters are no longer finite."""


class Ranked(NamedTuple):
    """A trial and how its agents did."""

    trial: int
    summary: Summary
    """Of the agents' mean returns."""
    diverged: int
    """Number of agents that diverged."""


def create_sweep(sweep: Sweep) -> None:
    """Check every trial, then make a sweep folder.

    Raises:
        AppError: The folder exists already, or cannot be written.
        ConfigError: A trial cannot be trained.
    """
    for trial, config in zip(sweep.trials, sweep.configs, strict=True):
        try:
            make_network(config, make_env(config))
        except ConfigError as error:
            raise ConfigError(f"{describe_trial(trial)}: {error}") from error
    if sweep.path.exists():
        raise AppError(
            f"{sweep.path} exists already: give another folder, or go on with "
            f"`jax-ppo resume {sweep.path}`"
        )
    try:
        sweep.path.mkdir(parents=True)
        write_sweep(sweep)
    except OSError as error:
        raise AppError(f"cannot write the sweep folder {sweep.path}: {error.strerror}") from error


def write_sweep(sweep: Sweep) -> None:
    """Write down what is tried."""
    content = {field.name: getattr(sweep, field.name) for field in dataclasses.fields(sweep)}
    del content["path"]
    content |= {"base": dataclasses.asdict(sweep.base)}
    content |= {"settings": dataclasses.asdict(sweep.settings)}
    write_json(sweep.path / "sweep.json", content)


def open_sweep(path: Path) -> Sweep:
    """Read a sweep folder.

    Raises:
        AppError: It is none, or cannot be read.
    """
    file = path / "sweep.json"
    if not file.is_file():
        raise AppError(f"{path} is not a sweep folder: it has no sweep.json")
    try:
        content = json.loads(file.read_text())
        return Sweep(
            path=path,
            base=PPOConfig(**content["base"]),
            trials=tuple(content["trials"]),
            settings=RunSettings(**content["settings"]),
            eval_episodes=content["eval_episodes"],
            batch_size=content["batch_size"],
            sample=tuple(content["sample"]),
            num_trials=content["num_trials"],
            names=tuple(content["names"]),
            title=content["title"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise AppError(f"{file} cannot be read: {error}") from error


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    return (path / "sweep.json").is_file()


def set_up_sweep(sweep: Sweep) -> None:
    """Settle devices and cache for the largest part of a sweep, before anything is computed.

    Raises:
        AppError: There is a cluster.
    """
    most = max(len(part.trials) for part in parts_of(sweep)) * sweep.settings.num_seeds
    keep_compiled_programs()
    set_up_devices(sweep.base, dataclasses.replace(sweep.settings, seed=0, num_seeds=most))
    if jax.process_count() > 1:
        raise AppError("a sweep runs on one machine; start it without a cluster")


def run_sweep(sweep: Sweep, console: Console) -> None:
    """Train every part that is not done, from where it stopped.

    Args:
        sweep: A sweep whose folder exists.
        console: Where to show the progress.

    Raises:
        Interrupted: A signal asked to stop; everything is saved.
    """
    parts = parts_of(sweep)
    for number, part in enumerate(parts, 1):
        if not (part.path / "evaluation.json").is_file():
            name = f"{sweep.base.env_id}, part {number} of {len(parts)}"
            _train_part(sweep, part, name, console)
            # A process has room for the programs of some thirty parts, and JAX keeps them all.
            jax.clear_caches()


def parts_of(sweep: Sweep) -> list[Part]:
    """The parts of a sweep: trials of one batch that differ in nothing but coefficients."""
    configs, size = sweep.configs, sweep.batch_size
    groups = [
        tuple(start + place for place in group)
        for start in range(0, len(configs), size)
        for group in group_by_program(
            configs[start : start + size], sweep.trials[start : start + size]
        )
    ]
    return [Part(sweep.path / f"part_{number:03d}", group) for number, group in enumerate(groups)]


def _train_part(sweep: Sweep, part: Part, name: str, console: Console) -> None:
    """Train and evaluate the agents of one part: every trial on every seed."""
    configs, seeds = sweep.configs, sweep.settings.seeds
    agents = [(trial, seed) for trial in part.trials for seed in seeds]
    settings = dataclasses.replace(sweep.settings, seed=0, num_seeds=len(agents))
    if (part.path / "run.json").is_file():
        run = open_run(part.path)
    else:
        run = create_run(part.path, configs[part.trials[0]], settings, in_sweep=True)
    population = Population(
        keys_of([seed for _, seed in agents]),
        stack_configs([configs[trial] for trial, _ in agents]),
    )
    with Display(run, console, name) as display:
        components = components_of(sweep.trials[part.trials[0]])
        states = train_population(run, population, display, CurveLog(run), components)
    returns = _evaluate(sweep, [configs[trial] for trial in part.trials], population, states)
    diverged = _diverged(states)
    outcomes = [
        Outcome(trial, seed, float(episode_return), bool(bad))
        for (trial, seed), episode_return, bad in zip(agents, returns, diverged, strict=True)
    ]
    write_json(part.path / "evaluation.json", [outcome._asdict() for outcome in outcomes])


def _evaluate(
    sweep: Sweep, configs: Iterable[PPOConfig], population: Population, states: TrainState
) -> np.ndarray:
    """Mean return of each agent with its most probable actions [num_agents]."""
    limits = [make_env(config).max_episode_steps or UNLIMITED_STEPS for config in configs]
    results = evaluate_agents(
        Agents(states.params, states.rollout.obs_stats),
        population.config,
        sweep.eval_episodes,
        deterministic=True,
        seed=0,
        max_steps=max(limits),
    )
    return np.asarray(results.episode_return).mean(axis=1)


def _diverged(states: TrainState) -> np.ndarray:
    """Whether an agent has a parameter that is not finite [num_agents]."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(states.params)]
    flat = [np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in leaves]
    return ~np.all(flat, axis=0)


def outcomes_of(sweep: Sweep) -> list[Outcome]:
    """How every agent did that is trained and evaluated."""
    files = [part.path / "evaluation.json" for part in parts_of(sweep)]
    rows = [row for file in files if file.is_file() for row in json.loads(file.read_text())]
    return sorted(Outcome(**row) for row in rows)


def rank(outcomes: Iterable[Outcome]) -> list[Ranked]:
    """Trials by the interquartile mean of their agents' returns, then by the mean; best first."""
    by_trial: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        by_trial.setdefault(outcome.trial, []).append(outcome)
    ranked = [
        Ranked(
            trial,
            summarize(np.array([outcome.episode_return for outcome in agents])),
            sum(outcome.diverged for outcome in agents),
        )
        for trial, agents in by_trial.items()
    ]
    return sorted(ranked, key=lambda entry: (-entry.summary.iqm, -entry.summary.mean))


def histories_of(sweep: Sweep) -> dict[int, History]:
    """The curves of every trial that has some, by trial."""
    histories: dict[int, History] = {}
    num_seeds = sweep.settings.num_seeds
    for part in parts_of(sweep):
        rows = list(read_rows(part.path / "curves.jsonl"))
        if not rows:
            continue
        columns = {name: np.array([row[name] for row in rows], float) for name in CURVES}
        updates = np.array([row["update"] for row in rows])
        seconds = seconds_at(updates, read_rows(part.path / "timing.jsonl"))
        for place, trial in enumerate(part.trials):
            agents = slice(place * num_seeds, (place + 1) * num_seeds)
            histories[trial] = History(
                seeds=tuple(sweep.settings.seeds),
                updates=updates,
                steps=np.array([row["steps"] for row in rows]),
                seconds=seconds,
                metrics={name: values[:, agents] for name, values in columns.items()},
            )
    return histories


def write_tables(sweep: Sweep, outcomes: Sequence[Outcome], ranked: Sequence[Ranked]) -> None:
    """Write results.csv and ranking.csv."""
    fields = sweep.fields
    _write_csv(
        sweep.path / "results.csv",
        ["trial", "seed", *fields, "episode_return", "diverged"],
        [
            [o.trial, o.seed, *_values(sweep, o.trial), o.episode_return, o.diverged]
            for o in outcomes
        ],
    )
    _write_csv(
        sweep.path / "ranking.csv",
        ["rank", "trial", *fields, *Summary._fields, "diverged"],
        [
            [place, entry.trial, *_values(sweep, entry.trial), *entry.summary, entry.diverged]
            for place, entry in enumerate(ranked, 1)
        ],
    )


def _values(sweep: Sweep, trial: int) -> list[Any]:
    """What a trial sets each of the varied fields to; its base's value where it sets nothing."""
    return [sweep.trials[trial].get(name, getattr(sweep.base, name, "")) for name in sweep.fields]


def describe_trial(trial: Mapping[str, Any]) -> str:
    """A trial in words: "learning_rate 0.001, clip_eps 0.2"."""
    return ", ".join(f"{name} {show_value(value)}" for name, value in trial.items()) or "the base"


def show_value(value: Any) -> str:
    """A value of a field, as short as it can be told."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return str(value)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table, whole or not at all."""
    with written_whole(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
