"""Sweeps: many settings, each trained by several agents, as few programs on all devices.

A sweep folder:

sweep.json            what is tried: enough to start the sweep anew
part_000/ ...         a run folder for each program: the trials that differ in coefficients only
results.csv           a row per trial and seed
ranking.csv           a row per trial, best first
index.html, *.png     plots of both
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from jax_ppo.app import runs
from jax_ppo.app.algorithms import make_algorithm
from jax_ppo.app.errors import AppError
from jax_ppo.app.evaluation import Agents, evaluate_agents
from jax_ppo.app.history import History, Recorder
from jax_ppo.app.logs import CURVES, CurveLog
from jax_ppo.app.memory import check_memory
from jax_ppo.app.outcome import UNLIMITED_STEPS
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import RunSettings
from jax_ppo.app.runtime import set_up
from jax_ppo.app.statistics import Summary, summarize
from jax_ppo.app.sweeps import search_space
from jax_ppo.app.sweeps.search_space import ADVANTAGES, ALGORITHM, Trial
from jax_ppo.app.training import Population, keys_of, train_population
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.ppo import AlgorithmFn
from jax_ppo.types import TrainState


@dataclass(frozen=True)
class Sweep:
    """A sweep folder and what is tried in it."""

    path: Path
    base: PPOConfig
    """The config that the trials change."""
    trials: tuple[Trial, ...]
    """What is tried, in the order in which it was proposed."""
    settings: RunSettings
    """Gives the seeds of every trial, and the time between checkpoints."""
    eval_episodes: int
    """Episodes that each agent is evaluated on."""
    batch_size: int
    """Trials that are proposed at a time; a program never trains trials of two batches."""
    sample: tuple[str, ...] = ()
    """Ranges that further batches are drawn from, as given on the command line."""
    num_trials: int = 0
    """Trials in all, where further batches depend on the results of those before."""
    names: tuple[str, ...] = ()
    """Names of the trials in plots; empty: their values."""
    title: str = ""
    """Title of the plots; empty: the environment and what is varied."""
    algorithm: str = "ppo"
    """The algorithm of trials that do not name one."""

    @property
    def configs(self) -> list[PPOConfig]:
        """The config of every trial."""
        return [search_space.apply_trial(self.base, trial) for trial in self.trials]

    @property
    def algorithms(self) -> list[AlgorithmFn]:
        """The algorithm of every trial."""
        return [search_space.algorithm_of(trial, self.algorithm) for trial in self.trials]

    @property
    def fields(self) -> list[str]:
        """Names of what is varied."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial))

    def name_of(self, trial: int) -> str:
        """The name of a trial, or its values."""
        return self.names[trial] if self.names else describe_trial(self.trials[trial])


class Part(NamedTuple):
    """The trials of a sweep that one program trains."""

    path: Path
    trials: tuple[int, ...]
    """Indices of the trials."""


class Outcome(NamedTuple):
    """The evaluation of one agent."""

    trial: int
    seed: int
    episode_return: float
    """Mean over the evaluation episodes."""
    diverged: bool
    """Whether its parameters, or its return, are no longer finite."""


class Ranked(NamedTuple):
    """A trial and the evaluation of its agents."""

    trial: int
    summary: Summary
    """Of the agents' mean returns."""
    diverged: int
    """Number of agents that diverged."""


def create_sweep(sweep: Sweep) -> None:
    """Check every trial, then make a sweep folder, atomically.

    Raises:
        AppError: The folder exists already, or cannot be written; or an algorithm fails.
        ConfigError: A trial cannot be trained.
    """
    for trial, config in zip(sweep.trials, sweep.configs, strict=True):
        try:
            name = trial.get(ALGORITHM, sweep.algorithm)
            algorithm = make_algorithm(config, name, trial.get(ADVANTAGES))
            check_memory(algorithm, sweep.settings.num_agents)
        except (ConfigError, AppError) as error:
            raise type(error)(f"{describe_trial(trial)}: {error}") from error
    if sweep.path.exists():
        raise AppError(
            f"{sweep.path} exists already: give another folder, or continue it with "
            f"`jax-ppo resume {sweep.path}`"
        )
    try:
        unfinished = runs.unfinished_path(sweep.path)
        unfinished.mkdir(parents=True)
        write_sweep(replace(sweep, path=unfinished))
        unfinished.rename(sweep.path)
    except OSError as error:
        raise AppError(f"cannot write the sweep folder {sweep.path}: {error.strerror}") from error


def write_sweep(sweep: Sweep) -> None:
    """Write sweep.json."""
    content = asdict(sweep)
    del content["path"]
    runs.write_json(sweep.path / "sweep.json", content)


def open_sweep(path: Path) -> Sweep:
    """Read a sweep folder, also one of an older version.

    Raises:
        AppError: It is not a sweep folder, or sweep.json cannot be read.
    """
    with runs.described(path / "sweep.json", "sweep") as content:
        content |= {name: tuple(content[name]) for name in ("sample", "names")}
        content["trials"] = tuple(map(_with_tuples, content["trials"]))
        base, settings = PPOConfig(**content.pop("base")), runs.settings_from(content)
        sweep = Sweep(path=path, base=base, settings=settings, **content)
        runs.check_types(sweep)
        if not sweep.configs or sweep.batch_size < 1:
            raise ValueError("it has no trials")
        return sweep


def _with_tuples(trial: Trial) -> Trial:
    """A trial as it was before it was written: JSON has lists only."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in trial.items()
    }


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    return (path / "sweep.json").is_file()


def set_up_sweep(sweep: Sweep) -> None:
    """Set up devices and cache for the largest part of a sweep, before anything is computed.

    Raises:
        AppError: There is a cluster.
    """
    most = max(len(part.trials) for part in parts_of(sweep)) * sweep.settings.num_agents
    set_up(sweep.base, replace(sweep.settings, seed=0, num_agents=most))
    if jax.process_count() > 1:
        raise AppError("a sweep runs on one machine; start it without a cluster")


def run_sweep(sweep: Sweep, console: Console) -> None:
    """Train every part of a sweep that is not done, from where it stopped.

    Raises:
        Interrupted: A signal asked to stop; everything is saved.
    """
    parts = parts_of(sweep)
    for number, part in enumerate(parts, 1):
        if not (part.path / "evaluation.json").is_file():
            # How many parts an adaptive search will have is not known.
            total = "" if sweep.sample else f" of {len(parts)}"
            name = f"{sweep.base.env_id}, part {number}{total}"
            _train_part(sweep, part, name, console)
            # Compiled programs map memory, and Linux limits the maps of a process: some thirty
            # parts would reach the limit.
            jax.clear_caches()


def parts_of(sweep: Sweep) -> list[Part]:
    """The parts of a sweep: trials of one batch that differ in nothing but coefficients."""
    configs, algorithms = sweep.configs, sweep.algorithms
    groups: list[tuple[int, ...]] = []
    for start in range(0, len(configs), sweep.batch_size):
        batch = slice(start, start + sweep.batch_size)
        found = search_space.group_by_program(configs[batch], algorithms[batch])
        groups += [tuple(start + place for place in group) for group in found]
    return [Part(sweep.path / f"part_{number:03d}", group) for number, group in enumerate(groups)]


def _train_part(sweep: Sweep, part: Part, name: str, console: Console) -> None:
    """Train and evaluate the agents of one part: every trial on every seed."""
    configs, first = sweep.configs, part.trials[0]
    agents = [(trial, seed) for trial in part.trials for seed in sweep.settings.seeds]
    if (part.path / "run.json").is_file():
        run = runs.open_run(part.path)
    else:
        settings = replace(sweep.settings, seed=0, num_agents=len(agents))
        algorithm = sweep.trials[first].get(ALGORITHM, sweep.algorithm)
        run = runs.create_run(
            part.path, configs[first], settings, algorithm=algorithm, in_sweep=True
        )
    population = Population(
        keys_of([seed for _, seed in agents]),
        search_space.stack_configs([configs[trial] for trial, _ in agents]),
        sweep.algorithms[first],
    )
    with Display(run, console, name) as display:
        states = train_population(run, population, display, log=CurveLog(run))
    envs = [population.algorithm_fn(configs[trial]).env for trial in part.trials]
    results = evaluate_agents(
        Agents(states.params, states.rollout.obs_stats),
        population.config,
        sweep.eval_episodes,
        max_steps=max(env.max_episode_steps or UNLIMITED_STEPS for env in envs),
        algorithm_fn=population.algorithm_fn,
    )
    returns, diverged = np.asarray(results.episode_return).mean(axis=1), _diverged(states)
    outcomes = [
        Outcome(*agent, float(episode_return), bool(bad or np.isnan(episode_return)))._asdict()
        for agent, episode_return, bad in zip(agents, returns, diverged, strict=True)
    ]
    runs.write_json(part.path / "evaluation.json", outcomes)


def _diverged(states: TrainState) -> np.ndarray:
    """Whether an agent has a parameter that is not finite [num_agents]."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(states.params)]
    flat = [np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in leaves]
    return ~np.all(flat, axis=0)


def outcomes_of(sweep: Sweep) -> list[Outcome]:
    """The evaluation of every agent that is trained."""
    files = [part.path / "evaluation.json" for part in parts_of(sweep)]
    outcomes: list[Outcome] = []
    for file in filter(Path.is_file, files):
        with runs.json_of(file) as rows:
            outcomes += [_outcome_of(**row) for row in rows]
    return sorted(outcomes, key=lambda outcome: outcome[:2])


def _outcome_of(episode_return: float | None, **others: Any) -> Outcome:
    """An outcome as it was before it was written: JSON has no number for NaN."""
    value = float("nan") if episode_return is None else float(episode_return)
    outcome = Outcome(episode_return=value, **others)
    runs.check_types(outcome)
    return outcome


def rank(outcomes: Iterable[Outcome]) -> list[Ranked]:
    """Trials by the score of their agents' returns (`Summary.score`), then the mean; best first.

    Trials of which agents diverged come last, those with the fewest first; their returns are those
    of the agents that did not, NaN where all did.
    """
    by_trial: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        by_trial.setdefault(outcome.trial, []).append(outcome)
    ranked = [
        Ranked(
            trial,
            summarize(_sound_returns(agents)),
            sum(outcome.diverged for outcome in agents),
        )
        for trial, agents in by_trial.items()
    ]
    return sorted(ranked, key=_place)


def _sound_returns(agents: Sequence[Outcome]) -> np.ndarray:
    """The returns of the agents that did not diverge; NaN where all did."""
    sound = [agent.episode_return for agent in agents if not agent.diverged]
    return np.array(sound or [np.nan])


def _place(entry: Ranked) -> tuple[int, float, float]:
    """What trials are sorted by: the smallest is the best."""
    score, mean = entry.summary.score, entry.summary.mean
    return entry.diverged, *((-score, -mean) if np.isfinite(score) else (np.inf, np.inf))


def histories_of(sweep: Sweep) -> dict[int, History]:
    """The curves of every trial that has some, by trial."""
    histories: dict[int, History] = {}
    num_agents = sweep.settings.num_agents
    for part in parts_of(sweep):
        config = sweep.configs[part.trials[0]]
        recorder = Recorder(range(len(part.trials) * num_agents), config.num_updates)
        for row in runs.read_rows(part.path / "curves.jsonl"):
            recorder.add({name: row[name] for name in CURVES if name in row}, row)
        whole = recorder.history(runs.read_rows(part.path / "timing.jsonl"))
        for place, trial in enumerate(part.trials if len(whole.updates) else ()):
            agents = slice(place * num_agents, (place + 1) * num_agents)
            metrics = {name: values[:, agents] for name, values in whole.metrics.items()}
            histories[trial] = replace(whole, seeds=tuple(sweep.settings.seeds), metrics=metrics)
    return histories


def write_tables(sweep: Sweep, outcomes: Sequence[Outcome], ranked: Sequence[Ranked]) -> None:
    """Write results.csv and ranking.csv."""
    results = [
        {"trial": o.trial, "seed": o.seed, **_values(sweep, o.trial), **o._asdict()}
        for o in outcomes
    ]
    ranking = [
        {"rank": place, "trial": trial, **_values(sweep, trial), "score": s.score}
        | {**s._asdict(), "diverged": bad}
        for place, (trial, s, bad) in enumerate(ranked, 1)
    ]
    for name, rows in (("results.csv", results), ("ranking.csv", ranking)):
        with runs.written_atomically(sweep.path / name) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _values(sweep: Sweep, trial: int) -> dict[str, Any]:
    """The value of each varied field in a trial; its base's value where it has none."""
    base = {**vars(sweep.base), ALGORITHM: sweep.algorithm}
    return {name: sweep.trials[trial].get(name, base.get(name, "")) for name in sweep.fields}


def describe_trial(trial: Mapping[str, Any]) -> str:
    """A trial in words: "learning_rate 0.001, clip_eps 0.2"."""
    return ", ".join(f"{name} {show_value(value)}" for name, value in trial.items()) or "the base"


def show_value(value: Any) -> str:
    """A value of a field as a short text."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
