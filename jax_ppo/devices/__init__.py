"""How agents lie on devices: layouts, maps over agents, options of the compiler."""

from jax_ppo.devices.agents import (
    config_axes,
    for_each_agent,
    init_train_states,
    state_shardings,
    train_agents,
    train_updates,
)
from jax_ppo.devices.compiler import compiler_options
from jax_ppo.devices.layout import Layout, plan_layout

__all__ = [
    "Layout",
    "compiler_options",
    "config_axes",
    "for_each_agent",
    "init_train_states",
    "plan_layout",
    "state_shardings",
    "train_agents",
    "train_updates",
]
