"""Results as tables, for the terminal and for a page."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.pictures import AXES, plot_scaling
from benchmarks.results import load

Cells = list[tuple[str, ...]]
"""A table, header first."""

Content = Mapping[str, Any]
"""The content of a command's file."""


class Section(NamedTuple):
    """The part of the page that shows the results of one command."""

    title: str
    explanation: str
    tables: Callable[[Content], list[Cells]]


def write_report(folder: Path) -> Path:
    """Write README.md and the pictures into a folder of results.

    Raises:
        AppError: There are no results, or they cannot be read.
    """
    contents = load(folder)
    if "scaling" in contents:
        plot_scaling(contents["scaling"], folder / "scaling.png")
    path = folder / "README.md"
    path.write_text(page(contents))
    return path


def page(contents: Mapping[str, Content]) -> str:
    """The report as a Markdown page.

    Args:
        contents: Results by command.
    """
    any_content = next(iter(contents.values()))
    parts = ["# Speed and memory", _machine(any_content), HOW]
    for command, section in SECTIONS.items():
        if command in contents:
            content = contents[command]
            parts += [f"## {section.title}", section.explanation, _circumstances(content)]
            parts += [as_markdown(cells) for cells in section.tables(content)]
        if command == "scaling" and command in contents:
            parts.append("![Steps per second by environments and by agents](scaling.png)")
    return "\n\n".join([*parts, "## Implementations", *_implementations(contents)]) + "\n"


def as_markdown(cells: Cells) -> str:
    """A table for Markdown."""
    header, *body = (f"| {' | '.join(line)} |" for line in cells)
    return "\n".join([header, "|" + " --- |" * len(cells[0]), *body])


HOW = """\
Each implementation runs in a process of its own and trains once per round; two that are compared
alternate, in the opposite order every other round. Programs are compiled, and run once, before the
first round. Numbers are medians, followed by the minimum and the maximum of all rounds. Ratios are
taken round by round."""


def throughput_tables(content: Content) -> list[Cells]:
    """The speed of each implementation at each work."""
    header = ("work", "implementation", "steps per run", "steps per second", "jax_ppo / this one")
    return [[(*header, "final return"), *_speed_rows(content["works"])]]


def scaling_tables(content: Content) -> list[Cells]:
    """A table for each panel of the picture."""
    return [
        [(AXES[field], "implementation", "steps per second"), *_scaling_rows(content, field)]
        for field in AXES
    ]


def compile_tables(content: Content) -> list[Cells]:
    """The times of a start."""
    fields = ("importing", "tracing", "compiling", "compiling_again")
    header = ("implementation", "import, s", "trace, s", "compile, s", "from the cache, s")
    rows = [(x["name"], *(_seconds(x[field]) for field in fields)) for x in content["starts"]]
    return [[header, *rows]]


def memory_tables(content: Content) -> list[Cells]:
    """The peak memory of each training."""
    header = ("implementation", "steps", "peak, MiB", "above the start, MiB", "by XLA's count, MiB")
    return [[header, *map(_memory_row, content["trainings"])]]


def threshold_tables(content: Content) -> list[Cells]:
    """The steps and seconds until the threshold."""
    reached = f"reached {content['threshold']:g}"
    header = ("implementation", reached, "steps, median", "seconds, median", "seconds of each")
    rows = [_threshold_row(name, seeds) for name, seeds in content["seeds"].items()]
    return [[header, *rows]]


def phases_tables(content: Content) -> list[Cells]:
    """The phases of each work."""
    return [_phase_cells(entry) for entry in content["works"]]


def ceiling_tables(content: Content) -> list[Cells]:
    """Parts and rates of each work."""
    return [table for entry in content["works"] for table in _ceiling_cells(entry)]


def regression_tables(content: Content) -> list[Cells]:
    """The speed of both commits."""
    new = content["commits"][1]
    header = ("work", "commit", "steps per run", "steps per second", f"{new} / this one")
    return [[(*header, "final return"), *_speed_rows(content["works"])]]


SECTIONS = {
    "throughput": Section(
        "Throughput",
        "Environment steps per second of whole trainings; a ratio above 1 means that jax_ppo is "
        "faster. Implementations that are not compiled as a whole do a few updates per run, so "
        "their final returns are those of a short training. Final returns are means over the last "
        "tenth of the updates or the last hundred episodes, in the median run.",
        throughput_tables,
    ),
    "scaling": Section(
        "Scaling",
        "CartPole-v1, 128 steps and 4 minibatches; each point trains for about as many steps.",
        scaling_tables,
    ),
    "compile": Section(
        "Start",
        "The time before the first step, in a process of its own, and of the compilation once more "
        "with JAX's persistent cache filled.",
        compile_tables,
    ),
    "memory": Section(
        "Memory",
        "The peak memory of a process, its increase after the imports, and XLA's own count for the "
        "compiled training: arguments, results and temporary buffers.",
        memory_tables,
    ),
    "threshold": Section(
        "Time to learn CartPole-v1",
        "When the mean return of the episodes of an update first reaches a threshold. A compiled "
        "training gives no results before its end: every update is assumed to take equally long.",
        threshold_tables,
    ),
    "phases": Section(
        "Phases of an update of jax_ppo",
        "Each runs in a compiled loop of its own, in which every iteration depends on the one "
        "before and all results are kept. Their sum can differ from the whole update, in which XLA "
        "fuses operations across phases.",
        phases_tables,
    ),
    "ceiling": Section(
        "Limits of the machine",
        "The time of each part of an update, and of its operations alone: its matrix products at "
        "the same shapes and, for the rollout, gymnax's environments with random actions.",
        ceiling_tables,
    ),
    "regression": Section(
        "Two commits",
        "jax_ppo of both, each with its own adapter.",
        regression_tables,
    ),
}
"""The commands that have results, in the order of the page."""


def _speed_rows(comparisons: Sequence[Content]) -> Cells:
    return [
        (
            comparison["work"]["name"],
            side["name"],
            f"{side['env_steps']:,}",
            _range(side["steps_per_second"], ",.0f"),
            _range(comparison["ratios"].get(side["name"]), ".2f"),
            _median_of(side["final_returns"]),
        )
        for comparison in comparisons
        for side in comparison["sides"]
    ]


def _scaling_rows(content: Content, field: str) -> Cells:
    return [
        (str(comparison["work"][field]), side["name"], _range(side["steps_per_second"], ",.0f"))
        for comparison in content[field]
        for side in comparison["sides"]
    ]


def _memory_row(row: Content) -> tuple[str, ...]:
    above = row["peak_rss_mib"] - row["before_rss_mib"]
    sizes = (row["peak_rss_mib"], above, row["xla_mib"])
    return (row["name"], f"{row['env_steps']:,}", *(f"{size:,.1f}" for size in sizes))


def _threshold_row(name: str, seeds: Sequence[Content]) -> tuple[str, ...]:
    """The row of one implementation; trainings that never got there count as the longest."""
    reached = f"{sum(x['seconds'] is not None for x in seeds)} of {len(seeds)}"
    each = ", ".join("-" if x["seconds"] is None else f"{x['seconds']:.2f}" for x in seeds)
    medians = (_upper_median([x[field] for x in seeds]) for field in ("env_steps", "seconds"))
    steps, seconds = medians
    return (
        *(name, reached),
        "-" if steps is None else f"{steps:,.0f}",
        "-" if seconds is None else f"{seconds:.2f}",
        each,
    )


def _upper_median(values: Sequence[float | None]) -> float | None:
    """The middle value, or the greater of the two middle ones; None counts as infinite."""
    ordered = sorted(values, key=lambda value: (value is None, value))
    return ordered[len(ordered) // 2]


def _phase_cells(entry: Content) -> Cells:
    whole = entry["phases"]["update"]["median"]
    parts = {name: found for name, found in entry["phases"].items() if name != "update"}
    total = sum(found["median"] for found in parts.values())
    header = (f"phase, {entry['work']['name']}", "microseconds", "of the update")
    rows = [
        (name, _micro(found), f"{found['median'] / whole:.0%}") for name, found in parts.items()
    ]
    sums = ("sum of the phases", f"{total * 1e6:,.0f}", f"{total / whole:.0%}")
    return [header, *rows, sums, ("whole update", _micro(entry["phases"]["update"]), "100%")]


def _ceiling_cells(entry: Content) -> list[Cells]:
    rates = entry["rates"]
    header = (
        f"part, {entry['work']['name']}",
        "microseconds",
        "operations alone",
        "alone / achieved",
    )
    rows = [
        (
            part["name"],
            _micro(part["achieved"]),
            f"{part['alone_seconds'] * 1e6:,.0f}",
            f"{part['alone_seconds'] / part['achieved']['median']:.0%}",
            f"{part['flops'] / 1e6:,.1f}",
        )
        for part in entry["parts"]
    ]
    rows_of_rates: Cells = [
        (f"rate, {entry['work']['name']}", ""),
        ("environment steps per second, alone", f"{rates['env_steps_per_second']:,.0f}"),
        ("products of the gradient steps, alone, GFLOP/s", f"{rates['product_gflops']:,.1f}"),
        ("products of an update, MFLOP", f"{rates['flops'] / 1e6:,.1f}"),
        ("fewest bytes that its gradient steps move, MB", f"{rates['bytes'] / 1e6:,.1f}"),
    ]
    return [[(*header, "MFLOP"), *rows], rows_of_rates]


def _implementations(contents: Mapping[str, Content]) -> list[str]:
    """Versions, flags and differences of the implementations."""
    found = {
        name: description
        for content in contents.values()
        for name, description in content["implementations"].items()
    }
    header = ("implementation", "versions", "device", "flags", "differs from the others")
    rows = [
        (name, _pairs(x["versions"]), x["device"], _pairs(x["flags"]), x["notes"])
        for name, x in found.items()
    ]
    return [as_markdown([header, *rows])] if rows else []


def _machine(content: Content) -> str:
    machine = content["machine"]
    versions = _pairs({name: x for name, x in machine["versions"].items() if x})
    return (
        f"{content['device']}; {machine['processor']}, {machine['cpu_count']} cores; "
        f"{machine['platform']}. Python {machine['python']}, {versions}."
    )


def _circumstances(content: Content) -> str:
    return f"Measured on {content['date']}; rounds: {content['rounds']}. {_pairs(content['flags'])}"


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _range(found: Content | None, spec: str) -> str:
    """Median, minimum and maximum."""
    if found is None:
        return ""
    return f"{found['median']:{spec}} ({found['low']:{spec}} to {found['high']:{spec}})"


def _seconds(found: Content) -> str:
    return _range(found, ".2f")


def _micro(found: Content) -> str:
    """A spread of seconds in microseconds."""
    scaled = {name: found[name] * 1e6 for name in ("median", "low", "high")}
    return _range(scaled, ",.0f")


def _median_of(returns: Sequence[float | None]) -> str:
    known = [value for value in returns if value is not None]
    return f"{statistics.median(known):.0f}" if known else "-"
