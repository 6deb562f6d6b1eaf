"""jax-ppo sweep: options, the loop over batches, and the page at the end."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import UseAppendAction, arg

from jax_ppo.app.commands import check_episodes, say, split_env_id
from jax_ppo.app.options import UsageError, parse_options
from jax_ppo.app.pictures import page
from jax_ppo.app.pictures.sweep import (
    curves_picture,
    marginal_picture,
    ranking_picture,
    score_table,
    title_of,
)
from jax_ppo.app.runs import RunSettings, new_folder
from jax_ppo.app.statistics import show_iqm
from jax_ppo.app.sweeping.adaptive import check_optuna, propose_trials
from jax_ppo.app.sweeping.search import Range, Search, draw_trials, parse_search
from jax_ppo.app.sweeping.sweeps import (
    Ranked,
    Sweep,
    create_sweep,
    describe_trial,
    histories_of,
    open_sweep,
    outcomes_of,
    rank,
    run_sweep,
    set_up_sweep,
    write_sweep,
    write_tables,
)
from jax_ppo.config import PPOConfig
from jax_ppo.presets import preset

SHOWN = 10
"""Trials that are printed."""


@dataclass(frozen=True)
class SweepOptions:
    """Train many settings, each on several seeds, as few programs on all devices.

    ENV_ID comes first; then what to vary. All other options hold for every trial; their defaults
    are those of the environment's preset, if it has one.
    """

    config: Annotated[PPOConfig, arg(name="")]
    grid: UseAppendAction[tuple[str, ...]] = ()
    """NAME=VALUE,VALUE,...: try every one; of several grids, every combination. A size of several
    layers is written 64x64, a parameter of the environment env_params.NAME."""
    sample: UseAppendAction[tuple[str, ...]] = ()
    """NAME=uniform:LOW,HIGH or log:LOW,HIGH or choice:A,B,...: draw a value for each trial."""
    trials: int = 32
    """How many samples to draw; with grids, for each of their combinations."""
    adaptive: bool = False
    """Whether Optuna proposes samples from the results of those before, a batch at a time."""
    batch: int = 8
    """Trials in a batch of an adaptive search."""
    settings: Annotated[RunSettings, arg(name="")] = field(
        default_factory=lambda: RunSettings(num_seeds=4)
    )
    eval_episodes: int = 32
    """Episodes that each trained agent is evaluated on."""
    out: Path | None = None
    """Folder to make for this sweep. None: sweeps/ENV_ID-TIME."""


def sweep_command(words: list[str], console: Console) -> None:
    """jax-ppo sweep."""
    env_id, words = split_env_id(words)
    options = parse_options(
        SweepOptions, "jax-ppo sweep [ENV_ID]", words, SweepOptions(preset(env_id))
    )
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
    )
    set_up_sweep(sweep)
    create_sweep(sweep)
    finish_sweep(sweep, console)


def resume_sweep(path: Path, console: Console) -> None:
    """Go on with a sweep that was stopped."""
    sweep = open_sweep(path)
    set_up_sweep(sweep)
    finish_sweep(sweep, console)


def finish_sweep(sweep: Sweep, console: Console) -> None:
    """Train what is not trained, batch after batch, and draw the results."""
    agents = f"{len(sweep.trials)} trials x {sweep.settings.num_seeds} seeds"
    say(console, f"sweep folder: {sweep.path} ({agents})")
    ranges = parse_search((), sweep.sample, 1).ranges if sweep.sample else {}
    run_sweep(sweep, console)
    while len(sweep.trials) < sweep.num_trials:
        sweep = _next_batch(sweep, ranges)
        say(console, f"trials {len(sweep.trials) - sweep.batch_size} to {len(sweep.trials) - 1}")
        run_sweep(sweep, console)
    outcomes = outcomes_of(sweep)
    ranked = rank(outcomes)
    write_tables(sweep, outcomes, ranked)
    write_sweep_page(sweep, ranked)
    _print_ranking(sweep, ranked, console)
    say(console, f"written to {sweep.path}")


def write_sweep_page(sweep: Sweep, ranked: Sequence[Ranked]) -> None:
    """Draw the results of a sweep, as PNG files and on one page, index.html.

    Args:
        sweep: A sweep that is trained.
        ranked: Its trials, best first.
    """
    pictures = {
        "ranking": ranking_picture(sweep, ranked),
        "fields": marginal_picture(sweep, ranked),
        "curves": curves_picture(sweep, ranked, histories_of(sweep)),
    }
    parts = [
        *page.figures(sweep.path, pictures),
        page.heading("Ranking"),
        page.table(*score_table(sweep, ranked)),
    ]
    title = title_of(sweep).replace("\n", ", ")
    page.write_page(sweep.path / "index.html", title, parts)


def _next_batch(sweep: Sweep, ranges: Mapping[str, Range]) -> Sweep:
    """The sweep with another batch of trials, written down before any of them is trained."""
    count = min(sweep.batch_size, sweep.num_trials - len(sweep.trials))
    proposed = propose_trials(sweep, ranges, count)
    longer = dataclasses.replace(sweep, trials=(*sweep.trials, *proposed))
    write_sweep(longer)
    return longer


def _print_ranking(sweep: Sweep, ranked: Sequence[Ranked], console: Console) -> None:
    """The best trials, a line each."""
    for place, entry in enumerate(ranked[:SHOWN], 1):
        bad = f"  ({entry.diverged} diverged)" if entry.diverged else ""
        trial = describe_trial(sweep.trials[entry.trial])
        say(console, f"{place:3d}.  {show_iqm(entry.summary)}  {trial}{bad}")


def _check_adaptive(options: SweepOptions) -> None:
    """Raise UsageError or AppError for an adaptive search that cannot be."""
    if options.grid or not options.sample:
        raise UsageError("an adaptive search takes --sample, and no --grid (use choice: instead)")
    if options.batch < 1:
        raise UsageError(f"--batch must be at least 1, got {options.batch}")
    check_optuna()
