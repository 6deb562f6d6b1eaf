"""Training several agents, on one device or on many.

A device maps a function of one agent over its agents, by `jax.lax.map` or `jax.vmap`; a mesh of
devices shards the agents, and the environments of each agent. Where rollouts are collected together
and agents then learn in turn, `collect` and `learn` are mapped apart.
"""

from functools import partial
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.devices.layout import AGENT_AXIS, ONE_DEVICE, Layout, check_layout
from jax_ppo.kernels.collectives import ENV_AXIS
from jax_ppo.ppo import AlgorithmFn, check_keys, ppo
from jax_ppo.train import check_config
from jax_ppo.types import Metrics, Rollout, RolloutState, TrainState

Tree = TypeVar("Tree")

AGENT_SPEC = PartitionSpec(AGENT_AXIS)
"""Sharded over the agents."""
AGENT_ENV_SPEC = PartitionSpec(AGENT_AXIS, ENV_AXIS)
"""Sharded over the agents and the environments of each."""
REPLICATED = PartitionSpec()
"""The same on every device."""


class AgentFn(Protocol):
    """A function of one agent, or of a batch of agents where every array has an axis for them."""

    def __call__(self, agent: Any, config: PPOConfig, *others: Any) -> Any:
        """Agent, its config, and what is the same for all agents -> result."""


def train_agents(
    keys: jax.Array,
    config: PPOConfig,
    algorithm_fn: AlgorithmFn = ppo,
    layout: Layout = ONE_DEVICE,
) -> tuple[TrainState, Metrics]:
    """Train several agents from scratch, on one device or on many.

    Args:
        keys: A random key for each agent [num_agents].
        config: What to train; a coefficient that is an array [num_agents] has an entry per agent.
        algorithm_fn: Makes the algorithm; static under jit.
        layout: How the agents are laid out on devices, as by `plan_layout`; static under jit.

    Returns:
        The states after the last update [num_agents, ...], and metrics [num_updates, num_agents].

    Raises:
        TypeError: `keys` are no random keys, or `config` no PPOConfig.
        ValueError: There is no axis of keys.
        ConfigError: The environment or the network cannot be built as the config says, there are
            fewer devices than the layout needs, or a coefficient has not an entry per agent.
    """
    states = init_train_states(keys, config, algorithm_fn, layout)
    return train_updates(
        states,
        config,
        config.num_updates,
        capacity=config.num_updates,
        algorithm_fn=algorithm_fn,
        layout=layout,
    )


def init_train_states(
    keys: jax.Array,
    config: PPOConfig,
    algorithm_fn: AlgorithmFn = ppo,
    layout: Layout = ONE_DEVICE,
) -> TrainState:
    """The states of several agents before their first update, every leaf [num_agents, ...].

    Args:
        keys: A random key for each agent [num_agents].
        config: What to train; a coefficient that is an array [num_agents] has an entry per agent.
        algorithm_fn: Makes the algorithm.
        layout: How the agents are laid out on devices.

    Raises:
        TypeError, ValueError, ConfigError: As `train_agents`.
    """
    check_config(config)
    check_keys(keys, ndim=1)
    check_layout(layout, config)
    return for_each_agent(partial(_init, algorithm_fn), layout)(keys, config)


def train_updates(
    states: TrainState,
    config: PPOConfig,
    num_updates: jax.Array | int,
    *,
    capacity: int,
    algorithm_fn: AlgorithmFn = ppo,
    layout: Layout = ONE_DEVICE,
) -> tuple[TrainState, Metrics]:
    """Some more updates of several agents; the part that an outer loop repeats.

    `num_updates` may be traced, so that one compiled program serves every number of updates, and
    how training is divided cannot change its result.

    Args:
        states: The agents, every leaf [num_agents, ...].
        config: What to train; a coefficient that is an array [num_agents] has an entry per agent.
        num_updates: Updates to do now, at most `capacity`.
        capacity: Rows of metrics to allocate.
        algorithm_fn: Makes the algorithm; static under jit.
        layout: How the agents are laid out on devices; static under jit.

    Returns:
        The states after the updates, and metrics [capacity, num_agents]; rows from num_updates on
        are zero.

    Raises:
        ConfigError: As `train_agents`, or the environments cannot be sharded evenly.
    """
    check_layout(layout, config)
    specs = state_specs()
    in_turn = layout.several_agents == "map" and layout.rollouts_together > 1
    train_all = for_each_agent(
        partial(_repeat, partial(_step, algorithm_fn), capacity),
        layout,
        several=partial(_repeat, partial(_step_in_turn, algorithm_fn), capacity)
        if in_turn
        else None,
        in_spec=specs,
        out_spec=(specs, AGENT_SPEC),
    )
    states, metrics = train_all(states, config, jnp.asarray(num_updates))
    return states, jax.tree.map(lambda rows: jnp.moveaxis(rows, 0, 1), metrics)


def _init(algorithm_fn: AlgorithmFn, key: jax.Array, config: PPOConfig) -> TrainState:
    return algorithm_fn(config).init(key)


def _step(
    algorithm_fn: AlgorithmFn, state: TrainState, config: PPOConfig
) -> tuple[TrainState, Metrics]:
    return algorithm_fn(config).step(state)


def _step_in_turn(
    algorithm_fn: AlgorithmFn, states: TrainState, config: PPOConfig
) -> tuple[TrainState, Metrics]:
    """One update of a batch of agents: they collect in one batch and learn one after another."""
    collected = _vmapped(partial(_collect, algorithm_fn), states, config)
    return _mapped(partial(_learn, algorithm_fn), collected, config)


def _collect(
    algorithm_fn: AlgorithmFn, state: TrainState, config: PPOConfig
) -> tuple[TrainState, Rollout]:
    return algorithm_fn(config).collect(state)


def _learn(
    algorithm_fn: AlgorithmFn, collected: tuple[TrainState, Rollout], config: PPOConfig
) -> tuple[TrainState, Metrics]:
    return algorithm_fn(config).learn(*collected)


def _repeat(
    step: AgentFn, capacity: int, agent: TrainState, config: PPOConfig, num_updates: jax.Array
) -> tuple[TrainState, Metrics]:
    """num_updates steps of an agent, or of a batch of them: metrics [..., capacity]."""
    # Under jit the step is traced once, for the shapes of its metrics and for the loop.
    step = jax.jit(step)

    def body(row: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        agent, rows = carry
        agent, metrics = step(agent, config)
        return agent, jax.tree.map(lambda all_, new: all_.at[..., row].set(new), rows, metrics)

    _, shapes = jax.eval_shape(step, agent, config)
    rows = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, capacity), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, num_updates, body, (agent, rows))


def for_each_agent(
    function: AgentFn,
    layout: Layout,
    *,
    several: AgentFn | None = None,
    in_spec: Any = AGENT_SPEC,
    out_spec: Any = AGENT_SPEC,
) -> AgentFn:
    """A function of one agent, made into one of several agents that are laid out on devices.

    Args:
        function: (agent, config, *others) -> result, for one agent.
        layout: The layout.
        several: The same for a batch of agents, of which layout.rollouts_together are given to it
            at a time; None: agents are mapped as layout.several_agents says.
        in_spec: How `agent` is sharded over the mesh.
        out_spec: How the result is.

    Returns:
        (agents [num_agents, ...], config, *others) -> results [num_agents, ...]; a coefficient of
        the config that is an array [num_agents] has an entry per agent, the others are the same for
        all.
    """
    if several is not None:
        on_device = partial(_mapped_in_batches, function, several, layout.rollouts_together)
    elif layout.several_agents == "vmap":
        on_device = partial(_vmapped, function)
    else:
        on_device = partial(_mapped, function)
    return partial(_on_mesh, on_device, layout, in_spec, out_spec)


def _on_mesh(
    on_device: AgentFn,
    layout: Layout,
    in_spec: Any,
    out_spec: Any,
    agents: Any,
    config: PPOConfig,
    *others: Any,
) -> Any:
    """All agents, by `on_device` on each device."""
    num_agents = _count(agents)
    _check_coefficients(config, num_agents)
    if layout.num_devices == 1:
        return on_device(agents, config, *others)
    sharded = jax.shard_map(
        on_device,
        mesh=layout.mesh(),
        in_specs=(in_spec, _config_specs(config), *(REPLICATED for _ in others)),
        out_specs=out_spec,
        check_vma=False,
    )
    padded = num_agents + -num_agents % layout.agent_devices
    if padded == num_agents:
        return sharded(agents, config, *others)
    chosen = _padded_indices(num_agents, padded)
    results = sharded(_choose(agents, chosen), _choose(config, chosen), *others)
    return jax.tree.map(lambda leaf: leaf[:num_agents], results)


def _vmapped(function: AgentFn, agents: Any, config: PPOConfig, *others: Any) -> Any:
    """All agents in one batch."""
    axes = (0, config_axes(config), *(None for _ in others))
    return jax.vmap(function, in_axes=axes)(agents, config, *others)


def _mapped(function: AgentFn, agents: Any, config: PPOConfig, *others: Any) -> Any:
    """One agent after another."""
    leaves, structure = jax.tree.flatten(config)
    own = {place: leaf for place, leaf in enumerate(leaves) if jnp.ndim(leaf)}

    def one(agent_and_own: tuple[Any, dict[int, jax.Array]]) -> Any:
        agent, own = agent_and_own
        coefficients = [own.get(place, leaf) for place, leaf in enumerate(leaves)]
        return function(agent, jax.tree.unflatten(structure, coefficients), *others)

    return jax.lax.map(one, (agents, own))


def _mapped_in_batches(
    function: AgentFn, several: AgentFn, size: int, agents: Any, config: PPOConfig, *others: Any
) -> Any:
    """One batch of at most `size` agents after another, the batches as equal as can be."""
    num_agents = _count(agents)
    num_batches = -(-num_agents // size)
    if num_batches == num_agents:
        return _mapped(function, agents, config, *others)

    def one_batch(batch: jax.Array) -> Any:
        return several(_choose(agents, batch), _choose(config, batch), *others)

    size = -(-num_agents // num_batches)
    batches = _padded_indices(num_agents, num_batches * size).reshape(num_batches, size)
    results = jax.lax.map(one_batch, batches)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_agents], results)


def config_axes(config: PPOConfig) -> PPOConfig:
    """The `in_axes` of a config for `jax.vmap`: 0 for coefficients that are arrays, else None.

    Example: `jax.vmap(train, in_axes=(None, config_axes(config)))(key, config)` trains an agent for
    each entry of the arrays in `config`.
    """
    return jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) > 0 else None, config)


def state_specs() -> TrainState:
    """How each part of the agents' states is sharded over the mesh."""
    agents: Any = AGENT_SPEC
    both: Any = AGENT_ENV_SPEC
    rollout = RolloutState(
        env_state=both,
        obs=both,
        episode_return=both,
        episode_length=both,
        discounted_return=both,
        obs_stats=agents,
        return_stats=agents,
    )
    return TrainState(agents, agents, rollout, agents, agents, agents)


def state_shardings(layout: Layout, num_agents: int) -> Any:
    """Where the agents' states lie, as a prefix of their pytree: sharded as `state_specs` says.

    Agents that do not divide evenly over the devices are replicated.

    Args:
        layout: The layout.
        num_agents: Number of agents.

    Raises:
        ConfigError: There are fewer devices than the layout needs.
    """
    even = num_agents % layout.agent_devices == 0
    place = partial(NamedSharding, layout.mesh())
    return jax.tree.map(place, state_specs()) if even else place(REPLICATED)


def _config_specs(config: PPOConfig) -> Any:
    """The same for a config: coefficients that are arrays are sharded with the agents."""
    return jax.tree.map(lambda leaf: AGENT_SPEC if jnp.ndim(leaf) else REPLICATED, config)


def _check_coefficients(config: PPOConfig, num_agents: int) -> None:
    """Raise ConfigError unless every coefficient is a number or an array [num_agents, ...]."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(config)[0]:
        if jnp.ndim(leaf) and len(leaf) != num_agents:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise ConfigError(
                f"{name} has {len(leaf)} entries, but there are {num_agents} agents: "
                "give one number, or an entry for each agent"
            )


def _count(agents: Any) -> int:
    """Number of agents: the length of the first axis of every leaf."""
    return len(jax.tree.leaves(agents)[0])


def _choose(tree: Tree, which: jax.Array) -> Tree:
    """The states, or the config, of some of the agents; what has no axis is every agent's."""
    return jax.tree.map(lambda leaf: leaf[which] if jnp.ndim(leaf) else leaf, tree)


def _padded_indices(num_agents: int, length: int) -> jax.Array:
    """0, 1, ..., num_agents - 1, and then the last again up to this length [length]."""
    return jnp.minimum(jnp.arange(length), num_agents - 1)
