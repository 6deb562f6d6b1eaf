"""Measure implementations of PPO: `python -m benchmarks COMMAND`."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from benchmarks.compare import (
    Comparison,
    Descriptions,
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
from jax_ppo.app.command_line import Command, run_program, say
from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import RunSettings
from jax_ppo.app.runtime import set_up

DESCRIPTION = "Measure jax_ppo and other implementations of PPO, each in a process of its own."

Names = Annotated[Positional[tuple[str, ...]], arg(metavar="WORK ...")]
"""Works by name, as positional arguments."""


@dataclass(frozen=True)
class Measuring:
    """Options of every measurement."""

    rounds: int = 5
    """Number of measurements; each round has a seed of its own."""
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
    """The implementations to compare jax_ppo with."""

    peers: tuple[str, ...] = ("purejaxrl", "rejax")
    """Implementations; further ones are torch_ref, cleanrl, stable_baselines3 and sbx."""
    folder: Path = Path(".peers")
    """Folder of the environments that `install` made."""
    pythons: tuple[str, ...] = ()
    """Interpreters to use instead, as NAME=PATH."""
    checkouts: tuple[str, ...] = ()
    """Folders of sources, for implementations that are not packages, as NAME=PATH."""


@dataclass(frozen=True)
class InstallOptions:
    """Make a virtual environment for each of some implementations."""

    peers: Annotated[Positional[tuple[str, ...]], arg(metavar="PEER ...")]
    """Implementations."""
    folder: Path = Path(".peers")
    """Folder to make them in."""
    cuda: bool = False
    """Whether to install JAX with CUDA."""


@dataclass(frozen=True)
class ThroughputOptions:
    """Measure the steps per second of whole trainings."""

    works: Names = ("narrow", "wide", "agents64", "breakout")
    """The trainings."""
    num_updates: int | None = None
    """Updates per training. None: those of the work."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class ScalingOptions:
    """Measure steps per second by number of environments and of agents."""

    num_envs: tuple[int, ...] = (4, 16, 64, 256, 512, 1024, 4096)
    """Environments of the one agent."""
    num_agents: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Agents, of 4 environments each."""
    env_steps: int = 200_000
    """Approximate environment steps of each training, over all agents."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class CompileOptions:
    """Measure the time before the first step."""

    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class MemoryOptions:
    """Measure the peak memory of long trainings."""

    env_steps: int = 10_000_000
    """Environment steps of a training; jax_ppo is also measured with a tenth of them."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class ThresholdOptions:
    """Measure the time until the mean return of the episodes of an update reaches a threshold."""

    threshold: float = 475.0
    """Mean return."""
    num_updates: int | None = None
    """Updates per training. None: those of the work."""
    measuring: Annotated[Measuring, arg(name="")] = field(
        default_factory=partial(Measuring, rounds=8)
    )
    others: Annotated[Others, arg(name="")] = field(default_factory=Others)


@dataclass(frozen=True)
class PhasesOptions:
    """Measure the time of each phase of an update of jax_ppo."""

    works: Names = ("narrow", "wide", "breakout")
    """The trainings, of one agent each."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)


@dataclass(frozen=True)
class CeilingOptions(PhasesOptions):
    """Measure the parts of an update beside the limits of the machine."""


@dataclass(frozen=True)
class RegressionOptions:
    """Compare the speed of two commits; the exit status is 1 if the second is slower."""

    old: Annotated[Positional[str], arg(metavar="OLD")]
    """Commit to compare with."""
    new: Annotated[Positional[str], arg(metavar="NEW")]
    """Commit that should not be slower."""
    works: Names = ("narrow", "wide")
    """The trainings."""
    least: float = 0.9
    """NEW counts as slower if the median of its speed divided by OLD's is below this."""
    num_updates: int | None = None
    """Updates per training. None: those of the work."""
    measuring: Annotated[Measuring, arg(name="")] = field(default_factory=Measuring)


@dataclass(frozen=True)
class ReportOptions:
    """Write README.md and the pictures from the results in a folder."""

    out: Path | None = None
    """The folder. None: benchmarks/results/DEVICE."""


@dataclass(frozen=True)
class PresetsOptions:
    """Train the presets on several seeds, and write a page of their returns."""

    env_ids: Annotated[Positional[tuple[str, ...]], arg(metavar="ENV_ID ...")] = ()
    """Environments to measure. None: all that have a preset."""
    num_agents: int = 8
    """Agents per preset, with seeds 0, 1, ..."""
    out: Path = FOLDER
    """Folder of results.json; its results of other environments are kept."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see `run_program`."""
    return run_program("python -m benchmarks", DESCRIPTION, COMMANDS, arguments)


def install_command(options: InstallOptions, console: Console) -> None:
    """Make virtual environments."""
    for peer in [find_peer(name) for name in options.peers]:
        say(console, f"installed {peer.name} in {install(peer, options.folder, options.cuda)}")


def throughput_command(options: ThroughputOptions, console: Console) -> None:
    """Measure whole trainings."""
    works = [find_work(name, options.num_updates) for name in options.works]
    ours, *peers = implementations_of(options.others)
    descriptions: Descriptions = {}
    comparisons = []
    for work in works:
        able = [peer for peer in peers if peer.implementation.can_do(work)]
        found, described = compare(
            work, ours, able, options.measuring.rounds, options.measuring.limit
        )
        comparisons.append(found)
        descriptions |= described
    finish("throughput", options.measuring, descriptions, {"works": comparisons}, console)


def scaling_command(options: ScalingOptions, console: Console) -> None:
    """Measure speed by number of environments and by number of agents."""
    ours, *peers = implementations_of(options.others, "scaling")
    descriptions: Descriptions = {}
    curves: dict[str, list[Comparison]] = {name: [] for name in AXES}
    for name, curve in curves.items():
        for value in getattr(options, name):
            work = dataclasses.replace(NARROW, **{name: value}).lasting(options.env_steps)
            found, described = compare(
                work, ours, peers, options.measuring.rounds, options.measuring.limit
            )
            curve.append(found)
            descriptions |= described
    content = finish("scaling", options.measuring, descriptions, curves, console)
    plot_scaling(content, folder_of(options.measuring) / "scaling.png")


def compile_command(options: CompileOptions, console: Console) -> None:
    """Measure the starts of processes."""
    work = dataclasses.replace(NARROW, num_updates=2)
    starts, descriptions = measure_starts(
        work,
        implementations_of(options.others, "compile"),
        options.measuring.rounds,
        options.measuring.limit,
    )
    finish("compile", options.measuring, descriptions, {"starts": starts}, console)


def memory_command(options: MemoryOptions, console: Console) -> None:
    """Measure the peak memory of long trainings, once each."""
    ours, *peers = implementations_of(options.others, "memory")
    descriptions: Descriptions = {}
    trainings = []
    long, short = (NARROW.lasting(steps) for steps in (options.env_steps, options.env_steps // 10))
    for installed, work in [(ours, short), (ours, long), *((peer, long) for peer in peers)]:
        found, described = measure_memory(installed, work, options.measuring.limit)
        trainings.append(found)
        descriptions |= described
    once = dataclasses.replace(options.measuring, rounds=1)
    finish("memory", once, descriptions, {"trainings": trainings}, console)


def threshold_command(options: ThresholdOptions, console: Console) -> None:
    """Measure the time until a return is reached."""
    seeds, descriptions = measure_threshold(
        find_work("narrow", options.num_updates),
        implementations_of(options.others, "threshold"),
        options.threshold,
        options.measuring.rounds,
        options.measuring.limit,
    )
    found = {"threshold": options.threshold, "seeds": seeds}
    finish("threshold", options.measuring, descriptions, found, console)


def phases_command(options: PhasesOptions, console: Console) -> None:
    """Measure the phases of an update."""
    use_one_thread()
    rounds = options.measuring.rounds
    found = []
    for work in [find_work(name) for name in options.works]:
        found.append({"work": work, "phases": measure_phases(work, rounds)})
        jax.clear_caches()
    finish("phases", options.measuring, {}, {"works": found}, console)


def use_one_thread() -> None:
    """On a CPU, measure on one core unless NPROC is set.

    With several threads, distributing small operations among them would be measured too.
    """
    os.environ.setdefault("NPROC", "1")


def ceiling_command(options: CeilingOptions, console: Console) -> None:
    """Measure the parts of an update beside their operations alone."""
    use_one_thread()
    # This imports gymnax, which computes while it is imported; the number of threads and, for
    # `presets`, of devices has to be set before.
    from benchmarks.ceiling import measure_ceiling

    found = []
    for work in [find_work(name) for name in options.works]:
        parts, rates = measure_ceiling(work, options.measuring.rounds)
        found.append({"work": work, "parts": parts, "rates": rates})
        jax.clear_caches()
    finish("ceiling", options.measuring, {}, {"works": found}, console)


def regression_command(options: RegressionOptions, console: Console) -> None:
    """Compare two commits; end the program with status 1 if the second is slower."""
    commits = (options.old, options.new)
    works = tuple(find_work(name, options.num_updates) for name in options.works)
    measuring = options.measuring
    comparisons, descriptions = compare_commits(commits, works, measuring.rounds, measuring.limit)
    found = {"commits": [side.name for side in comparisons[0].sides], "works": comparisons}
    finish("regression", measuring, descriptions, found, console)
    slower = [x.work.name for x in comparisons if x.least_ratio < options.least]
    if slower:
        say(console, f"{options.new} is slower than {options.old} at {', '.join(slower)}")
        raise SystemExit(1)


def report_command(options: ReportOptions, console: Console) -> None:
    """Write the page of all results."""
    say(console, f"written to {write_report(options.out or default_folder())}")


def presets_command(options: PresetsOptions, console: Console) -> None:
    """Measure presets one after another; each result is written as soon as it is complete."""
    settings = RunSettings(num_agents=options.num_agents)
    env_ids = choose(options.env_ids)
    set_up(PRESETS[env_ids[0]], settings)
    for env_id in env_ids:
        result = measure_preset(env_id, settings.num_agents)
        keep_result(options.out, env_id, result)
        header, row = main_table({env_id: result}, read_published())
        say(console, ", ".join(f"{name} {cell}" for name, cell in zip(header, row, strict=True)))
    say(console, f"written to {write_page(options.out)}")


def implementations_of(others: Others, command: str = "") -> list[Installed]:
    """jax_ppo, then the others.

    Args:
        others: The others.
        command: Name of a command that needs implementations compiled by JAX; empty: any kind.

    Raises:
        AppError: One is unknown, not installed, or not compiled as a whole.
    """
    wanted = [OURS, *map(find_peer, others.peers)]
    for implementation in wanted:
        if command and not implementation.jitted:
            raise AppError(
                f"{implementation.name} is not compiled as a whole, so {command} cannot "
                "measure it; throughput can"
            )
    pythons = read_paths(others.pythons, "--pythons")
    checkouts = read_paths(others.checkouts, "--checkouts")
    return [locate(x, others.folder, pythons, checkouts) for x in wanted]


def finish(
    command: str,
    measuring: Measuring,
    descriptions: Descriptions,
    found: dict[str, Any],
    console: Console,
) -> dict[str, Any]:
    """Write the results of a command to a file, and print them.

    Returns:
        The content of the file.
    """
    folder = folder_of(measuring)
    content = save(folder, command, measuring.rounds, descriptions, found)
    for header, *rows in SECTIONS[command].tables(content):
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    say(console, f"written to {folder / command}.json")
    return content


def folder_of(measuring: Measuring) -> Path:
    """Folder of the results."""
    return measuring.out or default_folder()


COMMANDS = {
    "install": Command(InstallOptions, install_command),
    "throughput": Command(ThroughputOptions, throughput_command),
    "scaling": Command(ScalingOptions, scaling_command),
    "compile": Command(CompileOptions, compile_command),
    "memory": Command(MemoryOptions, memory_command),
    "threshold": Command(ThresholdOptions, threshold_command),
    "phases": Command(PhasesOptions, phases_command),
    "ceiling": Command(CeilingOptions, ceiling_command),
    "regression": Command(RegressionOptions, regression_command),
    "report": Command(ReportOptions, report_command),
    "presets": Command(PresetsOptions, presets_command),
}

if __name__ == "__main__":
    raise SystemExit(main())
