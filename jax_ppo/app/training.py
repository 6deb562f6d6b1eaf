"""Training the agents of a run with JAX."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jax_ppo.app.algorithms import find_algorithm, make_algorithm
from jax_ppo.app.checkpoints import from_arrays, read_newest, to_arrays
from jax_ppo.app.driver import CAPACITY, drive
from jax_ppo.app.errors import AppError
from jax_ppo.app.logs import Log, RunLog
from jax_ppo.app.memory import check_memory
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, only_trainer, read_rows, record_start
from jax_ppo.app.runtime import broadcast_arrays, broadcast_number, jit_with_options, plan_run
from jax_ppo.config import PPOConfig
from jax_ppo.devices import Layout, init_train_states, state_shardings, train_updates
from jax_ppo.ppo import AlgorithmFn, ppo
from jax_ppo.types import TrainState

RECORDED_FLAGS = ("jax_enable_x64", "jax_default_prng_impl")
"""The flags of JAX that decide the form of what a checkpoint holds."""
Columns = dict[str, Any]
"""Metrics by name, each [num_updates, num_agents]."""


class Population(NamedTuple):
    """Agents that are trained together."""

    keys: jax.Array
    """A random key for each agent [num_agents]."""
    config: PPOConfig
    """What is trained; a coefficient that is an array [num_agents] has an entry per agent."""
    algorithm_fn: AlgorithmFn = ppo
    """The algorithm that trains all of them."""


def check_training(config: PPOConfig, algorithm: str, num_agents: int) -> None:
    """Raise ConfigError or AppError if a number of agents cannot be trained, or not in memory.

    Agents that are only evaluated, num_agents = 0, need no memory for training.
    """
    made = make_algorithm(config, algorithm)
    if num_agents:
        check_memory(made, num_agents)


def population_of(run: Run) -> Population:
    """The agents of a run: one config, and an agent for each seed."""
    return Population(keys_of(run.settings.seeds), run.config, find_algorithm(run.algorithm))


def keys_of(seeds: Sequence[int]) -> jax.Array:
    """The random keys of agents [len(seeds)]."""
    return jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))


def train_run(run: Run, display: Display) -> TrainState:
    """Train the agents of a run: `train_population` of `population_of(run)`, with a RunLog."""
    return train_population(run, population_of(run), display, log=RunLog(run))


def train_population(run: Run, population: Population, display: Display, *, log: Log) -> TrainState:
    """Train agents in a run folder, from its newest sound checkpoint to the end.

    The pieces run one compiled program whatever their length, so a run that was interrupted and
    resumed ends where an uninterrupted one does, bit for bit.

    Args:
        run: The run; where it has no checkpoint it starts from the beginning.
        population: The agents.
        display: Shows how far training is.
        log: Takes the metrics.

    Returns:
        The trained agents, every leaf [num_agents, ...].

    Raises:
        Interrupted: A signal asked to stop; a checkpoint was written first.
        NonFiniteError: Training diverged; the last good checkpoint is kept.
        CheckpointMismatchError: The checkpoint belongs to another config.
        AppError: The run was exported and holds only what it takes to act, or another process
            trains in its folder.
    """
    with only_trainer(run) as check_lock:
        states, update = _start(run, population, display)
        if update:
            _say_if_devices_differ(run, display)
        flags = {name: jax.config.values[name] for name in RECORDED_FLAGS}
        record_start(run, jax.default_backend(), [str(device) for device in jax.devices()], **flags)
        layout = plan_run(run.config, run.settings)
        driven = partial(drive, run, to_arrays=to_arrays, log=log, check_lock=check_lock)
        advance = partial(_advance, population=population, layout=layout)
        if jax.process_count() == 1:
            states = jax.device_put(states, state_shardings(layout, run.settings.num_agents))
            return driven(states, update, display, advance=advance)
        states, lead = broadcast_arrays(states, layout.mesh()), partial(_lead, advance)
        try:
            return driven(states, update, display, advance=lead)
        finally:
            broadcast_number(0)


def _start(run: Run, population: Population, display: Display) -> tuple[TrainState, int]:
    """The agents to continue with, and the updates that they have done."""
    arrays, update, problems = read_newest(run)
    for problem in problems:
        display.say(f"{problem}; going back to update {update}")
    if arrays is None:
        if run.metrics.exists():
            display.say(f"{run.path} has no checkpoint that can be read: it begins anew")
        return initial_states(population), 0
    if "key" not in arrays:
        raise AppError(f"{run.path} was exported: its agents can be evaluated, but not trained on")
    return from_arrays(arrays, shapes_of(population)), update


def _say_if_devices_differ(run: Run, display: Display) -> None:
    """A message if a run was last trained on another number of devices."""
    starts = list(read_rows(run.path / "starts.jsonl", skip_damaged=True))
    devices = starts[-1].get("devices") if starts else None
    before = len(devices) if isinstance(devices, list) else 0
    if before and before != len(jax.devices()):
        display.say(
            f"trained on {before} devices before, now on {len(jax.devices())}: sums are rounded in "
            "another order, so it does not end bit for bit as it would have"
        )


def follow_run(run: Run) -> None:
    """Train a run as one of the processes of a cluster that do not lead; its folder is not used."""
    population = population_of(run)
    layout = plan_run(run.config, run.settings)
    states = broadcast_arrays(initial_states(population), layout.mesh())
    while count := broadcast_number():
        states, _ = _advance(states, count, population=population, layout=layout)


def initial_states(population: Population) -> TrainState:
    """Agents before their first update, every leaf [num_agents, ...]."""
    return _initialize(*population)


def shapes_of(population: Population) -> TrainState:
    """Shapes and types of the agents' states, of which nothing is computed."""
    keys, config, algorithm_fn = population
    return jax.eval_shape(partial(init_train_states, algorithm_fn=algorithm_fn), keys, config)


@partial(jit_with_options, static_argnames="algorithm_fn")
def _initialize(keys: jax.Array, config: PPOConfig, algorithm_fn: AlgorithmFn) -> TrainState:
    return init_train_states(keys, config, algorithm_fn, Layout("map"))


def _lead(
    advance: Callable[[TrainState, int], tuple[TrainState, Columns]], states: TrainState, count: int
) -> tuple[TrainState, Columns]:
    """Advance together with the processes that follow."""
    return advance(states, broadcast_number(count))


def _advance(
    states: TrainState, num_updates: int, *, population: Population, layout: Layout
) -> tuple[TrainState, Columns]:
    """Some more updates of every agent, and the first num_updates of CAPACITY rows of metrics."""
    return _train_updates(states, num_updates, population.config, population.algorithm_fn, layout)


@partial(jit_with_options, donate_argnums=0, static_argnames=("algorithm_fn", "layout"))
def _train_updates(
    states: TrainState,
    num_updates: int,
    config: PPOConfig,
    algorithm_fn: AlgorithmFn,
    layout: Layout,
) -> tuple[TrainState, Columns]:
    states, metrics = train_updates(
        states, config, num_updates, capacity=CAPACITY, algorithm_fn=algorithm_fn, layout=layout
    )
    # The states go back to where they came from, or the next call would compile anew. The leader of
    # a cluster writes what all have computed, so it has to hold all of it.
    everywhere = NamedSharding(layout.mesh(), PartitionSpec())
    alone = jax.process_count() == 1
    place = state_shardings(layout, len(states.update)) if alone else everywhere
    states = jax.lax.with_sharding_constraint(states, place)
    return states, jax.lax.with_sharding_constraint(metrics.as_dict(), everywhere)
