"""How agents are laid out on devices. Nothing here changes what is computed.

Every choice that depends on the kind of device is made in `plan_layout`, and can be overridden by a
`Layout` of one's own; docs/speed.md has the measurements behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
from jax.sharding import AxisType, Mesh

from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.kernels.collectives import ENV_AXIS

AGENT_AXIS = "agents"
"""Mesh axis over which agents are sharded."""

ROLLOUT_ENVS_PER_CORE = 64
"""Environments that a core steps in one batch, over the agents that it collects rollouts of."""

MIN_MINIBATCH_PER_CORE, MIN_MINIBATCH_PER_ACCELERATOR = 256, 8192
"""Samples of a minibatch per device from which it is faster to shard one agent's environments."""


@dataclass(frozen=True)
class Layout:
    """A layout of agents on devices.

    Raises:
        ConfigError: A number is not positive.
    """

    several_agents: Literal["map", "vmap"] = "vmap"
    """How a device trains several agents: one after another, or all in one batch."""
    agent_devices: int = 1
    """Devices that the agents are sharded over."""
    env_devices: int = 1
    """Devices that the environments of each agent are sharded over."""
    rollouts_together: int = 1
    """Agents whose rollouts a device collects in one batch, at most, before they learn one after
    another; not used where all agents are in one batch throughout."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.agent_devices < 1 or self.env_devices < 1:
            raise ConfigError(f"a layout needs at least one device, got {self}")
        if self.rollouts_together < 1:
            raise ConfigError(f"rollouts_together must be at least 1, got {self.rollouts_together}")

    @property
    def num_devices(self) -> int:
        """Devices in all."""
        return self.agent_devices * self.env_devices

    def mesh(self, devices: Sequence[jax.Device] | None = None) -> Mesh:
        """The devices as a mesh, agents by environments.

        Args:
            devices: Devices to take, from the first on; None: all that JAX has.

        Raises:
            ConfigError: There are fewer than needed.
        """
        found = jax.devices() if devices is None else devices
        if len(found) < self.num_devices:
            on_cpu = found[0].platform == "cpu"
            advice = (
                "; for more on a CPU, jax.config.update('jax_num_cpu_devices', "
                f"{self.num_devices}) before anything is computed"
            )
            raise ConfigError(
                f"{self.num_devices} devices are needed, but JAX has {len(found)}"
                f"{advice if on_cpu else ''}"
            )
        return jax.make_mesh(
            (self.agent_devices, self.env_devices),
            (AGENT_AXIS, ENV_AXIS),
            axis_types=(AxisType.Auto, AxisType.Auto),
            devices=found[: self.num_devices],
        )


ONE_DEVICE = Layout()


def plan_layout(config: PPOConfig, num_agents: int, num_devices: int, platform: str) -> Layout:
    """The layout that is fastest by measurement.

    - On a CPU several agents learn one after another: in one batch they are no faster, and an agent
      by itself stays in the core's cache. Where each has few environments, their rollouts are
      collected together. An accelerator is only filled by the batch.
    - Agents are sharded first, since they need no communication. Devices that are left share the
      environments of each agent, where minibatches are large enough to outweigh the all-reduce of
      every gradient step.

    Args:
        config: What is trained.
        num_agents: How many agents.
        num_devices: Devices that may be used.
        platform: cpu, gpu, tpu or whatever else JAX calls the kind of device.
    """
    on_cpu = platform == "cpu"
    several_agents: Literal["map", "vmap"] = "map" if on_cpu else "vmap"
    agent_devices = min(num_agents, num_devices)
    enough = MIN_MINIBATCH_PER_CORE if on_cpu else MIN_MINIBATCH_PER_ACCELERATOR
    env_devices = next(
        count
        for count in range(num_devices // agent_devices, 0, -1)
        if count == 1 or (_divides(count, config) and config.minibatch_size // count >= enough)
    )
    # In a batch the statistics of observations would be summed in another order: an agent would no
    # longer be the same, bit for bit, alone and among others.
    one_by_one = not on_cpu or config.normalize_observations
    rollouts_together = 1 if one_by_one else max(1, ROLLOUT_ENVS_PER_CORE // config.num_envs)
    return Layout(several_agents, agent_devices, env_devices, rollouts_together)


def check_layout(layout: Layout, config: PPOConfig) -> None:
    """Raise ConfigError if the environments cannot be sharded evenly."""
    if not _divides(layout.env_devices, config):
        raise ConfigError(
            f"num_envs = {config.num_envs} and minibatches of {config.minibatch_size} samples do "
            f"not divide into equal parts for env_devices = {layout.env_devices}"
        )


def _divides(count: int, config: PPOConfig) -> bool:
    """Whether `count` devices get equal parts of environments and of minibatches."""
    return config.num_envs % count == 0 and config.minibatch_size % count == 0
