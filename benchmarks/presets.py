"""The returns that the presets reach on several seeds, as data and as a page."""

import json
import math
import statistics
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.report import Cells, as_markdown
from jax_ppo.adapters import make_env
from jax_ppo.app.errors import AppError
from jax_ppo.app.evaluation import Agents, evaluate_agents
from jax_ppo.app.history import History
from jax_ppo.app.machine import describe_machine
from jax_ppo.app.plots.curves import curve_of
from jax_ppo.app.runs import RunSettings, write_json
from jax_ppo.app.runtime import plan_run, program_options
from jax_ppo.app.statistics import summarize
from jax_ppo.app.training import Population, initial_states, keys_of
from jax_ppo.config import ConfigError, PPOConfig, changed_fields, unknown_name
from jax_ppo.devices import train_agents
from jax_ppo.presets import NOTES, PRESETS, THRESHOLDS
from jax_ppo.types import Metrics, TrainState

Result = dict[str, Any]
"""The results of one preset, in lists and mappings."""

FOLDER = Path(__file__).parent / "results" / "presets"
"""Folder of the results."""

PAGE = Path(__file__).parents[1] / "docs" / "presets.md"
"""The page with the results in `FOLDER`."""

PUBLISHED = Path(__file__).with_name("published.json")
"""Returns that others have published, by environment."""

NUM_BINS = 50
"""Equal parts of training; the mean return of each is compared with the threshold."""

NUM_EPISODES = 128
"""Episodes that each agent is evaluated on."""


def choose(env_ids: Iterable[str]) -> list[str]:
    """The environments to measure: those that were named, or all that have a preset.

    Raises:
        ConfigError: One has no preset.
    """
    chosen = list(env_ids) or list(PRESETS)
    for env_id in chosen:
        if env_id not in PRESETS:
            raise ConfigError(unknown_name("preset", env_id, PRESETS))
    return chosen


def measure_preset(env_id: str, num_agents: int) -> Result:
    """Train the agents of a preset, with seeds 0, 1, ..., and evaluate them.

    Compiled programs are released at the end.

    Args:
        env_id: An environment that has a preset.
        num_agents: Number of agents.
    """
    config, settings = PRESETS[env_id], RunSettings(num_agents=num_agents)
    states, metrics, compiling, training = _train_timed(config, settings)
    returns = mean_returns(states, config, deterministic=True)
    summary = summarize(returns)._asdict()
    steps = config.num_updates * config.batch_size
    threshold = THRESHOLDS.get(env_id)
    random = random_return(config, settings)
    jax.clear_caches()
    return {
        "config": without_defaults(config),
        "steps": steps,
        "summary": summary,
        "returns": returns.tolist(),
        "random_return": random,
        "threshold": threshold,
        "steps_to_threshold": None
        if threshold is None
        else steps_to_threshold(history_of(metrics, config, settings), threshold),
        "seconds": training,
        "seconds_with_compilation": compiling + training,
        "steps_per_second": num_agents * steps / training,
        "date": datetime.now(UTC).date().isoformat(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "machine": describe_machine(),
    }


def _train_timed(
    config: PPOConfig, settings: RunSettings
) -> tuple[TrainState, Metrics, float, float]:
    """The trained agents, their metrics, and the seconds of compilation and of training."""
    make_env(config)  # gymnax may compute while it is imported, which must not be traced
    keys, layout = keys_of(settings.seeds), plan_run(config, settings)
    started = time.perf_counter()
    training = partial(train_agents, layout=layout)
    program = jax.jit(training, compiler_options=program_options()).lower(keys, config).compile()
    compiled = time.perf_counter()
    states, metrics = jax.block_until_ready(program(keys, config))
    return states, metrics, compiled - started, time.perf_counter() - compiled


def mean_returns(states: TrainState, config: PPOConfig, *, deterministic: bool) -> np.ndarray:
    """Mean return of each agent over `NUM_EPISODES` episodes [num_agents].

    Args:
        states: The agents, every leaf [num_agents, ...].
        config: What they were trained with.
        deterministic: Whether they take their most probable actions; else actions are sampled.
    """
    agents = Agents(states.params, states.rollout.obs_stats)
    results = evaluate_agents(agents, config, NUM_EPISODES, deterministic=deterministic)
    return np.asarray(results.episode_return, np.float64).mean(axis=1)


def random_return(config: PPOConfig, settings: RunSettings) -> float:
    """Mean return of networks before their first update, whose actions are sampled.

    Their policy is uniform to a few percent or, where actions are continuous, standard normal and
    clipped to the bounds.
    """
    untrained = PPOConfig(
        env_id=config.env_id, env_params=config.env_params, env_kwargs=config.env_kwargs
    )
    states = initial_states(Population(keys_of(settings.seeds), untrained))
    return float(mean_returns(states, untrained, deterministic=False).mean())


def history_of(metrics: Metrics, config: PPOConfig, settings: RunSettings) -> History:
    """The history of a training from its metrics [num_updates, num_agents]."""
    updates = np.arange(1, config.num_updates + 1)
    return History(
        seeds=tuple(settings.seeds),
        updates=updates,
        steps=updates * config.batch_size,
        seconds=np.zeros(len(updates)),
        metrics={name: np.asarray(values) for name, values in metrics.as_dict().items()},
        num_updates=len(updates),
    )


def steps_to_threshold(history: History, threshold: float) -> dict[str, Any]:
    """When the mean return of one of `NUM_BINS` parts of training first reached a threshold.

    Returns:
        The steps of each seed at the middle of that part (None: never), and their median, in which
        a seed that never reached it counts as infinite.
    """
    curve = curve_of(history, NUM_BINS)
    reached = curve.returns >= threshold
    seeds = [float(curve.steps[row.argmax()]) if row.any() else None for row in reached]
    middle = statistics.median(math.inf if steps is None else steps for steps in seeds)
    return {"seeds": seeds, "median": middle if math.isfinite(middle) else None}


def without_defaults(config: PPOConfig) -> dict[str, Any]:
    """The fields of a config that differ from their defaults, with the types of JSON."""
    changed = changed_fields(PPOConfig(env_id=config.env_id), config)
    return json.loads(json.dumps(changed))


def read_results(folder: Path) -> dict[str, Result]:
    """The results in a folder, by environment; none where there is no file.

    Raises:
        AppError: The file cannot be read.
    """
    file = folder / "results.json"
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise AppError(f"{file} cannot be read: {error}") from error


def keep_result(folder: Path, env_id: str, result: Result) -> None:
    """Write one result among the others in a folder, in the order of the presets."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {**read_results(folder), env_id: result}
    order = sorted(results, key=[*PRESETS, *results].index)
    write_json(folder / "results.json", {name: results[name] for name in order})


def write_page(folder: Path) -> Path:
    """Write the page of the results in a folder: docs/presets.md for those of the project.

    Raises:
        AppError: There are no results.
    """
    results = read_results(folder)
    if not results:
        raise AppError(f"there are no results in {folder}")
    path = PAGE if folder.resolve() == FOLDER.resolve() else folder / "presets.md"
    path.write_text(page(results, read_published(), NOTES))
    return path


def read_published() -> dict[str, Any]:
    """Returns that others have published, by environment, with their sources."""
    return json.loads(PUBLISHED.read_text())


def page(
    results: Mapping[str, Result], published: Mapping[str, Any], notes: Mapping[str, str]
) -> str:
    """The results as a Markdown page.

    Args:
        results: By environment.
        published: What others have published, likewise.
        notes: Why an environment is not solved, likewise.
    """
    unsolved = [f"- **{env_id}**: {notes[env_id]}" for env_id in results if env_id in notes]
    figures = [f"- **{env_id}**: {_source(published.get(env_id))}" for env_id in results]
    configs = [("environment", "fields that differ from the defaults"), *_config_rows(results)]
    seeds = [("environment", "mean return of every seed"), *_seed_rows(results)]
    parts = [
        *("# Presets", HOW, _machines(results), as_markdown(main_table(results, published))),
        *("## What cannot be solved, and why", "\n".join(unsolved)),
        *("## Time", TIME, as_markdown(time_table(results))),
        *("## Hyperparameters", as_markdown(configs)),
        *("## Every seed", as_markdown(seeds)),
        *("## Published figures", COMPARABLE, "\n".join(figures)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


HOW = """\
The returns that `jax-ppo train ENV_ID` reaches. After its last update every agent is evaluated on
128 episodes with its most probable actions. IQM is the interquartile mean of the seeds' mean
returns, with a 95% bootstrap interval; worst is the lowest of them. The random policy is a network
before its first update, whose actions are sampled. The seeds on which the hyperparameters were
chosen are among these. `python -m benchmarks presets` writes this page."""

TIME = """\
The threshold is a return from which the task counts as learned. It is reached in the first fiftieth
of training in which the mean return of all episodes that ended, with sampled actions, is at least
that high. The steps are the median over the seeds, in which a seed that never reaches it counts as
infinite. Seconds and steps per second are of all seeds together; other programs ran on the machine
at the same time."""

COMPARABLE = """\
The highest mean return of PPO that was found; if there are several, that of a final policy over
many episodes. Most are from one training. An entry says so where the environment is not gymnax's
implementation."""


def main_table(results: Mapping[str, Result], published: Mapping[str, Any]) -> Cells:
    """A row per environment: its returns, that of a random policy and a published one."""
    header = ("environment", "steps", "seeds", "IQM", "95% interval", "worst", "random")
    rows = [_main_row(env_id, *pair) for env_id, *pair in _beside(results, published)]
    return [(*header, "published PPO", "its steps"), *rows]


def _beside(
    results: Mapping[str, Result], published: Mapping[str, Any]
) -> list[tuple[str, Result, Any]]:
    """Environments, results and published figures; the latter None where there are none."""
    return [(env_id, result, published.get(env_id)) for env_id, result in results.items()]


def _main_row(env_id: str, result: Result, figure: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One row of the main table."""
    summary = result["summary"]
    theirs, steps = "none found", ""
    if figure is not None and figure["value"] is not None:
        theirs = f"[{show(figure['value'])}]({figure['url']})"
        steps = "" if figure["steps"] is None else f"{figure['steps']:,}"
    return (
        env_id,
        f"{result['steps']:,}",
        str(summary["num_values"]),
        *_middle(summary),
        show(summary["minimum"]),
        show(result["random_return"]),
        theirs,
        steps,
    )


def time_table(results: Mapping[str, Result]) -> Cells:
    """A row per environment: the steps and seconds of learning."""
    header = ("environment", "threshold", "seeds that reach it", "steps to it", "seconds")
    rows = [_time_row(env_id, result) for env_id, result in results.items()]
    return [(*header, "with compilation", "steps/s"), *rows]


def _time_row(env_id: str, result: Result) -> tuple[str, ...]:
    """One row of the table of times."""
    reached, threshold, count, middle = result["steps_to_threshold"], "", "", ""
    if reached is not None:
        seeds = reached["seeds"]
        threshold = show(result["threshold"])
        count = f"{sum(steps is not None for steps in seeds)} of {len(seeds)}"
        middle = "never" if reached["median"] is None else f"{reached['median']:,.0f}"
    return (
        env_id,
        *(threshold, count, middle),
        f"{result['seconds']:.1f}",
        f"{result['seconds_with_compilation']:.1f}",
        f"{result['steps_per_second']:,.0f}",
    )


def _middle(summary: Mapping[str, Any]) -> tuple[str, str]:
    """IQM and its interval; of few agents, which have none, their mean and each of them."""
    if summary["iqm"] is None:
        return show(summary["mean"]), ", ".join(map(show, summary["values"]))
    return show(summary["iqm"]), f"{show(summary['ci_low'])} to {show(summary['ci_high'])}"


def show(value: float) -> str:
    """A return, with one digit after the point, or two if it is less than 10."""
    digits = 1 if abs(value) >= 10 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _config_rows(results: Mapping[str, Result]) -> Cells:
    """The fields of every config that differ from the defaults."""
    return [
        (env_id, ", ".join(f"{name} {_words(value)}" for name, value in result["config"].items()))
        for env_id, result in results.items()
    ]


def _words(value: Any) -> str:
    """The value of a field as text."""
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _seed_rows(results: Mapping[str, Result]) -> Cells:
    """The returns of every seed, in the order of the seeds."""
    return [(env_id, ", ".join(map(show, result["returns"]))) for env_id, result in results.items()]


def _source(figure: Mapping[str, Any] | None) -> str:
    """The source of a published figure, and how it was measured."""
    if figure is None or figure["value"] is None:
        return "none found."
    seeds = {None: "", 1: ", 1 seed"}.get(figure["seeds"], f", {figure['seeds']} seeds")
    return f"{show(figure['value'])}, {figure['who']}{seeds}. {figure['note']}"


def _machines(results: Mapping[str, Result]) -> str:
    """Devices and dates of the results."""
    found = {
        f"{result['device']}, jax {result['machine']['versions']['jax']}, {result['date']}"
        for result in results.values()
    }
    return f"Measured on: {'; '.join(sorted(found))}."
