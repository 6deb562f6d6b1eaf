"""Where the time of an update goes: each phase of `train_step`, run on its own."""

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
    Environment,
    Network,
    PPOConfig,
    RandomDraws,
    TrainState,
    UpdateCoefficients,
    collect_rollout,
    draw_randomness,
    init_train_state,
    make_batch,
    make_env,
    make_network,
    train_step,
    update_policy,
)
from jax_ppo.app.devices import program_options

TARGET_SECONDS = 0.2
"""How long one measurement should take."""


class Setting(NamedTuple):
    """What all phases share."""

    config: PPOConfig
    env: Environment
    network: Network


class Phase(NamedTuple):
    """Something that is done once per update."""

    name: str
    turn: Callable[..., Any]
    """(index, given, carry) -> carry."""
    given: Any
    """What stays the same from turn to turn."""
    carry: Any
    """What one turn hands to the next, and everything that it computes: so XLA can remove nothing.

    And since each turn needs what the last one made, XLA can take nothing out of the loop.
    """


def measure_phases(work: Work, rounds: int) -> dict[str, Spread]:
    """Seconds that each phase of an update takes, and the whole train step, measured in turn.

    Args:
        work: What would be trained, by one agent.
        rounds: Measurements of each.
    """
    return measure(phases_of(work), rounds)


def measure(phases: Sequence[Phase], rounds: int) -> dict[str, Spread]:
    """Seconds per turn of each phase, in alternation."""
    runs = {phase.name: prepare(phase) for phase in phases}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, turns) in runs.items():
            seconds[name].append(timed(run, turns) / turns)
    return {name: spread(values) for name, values in seconds.items()}


def phases_of(work: Work) -> list[Phase]:
    """The phases of an update, and the whole of it."""
    config = config_of(work)
    env = make_env(config)
    setting = Setting(config, env, make_network(config, env))
    state = jax.jit(init_train_state)(jax.random.key(0), config)
    draws = jax.jit(partial(draw_randomness, config=config, env=env))(jax.random.key(1))
    rollout = jax.jit(partial(_rollout, setting))(0, (state.params, draws), (state.rollout,))
    batch = jax.jit(partial(_batch, setting))(0, rollout[1], (state.params, None))[1]
    given = (batch, draws)
    learner = jax.jit(partial(_gradients, setting))(0, given, (state.params, state.opt_state))
    whole = jax.jit(partial(_whole, setting))(0, None, (state,))
    return [
        Phase("random draws", partial(_draws, setting), None, (state.key, draws)),
        Phase("rollout", partial(_rollout, setting), (state.params, draws), rollout),
        Phase("advantages", partial(_batch, setting), rollout[1], (state.params, batch)),
        Phase("gradient steps", partial(_gradients, setting), given, learner),
        Phase("train_step", partial(_whole, setting), None, whole),
    ]


def prepare(phase: Phase) -> tuple[Callable[[int], Any], int]:
    """A compiled loop of a phase, and how many turns take about TARGET_SECONDS."""
    loop = jax.jit(partial(_loop, phase.turn), compiler_options=program_options())
    compiled = loop.lower(1, phase.given, phase.carry).compile()
    run = partial(_run, compiled, phase)
    timed(run, 1)
    turns = 1
    while (seconds := timed(run, turns)) < TARGET_SECONDS / 4:
        turns *= 4
    return run, max(1, round(turns * TARGET_SECONDS / seconds))


def timed(run: Callable[[int], Any], turns: int) -> float:
    """Seconds that so many turns take."""
    started = time.perf_counter()
    jax.block_until_ready(run(turns))
    return time.perf_counter() - started


def _run(compiled: Any, phase: Phase, turns: int) -> Any:
    return compiled(turns, phase.given, phase.carry)


def _loop(turn: Callable[..., Any], turns: jax.Array, given: Any, carry: Any) -> Any:
    """Many turns of a phase."""
    return jax.lax.fori_loop(0, turns, lambda i, carry: turn(i, given, carry), carry)


def _draws(setting: Setting, i: jax.Array, given: None, carry: Any) -> Any:
    """All random numbers of one update."""
    key, draw_key = jax.random.split(carry[0])
    return key, draw_randomness(draw_key, setting.config, setting.env)


def _rollout(setting: Setting, i: jax.Array, given: Any, carry: Any) -> Any:
    """Collecting one rollout."""
    params, draws = given
    draws = _rolled(draws, i)
    return collect_rollout(carry[0], params, draws.noise, draws.env_keys, *setting)


def _batch(setting: Setting, i: jax.Array, transitions: Any, carry: Any) -> Any:
    """Judging a rollout, and its advantages."""
    params, last = carry
    if last is not None:
        nudge = 1e-30 * last.advantages[0]
        params = jax.tree.map(lambda leaf: leaf + nudge, params)
    return params, make_batch(params, transitions, setting.config, setting.network)


def _gradients(setting: Setting, i: jax.Array, given: Any, carry: Any) -> Any:
    """The gradient steps of one update."""
    batch, draws = given
    config, _, network = setting
    coefficients = UpdateCoefficients(config.learning_rate, config.clip_eps, None)
    params, opt_state = carry[:2]
    permutations = _rolled(draws, i).permutations
    return update_policy(params, opt_state, batch, permutations, config, network, coefficients)


def _whole(setting: Setting, i: jax.Array, given: None, carry: tuple[TrainState, ...]) -> Any:
    """Everything."""
    return train_step(carry[0], setting.config)


def _rolled(draws: RandomDraws, i: jax.Array) -> RandomDraws:
    """The same random numbers in another order each turn, so that no turn is like the last."""
    return jax.tree.map(lambda leaf: jnp.roll(leaf, i, axis=0), draws)
