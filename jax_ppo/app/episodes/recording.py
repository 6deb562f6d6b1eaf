"""One episode of a trained agent, with every state that its environment went through."""

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_ppo.adapters.gymnax import from_gymnax, make_gymnax
from jax_ppo.config import PPOConfig
from jax_ppo.envs import EnvState
from jax_ppo.normalize import RunningStats, normalize
from jax_ppo.ppo import AlgorithmFn, ppo
from jax_ppo.types import Params


class Episode(NamedTuple):
    """An episode from its first state to its last."""

    states: EnvState
    """The environment's own states, every leaf [num_steps + 1, ...]."""
    obs: np.ndarray
    """Observations as the environment gave them [num_steps + 1, *obs_shape]."""
    rewards: np.ndarray
    """Unscaled rewards [num_steps]."""
    terminated: bool
    """Whether it reached an end of its own."""
    truncated: bool
    """Whether the time limit cut it."""

    @property
    def num_steps(self) -> int:
        """Steps taken."""
        return len(self.rewards)

    @property
    def returns(self) -> np.ndarray:
        """Sum of the rewards before each state [num_steps + 1]."""
        return np.concatenate([np.zeros_like(self.rewards[:1]), np.cumsum(self.rewards)])

    def describe(self) -> str:
        """Return, length and end of the episode, in words."""
        end = "cut off before its end (--max-steps)"
        if self.truncated:
            end = "truncated by the time limit"
        if self.terminated:
            end = "terminated"
        return f"return {self.returns[-1]:z.2f} in {self.num_steps} steps, {end}"

    def state(self, index: int) -> EnvState:
        """One of the states, its leaves without the leading axis."""
        return jax.tree.map(itemgetter(index), self.states)


def record_episode(
    key: jax.Array,
    params: Params,
    obs_stats: RunningStats | None,
    config: PPOConfig,
    *,
    deterministic: bool = True,
    max_steps: int = 1000,
    algorithm_fn: AlgorithmFn = ppo,
) -> Episode:
    """Run the episode that `evaluate_policy` runs with num_episodes=1, and keep all of it.

    Args:
        key: Random key.
        params: Network parameters of one agent.
        obs_stats: Its statistics of observations.
        config: The config that it was trained with.
        deterministic: Whether to take the mode of the policy; else a sample.
        max_steps: Steps after which an episode that has not ended is cut off.
        algorithm_fn: The algorithm that it was trained with.
    """
    limit = algorithm_fn(config).env.max_episode_steps or max_steps
    watched, obs, rewards = _record(
        key,
        params,
        obs_stats,
        config,
        algorithm_fn=algorithm_fn,
        deterministic=deterministic,
        num_steps=min(max_steps, limit),
    )
    terminated, truncated = np.asarray(watched.terminated), np.asarray(watched.truncated)
    ended = terminated | truncated
    last = int(ended.argmax()) if ended.any() else len(rewards)
    return Episode(
        states=jax.tree.map(itemgetter(slice(last + 1)), watched.env_state),
        obs=np.asarray(obs[: last + 1]),
        rewards=np.asarray(rewards[:last]),
        terminated=bool(terminated[last]),
        truncated=bool(truncated[last]),
    )


@partial(jax.jit, static_argnames=("algorithm_fn", "deterministic", "num_steps"))
def _record(
    key: jax.Array,
    params: Params,
    obs_stats: RunningStats | None,
    config: PPOConfig,
    *,
    algorithm_fn: AlgorithmFn,
    deterministic: bool,
    num_steps: int,
) -> tuple["_Watched", jax.Array, jax.Array]:
    """States, observations [num_steps + 1, ...], and rewards [num_steps], past the end too."""
    gymnax_env, env_params = make_gymnax(config)
    env = from_gymnax(_WithoutAutoreset(gymnax_env), env_params)
    network = algorithm_fn(config).network

    def step(carry: tuple[jax.Array, _Watched], t: jax.Array) -> tuple:
        obs, state = carry
        noise_key, env_key = jax.random.split(jax.random.fold_in(step_key, t))
        distribution, _ = network.apply(
            params, normalize(obs_stats, obs, config.normalization_clip)
        )
        noise = env.action_space.draw_noise(noise_key, (1,))
        action = distribution.mode() if deterministic else distribution.sample(noise)
        env_step = env.step(jax.random.split(env_key, 1), state, env.action_space.to_env(action))
        return (env_step.obs, env_step.state), (env_step.state, env_step.obs, env_step.reward)

    reset_key, step_key = jax.random.split(key)
    obs, state = env.reset(jax.random.split(reset_key, 1))
    with jax.default_matmul_precision(config.matmul_precision):
        _, (states, all_obs, rewards) = jax.lax.scan(step, (obs, state), jnp.arange(num_steps))
    first, others = (state, obs), (states, all_obs)
    states, all_obs = jax.tree.map(lambda a, b: jnp.concatenate([a, b[:, 0]]), first, others)
    return states, all_obs, rewards[:, 0]


class _Watched(NamedTuple):
    """The state of an environment, and whether the step that led to it ended the episode."""

    env_state: EnvState
    terminated: jax.Array
    truncated: jax.Array


@dataclass(frozen=True)
class _WithoutAutoreset:
    """A gymnax environment without autoreset, whose last state can be recorded."""

    env: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset_env(self, key: jax.Array, params: Any) -> tuple[jax.Array, _Watched]:
        obs, state = self.env.reset_env(key, params)
        return obs, _Watched(state, jnp.array(False), jnp.array(False))

    def step_env(self, key: jax.Array, state: _Watched, action: Any, params: Any) -> tuple:
        obs, env_state, reward, terminated, info = self.env.step_env(
            key, state.env_state, action, params
        )
        truncated = self.env.is_truncated(env_state, params)
        watched = _Watched(env_state, jnp.asarray(terminated), jnp.asarray(truncated))
        return obs, watched, reward, jnp.array(False), info

    def is_truncated(self, state: _Watched, params: Any) -> jax.Array:
        return jnp.array(False)
