"""Environments of Gymnasium."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from jax_ppo.config import ConfigError, PPOConfig, unknown_name
from torch_ref.envs import Environment, EnvStep
from torch_ref.spaces import ActionSpace, ArraySpace, ContinuousActions, DiscreteActions

STEP_LIMIT = "max_steps_in_episode"
"""The one entry of env_params that Gymnasium has a counterpart of."""


def make_gymnasium(config: PPOConfig) -> gymnasium.Env[Any, Any]:
    """One Gymnasium environment, as a config names it.

    Args:
        config: Gives env_id, env_kwargs and env_params. The keyword arguments go to
            `gymnasium.make`; of the parameters there is only max_steps_in_episode, the time limit.

    Raises:
        ConfigError: The id is unknown, the environment cannot be built or lacks a package, or a
            parameter does not exist.
    """
    # Gymnasium's checker would look at every step for mistakes of the environment's author.
    kwargs: dict[str, Any] = {
        "disable_env_checker": True,
        **_time_limit(config),
        **config.env_kwargs,
    }
    try:
        return gymnasium.make(config.env_id, **kwargs)
    except gymnasium.error.UnregisteredEnv as error:
        known = unknown_name("environment", config.env_id, gymnasium.registry, cutoff=0.4)
        raise ConfigError(known) from error
    except Exception as error:  # a package may be missing; a constructor may raise anything
        arguments = f" with env_kwargs {config.env_kwargs}" if config.env_kwargs else ""
        advice = " ".join(str(error).split())
        raise ConfigError(f"{config.env_id} cannot be built{arguments}: {advice}") from error


def _time_limit(config: PPOConfig) -> dict[str, int]:
    """The time limit that env_params ask for, as an argument of gymnasium.make."""
    for name in config.env_params:
        if name != STEP_LIMIT:
            raise ConfigError(
                f"env_params: Gymnasium knows only {STEP_LIMIT}, got {name!r}; "
                "arguments of the environment go into env_kwargs"
            )
    if STEP_LIMIT not in config.env_params:
        return {}
    limit = config.env_params[STEP_LIMIT]
    if not isinstance(limit, (int, float)) or limit < 1 or limit % 1 != 0:
        raise ConfigError(
            f"env_params: {STEP_LIMIT} must be a whole number of at least 1, got {limit!r}"
        )
    return {"max_episode_steps": int(limit)}


def from_gymnasium(make: Callable[[], gymnasium.Env[Any, Any]]) -> Environment:
    """Wrap a Gymnasium environment; this is all that a custom environment needs.

    `reset` builds one environment per key and seeds it with that key. From then on each draws from
    its own random generator: `step` makes no use of its keys.

    Args:
        make: Builds one environment, each time anew.

    Raises:
        ConfigError: Its observations are not one array, or its actions are neither discrete nor a
            box.
    """
    env = make()
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    environment = Environment(
        reset=lambda keys: _reset(make, keys),
        step=lambda keys, state, action: _step(state, action),
        observation_space=_describe_observations(name, env.observation_space),
        action_space=_describe_actions(name, env.action_space),
        max_episode_steps=env.spec.max_episode_steps if env.spec else None,
    )
    env.close()
    return environment


class Environments(SyncVectorEnv):
    """Environments side by side, of whose info only the final observation is used.

    What else is in an info may differ in shape or type from one environment to the next, and
    could not be made into one array.
    """

    def _add_info(
        self, vector_infos: dict[str, Any], env_info: dict[str, Any], env_num: int
    ) -> dict[str, Any]:
        used = {name: env_info[name] for name in ("final_obs",) if name in env_info}
        return super()._add_info(vector_infos, used, env_num)


def _reset(
    make: Callable[[], gymnasium.Env[Any, Any]], keys: torch.Tensor
) -> tuple[torch.Tensor, SyncVectorEnv]:
    """Build as many environments as there are keys, and start an episode in each."""
    # copy=False: the vector environment may reuse its buffer, for _encode copies out of it.
    state = Environments([make] * len(keys), copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
    raw, _ = state.reset(seed=keys.tolist())
    return _encode(state.single_observation_space, raw), state


def _step(state: SyncVectorEnv, action: torch.Tensor) -> EnvStep:
    """Step every environment, and reset those whose episode ended."""
    space = state.single_observation_space
    raw, reward, terminated, truncated, info = state.step(_decode(state, action))
    obs = next_obs = _encode(space, raw)
    done = np.flatnonzero(terminated | truncated)
    if len(done):
        raw_next = np.array(raw)
        for i in done:
            raw_next[i] = info["final_obs"][i]
        next_obs = _encode(space, raw_next)
    return EnvStep(
        obs=obs,
        state=state,
        reward=torch.tensor(reward, dtype=torch.get_default_dtype()),
        terminated=torch.tensor(terminated),
        truncated=torch.tensor(truncated),
        next_obs=next_obs,
    )


def _encode(space: spaces.Space[Any], raw: np.ndarray) -> torch.Tensor:
    """A copy of a batch of raw observations, as the network takes them.

    Whole numbers from a Discrete space become one-hot vectors, a scalar becomes a vector of one
    entry, and everything becomes floating point.
    """
    dtype = torch.get_default_dtype()
    if isinstance(space, spaces.Discrete):
        index = torch.tensor(raw - space.start, dtype=torch.int64)
        return torch.nn.functional.one_hot(index, int(space.n)).to(dtype)
    obs = torch.tensor(raw, dtype=dtype)
    return obs[:, None] if obs.ndim == 1 else obs


def _decode(state: SyncVectorEnv, action: torch.Tensor) -> np.ndarray:
    """A batch of actions as Gymnasium takes them: of the space's own type and first number."""
    space = state.single_action_space
    raw = action.numpy().astype(space.dtype)
    return raw + space.start if isinstance(space, spaces.Discrete) else raw


def _describe_observations(name: str, space: spaces.Space[Any]) -> ArraySpace:
    """The space of one observation after `_encode`."""
    if isinstance(space, spaces.Discrete):
        return ArraySpace((int(space.n),))
    if isinstance(space, spaces.Box):
        return ArraySpace(space.shape or (1,))
    raise ConfigError(
        f"{name}: observations of type {type(space).__name__} are not supported; "
        "flatten them into one array"
    )


def _describe_actions(name: str, space: spaces.Space[Any]) -> ActionSpace:
    """The environment's action space in the two forms that the policy knows."""
    dtype = torch.get_default_dtype()
    if isinstance(space, spaces.Discrete):
        return DiscreteActions(int(space.n))
    if isinstance(space, spaces.Box):
        low = torch.tensor(space.low.reshape(-1), dtype=dtype)
        high = torch.tensor(space.high.reshape(-1), dtype=dtype)
        return ContinuousActions(low, high, tuple(space.shape))
    raise ConfigError(
        f"{name}: actions of type {type(space).__name__} are not supported; "
        "they must be Discrete or Box"
    )
