"""train, evaluate and export: the commands that both programs have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console
from tyro.conf import arg

from jax_ppo.app.command_line import Command, RunOptions, check_episodes, check_writable, say
from jax_ppo.app.export import export_run
from jax_ppo.app.framework import Framework, load_with_warnings, open_own_run, open_trusted_run
from jax_ppo.app.history import read_history
from jax_ppo.app.outcome import report, report_line, report_table
from jax_ppo.app.plots.curves import learning_curve
from jax_ppo.app.plots.picture import write_png
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, RunSettings, create_run, write_json
from jax_ppo.app.runtime import is_leader
from jax_ppo.config import PPOConfig
from jax_ppo.presets import preset

TABLE_WIDTH = 200
"""More characters than the table of results has."""


@dataclass(frozen=True)
class TrainOptions:
    """Train one agent or many: train [ENV_ID] [OPTIONS]; without ENV_ID CartPole-v1.

    Defaults are those of the environment's preset, if it has one. Everything is written to a new
    run folder.
    """

    config: Annotated[PPOConfig, arg(name="")]
    algorithm: str = "ppo"
    """ppo, a2c, reinforce, reinforce-with-baseline, trpo, or module:name of one of your own."""
    settings: Annotated[RunSettings, arg(name="")] = field(default_factory=RunSettings)
    out: Path | None = None
    """Folder to make for this run. None: runs/ENV_ID-seedSEED-TIME."""
    eval_episodes: int = 128
    """Episodes that each trained agent is evaluated on at the end."""


@dataclass(frozen=True)
class EvaluateOptions(RunOptions):
    """Evaluate the agents of a run, from its newest sound checkpoint."""

    sampled: bool = False
    """Whether actions are sampled from the policy; else the most probable one is taken."""
    num_episodes: int = 128
    """Episodes per agent."""
    seed: int = 0
    """Seed of the evaluation."""
    out: Path | None = None
    """File to write the result to, as JSON."""


@dataclass(frozen=True)
class ExportOptions(RunOptions):
    """Make a run folder that the other program can evaluate."""

    to: Literal["jax", "torch"]
    """Whose layout the parameters are to have."""
    out: Path | None = None
    """Folder to make. None: the run's own name with -jax or -torch behind it."""


def common_commands(framework: Framework) -> Mapping[str, Command]:
    """The commands of this module, for one of the two programs."""
    return {
        "train": Command(TrainOptions, partial(train_command, framework), default_training),
        "evaluate": Command(EvaluateOptions, partial(evaluate_command, framework)),
        "export": Command(ExportOptions, export_command),
    }


def default_training(env_id: str) -> TrainOptions:
    """The default options of `train` for an environment."""
    return TrainOptions(preset(env_id))


def train_command(framework: Framework, options: TrainOptions, console: Console) -> None:
    """Train from the beginning, in a new run folder."""
    config, settings, algorithm = options.config, options.settings, options.algorithm
    check_episodes(options.eval_episodes)
    framework.set_up(config, settings)
    framework.check(config, algorithm, settings.num_agents)
    if framework.follow_run is not None and not is_leader():
        framework.follow_run(Run(Path(), config, settings, algorithm=algorithm))
        return
    run = create_run(options.out, config, settings, framework.name, algorithm=algorithm)
    finish_run(framework, run, console, options.eval_episodes)


def finish_run(framework: Framework, run: Run, console: Console, eval_episodes: int) -> None:
    """Train a run to its end, then draw its learning curve and evaluate its agents."""
    say(console, f"run folder: {run.path}")
    with Display(run, console) as display:
        framework.train_run(run, display)
    write_png(learning_curve(run, read_history(run)), run.path / "learning_curve.png")
    agents, _, _ = framework.load_agents(run)
    options = EvaluateOptions(run.path, num_episodes=eval_episodes)
    write_json(run.path / "evaluation.json", evaluate(framework, run, agents, options, console))
    say(console, f"written to {run.path}")


def evaluate_command(framework: Framework, options: EvaluateOptions, console: Console) -> None:
    """Evaluate the agents of a run."""
    check_episodes(options.num_episodes)
    RunSettings(seed=options.seed)
    check_writable(options.out)
    run = open_own_run(framework, options.run, options.allow_import)
    framework.check(run.config, run.algorithm, 0)
    agents, update = load_with_warnings(framework, run)
    if update < run.config.num_updates:
        say(console, f"(after {update} of {run.config.num_updates} updates)")
    content = evaluate(framework, run, agents, options, console)
    if options.out is not None:
        origin = {"run": str(run.path), "env_id": run.config.env_id, "update": update}
        write_json(options.out, {**origin, **content})


def evaluate(
    framework: Framework, run: Run, agents: Any, options: EvaluateOptions, console: Console
) -> dict[str, Any]:
    """Evaluate agents and print the outcome as a table.

    Returns:
        The outcome and how it came about, as data.
    """
    num_episodes, seed, sampled = options.num_episodes, options.seed, options.sampled
    results = framework.evaluate_run(
        run, agents, num_episodes, deterministic=not sampled, seed=seed
    )
    content = report(results, run.settings.seeds)
    how = "sampled" if sampled else "most probable"
    title = f"{run.config.env_id}: episode return, {num_episodes} episodes, {how} actions"
    say(console, title)
    # A terminal that is narrower than the table folds its lines, and nothing is cut off.
    wide = Console(file=console.file, width=TABLE_WIDTH, force_terminal=console.is_terminal)
    wide.print(report_table(content))
    if len(content["per_seed"]) > 1:
        say(console, report_line(content))
    unfinished = sum(row["unfinished"] for row in content["per_seed"].values())
    if unfinished:
        say(console, f"{unfinished} episodes did not end within the step limit")
    return {"num_episodes": num_episodes, "sampled": sampled, "seed": seed, **content}


def export_command(options: ExportOptions, console: Console) -> None:
    """Make a run folder that the other program can evaluate."""
    exported = export_run(
        open_trusted_run(options.run, options.allow_import), options.to, options.out
    )
    program, library = {"jax": ("jax-ppo", "gymnax"), "torch": ("torch-ref", "Gymnasium")}[
        options.to
    ]
    say(
        console,
        f"written to {exported.path}; where {library} has {exported.config.env_id}, "
        f"`{program} evaluate {exported.path}` evaluates it there",
    )
