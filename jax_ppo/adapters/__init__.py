"""Environments and parameters of other projects: one file for each."""

from jax_ppo.adapters.gymnax import from_gymnax, make_gymnax
from jax_ppo.config import PPOConfig
from jax_ppo.envs import Environment


def make_env(config: PPOConfig) -> Environment:
    """The environment that a config names, with its parameters replaced as the config says.

    An env_id of the form `module:name` imports the module first, which is where an environment of
    one's own can be registered with `gymnax.register`.

    Args:
        config: Gives env_id, env_kwargs and env_params.

    Raises:
        ConfigError: The id is unknown, the environment cannot be built, a parameter does not
            exist, or its observations or actions are of a kind that is not supported.
    """
    return from_gymnax(*make_gymnax(config))
