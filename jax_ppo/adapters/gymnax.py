"""Environments of gymnax.

gymnax is imported where it is used: it computes while it is imported, and from then on JAX's
devices are fixed, so that whoever imports this package could no longer choose them.
"""

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_ppo.config import MAX_INT32, ConfigError, PPOConfig, unknown_name
from jax_ppo.envs import Environment, EnvState, EnvStep, autoreset
from jax_ppo.kernels.threefry import unrolled
from jax_ppo.spaces import ActionSpace, ArraySpace, ContinuousActions, DiscreteActions

NEEDS_DOWNLOAD = ("MNISTBandit-bsuite",)
"""Environments that gymnax builds only from data fetched over the network."""

STEP_LIMIT = "max_steps_in_episode"
"""gymnax's name of the time limit, among the parameters of an environment."""

STEP_ENV = ("obs", "state", "reward", "terminated", "info")
"""What gymnax's `step_env` returns."""
STEP = ("obs", "state", "reward", "terminated", "truncated", "info")
"""What its `step` returns."""


class Suite(NamedTuple):
    """A gymnax environment, and what it takes to step it."""

    env: Any
    """The environment, or a wrapper of one."""
    params: Any
    """Its parameters."""
    start: Callable[[jax.Array, Any], tuple[Any, Any]]
    """(key, params) -> (raw observation, state): its reset."""
    encode: Callable[[jax.Array], jax.Array]
    """Raw observations [num_envs, ...] -> those that the network takes."""
    like: Any
    """Shapes and types of its state."""


def make_gymnax(config: PPOConfig) -> tuple[Any, Any]:
    """The gymnax environment that a config names, and its parameters.

    Args:
        config: Gives env_id, env_kwargs and env_params.

    Raises:
        ConfigError: The id is unknown, the environment cannot be built, or a parameter does not
            exist.
    """
    # Its modules compute constants, which must not become a part of what is being traced.
    with jax.ensure_compile_time_eval():
        import gymnax

    env_id = _import_module_of(config.env_id)
    if env_id not in gymnax.registered_envs:
        raise ConfigError(unknown_name("environment", env_id, gymnax.registered_envs))
    if env_id in NEEDS_DOWNLOAD:
        raise ConfigError(
            f"{env_id} needs a data set that would have to be downloaded, "
            "so it cannot be trained on; every other environment can"
        )
    try:
        with jax.ensure_compile_time_eval():
            env, params = gymnax.make(env_id, **config.env_kwargs)
    except Exception as error:
        arguments = f" with env_kwargs {config.env_kwargs}" if config.env_kwargs else ""
        raise ConfigError(f"{env_id} cannot be built{arguments}: {error}") from error
    return env, replace_params(params, config.env_params)


def _import_module_of(env_id: str) -> str:
    """Import the module of `module:name`, if there is one, and give the name."""
    module, separator, name = env_id.rpartition(":")
    if not separator:
        return env_id
    try:
        importlib.import_module(module)
    except Exception as error:  # importing runs the module, which may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"env_id {env_id!r}: cannot import {module!r} ({reason})") from error
    return name


def replace_params(params: Any, changes: Mapping[str, Any]) -> Any:
    """Gymnax parameters with some of them replaced.

    Args:
        params: The environment's parameters, a dataclass.
        changes: New values by name, each of its default's shape and whole where the default is.

    Raises:
        ConfigError: A name is not one of the parameters, or a value is not like its default.
    """
    names = [spec.name for spec in dataclasses.fields(params)]
    for name in changes:
        if name not in names:
            raise ConfigError(unknown_name("environment parameter", name, names))
    limit = changes.get(STEP_LIMIT, 1)
    if not isinstance(limit, jax.core.Tracer) and np.any(np.asarray(limit) < 1):
        raise ConfigError(f"env_params: {STEP_LIMIT} must be at least 1, got {limit}")
    defaults = {name: getattr(params, name) for name in changes}
    typed = {name: _like_default(name, changes[name], defaults[name]) for name in changes}
    return dataclasses.replace(params, **typed)


def _like_default(name: str, value: Any, default: Any) -> Any:
    """A new value of an environment parameter, whole if its default is a whole number."""
    is_number = isinstance(value, (bool, int, float)) or hasattr(value, "dtype")
    if not is_number or jnp.shape(value) != jnp.shape(default):
        kind = f"an array of shape {jnp.shape(default)}" if jnp.ndim(default) else "a number"
        raise ConfigError(f"env_params: {name} must be {kind} like {default}, got {value!r}")
    if not isinstance(value, jax.core.Tracer) and not np.all(np.isfinite(value)):
        raise ConfigError(f"env_params: {name} must be finite, got {value}")
    if type(default) is not int:
        return value
    if not isinstance(value, jax.core.Tracer) and np.any(np.abs(value) > MAX_INT32):
        raise ConfigError(f"env_params: {name} must be at most {MAX_INT32:,}, got {value}")
    if jnp.issubdtype(jnp.result_type(value), jnp.integer):
        return value
    if isinstance(value, jax.core.Tracer):
        return value.astype(jnp.int32)
    if int(value) != value:
        raise ConfigError(f"env_params: {name} must be a whole number like {default}, got {value}")
    return int(value)


def from_gymnax(env: Any, params: Any) -> Environment:
    """Wrap a gymnax environment; this is all that a custom environment needs.

    An environment with a `reset` or a `step` of its own, such as one of gymnax's wrappers, is
    stepped by these; its `step` resets by itself and gives the last observation of an episode as
    info["final_observation"].

    Args:
        env: A gymnax `Environment` (1.0 or later), or a wrapper of one.
        params: Its parameters.

    Raises:
        ConfigError: Its observations are not one array, its actions are neither discrete nor a
            box, or what `step` returns is not what gymnax's environments return.
    """
    from gymnax.environments import spaces

    obs_space = env.observation_space(params)
    wrapped = _is_wrapped(env)
    start = env.reset if wrapped else env.reset_env
    with jax.numpy_dtype_promotion("standard"):
        obs, like = jax.eval_shape(start, unrolled(jax.random.key(0)), params)
    if not isinstance(obs_space, (spaces.Box, spaces.Discrete)) or not hasattr(obs, "shape"):
        raise ConfigError(
            f"{env.name}: observations of type {type(obs_space).__name__} are not supported; "
            "flatten them into one array"
        )
    suite = Suite(env, params, start, _observation_encoder(obs_space, obs), like)
    encoded = jax.eval_shape(suite.encode, jax.ShapeDtypeStruct((1, *obs.shape), obs.dtype))
    return Environment(
        reset=partial(reset, suite),
        step=partial(step_wrapped if wrapped else step, suite),
        observation_space=ArraySpace(encoded.shape[1:]),
        action_space=_describe_actions(env, params),
        max_episode_steps=_static_int(getattr(params, STEP_LIMIT, None)),
    )


def reset(suite: Suite, keys: jax.Array) -> tuple[jax.Array, EnvState]:
    """Start an episode in every environment: `Environment.reset`."""
    with jax.numpy_dtype_promotion("standard"):
        obs, state = jax.vmap(suite.start, in_axes=(0, None))(unrolled(keys), suite.params)
    return suite.encode(obs), _cast_like(state, suite.like)


def step(suite: Suite, keys: jax.Array, state: EnvState, action: jax.Array) -> EnvStep:
    """Step every environment by `step_env`, and reset those whose episode ended."""
    env, params = suite.env, suite.params
    split = jax.vmap(jax.random.split)(unrolled(keys))
    stepped = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))
    with jax.numpy_dtype_promotion("standard"):
        result = stepped(split[:, 0], state, action, params)
        next_obs, next_state, reward, terminated, _ = _entries(
            env.name, "step_env", result, STEP_ENV
        )
        truncated = jax.vmap(env.is_truncated, in_axes=(0, None))(next_state, params)
    terminated = _as_flag(env.name, "terminated", terminated)
    next_obs, next_state = suite.encode(next_obs), _cast_like(next_state, suite.like)
    obs, state = autoreset(
        terminated | truncated,
        partial(reset, suite),
        split[:, 1],
        next_obs=next_obs,
        next_state=next_state,
    )
    reward = reward.reshape(truncated.shape).astype(jnp.result_type(float))
    return EnvStep(obs, state, reward, terminated, truncated, next_obs)


def step_wrapped(suite: Suite, keys: jax.Array, state: EnvState, action: jax.Array) -> EnvStep:
    """Step every environment by a `step` of its own, which resets by itself."""
    name, stepped = suite.env.name, jax.vmap(suite.env.step, in_axes=(0, 0, 0, None))
    with jax.numpy_dtype_promotion("standard"):
        result = stepped(unrolled(keys), state, action, suite.params)
    obs, state, reward, terminated, truncated, info = _entries(name, "step", result, STEP)
    if "final_observation" not in info:
        raise ConfigError(f"{name}: the info of step lacks final_observation")
    return EnvStep(
        obs=suite.encode(obs),
        state=_cast_like(state, suite.like),
        reward=reward.reshape(keys.shape).astype(jnp.result_type(float)),
        terminated=_as_flag(name, "terminated", terminated),
        truncated=_as_flag(name, "truncated", truncated),
        next_obs=suite.encode(info["final_observation"]),
    )


def _entries(env_name: str, function: str, result: Any, names: tuple[str, ...]) -> Any:
    """What a function of an environment returned; ConfigError unless it is what `names` say."""
    if not isinstance(result, tuple) or len(result) != len(names):
        found = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise ConfigError(f"{env_name}: {function} must return ({', '.join(names)}), got {found}")
    return result


def _is_wrapped(env: Any) -> bool:
    """Whether a gymnax environment has a `reset` or a `step` of its own."""
    from gymnax.environments.environment import Environment as Base

    own = [(getattr(type(env), name, None), getattr(Base, name)) for name in ("reset", "step")]
    return any(method is not None and method is not inherited for method, inherited in own)


def _as_flag(env_name: str, name: str, flag: Any) -> jax.Array:
    """A flag as bool; whole numbers count as true where they are not 0.

    Raises:
        ConfigError: It is a fraction.
    """
    array = jnp.asarray(flag)
    if jnp.issubdtype(array.dtype, jnp.inexact):
        raise ConfigError(f"{env_name}: {name} of a step is {array.dtype}; it must be bool")
    return array != 0 if array.dtype != bool else array


def _observation_encoder(space: Any, obs: Any) -> Callable[[jax.Array], jax.Array]:
    """The function that makes a batch of raw observations into what the network takes.

    Whole numbers from a Discrete space become one-hot vectors, a scalar becomes a vector of one
    entry, and everything becomes floating point.
    """
    from gymnax.environments import spaces

    dtype = jnp.result_type(float)
    if isinstance(space, spaces.Discrete):
        return lambda raw: jax.nn.one_hot(raw, space.n, dtype=dtype)
    if obs.shape == ():
        return lambda raw: raw[:, None].astype(dtype)
    return lambda raw: raw.astype(dtype)


def _describe_actions(env: Any, params: Any) -> ActionSpace:
    """The action space of the environment: discrete, or continuous."""
    from gymnax.environments import spaces

    space = env.action_space(params)
    if isinstance(space, spaces.Discrete):
        return DiscreteActions(int(space.n))
    if isinstance(space, spaces.Box):
        dtype = jnp.result_type(float)
        size = (math.prod(space.shape),)
        low = jnp.broadcast_to(jnp.asarray(space.low, dtype), space.shape).reshape(size)
        high = jnp.broadcast_to(jnp.asarray(space.high, dtype), space.shape).reshape(size)
        return ContinuousActions(low, high, tuple(space.shape))
    raise ConfigError(
        f"{env.name}: actions of type {type(space).__name__} are not supported; "
        "they must be Discrete or Box"
    )


def _cast_like(tree: Any, template: Any) -> Any:
    """Give every leaf the dtype of the template's, so that a scan can carry it.

    Raises:
        ConfigError: A leaf that was made of whole numbers has become a fraction.
    """
    return jax.tree_util.tree_map_with_path(_cast_leaf, tree, template)


def _cast_leaf(path: Any, leaf: Any, like: Any) -> jax.Array:
    """One leaf of `_cast_like`."""
    array = jnp.asarray(leaf)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return array
    if jnp.issubdtype(array.dtype, jnp.floating) and not jnp.issubdtype(like.dtype, jnp.floating):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        raise ConfigError(
            f"the environment's state {name} is {like.dtype} after a reset and {array.dtype} after "
            "a step, which would lose its fraction; let the reset make it a float"
        )
    return array.astype(like.dtype)


def _static_int(value: Any) -> int | None:
    """`value` as a whole number, or None if it is absent or being traced."""
    return None if value is None or isinstance(value, jax.core.Tracer) else int(value)
