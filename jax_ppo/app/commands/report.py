"""doctor, report and compare: commands that read finished runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from jax_ppo.app.checkpoints import read_agents
from jax_ppo.app.command_line import RunOptions, UsageError, say
from jax_ppo.app.commands.sweep import open_trusted_sweep, report_sweep
from jax_ppo.app.doctor.rules import MIN_UPDATES, Finding, examine, examine_run
from jax_ppo.app.errors import AppError
from jax_ppo.app.framework import open_trusted_run
from jax_ppo.app.history import read_history
from jax_ppo.app.reports import write_comparison, write_report
from jax_ppo.app.runs import RunSettings, new_folder, open_run
from jax_ppo.app.runtime import keep_compiled_programs, set_up
from jax_ppo.app.sweeps.sweep import Sweep, describe_trial, histories_of, is_sweep, parts_of


@dataclass(frozen=True)
class DoctorOptions(RunOptions):
    """Look for faults in the metrics of a run, or of every trial of a sweep; list what to try."""


@dataclass(frozen=True)
class ReportOptions(RunOptions):
    """Make one page of all plots and tables: report.html of a run, index.html of a sweep."""


@dataclass(frozen=True)
class CompareOptions:
    """Compare runs: learning curves, results, differences of their configs."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN RUN ...")] = field(
        default_factory=tuple
    )
    """Run folders."""
    out: Path | None = None
    """What to write: OUT.html and OUT.png; a name with either ending stands for both. None:
    comparison-TIME."""


def doctor_command(options: DoctorOptions, console: Console) -> None:
    """jax-ppo doctor."""
    if is_sweep(options.run):
        examine_sweep(open_trusted_sweep(options.run, options.allow_import), console)
        return
    run = open_trusted_run(options.run, options.allow_import)
    history = read_history(run)
    keep_compiled_programs()
    findings, failures = examine_run(run, history)
    say(console, f"{run.path}: {history.num_updates} of {run.config.num_updates} updates")
    if history.num_updates < MIN_UPDATES:
        say(console, f"(fewer than {MIN_UPDATES} show no trend: only the environment is examined)")
    _say_findings(findings, failures, console)


def examine_sweep(sweep: Sweep, console: Console) -> None:
    """Apply the rules to the curves of every trial; what is the same in all is still said of each.

    The environment is not tried, and of the metrics only those that a sweep keeps are examined.
    """
    histories = histories_of(sweep)
    for part in parts_of(sweep):
        if not histories.keys() & set(part.trials):
            say(console, f"{part.path.name}: not trained yet")
            continue
        arrays, _, _ = read_agents(open_run(part.path))
        for trial in part.trials:
            say(console, f"\ntrial {trial}: {describe_trial(sweep.trials[trial])}")
            _say_findings(*examine(sweep.configs[trial], histories[trial], arrays), console)


def _say_findings(findings: Sequence[Finding], failures: Sequence[str], console: Console) -> None:
    """Each finding, what to try and its source, and the rules that failed."""
    for finding in findings:
        say(console, f"\n{finding}")
        say(console, f"  try: {finding.rule.advice}")
        say(console, f"  source: {finding.rule.source}")
    for failure in failures:
        say(console, f"note: {failure}")
    if not findings:
        say(console, "nothing suspicious")


def report_command(options: ReportOptions, console: Console) -> None:
    """jax-ppo report."""
    if is_sweep(options.run):
        sweep = open_trusted_sweep(options.run, options.allow_import)
        ranked = report_sweep(sweep)
        left = f" ({len(ranked)} of {sweep.num_trials} trials)" * (len(ranked) < sweep.num_trials)
        say(console, f"written to {sweep.path / 'index.html'}{left}")
        return
    run = open_trusted_run(options.run, options.allow_import)
    set_up(run.config, RunSettings())
    say(console, f"written to {write_report(run)}")


def compare_command(options: CompareOptions, console: Console) -> None:
    """jax-ppo compare."""
    if len(options.runs) < 2:
        raise UsageError("at least two runs can be compared: jax-ppo compare RUN RUN ...")
    out = new_folder(".", "comparison") if options.out is None else options.out
    out = out.with_suffix("") if out.suffix in {".html", ".png"} else out
    if not out.parent.is_dir():
        raise AppError(f"cannot write {out}.html: there is no folder {out.parent}")
    runs = {name: open_run(path) for name, path in _names(options.runs).items()}
    write_comparison(runs, out)
    say(console, f"written to {out}.html and {out}.png")


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Paths by their shortest ends that differ."""
    for length in range(1, max(len(path.resolve().parts) for path in paths)):
        names = ["/".join(path.resolve().parts[-length:]) for path in paths]
        if len(set(names)) == len(paths):
            return dict(zip(names, paths, strict=True))
    raise UsageError("the same run is given twice")
