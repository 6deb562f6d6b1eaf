"""Training the agents of a run with JAX."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jax_ppo.app.checkpoints import from_arrays, read_newest, to_arrays
from jax_ppo.app.devices import Program, agree, plan_run, share_with_all
from jax_ppo.app.driver import CAPACITY, drive
from jax_ppo.app.errors import AppError
from jax_ppo.app.logs import Log, RunLog
from jax_ppo.app.progress import Display
from jax_ppo.app.runs import Run, only_trainer, record_start
from jax_ppo.config import PPOConfig
from jax_ppo.execution import Execution
from jax_ppo.train import DEFAULT_COMPONENTS, Components, init_train_states, train_updates
from jax_ppo.types import Metrics, TrainState


class Population(NamedTuple):
    """Agents that are trained together."""

    keys: jax.Array
    """A random key for each agent [num_agents]."""
    config: PPOConfig
    """What is trained; a coefficient that is an array [num_agents] has an entry per agent."""


def population_of(run: Run) -> Population:
    """The agents of a run: one config, and an agent for each seed."""
    return Population(keys_of(run.settings.seeds), run.config)


def keys_of(seeds: Sequence[int]) -> jax.Array:
    """The random keys of agents [len(seeds)]."""
    return jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))


def train_run(run: Run, display: Display) -> TrainState:
    """Train the agents of a run, from its newest sound checkpoint to the end.

    Args:
        run: The run; where it has no checkpoint it starts from the beginning.
        display: Shows how far training is.

    Returns:
        The trained agents, every leaf [num_seeds, ...].

    Raises:
        As `train_population`.
    """
    return train_population(run, population_of(run), display, RunLog(run))


def train_population(
    run: Run,
    population: Population,
    display: Display,
    log: Log,
    components: Components = DEFAULT_COMPONENTS,
) -> TrainState:
    """Train agents in a run folder, from its newest sound checkpoint to the end.

    The pieces run one compiled program whatever their length, so a run that was interrupted and
    resumed ends where an uninterrupted one does, bit for bit.

    Args:
        run: The run; where it has no checkpoint it starts from the beginning.
        population: The agents.
        display: Shows how far training is.
        log: Takes the metrics.
        components: Functions to use in place of the usual ones.

    Returns:
        The trained agents, every leaf [num_agents, ...].

    Raises:
        Interrupted: A signal asked to stop; a checkpoint was written first.
        NonFiniteError: Training diverged; the last good checkpoint is kept.
        CheckpointMismatchError: The checkpoint belongs to another config.
        AppError: The run was exported, and so holds nothing but agents; or another process trains
            in its folder.
    """
    with only_trainer(run):
        return _train_population(run, population, display, log, components)


def _train_population(
    run: Run, population: Population, display: Display, log: Log, components: Components
) -> TrainState:
    """The same, by the process that holds the folder."""
    arrays, update, problems = read_newest(run.checkpoints)
    for problem in problems:
        display.say(f"{problem}; going back to update {update}")
    if arrays is None:
        states = initial_states(population)
    elif "key" not in arrays:
        raise AppError(f"{run.path} was exported: its agents can be evaluated, but not trained on")
    else:
        states = from_arrays(arrays, shapes_of(population))
    record_start(run, jax.default_backend(), [str(device) for device in jax.devices()])
    execution = plan_run(run.config, run.settings)
    advance = partial(
        _advance, config=population.config, execution=execution, components=components
    )
    if jax.process_count() == 1:
        return drive(run, states, update, display, advance, to_arrays, log)
    states = share_with_all(states, execution.mesh())
    try:
        return drive(run, states, update, display, partial(_lead, advance), to_arrays, log)
    finally:
        agree(0)


def follow_run(run: Run) -> None:
    """Train the agents of a run as one of the processes of a cluster that do not lead.

    Args:
        run: What is trained; its folder is not touched.
    """
    execution = plan_run(run.config, run.settings)
    states = share_with_all(initial_states(population_of(run)), execution.mesh())
    while count := agree():
        states, _ = _advance(states, count, run.config, execution)


def initial_states(population: Population) -> TrainState:
    """Agents before their first update, every leaf [num_agents, ...]."""
    return _init_train_states(*population)


def shapes_of(population: Population) -> TrainState:
    """Shapes and types of the agents' states, of which nothing is computed."""
    return jax.eval_shape(_initialize, *population)


def _initialize(keys: jax.Array, config: PPOConfig) -> TrainState:
    return init_train_states(keys, config, execution=Execution("map"))


_init_train_states = Program(_initialize)


def _lead(
    advance: Callable[[TrainState, int], tuple[TrainState, Metrics]], states: TrainState, count: int
) -> tuple[TrainState, Metrics]:
    """Advance together with the processes that follow."""
    return advance(states, agree(count))


@partial(Program, donate_argnums=0, static_argnames=("execution", "components"))
def _advance(
    states: TrainState,
    num_updates: int,
    config: PPOConfig,
    execution: Execution,
    components: Components = DEFAULT_COMPONENTS,
) -> tuple[TrainState, Metrics]:
    results = train_updates(states, config, num_updates, CAPACITY, components, execution)
    if jax.process_count() == 1:
        return results
    # The leader writes what all have computed, so it has to hold all of it.
    everywhere = NamedSharding(execution.mesh(), PartitionSpec())
    return jax.lax.with_sharding_constraint(results, everywhere)
