"""One episode of a trained agent, with every state that its environment went through."""

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_ppo.config import PPOConfig
from jax_ppo.distributions import draw_noise
from jax_ppo.envs import DiscreteActions, EnvState, from_gymnax, make_env, make_gymnax
from jax_ppo.networks import make_network
from jax_ppo.normalize import RunningStats, normalize
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
) -> Episode:
    """Run the episode that `evaluate_policy` runs with num_episodes=1, and keep all of it.

    Args:
        key: Random key.
        params: Network parameters of one agent.
        obs_stats: Its statistics of observations.
        config: The config that it was trained with.
        deterministic: Whether to take the mode of the policy; else a sample.
        max_steps: Steps after which an episode that goes on is left.
    """
    limit = make_env(config).max_episode_steps or max_steps
    watched, obs, rewards = _record(
        key, params, obs_stats, config, deterministic, min(max_steps, limit)
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


@partial(jax.jit, static_argnames=("deterministic", "num_steps"))
def _record(
    key: jax.Array,
    params: Params,
    obs_stats: RunningStats | None,
    config: PPOConfig,
    deterministic: bool,
    num_steps: int,
) -> tuple["_Watched", jax.Array, jax.Array]:
    """States and observations [num_steps + 1, ...] and rewards [num_steps], past the end too."""
    gymnax_env, env_params = make_gymnax(config)
    env = from_gymnax(_WithoutAutoreset(gymnax_env), env_params)
    network = make_network(config, env)
    discrete = isinstance(env.actions, DiscreteActions)

    def step(carry: tuple[jax.Array, _Watched], t: jax.Array) -> tuple:
        obs, state = carry
        noise_key, env_key = jax.random.split(jax.random.fold_in(step_key, t))
        distribution, _ = network.apply(
            params, normalize(obs_stats, obs, config.normalization_clip)
        )
        noise = draw_noise(noise_key, (1, env.actions.noise_dim), discrete=discrete)
        action = distribution.mode() if deterministic else distribution.sample(noise)
        env_step = env.step(jax.random.split(env_key, 1), state, env.actions.to_env(action))
        return (env_step.obs, env_step.state), (env_step.state, env_step.obs, env_step.reward)

    reset_key, step_key = jax.random.split(key)
    obs, state = env.reset(jax.random.split(reset_key, 1))
    with jax.default_matmul_precision(config.matmul_precision):
        _, (states, all_obs, rewards) = jax.lax.scan(step, (obs, state), jnp.arange(num_steps))
    states, all_obs = jax.tree.map(_prepend, (state, obs), (states, all_obs))
    return states, all_obs, rewards[:, 0]


def _prepend(first: jax.Array, others: jax.Array) -> jax.Array:
    """[1, ...] before [num_steps, 1, ...], as [num_steps + 1, ...]."""
    return jnp.concatenate([first, others[:, 0]])


class _Watched(NamedTuple):
    """The state of an environment, and whether the step that led to it ended the episode."""

    env_state: EnvState
    terminated: jax.Array
    truncated: jax.Array


@dataclass(frozen=True)
class _WithoutAutoreset:
    """A gymnax environment that goes on after its end, so that its last state can be seen."""

    env: Any

    @property
    def name(self) -> str:
        return self.env.name

    def observation_space(self, params: Any) -> Any:
        return self.env.observation_space(params)

    def action_space(self, params: Any) -> Any:
        return self.env.action_space(params)

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
