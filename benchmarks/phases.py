"""The time that each phase of an update takes, run on its own."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.adapters.ours import config_of
from benchmarks.compare import Spread, spread
from benchmarks.work import Work
from jax_ppo import (
    Algorithm,
    Learner,
    PPOConfig,
    RandomDraws,
    TrainState,
    UpdateCoefficients,
    collect_rollout,
    draw_randomness,
    make_batch,
    ppo,
    update_policy,
)
from jax_ppo.app.runtime import program_options

TARGET_SECONDS = 0.2
"""Approximate duration of one measurement."""


class Setting(NamedTuple):
    """The training whose phases are measured."""

    config: PPOConfig
    algorithm: Algorithm


class Phase(NamedTuple):
    """A function that an update calls once, and the arguments of a loop around it."""

    name: str
    body: Callable[..., Any]
    """(index, given, carry) -> carry."""
    given: Any
    """The arguments that are the same in every iteration."""
    carry: Any
    """The results of the iteration before, among them everything that it computes.

    As each iteration depends on the one before, XLA can neither remove a computation nor move it
    out of the loop.
    """


def measure_phases(work: Work, rounds: int) -> dict[str, Spread]:
    """Seconds that each phase of an update takes, and the whole update, measured in alternation.

    Args:
        work: The training, of one agent.
        rounds: Measurements of each.
    """
    return measure(phases_of(work), rounds)


def measure(phases: Sequence[Phase], rounds: int) -> dict[str, Spread]:
    """Seconds per iteration of each phase, in alternation."""
    runs = {phase.name: prepare(phase) for phase in phases}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, count) in runs.items():
            seconds[name].append(timed(run, count) / count)
    return {name: spread(values) for name, values in seconds.items()}


def phases_of(work: Work) -> list[Phase]:
    """The phases of an update, and the whole update."""
    config = config_of(work)
    algorithm = ppo(config)
    setting = Setting(config, algorithm)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    draw = partial(draw_randomness, config=config, env=algorithm.env)
    draws = jax.jit(draw)(jax.random.key(1))
    rollout = jax.jit(partial(_rollout, setting))(0, (state.params, draws), (state.rollout,))
    batch = jax.jit(partial(_batch, setting))(0, rollout[1], (state.params, None))[1]
    given = (batch, draws)
    learner = jax.jit(partial(_gradients, setting))(0, given, (state,))
    whole = jax.jit(partial(_whole, setting))(0, None, (state,))
    return [
        Phase("random draws", partial(_draws, setting), None, (state.key, draws)),
        Phase("rollout", partial(_rollout, setting), (state.params, draws), rollout),
        Phase("advantages", partial(_batch, setting), rollout[1], (state.params, batch)),
        Phase("gradient steps", partial(_gradients, setting), given, learner),
        Phase("update", partial(_whole, setting), None, whole),
    ]


def prepare(phase: Phase) -> tuple[Callable[[int], Any], int]:
    """A compiled loop of a phase, and the iterations that take about TARGET_SECONDS."""
    loop = jax.jit(partial(_loop, phase.body), compiler_options=program_options())
    compiled = loop.lower(1, phase.given, phase.carry).compile()
    run = partial(_run, compiled, phase)
    timed(run, 1)
    count = 1
    while (seconds := timed(run, count)) < TARGET_SECONDS / 4:
        count *= 4
    return run, max(1, round(count * TARGET_SECONDS / seconds))


def timed(run: Callable[[int], Any], count: int) -> float:
    """Seconds that `count` iterations take."""
    started = time.perf_counter()
    jax.block_until_ready(run(count))
    return time.perf_counter() - started


def _run(compiled: Any, phase: Phase, count: int) -> Any:
    return compiled(count, phase.given, phase.carry)


def _loop(body: Callable[..., Any], count: jax.Array, given: Any, carry: Any) -> Any:
    """Iterations of a phase."""
    return jax.lax.fori_loop(0, count, lambda i, carry: body(i, given, carry), carry)


def _draws(setting: Setting, i: jax.Array, given: None, carry: Any) -> Any:
    """All random numbers of one update."""
    key, draw_key = jax.random.split(carry[0])
    return key, draw_randomness(draw_key, setting.config, setting.algorithm.env)


def _rollout(setting: Setting, i: jax.Array, given: Any, carry: Any) -> Any:
    """Collecting one rollout."""
    params, draws = given
    draws = _rolled(draws, i)
    return collect_rollout(
        carry[0],
        params,
        draws.noise,
        draws.env_keys,
        config=setting.config,
        env=setting.algorithm.env,
        network=setting.algorithm.network,
    )


def _batch(setting: Setting, i: jax.Array, transitions: Any, carry: Any) -> Any:
    """Evaluating a rollout: log-probabilities, values and advantages."""
    params, last = carry
    if last is not None:
        change = 1e-30 * last.advantages[0]
        params = jax.tree.map(lambda leaf: leaf + change, params)
    return params, make_batch(params, transitions, setting.config, setting.algorithm.network)


def _gradients(setting: Setting, i: jax.Array, given: Any, carry: Any) -> Any:
    """The gradient steps of one update."""
    batch, draws = given
    config, last = setting.config, carry[0]
    return update_policy(
        Learner.start(last.params, last.opt_state),
        batch,
        _rolled(draws, i).permutations,
        config,
        network=setting.algorithm.network,
        coefficients=UpdateCoefficients(config.learning_rate, config.clip_eps, None),
    )


def _whole(setting: Setting, i: jax.Array, given: None, carry: tuple[TrainState, ...]) -> Any:
    """The whole update."""
    return setting.algorithm.step(carry[0])


def _rolled(draws: RandomDraws, i: jax.Array) -> RandomDraws:
    """The same random numbers in another order, so that no two iterations are alike."""
    return jax.tree.map(lambda leaf: jnp.roll(leaf, i, axis=0), draws)
