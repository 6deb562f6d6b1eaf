"""The commands that both programs have, whatever framework trains."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
from rich.console import Console
from tyro.conf import Positional, arg

from jax_ppo import __version__
from jax_ppo.app.devices import is_leader
from jax_ppo.app.errors import AppError
from jax_ppo.app.export import export_run
from jax_ppo.app.history import read_history
from jax_ppo.app.options import UsageError, parse_options
from jax_ppo.app.outcome import report, report_table
from jax_ppo.app.pictures.curves import learning_curve
from jax_ppo.app.pictures.png import write_png
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, RunSettings, create_run, open_run, write_json
from jax_ppo.app.signals import Interrupted
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.presets import preset

OUT_OF_MEMORY = (
    "not enough memory; use fewer --num-envs, --num-steps or --num-seeds, "
    "or smaller --hidden-sizes or --conv-channels"
)

Command = Callable[[list[str], Console], None]
"""A command, given the words after its name and where to write."""


class Side(NamedTuple):
    """What differs between the two programs."""

    program: str
    """Name of the program."""
    framework: str
    """jax or torch."""
    set_up: Callable[[PPOConfig, RunSettings], None]
    """Settles what has to be settled before anything is computed."""
    check: Callable[[PPOConfig], None]
    """Raises ConfigError if the environment or the network cannot be built."""
    train_run: Callable[[Run, Display], Any]
    """Trains the agents of a run to the end."""
    follow_run: Callable[[Run], None] | None
    """Trains along with the process that leads, where several can train one run together."""
    load_agents: Callable[[Run], tuple[Any, int, list[str]]]
    """Reads (agents, updates done, damaged checkpoints) from a run."""
    evaluate_agents: Callable[[Any, PPOConfig, int, bool, int], Any]
    """(agents, config, episodes, deterministic, seed) -> EpisodeResults [num_seeds, episodes]."""


@dataclass(frozen=True)
class TrainOptions:
    """Train one agent or many; ENV_ID comes first.

    Defaults are those of the environment's preset, if it has one. Everything is written to a new
    run folder.
    """

    config: Annotated[PPOConfig, arg(name="")]
    settings: Annotated[RunSettings, arg(name="")] = field(default_factory=RunSettings)
    out: Path | None = None
    """Folder to make for this run. None: runs/ENV_ID-seedSEED-TIME."""
    eval_episodes: int = 128
    """Episodes that each trained agent is evaluated on at the end."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate the agents of a run, from its newest sound checkpoint."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder."""
    sampled: bool = False
    """Whether actions are sampled from the policy; else the most probable one is taken."""
    num_episodes: int = 128
    """Episodes per agent."""
    seed: int = 0
    """Seed of the evaluation."""
    out: Path | None = None
    """File to write the result to, as JSON."""


@dataclass(frozen=True)
class ExportOptions:
    """Make a run folder that the other program can evaluate."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder."""
    to: Literal["jax", "torch"]
    """Whose layout the parameters are to have."""
    out: Path | None = None
    """Folder to make. None: the run's own name with -jax or -torch behind it."""


def run_program(
    usage: str, commands: Mapping[str, Command], arguments: Sequence[str] | None
) -> int:
    """Run one command.

    Args:
        usage: What to print when asked for help.
        commands: The commands by name.
        arguments: The words after the program's name; None: those of the process.

    Returns:
        The exit status: 0, or 2 for a mistake that the message explains, or 128 + n after signal n.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console()
    if "" not in sys.path:
        sys.path.append("")  # so that `module:name` finds modules in the current folder
    if not words or words[0] in ("-h", "--help"):
        print(usage, end="")
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    try:
        if words[0] not in commands:
            raise UsageError(f"there is no command {words[0]!r}; known are {', '.join(commands)}")
        commands[words[0]](words[1:], console)
    except Interrupted as stop:
        say(console, str(stop))
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ConfigError, AppError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        return 2
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(f"error: {OUT_OF_MEMORY}", file=sys.stderr)
        return 2
    return 0


def train_command(side: Side, words: list[str], console: Console) -> None:
    """Train from the beginning, in a new run folder."""
    env_id, words = split_env_id(words)
    command = f"{side.program} train [ENV_ID]"
    options = parse_options(TrainOptions, command, words, TrainOptions(preset(env_id)))
    check_episodes(options.eval_episodes)
    side.set_up(options.config, options.settings)
    side.check(options.config)
    if side.follow_run is not None and not is_leader():
        side.follow_run(Run(Path(), options.config, options.settings))
        return
    run = create_run(options.out, options.config, options.settings, side.framework)
    finish_run(side, run, console, options.eval_episodes)


def finish_run(side: Side, run: Run, console: Console, eval_episodes: int) -> None:
    """Train a run to its end, then draw its learning curve and evaluate its agents."""
    say(console, f"run folder: {run.path}")
    with Display(run, console) as display:
        side.train_run(run, display)
    write_png(learning_curve(run, read_history(run)), run.path / "learning_curve.png")
    agents, _, _ = side.load_agents(run)
    content = evaluate(
        side, run, agents, EvaluateOptions(run.path, num_episodes=eval_episodes), console
    )
    write_json(run.path / "evaluation.json", content)
    say(console, f"written to {run.path}")


def evaluate_command(side: Side, words: list[str], console: Console) -> None:
    """Evaluate the agents of a run."""
    options = parse_options(EvaluateOptions, f"{side.program} evaluate", words)
    check_episodes(options.num_episodes)
    RunSettings(seed=options.seed)
    check_writable(options.out)
    run = open_own_run(side, options.run)
    side.check(run.config)
    agents, update, problems = side.load_agents(run)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    if update < run.config.num_updates:
        say(console, f"(after {update} of {run.config.num_updates} updates)")
    content = evaluate(side, run, agents, options, console)
    if options.out is not None:
        origin = {"run": str(run.path), "env_id": run.config.env_id, "update": update}
        write_json(options.out, {**origin, **content})


def evaluate(
    side: Side, run: Run, agents: Any, options: EvaluateOptions, console: Console
) -> dict[str, Any]:
    """Evaluate agents and show the outcome as a table.

    Returns:
        The outcome and how it came about, as data.
    """
    results = side.evaluate_agents(
        agents, run.config, options.num_episodes, not options.sampled, options.seed
    )
    content = report(results, run.settings.seeds)
    how = "sampled" if options.sampled else "most probable"
    title = f"{run.config.env_id}: episode return, {options.num_episodes} episodes, {how} actions"
    console.print(report_table(content, title))
    unfinished = sum(row["unfinished"] for row in content["per_seed"].values())
    if unfinished:
        say(console, f"{unfinished} episodes did not end within the step limit")
    return {
        "num_episodes": options.num_episodes,
        "sampled": options.sampled,
        "seed": options.seed,
        **content,
    }


def export_command(side: Side, words: list[str], console: Console) -> None:
    """Make a run folder that the other program can evaluate."""
    options = parse_options(ExportOptions, f"{side.program} export", words)
    exported = export_run(open_run(options.run), options.to, options.out)
    program, library = {"jax": ("jax-ppo", "gymnax"), "torch": ("torch-ref", "Gymnasium")}[
        options.to
    ]
    say(
        console,
        f"written to {exported.path}; where {library} has {exported.config.env_id}, "
        f"`{program} evaluate {exported.path}` says how good it is there",
    )


def open_own_run(side: Side, path: Path) -> Run:
    """Open a run folder that is this program's own.

    Raises:
        AppError: It is none, or the other program's, or a part of a sweep.
    """
    run = open_run(path)
    if run.in_sweep:
        raise AppError(
            f"{path} is a part of a sweep; the sweep itself is {path.resolve().parent}, and an "
            "agent of it can be had alone by training with its settings"
        )
    if run.framework != side.framework:
        raise AppError(
            f"{path} is a run of {run.framework}; make one for {side.framework} with "
            f"`{side.program} export {path} --to {side.framework}`"
        )
    return run


def split_env_id(words: list[str]) -> tuple[str, list[str]]:
    """The environment that `train` is asked for, and the other words.

    It decides the defaults of all other options, so it has to be known before they are read.
    """
    if words and not words[0].startswith("-"):
        if any(re.match(r"--env[-_]id(=|$)", word) for word in words):
            raise UsageError(f"two environments: {words[0]}, and another after --env-id")
        return words[0], words[1:]
    for i, word in enumerate(words):
        if word in ("--env-id", "--env_id") and i + 1 < len(words):
            return words[i + 1], words
        if word.startswith(("--env-id=", "--env_id=")):
            return word.split("=", 1)[1], words
    return PPOConfig.env_id, words


def check_episodes(num_episodes: int) -> None:
    """Raise ConfigError unless there is at least one episode to evaluate on."""
    if num_episodes < 1:
        raise ConfigError(f"the number of episodes must be at least 1, got {num_episodes}")


def check_writable(file: Path | None) -> None:
    """Raise AppError if a file could not be written, before the work whose result it is to hold."""
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        reason = "it is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise AppError(f"cannot write {file}: {reason}")


def say(console: Console, text: str) -> None:
    """Print a line as it is, without markup, colours or folding."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
