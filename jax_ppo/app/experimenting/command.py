"""jax-ppo experiment: run a named experiment and say what came out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from jax_ppo.app.commands import check_episodes, say
from jax_ppo.app.experimenting import anatomy, trust_region
from jax_ppo.app.experimenting.catalogue import CARTPOLE, EXPERIMENTS, Experiment, Results, verdict
from jax_ppo.app.history import History
from jax_ppo.app.options import UsageError, parse_options
from jax_ppo.app.pictures import page
from jax_ppo.app.pictures.sweep import (
    curves_picture,
    metrics_picture,
    ranking_picture,
    score_table,
    title_of,
)
from jax_ppo.app.runs import RunSettings, new_folder, write_json
from jax_ppo.app.statistics import show_iqm
from jax_ppo.app.sweeping.sweeps import (
    Ranked,
    Sweep,
    create_sweep,
    histories_of,
    is_sweep,
    open_sweep,
    outcomes_of,
    rank,
    run_sweep,
    set_up_sweep,
    write_tables,
)
from jax_ppo.config import PPOConfig, unknown_name

OTHERS = {
    "anatomy": (anatomy.QUESTION, anatomy.NUM_SEEDS, anatomy.run_anatomy),
    "trust-region": (trust_region.QUESTION, trust_region.NUM_SEEDS, trust_region.run_trust_region),
}
"""The experiments that are no sweeps: question, usual number of seeds, and what runs them."""


@dataclass(frozen=True)
class ExperimentOptions:
    """Run a named experiment; without a name, list them."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = ""
    """Which experiment."""
    num_seeds: int | None = None
    """Agents per trial. None: as many as the experiment usually has."""
    total_steps: int | None = None
    """Environment steps of each agent. None: as many as the experiment usually has."""
    seed: int = 0
    """Seed of the first agent of each trial."""
    eval_episodes: int = 32
    """Episodes that each trained agent is evaluated on."""
    out: Path | None = None
    """Folder to make, or to go on in if the experiment was stopped there. None:
    experiments/NAME-TIME."""


def experiment_command(words: list[str], console: Console) -> None:
    """jax-ppo experiment."""
    options = parse_options(ExperimentOptions, "jax-ppo experiment", words)
    if not options.name:
        console.print(_table_of_experiments())
        return
    if options.name not in (*EXPERIMENTS, *OTHERS):
        raise UsageError(unknown_name("experiment", options.name, (*EXPERIMENTS, *OTHERS)))
    check_episodes(options.eval_episodes)
    path = options.out or new_folder("experiments", options.name)
    if options.name in OTHERS:
        question, num_seeds, run = OTHERS[options.name]
        say(console, f"{question} (folder: {path})")
        chosen = num_seeds if options.num_seeds is None else options.num_seeds
        settings = RunSettings(seed=options.seed, num_seeds=chosen)
        run(_shortened(CARTPOLE, options), settings, path, console)
        return
    experiment = EXPERIMENTS[options.name]
    sweep = open_sweep(path) if is_sweep(path) else make_sweep(experiment, options, path)
    say(console, f"{experiment.question} (folder: {sweep.path})")
    run_experiment(experiment, sweep, console)


def run_experiment(experiment: Experiment, sweep: Sweep, console: Console) -> None:
    """Train the trials of an experiment, draw them, and say which claims hold.

    Args:
        experiment: The experiment.
        sweep: Its trials.
        console: Where to show the progress and the outcome.
    """
    set_up_sweep(sweep)
    if not is_sweep(sweep.path):
        create_sweep(sweep)
    run_sweep(sweep, console)
    outcomes, histories = outcomes_of(sweep), histories_of(sweep)
    ranked = rank(outcomes)
    claims = _judge(experiment, sweep, ranked, histories)
    write_tables(sweep, outcomes, ranked)
    write_json(sweep.path / "claims.json", claims)
    _write_page(experiment, sweep, claims, ranked, histories)
    for entry in ranked:
        say(console, f"  {sweep.names[entry.trial]:<28} {show_iqm(entry.summary)}")
    for claim in claims:
        say(console, claim)
    say(console, f"\n{experiment.text}\n\nwritten to {sweep.path}/index.html")


def _write_page(
    experiment: Experiment,
    sweep: Sweep,
    claims: Sequence[str],
    ranked: Sequence[Ranked],
    histories: Mapping[int, History],
) -> None:
    """What was asked and what came out, on one page, index.html, and as PNG files."""
    pictures = {
        "ranking": ranking_picture(sweep, ranked),
        "curves": curves_picture(sweep, ranked, histories),
        "diagnostics": metrics_picture(sweep, histories, experiment.metrics),
    }
    parts = [
        page.paragraph(title_of(sweep).split("\n")[1]),
        page.paragraph(experiment.text),
        page.heading("What came out"),
        page.bullets(claims),
        *page.figures(sweep.path, pictures),
        page.heading("Ranking"),
        page.table(*score_table(sweep, ranked)),
    ]
    page.write_page(sweep.path / "index.html", experiment.question, parts)


def make_sweep(experiment: Experiment, options: ExperimentOptions, path: Path) -> Sweep:
    """The trials of an experiment as a sweep that does not exist yet.

    Args:
        experiment: What is asked.
        options: Give the seeds, the steps and the evaluation.
        path: Where its folder will be.
    """
    base = _shortened(experiment.base, options)
    num_seeds = experiment.num_seeds if options.num_seeds is None else options.num_seeds
    return Sweep(
        path=path,
        base=base,
        trials=tuple(experiment.trials.values()),
        settings=RunSettings(seed=options.seed, num_seeds=num_seeds),
        eval_episodes=options.eval_episodes,
        batch_size=len(experiment.trials),
        num_trials=len(experiment.trials),
        names=tuple(experiment.trials),
        title=experiment.question,
    )


def _shortened(config: PPOConfig, options: ExperimentOptions) -> PPOConfig:
    """The config with the number of steps that was asked for."""
    if options.total_steps is None:
        return config
    return config.replace(total_steps=options.total_steps)


def _judge(
    experiment: Experiment,
    sweep: Sweep,
    ranked: Sequence[Ranked],
    histories: Mapping[int, History],
) -> list[str]:
    """Each claim with its two numbers, and whether it holds here."""
    results = Results(
        {sweep.names[entry.trial]: entry for entry in ranked},
        {sweep.names[trial]: history for trial, history in histories.items()},
    )
    return [verdict(claim.text, *claim.measure(results)) for claim in experiment.claims]


def _table_of_experiments() -> Table:
    """The experiments and their questions."""
    table = Table()
    table.add_column("experiment", no_wrap=True)
    table.add_column("question")
    table.add_column("environment", no_wrap=True)
    for name, experiment in EXPERIMENTS.items():
        table.add_row(name, experiment.question, experiment.base.env_id)
    for name, (question, *_) in OTHERS.items():
        table.add_row(name, question, CARTPOLE.env_id)
    return table
