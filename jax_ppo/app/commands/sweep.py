"""jax-ppo sweep: options, the loop over batches, and the page at the end."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import UseAppendAction, arg

from jax_ppo.app.command_line import UsageError, check_episodes, require, say
from jax_ppo.app.errors import AppError
from jax_ppo.app.history import History
from jax_ppo.app.imports import check_imports
from jax_ppo.app.plots import page
from jax_ppo.app.plots import sweep as plots
from jax_ppo.app.plots.picture import Picture
from jax_ppo.app.runs import RunSettings, new_folder
from jax_ppo.app.statistics import show_score
from jax_ppo.app.sweeps import sweep as sweeps
from jax_ppo.app.sweeps.adaptive import propose_trials
from jax_ppo.app.sweeps.search_space import Range, Search, draw_trials, parse_search
from jax_ppo.app.sweeps.sweep import Ranked, Sweep, describe_trial
from jax_ppo.config import PPOConfig
from jax_ppo.presets import preset

SHOWN = 10
"""Trials that are printed."""


@dataclass(frozen=True)
class SweepOptions:
    """Train many settings and rank them: sweep [ENV_ID] --grid ... [OPTIONS].

    Each setting is trained by several agents, as few programs on all devices. All options but
    --grid and --sample hold for every trial; their defaults are those of the environment's preset,
    if it has one.
    """

    config: Annotated[PPOConfig, arg(name="")]
    algorithm: str = "ppo"
    """ppo, a2c, reinforce, reinforce-with-baseline, trpo, or module:name of one of your own."""
    grid: UseAppendAction[tuple[str, ...]] = ()
    """NAME=VALUE,VALUE,...: try every one; of several grids, every combination. A size of several
    layers is written 64x64, a parameter of the environment env_params.NAME; algorithm=A,B compares
    algorithms."""
    sample: UseAppendAction[tuple[str, ...]] = ()
    """NAME=uniform:LOW,HIGH or log:LOW,HIGH or choice:A,B,...: draw a value for each trial."""
    trials: int = 32
    """How many samples to draw; with grids, for each of their combinations."""
    adaptive: bool = False
    """Whether Optuna proposes samples from the results of those before, a batch at a time."""
    batch: int = 8
    """Trials in a batch of an adaptive search."""
    settings: Annotated[RunSettings, arg(name="")] = field(
        default_factory=lambda: RunSettings(num_agents=4)
    )
    eval_episodes: int = 32
    """Episodes that each trained agent is evaluated on."""
    out: Path | None = None
    """Folder to make for this sweep. None: sweeps/ENV_ID-TIME."""


def default_sweep(env_id: str) -> SweepOptions:
    """The default options of a sweep for an environment."""
    return SweepOptions(preset(env_id))


def sweep_command(options: SweepOptions, console: Console) -> None:
    """jax-ppo sweep."""
    check_episodes(options.eval_episodes)
    search = parse_search(options.grid, options.sample, options.trials)
    if options.adaptive:
        _check_adaptive(options)
        search = Search({}, search.ranges, min(options.batch, options.trials))
    trials = draw_trials(search, options.settings.seed)
    sweep = Sweep(
        path=options.out or new_folder("sweeps", options.config.env_id),
        base=options.config,
        trials=tuple(trials),
        settings=options.settings,
        eval_episodes=options.eval_episodes,
        batch_size=len(trials),
        sample=options.sample if options.adaptive else (),
        num_trials=options.trials if options.adaptive else len(trials),
        algorithm=options.algorithm,
    )
    sweeps.set_up_sweep(sweep)
    sweeps.create_sweep(sweep)
    finish_sweep(sweep, console)


def resume_sweep(path: Path, allow_import: bool, console: Console) -> None:
    """Continue a sweep that was stopped."""
    sweep = open_trusted_sweep(path, allow_import)
    sweeps.set_up_sweep(sweep)
    finish_sweep(sweep, console)


def open_trusted_sweep(path: Path, allow_import: bool) -> Sweep:
    """Open a sweep folder; AppError unless what it names may be imported: see `check_imports`."""
    sweep = sweeps.open_sweep(path)
    varied = [value for trial in sweep.trials for value in trial.values()]
    check_imports(path, (sweep.base.env_id, sweep.algorithm, *varied), allow_import)
    return sweep


def finish_sweep(sweep: Sweep, console: Console) -> None:
    """Train what is not trained, batch after batch, and write the results."""
    agents = f"{len(sweep.trials)} trials x {sweep.settings.num_agents} agents"
    say(console, f"sweep folder: {sweep.path} ({agents})")
    ranges = parse_search((), sweep.sample, 1).ranges if sweep.sample else {}
    sweeps.run_sweep(sweep, console)
    while len(sweep.trials) < sweep.num_trials:
        sweep = _next_batch(sweep, ranges)
        say(console, f"trials {len(sweep.trials) - sweep.batch_size} to {len(sweep.trials) - 1}")
        sweeps.run_sweep(sweep, console)
    ranked = report_sweep(sweep)
    for place, entry in enumerate(ranked[:SHOWN], 1):
        bad = f"  ({entry.diverged} diverged)" if entry.diverged else ""
        trial = describe_trial(sweep.trials[entry.trial])
        say(console, f"{place:3d}.  {trial}: {show_score(entry.summary)}{bad}")
    say(console, f"written to {sweep.path}")


def report_sweep(sweep: Sweep) -> list[Ranked]:
    """Write tables, plots and page of the trials that are evaluated; gives these, best first.

    Raises:
        AppError: None is yet.
    """
    ranked, histories = rank_and_write(sweep)
    pictures = {
        "ranking": plots.ranking_picture(sweep, ranked),
        "fields": plots.marginal_picture(sweep, ranked),
        "curves": plots.curves_picture(sweep, ranked, histories),
    }
    write_sweep_page(sweep, ranked, pictures, plots.title_of(sweep).replace("\n", ", "))
    return ranked


def rank_and_write(sweep: Sweep) -> tuple[list[Ranked], dict[int, History]]:
    """The trials of a trained sweep, best first, and their curves; its tables are written."""
    outcomes = sweeps.outcomes_of(sweep)
    if not outcomes:
        raise AppError(f"no trial of {sweep.path} is trained to its end yet")
    ranked = sweeps.rank(outcomes)
    sweeps.write_tables(sweep, outcomes, ranked)
    return ranked, sweeps.histories_of(sweep)


def write_sweep_page(
    sweep: Sweep,
    ranked: Sequence[Ranked],
    pictures: Mapping[str, Picture],
    title: str,
    parts: Sequence[str] = (),
) -> Path:
    """Write index.html: `parts`, the pictures, which become PNG files too, and the ranking."""
    file = sweep.path / "index.html"
    table = page.table(*plots.score_table(sweep, ranked))
    figures = page.figures(sweep.path, pictures)
    page.write_page(file, title, [*parts, *figures, page.heading("Ranking"), table])
    return file


def _next_batch(sweep: Sweep, ranges: Mapping[str, Range]) -> Sweep:
    """The sweep with another batch of trials, written to disk before any of them is trained."""
    count = min(sweep.batch_size, sweep.num_trials - len(sweep.trials))
    proposed = propose_trials(sweep, ranges, count)
    longer = dataclasses.replace(sweep, trials=(*sweep.trials, *proposed))
    sweeps.write_sweep(longer)
    return longer


def _check_adaptive(options: SweepOptions) -> None:
    """Raise UsageError or AppError for an adaptive search that is not possible."""
    if options.grid or not options.sample:
        raise UsageError("an adaptive search takes --sample, and no --grid (use choice: instead)")
    if options.batch < 1:
        raise UsageError(f"--batch must be at least 1, got {options.batch}")
    require("optuna", "--adaptive", "optuna")
