"""Measure implementations side by side: `python -m benchmarks COMMAND`."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from benchmarks.compare import (
    Comparison,
    Hellos,
    compare,
    measure_memory,
    measure_starts,
    measure_threshold,
)
from benchmarks.peers import OURS, Installed, find_peer, install, locate, read_paths
from benchmarks.phases import measure_phases
from benchmarks.pictures import AXES, plot_scaling
from benchmarks.presets import (
    FOLDER,
    PRESETS,
    choose,
    keep_result,
    main_table,
    measure_preset,
    read_published,
    write_page,
)
from benchmarks.regression import compare_commits
from benchmarks.report import SECTIONS, write_report
from benchmarks.results import default_folder, save
from benchmarks.work import NARROW, find_work
from jax_ppo.app.commands import Command, run_program, say
from jax_ppo.app.devices import keep_compiled_programs, set_up_devices
from jax_ppo.app.errors import AppError
from jax_ppo.app.options import parse_options
from jax_ppo.app.runs import RunSettings

USAGE = """\
usage: python -m benchmarks COMMAND ...

Measures jax_ppo beside other implementations, in turn, each in a process of its own.

  install PEER ...                 make an environment with an implementation
  throughput [WORK ...]            steps per second of whole trainings
  scaling                          the same by number of environments and of agents
  compile                          what comes before the first step
  memory                           peak memory of long trainings
  threshold                        time until CartPole is solved
  phases [WORK ...]                where the time of an update of jax_ppo goes
  ceiling [WORK ...]               what the machine could do at most
  regression OLD NEW [WORK ...]    one commit's speed beside another's; 1 if it is slower
  report                           a page of all results
  presets [ENV_ID ...]             what the presets reach, on several seeds

`python -m benchmarks COMMAND --help` lists a command's options.
"""

Names = Annotated[Positional[tuple[str, ...]], arg(metavar="WORK ...")]
"""Works by name, as words after the command."""


@dataclass(frozen=True)
class Measuring:
    """What every measurement needs to know."""

    rounds: int = 5
    """How often to measure; each round has a seed of its own."""
    out: Path | None = None
    """Folder to write into. None: benchmarks/results/DEVICE."""
    limit: float = 3600.0
    """Seconds that a start or a training may take."""

    def __post_init__(self) -> None:
        """Raise AppError unless there is at least one round."""
        if self.rounds < 1:
            raise AppError(f"the number of rounds must be at least 1, got {self.rounds}")


@dataclass(frozen=True)
class Others:
    """Whom to measure jax_ppo beside."""

    peers: tuple[str, ...] = ("purejaxrl", "rejax")
    """Implementations; further ones are torch_ref, cleanrl, stable_baselines3 and sbx."""
    folder: Path = Path(".peers")
    """Where `install` put their environments."""
    pythons: tuple[str, ...] = ()
    """Interpreters to use instead, as NAME=PATH."""
    checkouts: tuple[str, ...] = ()
    """Where the sources of those that are no packages lie, as NAME=PATH."""


@dataclass(frozen=True)
class InstallOptions:
    """Make a virtual environment for each of some implementations."""

    peers: Annotated[Positional[tuple[str, ...]], arg(metavar="PEER ...")]
    """Implementations."""
    folder: Path = Path(".peers")
    """Where to make them."""
    cuda: bool = False
    """Whether JAX is to come with what it needs for NVIDIA's GPUs."""


@dataclass(frozen=True)
class ThroughputOptions:
    """Measure the steps per second of whole trainings."""

    works: Names = ("narrow", "wide", "agents64", "breakout")
    """What to train."""
    num_updates: int | None = None
    """Updates per training. None: as many as the work has."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class ScalingOptions:
    """Measure steps per second by number of environments and of agents."""

    num_envs: tuple[int, ...] = (4, 16, 64, 256, 512, 1024, 4096)
    """Environments of the one agent."""
    num_seeds: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Agents, of 4 environments each."""
    env_steps: int = 200_000
    """About how long each training is to be, over all agents."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class CompileOptions:
    """Measure what comes before the first step."""

    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class MemoryOptions:
    """Measure the peak memory of long trainings."""

    env_steps: int = 10_000_000
    """How long to train; jax_ppo also trains a tenth as long."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class ThresholdOptions:
    """Measure the time until the mean return of the episodes of an update reaches a threshold."""

    threshold: float = 475.0
    """Mean return."""
    num_updates: int | None = None
    """Updates per training. None: as many as the work has."""
    measuring: Annotated[Measuring, arg(name="")] = field(
        default_factory=partial(Measuring, rounds=8)
    )
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class PiecesOptions:
    """Measure pieces of an update of jax_ppo."""

    works: Names = ("narrow", "wide", "breakout")
    """What would be trained, by one agent."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)


@dataclass(frozen=True)
class RegressionOptions:
    """Measure one commit's speed beside another's; the exit status is 1 if it is slower."""

    old: Annotated[Positional[str], arg(metavar="OLD")]
    """Commit to compare with."""
    new: Annotated[Positional[str], arg(metavar="NEW")]
    """Commit that should not be slower."""
    works: Names = ("narrow", "wide")
    """What to train."""
    least: float = 0.9
    """Median of NEW's speed by OLD's below which it counts as slower."""
    num_updates: int | None = None
    """Updates per training. None: as many as the work has."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)


@dataclass(frozen=True)
class ReportOptions:
    """Write README.md and the pictures from the results in a folder."""

    out: Path | None = None
    """The folder. None: benchmarks/results/DEVICE."""


@dataclass(frozen=True)
class PresetsOptions:
    """Train the presets on several seeds, and write a page of what they reach."""

    env_ids: Annotated[Positional[tuple[str, ...]], arg(metavar="ENV_ID ...")] = ()
    """Environments to measure anew. None: every one that has a preset."""
    num_seeds: int = 8
    """Agents per preset, with seeds 0, 1, ..."""
    out: Path = FOLDER
    """Folder of results.json, which keeps what it says of other environments."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see `run_program`."""
    return run_program(USAGE, COMMANDS, arguments)


def install_command(words: list[str], console: Console) -> None:
    """Make environments."""
    options = parse_options(InstallOptions, "python -m benchmarks install", words)
    for peer in [find_peer(name) for name in options.peers]:
        say(console, f"installed {peer.name} in {install(peer, options.folder, options.cuda)}")


def throughput_command(words: list[str], console: Console) -> None:
    """Whole trainings."""
    options = parse_options(ThroughputOptions, "python -m benchmarks throughput", words)
    works = [find_work(name, options.num_updates) for name in options.works]
    ours, *peers = everyone(options.others)
    hellos: Hellos = {}
    comparisons = []
    for work in works:
        able = [peer for peer in peers if peer.implementation.can_do(work)]
        found, said = compare(work, ours, able, options.measuring.rounds, options.measuring.limit)
        comparisons.append(found)
        hellos |= said
    finish("throughput", options.measuring, hellos, {"works": comparisons}, console)


def scaling_command(words: list[str], console: Console) -> None:
    """Two curves."""
    options = parse_options(ScalingOptions, "python -m benchmarks scaling", words)
    ours, *peers = everyone(options.others, "scaling")
    hellos: Hellos = {}
    curves: dict[str, list[Comparison]] = {name: [] for name in AXES}
    for name, curve in curves.items():
        for value in getattr(options, name):
            work = dataclasses.replace(NARROW, **{name: value}).lasting(options.env_steps)
            found, said = compare(
                work, ours, peers, options.measuring.rounds, options.measuring.limit
            )
            curve.append(found)
            hellos |= said
    content = finish("scaling", options.measuring, hellos, curves, console)
    plot_scaling(content, folder_of(options.measuring) / "scaling.png")


def compile_command(words: list[str], console: Console) -> None:
    """Fresh processes."""
    options = parse_options(CompileOptions, "python -m benchmarks compile", words)
    work = dataclasses.replace(NARROW, num_updates=2)
    starts, hellos = measure_starts(
        work,
        everyone(options.others, "compile"),
        options.measuring.rounds,
        options.measuring.limit,
    )
    finish("compile", options.measuring, hellos, {"starts": starts}, console)


def memory_command(words: list[str], console: Console) -> None:
    """Long trainings, once each."""
    options = parse_options(MemoryOptions, "python -m benchmarks memory", words)
    ours, *peers = everyone(options.others, "memory")
    hellos: Hellos = {}
    trainings = []
    long, short = (NARROW.lasting(steps) for steps in (options.env_steps, options.env_steps // 10))
    for installed, work in [(ours, short), (ours, long), *((peer, long) for peer in peers)]:
        found, said = measure_memory(installed, work, options.measuring.limit)
        trainings.append(found)
        hellos |= said
    once = dataclasses.replace(options.measuring, rounds=1)
    finish("memory", once, hellos, {"trainings": trainings}, console)


def threshold_command(words: list[str], console: Console) -> None:
    """Trainings until something is learned."""
    options = parse_options(ThresholdOptions, "python -m benchmarks threshold", words)
    seeds, hellos = measure_threshold(
        find_work("narrow", options.num_updates),
        everyone(options.others, "threshold"),
        options.threshold,
        options.measuring.rounds,
        options.measuring.limit,
    )
    found = {"threshold": options.threshold, "seeds": seeds}
    finish("threshold", options.measuring, hellos, found, console)


def phases_command(words: list[str], console: Console) -> None:
    """Pieces of an update."""
    options = parse_options(PiecesOptions, "python -m benchmarks phases", words)
    use_one_thread()
    rounds = options.measuring.rounds
    works = [find_work(name) for name in options.works]
    found = [{"work": work, "phases": measure_phases(work, rounds)} for work in works]
    finish("phases", options.measuring, {}, {"works": found}, console)


def use_one_thread() -> None:
    """On a CPU, measure pieces on one core; NPROC asks for more.

    How small pieces are handed from thread to thread would otherwise be measured with them.
    """
    os.environ.setdefault("NPROC", "1")


def ceiling_command(words: list[str], console: Console) -> None:
    """Pieces of the pieces."""
    use_one_thread()
    # This imports gymnax, which computes while it is imported: neither the number of threads nor,
    # for `presets`, the devices could be chosen any more.
    from benchmarks.ceiling import measure_ceiling

    options = parse_options(PiecesOptions, "python -m benchmarks ceiling", words)
    found = []
    for work in [find_work(name) for name in options.works]:
        parts, rates = measure_ceiling(work, options.measuring.rounds)
        found.append({"work": work, "parts": parts, "rates": rates})
    finish("ceiling", options.measuring, {}, {"works": found}, console)


def regression_command(words: list[str], console: Console) -> None:
    """Two commits; ends the program with status 1 if the second is slower."""
    options = parse_options(RegressionOptions, "python -m benchmarks regression", words)
    commits = (options.old, options.new)
    works = tuple(find_work(name, options.num_updates) for name in options.works)
    measuring = options.measuring
    comparisons, hellos = compare_commits(commits, works, measuring.rounds, measuring.limit)
    found = {"commits": [side.name for side in comparisons[0].sides], "works": comparisons}
    finish("regression", measuring, hellos, found, console)
    slower = [x.work.name for x in comparisons if x.least_ratio < options.least]
    if slower:
        say(console, f"{options.new} is slower than {options.old} at {', '.join(slower)}")
        raise SystemExit(1)


def report_command(words: list[str], console: Console) -> None:
    """The page."""
    options = parse_options(ReportOptions, "python -m benchmarks report", words)
    say(console, f"written to {write_report(options.out or default_folder())}")


def presets_command(words: list[str], console: Console) -> None:
    """Every preset, one after the other; each is written down as soon as it is done."""
    options = parse_options(PresetsOptions, "python -m benchmarks presets", words)
    settings = RunSettings(num_seeds=options.num_seeds)
    env_ids = choose(options.env_ids)
    keep_compiled_programs()
    set_up_devices(PRESETS[env_ids[0]], settings)
    for env_id in env_ids:
        result = measure_preset(env_id, settings.num_seeds)
        keep_result(options.out, env_id, result)
        header, row = main_table({env_id: result}, read_published())
        say(console, ", ".join(f"{name} {cell}" for name, cell in zip(header, row, strict=True)))
    say(console, f"written to {write_page(options.out)}")


def everyone(others: Others, command: str = "") -> list[Installed]:
    """Ours, then the peers.

    Args:
        others: Which peers.
        command: Name of a command that can do only with implementations that JAX compiles.

    Raises:
        AppError: One is unknown, not there, or not of that kind.
    """
    wanted = [OURS, *map(find_peer, others.peers)]
    for implementation in wanted:
        if command and not implementation.jitted:
            raise AppError(
                f"{implementation.name} is not compiled as a whole, so that {command} cannot "
                "measure it; throughput can"
            )
    pythons = read_paths(others.pythons, "--pythons")
    checkouts = read_paths(others.checkouts, "--checkouts")
    return [locate(x, others.folder, pythons, checkouts) for x in wanted]


def finish(
    command: str, measuring: Measuring, hellos: Hellos, found: dict[str, Any], console: Console
) -> dict[str, Any]:
    """Write what a command found, and show it.

    Returns:
        What was written.
    """
    folder = folder_of(measuring)
    content = save(folder, command, measuring.rounds, hellos, found)
    for header, *rows in SECTIONS[command].tables(content):
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    say(console, f"written to {folder / command}.json")
    return content


def folder_of(measuring: Measuring) -> Path:
    """Where results go."""
    return measuring.out or default_folder()


COMMANDS: dict[str, Command] = {
    "install": install_command,
    "throughput": throughput_command,
    "scaling": scaling_command,
    "compile": compile_command,
    "memory": memory_command,
    "threshold": threshold_command,
    "phases": phases_command,
    "ceiling": ceiling_command,
    "regression": regression_command,
    "report": report_command,
    "presets": presets_command,
}

if __name__ == "__main__":
    raise SystemExit(main())
