"""Both libraries from the same states: one step, resets, a whole episode, the spaces.

The environments are those of the two packages, `jax_ppo.make_env` and `torch_ref.make_env`, so that
their handling of time limits, final observations and resets is part of what is compared.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import torch
from gymnasium.wrappers import TimeLimit

import jax_ppo
import torch_ref
from jax_ppo import PPOConfig
from parity_tests.environments.twin import Grid, Steps, Twin
from parity_tests.measure import Precision
from parity_tests.precision import precision_of

BATCH = 64
"""Gymnasium environments that are kept, and put into one state after another."""

QUICK = "unsafe_rbg"
"""The generator that XLA compiles in the least time, for steps, which draw nothing but resets."""


class Unrounded(gymnasium.ObservationWrapper[np.ndarray, Any, np.ndarray]):
    """A Gymnasium environment whose observations are not rounded to float32."""

    def __init__(self, twin: Twin) -> None:
        """Build Gymnasium's environment as `torch_ref` does, and widen its observation space."""
        super().__init__(gymnasium.make(twin.env_id, disable_env_checker=True))
        space = self.env.observation_space
        assert isinstance(space, gymnasium.spaces.Box)
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float64)
        self.twin = twin

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """What the observation was before it was rounded."""
        inner: Any = self.unwrapped
        return self.twin.observe(np.asarray(inner.state, np.float64))


def step_gymnax(
    twin: Twin, grid: Grid, precision: Precision, env_params: Mapping[str, Any] | None = None
) -> Steps:
    """One step of `jax_ppo`'s environment from every point of a grid, computed in `precision`."""
    with precision_of(precision):
        env = jax_ppo.make_env(PPOConfig(env_id=twin.env_id, env_params=dict(env_params or {})))
        step = jax.jit(partial(_step_from, env, twin.fields))(*map(jnp.asarray, grid))
    parts = step.next_obs, step.reward, step.terminated, step.truncated, step.obs
    return Steps(*map(np.asarray, parts))


def _step_from(
    env: jax_ppo.Environment,
    fields: tuple[str, ...],
    states: jax.Array,
    actions: jax.Array,
    elapsed: jax.Array,
) -> jax_ppo.EnvStep:
    """Put a grid's variables and times into states, of which the rest is zero, and step."""
    keys = jax.random.split(jax.random.key(0, impl=QUICK), len(states))
    state = blank_state(env.reset, keys)
    columns = dict(zip(fields, states.T, strict=True))
    state = dataclasses.replace(state, **columns, time=elapsed.astype(state.time.dtype))
    return env.step(keys, state, actions)


def blank_state(reset: Callable[..., Any], *args: Any) -> Any:
    """A gymnax state of zeros, of the form that a reset would return; the reset is not run."""
    _, form = jax.eval_shape(reset, *args)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), form)


def step_gymnasium(twin: Twin, grid: Grid, precision: Precision) -> Steps:
    """One step of `torch_ref`'s environment from every point of a grid.

    `precision` is the type of the injected states and of PyTorch's results. In float64 observations
    are those that Gymnasium computes before it rounds them to float32.
    """
    with precision_of(precision):
        env = torch_environment(twin, precision)
        _, vector = env.reset(torch.arange(BATCH))
        batches = list(_step_batches(twin, env, vector, grid))
    parts = (np.concatenate(part)[: len(grid.states)] for part in zip(*batches, strict=True))
    return Steps(*parts)


def torch_environment(twin: Twin, precision: Precision) -> torch_ref.Environment:
    """`torch_ref.make_env`; in float64 the same around an environment that does not round."""
    if precision == "float32":
        return torch_ref.make_env(PPOConfig(env_id=twin.env_id))
    return torch_ref.from_gymnasium(lambda: Unrounded(twin))


def _step_batches(
    twin: Twin, env: torch_ref.Environment, vector: Any, grid: Grid
) -> Iterator[Steps]:
    """The steps, a batch at a time; the last batch begins the grid again."""
    size = len(grid.states)
    for start in range(0, size, BATCH):
        batch = grid.take(np.arange(start, start + BATCH) % size)
        for i, single in enumerate(vector.envs):
            inject_gymnasium(twin, single, batch.states[i], int(batch.elapsed[i]))
        step = env.step(torch.arange(BATCH), vector, torch.tensor(batch.actions))
        parts = step.next_obs, step.reward, step.terminated, step.truncated, step.obs
        yield Steps(*(part.numpy() for part in parts))


def inject_gymnasium(
    twin: Twin, env: gymnasium.Env[Any, Any], state: np.ndarray, elapsed: int
) -> None:
    """Put a Gymnasium environment into a state, so many steps into an episode."""
    inner: Any = env.unwrapped
    inner.state = state.astype(np.promote_types(state.dtype, twin.keeps))
    for name, value in twin.attributes.items():
        setattr(inner, name, value)
    time_limit(env)._elapsed_steps = elapsed


def time_limit(env: Any) -> Any:
    """The wrapper that counts the steps of a Gymnasium environment."""
    return env if isinstance(env, TimeLimit) else time_limit(env.env)


def reset_gymnax(twin: Twin, samples: int) -> np.ndarray:
    """States after a reset of `jax_ppo`'s environment [samples, state_dim]."""
    env = jax_ppo.make_env(PPOConfig(env_id=twin.env_id))
    _, state = jax.jit(env.reset)(jax.random.split(jax.random.key(1), samples))
    return np.stack([np.asarray(getattr(state, name)) for name in twin.fields], axis=-1)


def reset_gymnasium(twin: Twin, samples: int) -> np.ndarray:
    """States after a reset of Gymnasium's environment [samples, state_dim]."""
    env = gymnasium.make(twin.env_id, disable_env_checker=True)
    inner: Any = env.unwrapped
    env.reset(seed=1)
    states = []
    for _ in range(samples):
        env.reset()
        states.append(np.array(inner.state))
    return np.stack(states)


class Ending(NamedTuple):
    """How the first episode under the twin's policy went."""

    steps: int
    """Steps until the first flag."""
    terminated: bool
    """Whether it was this one."""
    truncated: bool
    """Whether it was this one."""


def ending_gymnax(twin: Twin, env_params: Mapping[str, Any] | None = None) -> Ending:
    """A whole episode of `jax_ppo`'s environment under the twin's policy."""
    env = jax_ppo.make_env(PPOConfig(env_id=twin.env_id, env_params=dict(env_params or {})))
    keys = jax.random.split(jax.random.key(0, impl=QUICK), 1)
    start = jax.jit(env.reset)(keys)
    step = partial(jax.jit(env.step), keys)
    return _ending(twin, start, lambda state, action: step(state, jnp.asarray(action)))


def ending_gymnasium(twin: Twin, env_params: Mapping[str, Any] | None = None) -> Ending:
    """A whole episode of `torch_ref`'s environment under the twin's policy."""
    env = torch_ref.make_env(PPOConfig(env_id=twin.env_id, env_params=dict(env_params or {})))
    keys = torch.zeros(1, dtype=torch.int64)
    step = partial(env.step, keys)
    return _ending(twin, env.reset(keys), lambda state, action: step(state, torch.tensor(action)))


def _ending(
    twin: Twin, start: tuple[Any, Any], step: Callable[[Any, np.ndarray], Any], limit: int = 2000
) -> Ending:
    """Step one environment until a flag is set, or for as many steps as the limit."""
    obs, state = start
    count, terminated, truncated = 0, False, False
    while count < limit and not (terminated or truncated):
        action = action_like(twin.grid.actions, twin.policy(np.asarray(obs)[0]))
        result = step(state, action)
        obs, state = result.obs, result.state
        terminated, truncated = bool(result.terminated[0]), bool(result.truncated[0])
        count += 1
    return Ending(count, terminated, truncated)


def action_like(actions: np.ndarray, action: float) -> np.ndarray:
    """One action as a batch of one, of the shape that a grid's actions have: [1] or [1, 1]."""
    dtype = np.int32 if actions.ndim == 1 else np.float32
    return np.full((1, *actions.shape[1:]), action, dtype)


class Facts(NamedTuple):
    """Properties of an environment, where both frameworks compute in float64."""

    obs_shape: tuple[int, ...]
    obs_low: tuple[float, ...]
    obs_high: tuple[float, ...]
    obs_dtype: str
    """Of the observations, not of the space."""
    num_actions: int | None
    """None if they are not discrete."""
    action_low: tuple[float, ...] | None
    """None if actions are discrete."""
    action_high: tuple[float, ...] | None
    action_shape: tuple[int, ...]
    """Shape that the environment takes one action in."""
    action_dtype: str
    time_limit: int | None
    reset_dtype: str
    """Of the state after a reset."""


def facts_gymnax(twin: Twin) -> Facts:
    """The properties in gymnax and `jax_ppo`."""
    with precision_of("float64"):
        wrapped = jax_ppo.make_env(PPOConfig(env_id=twin.env_id))
        raw, params = gymnax.make(twin.env_id)
        obs, state = jax.eval_shape(raw.reset_env, jax.random.key(0), params)
        variable = getattr(state, twin.fields[0])
        return _facts(
            wrapped, raw.observation_space(params), raw.action_space(params), obs, variable
        )


def facts_gymnasium(twin: Twin) -> Facts:
    """The properties in Gymnasium and `torch_ref`."""
    with precision_of("float64"):
        wrapped = torch_ref.make_env(PPOConfig(env_id=twin.env_id))
    raw: Any = gymnasium.make(twin.env_id, disable_env_checker=True)
    obs, _ = raw.reset(seed=0)
    variables = np.asarray(raw.unwrapped.state)
    return _facts(wrapped, raw.observation_space, raw.action_space, obs, variables)


def _facts(wrapped: Any, space: Any, actions: Any, obs: Any, state: Any) -> Facts:
    """From the package's environment, the library's spaces, and what its reset returns."""
    number, bounds = getattr(actions, "n", None), wrapped.action_space
    return Facts(
        obs_shape=wrapped.observation_space.shape,
        obs_low=_rounded(space.low),
        obs_high=_rounded(space.high),
        obs_dtype=str(obs.dtype),
        num_actions=None if number is None else int(number),
        action_low=_rounded(bounds.low) if number is None else None,
        action_high=_rounded(bounds.high) if number is None else None,
        action_shape=actions.shape,
        action_dtype=np.dtype(actions.dtype).name,
        time_limit=wrapped.max_episode_steps,
        reset_dtype=str(state.dtype),
    )


def _rounded(bound: Any) -> tuple[float, ...]:
    """A bound in the type of the spaces, float32."""
    return tuple(np.asarray(bound).astype(np.float32).tolist())
