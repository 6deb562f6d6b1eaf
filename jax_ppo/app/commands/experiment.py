"""jax-ppo experiment: run a named experiment and print its results."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from jax_ppo.app.command_line import UsageError, check_episodes, say
from jax_ppo.app.commands.sweep import rank_and_write, write_sweep_page
from jax_ppo.app.experiments import clipping, trust_region
from jax_ppo.app.experiments.catalogue import CARTPOLE, EXPERIMENTS, Experiment, Results, verdict
from jax_ppo.app.plots import page
from jax_ppo.app.plots import sweep as plots
from jax_ppo.app.runs import RunSettings, new_folder, write_json
from jax_ppo.app.statistics import show_score
from jax_ppo.app.sweeps import sweep as sweeps
from jax_ppo.app.sweeps.sweep import Sweep
from jax_ppo.config import PPOConfig, unknown_name


class SingleExperiment(NamedTuple):
    """An experiment that is not a sweep."""

    question: str
    text: str
    """What to look for."""
    run: Callable[[PPOConfig, RunSettings, Path, Console], tuple[list[str], Path]]
    """Gives the claims with their numbers, and the page."""
    num_agents: int = 4


OTHERS = {
    "anatomy": SingleExperiment(clipping.QUESTION, clipping.TEXT, clipping.run_clipping),
    "trust-region": SingleExperiment(
        trust_region.QUESTION, trust_region.TEXT, trust_region.run_trust_region
    ),
}
"""The experiments that are not sweeps, by name."""


@dataclass(frozen=True)
class ExperimentOptions:
    """Run a named experiment on the parts of PPO; without a name, list them."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = ""
    """Which experiment."""
    num_agents: int | None = None
    """Agents per trial. None: as many as the experiment usually has."""
    total_steps: int | None = None
    """Environment steps of each agent. None: as many as the experiment usually has."""
    seed: int = 0
    """Seed of the first agent of each trial."""
    eval_episodes: int = 32
    """Episodes that each trained agent is evaluated on."""
    out: Path | None = None
    """Folder to make, or to continue if the experiment was stopped there. None:
    experiments/NAME-TIME."""


def experiment_command(options: ExperimentOptions, console: Console) -> None:
    """jax-ppo experiment."""
    if not options.name:
        console.print(_table_of_experiments())
        return
    experiment = EXPERIMENTS.get(options.name) or OTHERS.get(options.name)
    if experiment is None:
        raise UsageError(unknown_name("experiment", options.name, (*EXPERIMENTS, *OTHERS)))
    check_episodes(options.eval_episodes)
    path = options.out or new_folder("experiments", options.name)
    announcement = f"{experiment.question} (folder: {path})"
    if isinstance(experiment, SingleExperiment):
        config, settings = _shortened(CARTPOLE, options), _settings(experiment, options)
        say(console, announcement)
        claims, file = experiment.run(config, settings, path, console)
    else:
        stopped = sweeps.is_sweep(path)
        sweep = sweeps.open_sweep(path) if stopped else make_sweep(experiment, options, path)
        say(console, announcement)
        claims, file = run_experiment(experiment, sweep, console)
    for claim in claims:
        say(console, claim)
    say(console, f"\n{experiment.text}\n\nwritten to {file}")


def run_experiment(
    experiment: Experiment, sweep: Sweep, console: Console
) -> tuple[list[str], Path]:
    """Train the trials of an experiment; gives each claim with its numbers, and the page."""
    sweeps.set_up_sweep(sweep)
    if not sweeps.is_sweep(sweep.path):
        sweeps.create_sweep(sweep)
    sweeps.run_sweep(sweep, console)
    ranked, histories = rank_and_write(sweep)
    results = Results(
        {sweep.names[entry.trial]: entry for entry in ranked},
        {sweep.names[trial]: history for trial, history in histories.items()},
    )
    claims = [verdict(claim.text, *claim.measure(results)) for claim in experiment.claims]
    write_json(sweep.path / "claims.json", claims)
    pictures = {
        "ranking": plots.ranking_picture(sweep, ranked),
        "curves": plots.curves_picture(sweep, ranked, histories),
        "diagnostics": plots.metrics_picture(sweep, histories, experiment.metrics),
    }
    introduction = (plots.title_of(sweep).split("\n")[1], experiment.text)
    parts = [*map(page.paragraph, introduction), page.heading("Results"), page.bullets(claims)]
    for entry in ranked:
        say(console, f"  {sweep.names[entry.trial]:<28} {show_score(entry.summary)}")
    return claims, write_sweep_page(sweep, ranked, pictures, experiment.question, parts)


def make_sweep(experiment: Experiment, options: ExperimentOptions, path: Path) -> Sweep:
    """The trials of an experiment as a sweep that does not exist yet."""
    return Sweep(
        path=path,
        base=_shortened(experiment.base, options),
        trials=tuple(experiment.trials.values()),
        settings=_settings(experiment, options),
        eval_episodes=options.eval_episodes,
        batch_size=len(experiment.trials),
        num_trials=len(experiment.trials),
        names=tuple(experiment.trials),
        title=experiment.question,
    )


def _settings(experiment: Experiment | SingleExperiment, options: ExperimentOptions) -> RunSettings:
    """The seeds of an experiment."""
    chosen = experiment.num_agents if options.num_agents is None else options.num_agents
    return RunSettings(seed=options.seed, num_agents=chosen)


def _shortened(config: PPOConfig, options: ExperimentOptions) -> PPOConfig:
    """The config with the number of steps that the options give."""
    if options.total_steps is None:
        return config
    return config.replace(total_steps=options.total_steps)


def _table_of_experiments() -> Table:
    """The experiments and their questions."""
    table = Table()
    table.add_column("experiment", no_wrap=True)
    table.add_column("question")
    table.add_column("environment", no_wrap=True)
    for name, experiment in EXPERIMENTS.items():
        table.add_row(name, experiment.question, experiment.base.env_id)
    for name, single in OTHERS.items():
        table.add_row(name, single.question, CARTPOLE.env_id)
    return table
