"""Implementations side by side: every measurement that takes turns between processes."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import Installed
from benchmarks.process import CACHE, Adapter
from benchmarks.work import Work

CACHE_EVERYTHING = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
"""Environment variables that make JAX keep whatever it compiles."""


@dataclass(frozen=True)
class Spread:
    """Where a handful of measurements lie."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Side:
    """How one implementation did."""

    name: str
    env_steps: int
    """Environment steps of one run."""
    steps_per_second: Spread
    final_returns: tuple[float | None, ...]
    """Mean return at the end of each run."""


@dataclass(frozen=True)
class Comparison:
    """One work, done by all in turn."""

    work: Work
    sides: tuple[Side, ...]
    ratios: dict[str, Spread]
    """Our steps per second, divided round by round by those of each peer."""

    @property
    def least_ratio(self) -> float:
        """The median ratio to the peer that does best."""
        return min(ratio.median for ratio in self.ratios.values())


@dataclass(frozen=True)
class Start:
    """What it takes an implementation to get ready, in seconds."""

    name: str
    importing: Spread
    tracing: Spread
    compiling: Spread
    compiling_again: Spread
    """With JAX's persistent cache filled by an earlier start."""


Hellos = dict[str, dict[str, Any]]
"""What each implementation said of itself."""


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest."""
    return Spread(statistics.median(values), min(values), max(values), tuple(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours divided by theirs, round by round."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def take_turns(adapters: Sequence[Adapter], rounds: int) -> list[list[dict[str, Any]]]:
    """Let each train once per round, every other round in the opposite order.

    So whatever else the machine is busy with, and however it warms up, meets all alike.

    Args:
        adapters: Who takes turns.
        rounds: How often; the seed of a round is its number.

    Returns:
        The answers of each, a list per adapter.
    """
    answers: list[list[dict[str, Any]]] = [[] for _ in adapters]
    for i in range(rounds):
        order = range(len(adapters))
        for j in order if i % 2 == 0 else reversed(order):
            answers[j].append(adapters[j].ask(f"run {i}"))
    return answers


def compare(
    work: Work, ours: Installed, peers: Sequence[Installed], rounds: int, limit: float
) -> tuple[Comparison, Hellos]:
    """Measure our speed against that of each peer, pair by pair.

    Args:
        work: What to train.
        ours: Our implementation.
        peers: The others.
        rounds: Turns of each pair.
        limit: Seconds that any one run may take.
    """
    runs: dict[str, list[dict[str, Any]]] = {ours.name: []}
    against: dict[str, Spread] = {}
    with Adapter(ours, work, limit) as mine:
        hellos = {ours.name: mine.hello}
        if not peers:
            runs[ours.name] = take_turns([mine], rounds)[0]
        for peer in peers:
            with Adapter(peer, work, limit) as other:
                hellos[peer.name] = other.hello
                left, right = take_turns([mine, other], rounds)
            runs[ours.name] += left
            runs[peer.name] = right
            against[peer.name] = ratios(rates_of(left), rates_of(right))
    sides = tuple(side_of(name, answers) for name, answers in runs.items())
    return Comparison(work, sides, against), hellos


def measure_starts(
    work: Work, everyone: Sequence[Installed], rounds: int, limit: float
) -> tuple[list[Start], Hellos]:
    """How long each takes to import, trace and compile, in processes of their own, in turn.

    Args:
        work: What to get ready for.
        everyone: The implementations; each must be compiled by JAX.
        rounds: Starts of each, with an empty cache and with a filled one.
        limit: Seconds that a start may take.
    """
    found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {x.name: [] for x in everyone}
    for i in range(rounds):
        for installed in everyone if i % 2 == 0 else reversed(everyone):
            with tempfile.TemporaryDirectory() as cache:
                variables = {CACHE: cache, **CACHE_EVERYTHING}
                pair = (
                    _hello(installed, work, limit, variables),
                    _hello(installed, work, limit, variables),
                )
            found[installed.name].append(pair)
    starts = [_start(name, pairs) for name, pairs in found.items()]
    return starts, {name: pairs[0][0] for name, pairs in found.items()}


def measure_memory(installed: Installed, work: Work, limit: float) -> tuple[dict[str, Any], Hellos]:
    """The most memory that a training takes, in a process of its own.

    Returns:
        The work's env_steps, peak_rss_mib, before_rss_mib (before it was traced and compiled) and
        xla_mib (what XLA says that the compiled training needs).
    """
    with Adapter(installed, work, limit) as adapter:
        answer = {"name": installed.name, "env_steps": work.env_steps, **adapter.ask("memory")}
        return answer, {installed.name: adapter.hello}


def measure_threshold(
    work: Work, everyone: Sequence[Installed], threshold: float, rounds: int, limit: float
) -> tuple[dict[str, list[dict[str, Any]]], Hellos]:
    """When the mean return of the episodes of an update first reaches a threshold.

    A compiled training cannot be watched, so the seconds are the share of the whole training's
    that its updates are.

    Args:
        work: What to train, one agent at a time.
        everyone: The implementations; each must be compiled by JAX.
        threshold: The return to reach.
        rounds: Trainings of each, with seeds 0, 1, ...
        limit: Seconds that any one may take.

    Returns:
        By implementation, per seed: seconds and env_steps, both None where it was not reached.
    """
    found: dict[str, list[dict[str, Any]]] = {installed.name: [] for installed in everyone}
    with ExitStack() as stack:
        adapters = [stack.enter_context(Adapter(x, work, limit)) for x in everyone]
        for seed in range(rounds):
            for adapter in adapters if seed % 2 == 0 else reversed(adapters):
                curve = adapter.ask(f"curve {seed}")
                found[adapter.name].append({"seed": seed, **first_reached(curve, threshold)})
        return found, {adapter.name: adapter.hello for adapter in adapters}


def first_reached(curve: Mapping[str, Any], threshold: float) -> dict[str, float | None]:
    """When a training first reached a threshold.

    Args:
        curve: Its seconds and env_steps in all, and its returns, one per update.
        threshold: The return to reach.
    """
    returns = curve["returns"]
    for i, value in enumerate(returns, start=1):
        if value is not None and value >= threshold:
            share = i / len(returns)
            return {"seconds": curve["seconds"] * share, "env_steps": curve["env_steps"] * share}
    return {"seconds": None, "env_steps": None}


def rates_of(answers: Sequence[Mapping[str, Any]]) -> list[float]:
    """Environment steps per second of each answer."""
    return [answer["env_steps"] / answer["seconds"] for answer in answers]


def side_of(name: str, answers: Sequence[Mapping[str, Any]]) -> Side:
    """One implementation, from its answers."""
    returns = tuple(answer["final_return"] for answer in answers)
    return Side(name, answers[0]["env_steps"], spread(rates_of(answers)), returns)


def _hello(
    installed: Installed, work: Work, limit: float, variables: Mapping[str, str]
) -> dict[str, Any]:
    """What an adapter says once it is ready."""
    with Adapter(installed, work, limit, variables) as adapter:
        return adapter.hello


def _start(name: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Start:
    return Start(
        name,
        importing=spread([first["import_seconds"] for first, _ in pairs]),
        tracing=spread([first["trace_seconds"] for first, _ in pairs]),
        compiling=spread([first["compile_seconds"] for first, _ in pairs]),
        compiling_again=spread([again["compile_seconds"] for _, again in pairs]),
    )
