"""Comparisons of implementations, each in a process of its own."""

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
"""Environment variables that make JAX cache every program it compiles."""


@dataclass(frozen=True)
class Spread:
    """Median and range of several measurements."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Side:
    """The results of one implementation in a comparison."""

    name: str
    env_steps: int
    """Environment steps of one run."""
    steps_per_second: Spread
    final_returns: tuple[float | None, ...]
    """Mean return at the end of each run."""


@dataclass(frozen=True)
class Comparison:
    """One work, measured with several implementations."""

    work: Work
    sides: tuple[Side, ...]
    ratios: dict[str, Spread]
    """Steps per second of jax_ppo divided by those of each peer, round by round."""

    @property
    def least_ratio(self) -> float:
        """The smallest median ratio: the one to the fastest peer."""
        return min(ratio.median for ratio in self.ratios.values())


@dataclass(frozen=True)
class Start:
    """The time that an implementation needs before its first step, in seconds."""

    name: str
    importing: Spread
    tracing: Spread
    compiling: Spread
    compiling_again: Spread
    """With JAX's persistent cache filled by an earlier start."""


Descriptions = dict[str, dict[str, Any]]
"""The description that each adapter gave of itself, by implementation."""


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum."""
    return Spread(statistics.median(values), min(values), max(values), tuple(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """`ours` divided by `theirs`, round by round."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def alternate(adapters: Sequence[Adapter], rounds: int) -> list[list[dict[str, Any]]]:
    """Train once with each adapter per round, every other round in the opposite order.

    The load and the temperature of the machine then affect all of them equally.

    Args:
        adapters: The adapters.
        rounds: Number of rounds; the seed of a round is its number.

    Returns:
        A list of answers for each adapter.
    """
    answers: list[list[dict[str, Any]]] = [[] for _ in adapters]
    for i in range(rounds):
        order = range(len(adapters))
        for j in order if i % 2 == 0 else reversed(order):
            answers[j].append(adapters[j].ask(f"run {i}"))
    return answers


def compare(
    work: Work, ours: Installed, peers: Sequence[Installed], rounds: int, limit: float
) -> tuple[Comparison, Descriptions]:
    """Measure the speed of jax_ppo and of each peer, pair by pair.

    Args:
        work: The training.
        ours: jax_ppo.
        peers: The other implementations.
        rounds: Trainings of each in each pair.
        limit: Seconds that any one run may take.
    """
    runs: dict[str, list[dict[str, Any]]] = {ours.name: []}
    against: dict[str, Spread] = {}
    with Adapter(ours, work, limit) as mine:
        descriptions = {ours.name: mine.description}
        if not peers:
            runs[ours.name] = alternate([mine], rounds)[0]
        for peer in peers:
            with Adapter(peer, work, limit) as other:
                descriptions[peer.name] = other.description
                left, right = alternate([mine, other], rounds)
            runs[ours.name] += left
            runs[peer.name] = right
            against[peer.name] = ratios(rates_of(left), rates_of(right))
    sides = tuple(side_of(name, answers) for name, answers in runs.items())
    return Comparison(work, sides, against), descriptions


def measure_starts(
    work: Work, implementations: Sequence[Installed], rounds: int, limit: float
) -> tuple[list[Start], Descriptions]:
    """The time that each needs to import, trace and compile, in processes of their own.

    Args:
        work: The training.
        implementations: The implementations; each must be compiled by JAX.
        rounds: Starts of each, with an empty cache and with a filled one.
        limit: Seconds that a start may take.
    """
    found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
        x.name: [] for x in implementations
    }
    for i in range(rounds):
        for installed in implementations if i % 2 == 0 else reversed(implementations):
            with tempfile.TemporaryDirectory() as cache:
                variables = {CACHE: cache, **CACHE_EVERYTHING}
                pair = (
                    _describe(installed, work, limit, variables),
                    _describe(installed, work, limit, variables),
                )
            found[installed.name].append(pair)
    starts = [_start(name, pairs) for name, pairs in found.items()]
    return starts, {name: pairs[0][0] for name, pairs in found.items()}


def measure_memory(
    installed: Installed, work: Work, limit: float
) -> tuple[dict[str, Any], Descriptions]:
    """The peak memory of a training, in a process of its own.

    Returns:
        The work's env_steps, peak_rss_mib, before_rss_mib (before it was traced and compiled) and
        xla_mib (XLA's own count for the compiled training).
    """
    with Adapter(installed, work, limit) as adapter:
        answer = {"name": installed.name, "env_steps": work.env_steps, **adapter.ask("memory")}
        return answer, {installed.name: adapter.description}


def measure_threshold(
    work: Work, implementations: Sequence[Installed], threshold: float, rounds: int, limit: float
) -> tuple[dict[str, list[dict[str, Any]]], Descriptions]:
    """When the mean return of the episodes of an update first reaches a threshold.

    A compiled training gives no results before its end, so the seconds are the corresponding
    fraction of the whole training's.

    Args:
        work: The training, of one agent.
        implementations: The implementations; each must be compiled by JAX.
        threshold: The return.
        rounds: Trainings of each, with seeds 0, 1, ...
        limit: Seconds that any one may take.

    Returns:
        By implementation, per seed: seconds and env_steps, both None if it was not reached.
    """
    found: dict[str, list[dict[str, Any]]] = {installed.name: [] for installed in implementations}
    with ExitStack() as stack:
        adapters = [stack.enter_context(Adapter(x, work, limit)) for x in implementations]
        for seed in range(rounds):
            for adapter in adapters if seed % 2 == 0 else reversed(adapters):
                curve = adapter.ask(f"curve {seed}")
                found[adapter.name].append({"seed": seed, **first_reached(curve, threshold)})
        return found, {adapter.name: adapter.description for adapter in adapters}


def first_reached(curve: Mapping[str, Any], threshold: float) -> dict[str, float | None]:
    """When a training first reached a threshold.

    Args:
        curve: Seconds and env_steps of the whole training, and its returns, one per update.
        threshold: The return.
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
    """The results of one implementation, from its answers."""
    returns = tuple(answer["final_return"] for answer in answers)
    return Side(name, answers[0]["env_steps"], spread(rates_of(answers)), returns)


def _describe(
    installed: Installed, work: Work, limit: float, variables: Mapping[str, str]
) -> dict[str, Any]:
    """The description of an adapter, which is started for it."""
    with Adapter(installed, work, limit, variables) as adapter:
        return adapter.description


def _start(name: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Start:
    return Start(
        name,
        importing=spread([first["import_seconds"] for first, _ in pairs]),
        tracing=spread([first["trace_seconds"] for first, _ in pairs]),
        compiling=spread([first["compile_seconds"] for first, _ in pairs]),
        compiling_again=spread([again["compile_seconds"] for _, again in pairs]),
    )
