"""Environments of other projects as `envs.Environment`, one file for each suite."""

from functools import partial

from jax_ppo.config import PPOConfig
from torch_ref.adapters.gymnasium import from_gymnasium, make_gymnasium
from torch_ref.envs import Environment


def make_env(config: PPOConfig) -> Environment:
    """The Gymnasium environment that a config names.

    Args:
        config: Gives env_id, env_kwargs and env_params.

    Raises:
        ConfigError: The id is unknown, the environment cannot be built or lacks a package, a
            parameter does not exist, or its observations or actions are of a kind that is not
            supported.
    """
    return from_gymnasium(partial(make_gymnasium, config))
