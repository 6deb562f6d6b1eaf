"""How agents are laid out on devices. Nothing here changes what is computed.

Every choice that depends on the kind of device is made in `plan_execution` and `compiler_options`,
beside the measurement that speaks for it, and can be overridden by making an `Execution`, or
options, of one's own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec

from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.types import RolloutState, TrainState

Tree = TypeVar("Tree")

SEEDS = "seeds"
"""Axis of the mesh over which agents are spread."""
ENVS = "envs"
"""Axis of the mesh over which the environments of each agent are spread."""
AGENTS = PartitionSpec(SEEDS)
"""One part of the agents for each of `seed_devices`."""

ROLLOUT_ENVS_PER_CORE = 64
"""Environments that a core steps in one batch, of all agents whose rollouts it collects together.

Agents learn one after another all the same, and each is bit for bit what it is alone, in every
environment that gymnax builds offline. Rollouts of 64 steps by 16 agents on one core of an AMD EPYC
(Zen 5), jax 0.10.2, microseconds per agent:

| environments of an agent       | apart  | together |
| CartPole-v1, 4                 |    217 |      106 |
| CartPole-v1, 16                |    276 |      161 |
| MountainCar-v0, 64             |    781 |      667 |
| PointRobot-misc, 64            |   1207 |     1217 |
| Breakout-MinAtar, 64           |  11492 |    15748 |
"""

MIN_MINIBATCH_PER_CORE, MIN_MINIBATCH_PER_ACCELERATOR = 256, 8192
"""Samples of a minibatch per device from which it pays to spread one agent's environments.

Minibatches of 1,024 samples on cores of an AMD EPYC (Zen 5), jax 0.10.2, medians of four or more
runs in turn, in thousands of steps per second:

| devices                      |   1 |   2 |   4 |
| CartPole-v1, 64 x 128        | 500 | 680 | 703 |
| Breakout-MinAtar, 64 x 128   | 115 | 219 | 233 |
"""


@dataclass(frozen=True)
class Execution:
    """A layout of agents on devices.

    Raises:
        ConfigError: A number of devices is not positive.
    """

    several_agents: Literal["map", "vmap"] = "vmap"
    """How a device trains several agents: one after another, or all in one batch."""
    seed_devices: int = 1
    """Devices that the agents are spread over."""
    env_devices: int = 1
    """Devices that the environments of each agent are spread over."""
    rollouts_together: int = 1
    """Agents whose rollouts a device collects in one batch, at most, before they learn one after
    another; of no use where all agents are in one batch throughout."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.seed_devices < 1 or self.env_devices < 1:
            raise ConfigError(f"an execution needs at least one device, got {self}")
        if self.rollouts_together < 1:
            raise ConfigError(f"rollouts_together must be at least 1, got {self.rollouts_together}")

    @property
    def num_devices(self) -> int:
        """Devices in all."""
        return self.seed_devices * self.env_devices

    @property
    def env_axis(self) -> str | None:
        """The mesh axis that environments are spread over; None where one device has them all."""
        return ENVS if self.env_devices > 1 else None

    def mesh(self, devices: Sequence[jax.Device] | None = None) -> Mesh:
        """The devices as a grid, agents by environments.

        Args:
            devices: Devices to take, from the first on; None: all that JAX has.

        Raises:
            ConfigError: There are fewer than needed.
        """
        found = jax.devices() if devices is None else devices
        if len(found) < self.num_devices:
            raise ConfigError(
                f"{self.num_devices} devices are needed, but JAX has {len(found)}"
                + (
                    f"; for more on a CPU, jax.config.update('jax_num_cpu_devices', "
                    f"{self.num_devices}) before anything is computed"
                    if found[0].platform == "cpu"
                    else ""
                )
            )
        return jax.make_mesh(
            (self.seed_devices, self.env_devices),
            (SEEDS, ENVS),
            axis_types=(AxisType.Auto, AxisType.Auto),
            devices=found[: self.num_devices],
        )


ONE_DEVICE = Execution()


def plan_execution(config: PPOConfig, num_seeds: int, num_devices: int, platform: str) -> Execution:
    """The layout that is fastest by measurement.

    - On a CPU several agents learn one after another: in one batch they are no faster on a core (16
      agents, 4 x 128: 0.98 times), and mapped agents stay in the core's cache. Where each has few
      environments, their rollouts are collected together. An accelerator needs the batch to be
      filled throughout.
    - Agents come first: they need no word from one another. What devices are left over share the
      environments of each agent, where minibatches are large enough to pay for the one message per
      gradient step.

    Args:
        config: What is trained.
        num_seeds: How many agents.
        num_devices: Devices that may be used.
        platform: cpu, gpu, tpu or whatever else JAX calls the kind of device.
    """
    on_cpu = platform == "cpu"
    several_agents: Literal["map", "vmap"] = "map" if on_cpu else "vmap"
    seed_devices = min(num_seeds, num_devices)
    enough = MIN_MINIBATCH_PER_CORE if on_cpu else MIN_MINIBATCH_PER_ACCELERATOR
    env_devices = next(
        count
        for count in range(num_devices // seed_devices, 0, -1)
        if count == 1 or (_divides(count, config) and config.minibatch_size // count >= enough)
    )
    # In a batch the statistics of observations would be summed in another order: an agent would no
    # longer be the same, bit for bit, alone and among others.
    one_by_one = not on_cpu or config.normalize_observations
    rollouts_together = 1 if one_by_one else max(1, ROLLOUT_ENVS_PER_CORE // config.num_envs)
    return Execution(several_agents, seed_devices, env_devices, rollouts_together)


def compiler_options(platform: str | None = None) -> dict[str, bool | int]:
    """What to tell the compiler: `jax.jit(train, compiler_options=compiler_options())`.

    On a CPU: vectors as wide as the processor has them, and a closer look at which copies loops
    need. Medians of three runs in turn, in thousands of steps per second, on one core of an AMD
    EPYC (Zen 5) with jax 0.10.2:

    | work                 | without | with |
    | CartPole, 4 x 128    |     363 |  420 |
    | CartPole, 512 x 128  |     404 |  426 |
    | Breakout, 64 x 128   |     119 |  124 |
    | Seaquest, 64 x 128   |      18 |   18 |

    Less effort on machine code would compile in four fifths of the time, and make environments
    that sort, as Seaquest, 1.7 times as slow.

    Args:
        platform: cpu, gpu, tpu or whatever else JAX calls the kind of device; None: the one that
            JAX uses by default.
    """
    if (platform or jax.default_backend()) != "cpu":
        return {}
    return {
        "xla_cpu_prefer_vector_width": 512,
        "xla_cpu_copy_insertion_use_region_analysis": True,
    }


def check_execution(execution: Execution, config: PPOConfig) -> None:
    """Raise ConfigError if the environments cannot be spread evenly."""
    if not _divides(execution.env_devices, config):
        raise ConfigError(
            f"num_envs = {config.num_envs} and minibatches of {config.minibatch_size} samples do "
            f"not divide into equal parts for env_devices = {execution.env_devices}"
        )


def for_each_agent(
    function: Callable[..., Any],
    execution: Execution,
    in_spec: Any = AGENTS,
    out_spec: Any = AGENTS,
    together: int = 1,
) -> Callable[..., Any]:
    """A function of one agent, made into one of several agents that are laid out on devices.

    Args:
        function: (agent, config, *others) -> result, for one agent.
        execution: The layout.
        in_spec: How `agent` lies on the mesh.
        out_spec: How the result does.
        together: Where agents take turns, how many have theirs in one batch, at most.

    Returns:
        (agents [num_seeds, ...], config, *others) -> results [num_seeds, ...]; a coefficient of the
        config that is an array [num_seeds] has an entry per agent, the others are the same for all.
    """
    on_device = _vmapped if execution.several_agents == "vmap" else partial(_mapped, together)
    return partial(_for_each_agent, partial(on_device, function), execution, in_spec, out_spec)


def _for_each_agent(
    share: Callable[..., Any],
    execution: Execution,
    in_spec: Any,
    out_spec: Any,
    agents: Any,
    config: PPOConfig,
    *others: Any,
) -> Any:
    """All agents, by `share` on each device; seats left over repeat the last agent."""
    if execution.num_devices == 1:
        return share(agents, config, *others)
    num_seeds = len(jax.tree.leaves(agents)[0])
    seats = num_seeds + -num_seeds % execution.seed_devices
    spread = jax.shard_map(
        share,
        mesh=execution.mesh(),
        in_specs=(in_spec, _config_specs(config), *(PartitionSpec() for _ in others)),
        out_specs=out_spec,
        check_vma=False,
    )
    if seats == num_seeds:
        return spread(agents, config, *others)
    seating = _seating(seats, num_seeds)
    results = spread(_chosen(agents, seating), _chosen(config, seating), *others)
    return jax.tree.map(lambda leaf: leaf[:num_seeds], results)


def _vmapped(function: Callable[..., Any], agents: Any, config: PPOConfig, *others: Any) -> Any:
    """All agents in one batch."""
    axes = (0, config_axes(config), *(None for _ in others))
    return jax.vmap(function, in_axes=axes)(agents, config, *others)


def _mapped(
    together: int, function: Callable[..., Any], agents: Any, config: PPOConfig, *others: Any
) -> Any:
    """One agent after another or, where several are to be together, one batch after another."""
    num_agents = len(jax.tree.leaves(agents)[0])
    num_batches = -(-num_agents // together)
    if num_batches == num_agents:
        one = partial(_take_turn, function, agents, config, others)
        return jax.lax.map(one, jnp.arange(num_agents))
    size = -(-num_agents // num_batches)
    batches = _seating(num_batches * size, num_agents).reshape(num_batches, size)
    one = partial(_take_turn, partial(_vmapped, function), agents, config, others)
    results = jax.lax.map(one, batches)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_agents], results)


def _take_turn(
    function: Callable[..., Any],
    agents: Any,
    config: PPOConfig,
    others: Sequence[Any],
    which: jax.Array,
) -> Any:
    """`function` of some of the agents: one, or as many as `which` has entries."""
    return function(_chosen(agents, which), _chosen(config, which), *others)


def config_axes(config: PPOConfig) -> PPOConfig:
    """The `in_axes` of a config for `jax.vmap`: 0 for coefficients that are arrays, else None.

    Example: `jax.vmap(train, in_axes=(None, config_axes(config)))(key, config)` trains an agent for
    each entry of the arrays in `config`.
    """
    return jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) > 0 else None, config)


def state_specs() -> TrainState:
    """Which axis of the mesh each part of the agents' states is spread over."""
    agents: Any = AGENTS
    both: Any = PartitionSpec(SEEDS, ENVS)
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


def _config_specs(config: PPOConfig) -> Any:
    """The same for a config: coefficients that are arrays go with the agents."""
    return jax.tree.map(lambda leaf: AGENTS if jnp.ndim(leaf) else PartitionSpec(), config)


def _chosen(tree: Tree, which: jax.Array) -> Tree:
    """The states, or the config, of some of the agents; what has no axis is every agent's."""
    return jax.tree.map(lambda leaf: leaf[which] if jnp.ndim(leaf) else leaf, tree)


def _seating(num_seats: int, num_agents: int) -> jax.Array:
    """Which agent has each seat [num_seats]; those left over repeat the last one."""
    return jnp.minimum(jnp.arange(num_seats), num_agents - 1)


def _divides(count: int, config: PPOConfig) -> bool:
    """Whether `count` devices get equal shares of environments and of minibatches."""
    return config.num_envs % count == 0 and config.minibatch_size % count == 0
