"""The command line: jax-ppo train, evaluate, resume, envs."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import gymnax
import jax
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from jax_ppo import __version__
from jax_ppo.app.checkpoints import load_newest
from jax_ppo.app.errors import AppError
from jax_ppo.app.evaluation import evaluate_states, report, report_table
from jax_ppo.app.options import UsageError, parse_options
from jax_ppo.app.plots import plot_learning_curve
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, RunSettings, create_run, open_run, write_json
from jax_ppo.app.training import Interrupted, initial_states, train_run
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.envs import NEEDS_DOWNLOAD, DiscreteActions, make_env
from jax_ppo.networks import make_network
from jax_ppo.presets import PRESETS, preset
from jax_ppo.types import TrainState

USAGE = """\
usage: jax-ppo COMMAND ...

PPO in pure JAX: the whole training loop under one jit.

  jax-ppo train [ENV_ID]     train one agent or many, CartPole-v1 if nothing else is said
  jax-ppo evaluate RUN       say how good the agents of a run are
  jax-ppo resume RUN         go on with a run that was stopped
  jax-ppo envs               list the environments

`jax-ppo COMMAND --help` lists a command's options.
"""


@dataclass(frozen=True)
class TrainOptions:
    """Train one agent or many; ENV_ID comes first: `jax-ppo train ENV_ID [OPTIONS]`.

    Defaults are those of the environment's preset, if it has one (see `jax-ppo envs`). Everything
    is written to a new run folder.
    """

    config: Annotated[PPOConfig, arg(name="")]
    settings: Annotated[RunSettings, arg(name="")] = field(default_factory=RunSettings)
    run_dir: Path | None = None
    """Folder to make for this run. None: runs/ENV_ID-seedSEED-TIME."""
    eval_episodes: int = 128
    """Episodes that each trained agent is evaluated on at the end."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate the agents of a run, from its newest checkpoint."""

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
class ResumeOptions:
    """Go on with a run that was stopped, from its newest sound checkpoint to its end."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder."""
    eval_episodes: int = 128
    """Episodes that each trained agent is evaluated on at the end."""


@dataclass(frozen=True)
class EnvsOptions:
    """List the environments that can be trained on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after `jax-ppo`; None: those of the process.

    Returns:
        The exit status: 0, or 2 for a mistake that the message explains, or 128 + n after signal n.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "" not in sys.path:
        sys.path.append("")  # so that `module:name` finds modules in the current folder
    console = Console()
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    try:
        if words[0] not in COMMANDS:
            raise UsageError(f"there is no command {words[0]!r}; see `jax-ppo --help`")
        COMMANDS[words[0]](words[1:], console)
    except Interrupted as stop:
        console.print(str(stop), markup=False)
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
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def train_command(words: list[str], console: Console) -> None:
    """jax-ppo train."""
    env_id, words = split_env_id(words)
    defaults = TrainOptions(preset(env_id))
    options = parse_options(TrainOptions, "jax-ppo train [ENV_ID]", words, defaults)
    check_buildable(options.config)
    check_episodes(options.eval_episodes)
    run = create_run(options.run_dir, options.config, options.settings)
    console.print(f"run folder: {run.path}", markup=False, highlight=False, soft_wrap=True)
    finish_run(run, console, options.eval_episodes)


def resume_command(words: list[str], console: Console) -> None:
    """jax-ppo resume."""
    options = parse_options(ResumeOptions, "jax-ppo resume", words)
    check_episodes(options.eval_episodes)
    run = open_run(options.run)
    check_buildable(run.config)
    console.print(f"run folder: {run.path}", markup=False, highlight=False, soft_wrap=True)
    finish_run(run, console, options.eval_episodes)


def finish_run(run: Run, console: Console, eval_episodes: int) -> None:
    """Train a run to its end, then draw its learning curve and evaluate its agents."""
    with Display(run, console) as display:
        states = train_run(run, display)
    plot_learning_curve(run, run.path / "learning_curve.png")
    content = evaluate(run, states, eval_episodes, sampled=False, seed=0, console=console)
    write_json(run.path / "evaluation.json", content)
    console.print(f"written to {run.path}", markup=False, highlight=False, soft_wrap=True)


def evaluate_command(words: list[str], console: Console) -> None:
    """jax-ppo evaluate."""
    options = parse_options(EvaluateOptions, "jax-ppo evaluate", words)
    check_episodes(options.num_episodes)
    run = open_run(options.run)
    check_buildable(run.config)
    template = jax.eval_shape(lambda: initial_states(run))
    states, update, problems = load_newest(run.checkpoints, template)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    if states is None:
        raise AppError(f"{run.path} has no checkpoint that can be read")
    if update < run.config.num_updates:
        console.print(f"(after {update} of {run.config.num_updates} updates)", highlight=False)
    content = evaluate(
        run, states, options.num_episodes, options.sampled, options.seed, console=console
    )
    if options.out is not None:
        write_json(options.out, content)


def evaluate(
    run: Run, states: TrainState, num_episodes: int, sampled: bool, seed: int, console: Console
) -> dict[str, object]:
    """Evaluate the agents of a run and show the outcome as a table.

    Returns:
        The outcome and how it came about, as data.
    """
    results = evaluate_states(states, run.config, num_episodes, not sampled, seed)
    content = report(results, run.settings.seeds)
    how = "sampled" if sampled else "most probable"
    title = f"{run.config.env_id}: episode return, {num_episodes} episodes, {how} actions"
    console.print(report_table(content, title))
    unfinished = sum(row["unfinished"] for row in content["per_seed"].values())
    if unfinished:
        console.print(f"{unfinished} episodes did not end within the step limit")
    return {"num_episodes": num_episodes, "sampled": sampled, "seed": seed, **content}


def envs_command(words: list[str], console: Console) -> None:
    """jax-ppo envs."""
    parse_options(EnvsOptions, "jax-ppo envs", words)
    table = Table("environment", "observation", "actions", "time limit", "preset")
    for env_id in gymnax.registered_envs:
        table.add_row(env_id, *describe_env(env_id), "yes" if env_id in PRESETS else "")
    console.print(table)


def describe_env(env_id: str) -> tuple[str, str, str]:
    """Observation, actions and time limit of an environment, in words."""
    if env_id in NEEDS_DOWNLOAD:
        return "needs a download", "", ""
    env = make_env(PPOConfig(env_id=env_id))
    if isinstance(env.actions, DiscreteActions):
        actions = f"{env.actions.num_actions} discrete"
    else:
        actions = f"{env.actions.noise_dim} continuous"
    return " x ".join(map(str, env.obs_shape)), actions, str(env.max_episode_steps or "none")


def split_env_id(words: list[str]) -> tuple[str, list[str]]:
    """The environment that `jax-ppo train` is asked for, and the other words.

    It decides the defaults of all other options, so it has to be known before they are read.
    """
    if words and not words[0].startswith("-"):
        return words[0], words[1:]
    for i, word in enumerate(words):
        if word in ("--env-id", "--env_id") and i + 1 < len(words):
            return words[i + 1], words
        if word.startswith(("--env-id=", "--env_id=")):
            return word.split("=", 1)[1], words
    return PPOConfig.env_id, words


def check_buildable(config: PPOConfig) -> None:
    """Raise ConfigError if the environment or the network cannot be built, or no update fits."""
    make_network(config, make_env(config))


def check_episodes(num_episodes: int) -> None:
    """Raise ConfigError unless there is at least one episode to evaluate on."""
    if num_episodes < 1:
        raise ConfigError(f"the number of episodes must be at least 1, got {num_episodes}")


COMMANDS: dict[str, Callable[[list[str], Console], None]] = {
    "train": train_command,
    "evaluate": evaluate_command,
    "resume": resume_command,
    "envs": envs_command,
}
