"""Pages about runs: one run from all sides, or several beside one another."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.console import Console
from tyro.conf import Positional, arg

from jax_ppo.app.commands import say
from jax_ppo.app.devices import keep_compiled_programs, set_up_devices
from jax_ppo.app.errors import AppError
from jax_ppo.app.history import History, read_history
from jax_ppo.app.options import UsageError, parse_options
from jax_ppo.app.pictures import page
from jax_ppo.app.pictures.curves import Curve, compared_curves, curve_of, learning_curve
from jax_ppo.app.pictures.dashboard import dashboard
from jax_ppo.app.pictures.picture import Picture
from jax_ppo.app.reporting.doctor import MIN_UPDATES, examine_run
from jax_ppo.app.runs import Run, RunSettings, open_run, read_rows
from jax_ppo.app.statistics import show_number
from jax_ppo.config import PPOConfig, changed_fields

NOT_COMPARED = ("env_id",)
"""Fields of the config that have a place of their own in the table of runs."""


@dataclass(frozen=True)
class DoctorOptions:
    """Read the metrics of a run and say what is wrong, and what to try."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder, of jax-ppo or torch-ref."""


@dataclass(frozen=True)
class ReportOptions:
    """Make one page of all that there is to see of a run: RUN/report.html, and PNGs beside it."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder, of jax-ppo or torch-ref."""


@dataclass(frozen=True)
class CompareOptions:
    """Compare runs, of jax-ppo and torch-ref alike: learning curves, results, differences."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN RUN ...")] = field(
        default_factory=tuple
    )
    """Run folders."""
    out: Path = Path("comparison")
    """What to write: OUT.html and OUT.png; a name with either ending stands for both."""


def doctor_command(words: list[str], console: Console) -> None:
    """jax-ppo doctor."""
    options = parse_options(DoctorOptions, "jax-ppo doctor", words)
    run = open_run(options.run)
    history = read_history(run)
    keep_compiled_programs()
    findings = examine_run(run, history)
    say(console, f"{run.path}: {len(history.updates)} of {run.config.num_updates} updates")
    if len(history.updates) < MIN_UPDATES:
        say(console, f"(fewer than {MIN_UPDATES} say little: only the environment is judged)")
    for finding in findings:
        say(console, f"\n{finding}")
        say(console, f"  try: {finding.rule.advice}")
        say(console, f"  source: {finding.rule.source}")
    if not findings:
        say(console, "nothing suspicious")


def report_command(words: list[str], console: Console) -> None:
    """jax-ppo report."""
    options = parse_options(ReportOptions, "jax-ppo report", words)
    run = open_run(options.run)
    keep_compiled_programs()
    set_up_devices(run.config, RunSettings())
    say(console, f"written to {write_report(run)}")


def compare_command(words: list[str], console: Console) -> None:
    """jax-ppo compare."""
    options = parse_options(CompareOptions, "jax-ppo compare", words)
    if len(options.runs) < 2:
        raise UsageError("at least two runs can be compared: jax-ppo compare RUN RUN ...")
    out = options.out.with_suffix("") if options.out.suffix in {".html", ".png"} else options.out
    if not out.parent.is_dir():
        raise AppError(f"cannot write {out}.html: there is no folder {out.parent}")
    runs = {name: open_run(path) for name, path in _names(options.runs).items()}
    write_comparison(runs, out)
    say(console, f"written to {out}.html and {out}.png")


def write_report(run: Run) -> Path:
    """Draw every picture of a run, as PNG files and on one page.

    Args:
        run: A run with metrics.

    Returns:
        The page.

    Raises:
        AppError: The run has no metrics or no checkpoint yet.
    """
    history = read_history(run)
    pictures = {
        "learning_curve": learning_curve(run, history),
        "diagnostics": dashboard(run, history),
        **_anatomies(run),
    }
    curve, *others = page.figures(run.path, pictures)
    findings = examine_run(run, history)
    advice = [f"{f}. Try: {f.rule.advice} ({f.rule.source})" for f in findings]
    parts = [
        page.heading("Result"),
        page.table(*_results_table({run.path.name: run}, {run.path.name: history})),
        curve,
        page.heading("What the doctor says"),
        page.bullets(advice or ["The metrics show nothing suspicious."]),
        page.heading("Diagnostics"),
        *others,
        page.heading("Config"),
        page.paragraph("Fields that are not at their defaults:"),
        page.table(("field", "value", "default"), _changed_fields(run.config)),
        page.heading("Where it ran"),
        *(page.preformatted(_start_text(row)) for row in read_rows(run.path / "starts.jsonl")),
    ]
    file = run.path / "report.html"
    page.write_page(file, f"{run.path.name}: PPO on {run.config.env_id}", parts)
    return file


def write_comparison(runs: dict[str, Run], out: Path) -> None:
    """Write OUT.html and OUT.png.

    Args:
        runs: By the name that the legend is to have.
        out: Path without the ending.
    """
    histories = {name: read_history(run) for name, run in runs.items()}
    picture = compared_curves(_comparison_title(runs), _curves(histories))
    fields, rows = _differing_fields({name: run.config for name, run in runs.items()})
    parts = [
        *page.figures(out.parent, {out.name: picture}),
        page.heading("Results"),
        page.table(*_results_table(runs, histories)),
        page.heading("Fields of the config that differ"),
        page.table(("run", *fields), rows) if fields else page.paragraph("None."),
    ]
    page.write_page(out.with_name(f"{out.name}.html"), "Comparison of runs", parts)


def _anatomies(run: Run) -> dict[str, Picture]:
    """The picture of the clip band, if the agents are JAX's."""
    if run.framework != "jax":
        return {}
    from jax_ppo.app.reporting.replay import clip_anatomy_of

    return {"clip_anatomy": clip_anatomy_of(run)}


def _comparison_title(runs: dict[str, Run]) -> str:
    """The environments and the seeds that are compared."""
    envs = sorted({run.config.env_id for run in runs.values()})
    seeds = sorted({run.settings.num_seeds for run in runs.values()})
    agents = "one seed each" if seeds == [1] else f"{' or '.join(map(str, seeds))} seeds each"
    return f"PPO on {', '.join(envs)}, {agents}"


def _curves(histories: dict[str, History]) -> dict[str, Curve]:
    return {name: curve_of(history) for name, history in histories.items()}


def _results_table(
    runs: dict[str, Run], histories: dict[str, History]
) -> tuple[Sequence[str], list[list[str]]]:
    """Columns and rows: what each run reached, and in how long."""
    columns = (
        "run",
        "environment",
        "trained by",
        "agents",
        "steps each",
        "seconds",
        "return, last tenth",
        "evaluation: IQM",
        "95% interval",
    )
    rows = []
    for name, run in runs.items():
        history = histories[name]
        rows.append(
            [
                name,
                run.config.env_id,
                run.framework,
                str(run.settings.num_seeds),
                f"{history.steps[-1]:,}",
                f"{history.seconds[-1]:.1f}",
                show_number(_late_return(history)),
                *_evaluation_cells(run),
            ]
        )
    return columns, rows


def _evaluation_cells(run: Run) -> tuple[str, str]:
    """IQM over the agents, and its interval."""
    over_seeds = _evaluation(run).get("over_seeds")
    if over_seeds is None:
        return "not evaluated", ""
    low, high = show_number(over_seeds["ci_low"]), show_number(over_seeds["ci_high"])
    return show_number(over_seeds["iqm"]), f"{low} to {high}"


def _late_return(history: History) -> float:
    """Mean return of the episodes that ended in the last tenth of training."""
    start = len(history.updates) - max(1, len(history.updates) // 10)
    episodes = history.metrics["num_episodes"][start:]
    returns = np.where(episodes > 0, history.metrics["episode_return"][start:], 0.0)
    return float((returns * episodes).sum() / episodes.sum()) if episodes.sum() else float("nan")


def _evaluation(run: Run) -> dict[str, Any]:
    """The evaluation at the end of training; empty if there was none."""
    file = run.path / "evaluation.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def _changed_fields(config: PPOConfig) -> list[tuple[str, str, str]]:
    """Name, value and default of each field that is not at its default."""
    default = PPOConfig()
    changed = changed_fields(default, config)
    return [(name, str(value), str(getattr(default, name))) for name, value in changed.items()]


def _differing_fields(configs: dict[str, PPOConfig]) -> tuple[list[str], list[list[str]]]:
    """The fields in which configs differ, and a row of their values for each config."""
    fields = [
        spec.name
        for spec in dataclasses.fields(PPOConfig)
        if spec.name not in NOT_COMPARED
        and len({str(getattr(config, spec.name)) for config in configs.values()}) > 1
    ]
    return fields, [
        [name, *(str(getattr(config, field)) for field in fields)]
        for name, config in configs.items()
    ]


def _start_text(row: dict[str, Any]) -> str:
    """One start of a run: command, versions, devices."""
    return "\n".join(f"{name}: {value}" for name, value in row.items())


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Paths by the shortest ends that tell them apart."""
    for length in range(1, max(len(path.resolve().parts) for path in paths)):
        names = ["/".join(path.resolve().parts[-length:]) for path in paths]
        if len(set(names)) == len(paths):
            return dict(zip(names, paths, strict=True))
    raise UsageError("the same run is given twice")
