"""An environment under a random policy: scales, ends of episodes, final observations."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_ppo.envs import Environment
from jax_ppo.normalize import RunningStats, init_stats, update_stats

NUM_ENVS = 16
"""Environments side by side."""
MAX_STEPS = 2_000
"""Steps of each, at most; enough to reach every time limit up to that."""
UNKNOWN_LIMIT_STEPS = 500
"""Steps where the time limit is not known."""


class Step(NamedTuple):
    """What is examined of one step of every environment."""

    reward: jax.Array
    """[num_envs]."""
    terminated: jax.Array
    """[num_envs], bool."""
    truncated: jax.Array
    """[num_envs], bool."""
    ends_where_it_starts: jax.Array
    """Whether the observation before the reset is the one after it [num_envs], bool."""
    moves: jax.Array
    """Whether the observation changed in this step [num_envs], bool."""


class Probe(NamedTuple):
    """The steps of a random policy, and statistics of them."""

    steps: Step
    """Every array [num_steps, num_envs]."""
    obs_stats: RunningStats
    """Mean and variance of every entry of the observation."""
    largest_obs: float
    """Largest absolute entry of an observation."""
    time_limit: int | None
    """Steps after which episodes are truncated, where that is known."""

    @property
    def obs_scales(self) -> np.ndarray:
        """Standard deviation of every entry of the observation that varies at all."""
        scales = np.sqrt(np.asarray(self.obs_stats.var)).ravel()
        return scales[scales > 0]

    @property
    def num_episodes(self) -> int:
        """Episodes that ended."""
        return int(np.sum(self.steps.terminated | self.steps.truncated))

    def discounted_return_scale(self, gamma: float) -> float:
        """Root mean square of the discounted sum of rewards over the time that was watched."""
        total = np.zeros(NUM_ENVS)
        squares = []
        done = self.steps.terminated | self.steps.truncated
        for reward, ended in zip(self.steps.reward, done, strict=True):
            total = gamma * total + reward
            squares.append(total**2)
            total = np.where(ended, 0.0, total)
        return float(np.sqrt(np.mean(squares)))


def probe_environment(env: Environment) -> Probe:
    """Act at random for long enough to see truncated episodes."""
    limit = env.max_episode_steps
    num_steps = UNKNOWN_LIMIT_STEPS if limit is None else min(limit + 1, MAX_STEPS)
    steps, obs_stats, largest = _act_at_random(jax.random.key(0), env, num_steps)
    return Probe(jax.tree.map(np.asarray, steps), obs_stats, float(largest), limit)


@partial(jax.jit, static_argnames=("env", "num_steps"))
def _act_at_random(
    key: jax.Array, env: Environment, num_steps: int
) -> tuple[Step, RunningStats, jax.Array]:
    """Steps [num_steps, num_envs] of random actions, and what observations are like."""
    reset_key, steps_key = jax.random.split(key)
    obs, state = env.reset(jax.random.split(reset_key, NUM_ENVS))
    stats, largest = init_stats(env.observation_space.shape), jnp.zeros(())
    carry, steps = jax.lax.scan(
        partial(_step, env=env),
        (obs, state, stats, largest),
        jax.random.split(steps_key, num_steps),
    )
    return steps, carry[2], carry[3]


def _step(carry: Any, key: jax.Array, env: Environment) -> tuple[Any, Step]:
    """One step of every environment; the body of the scan."""
    obs, state, stats, largest = carry
    action_key, env_key = jax.random.split(key)
    action = env.action_space.to_env(_random_actions(action_key, env))
    stepped = env.step(jax.random.split(env_key, NUM_ENVS), state, action)
    seen = Step(
        reward=stepped.reward,
        terminated=stepped.terminated,
        truncated=stepped.truncated,
        ends_where_it_starts=~_differ(stepped.next_obs, stepped.obs),
        moves=_differ(stepped.next_obs, obs),
    )
    largest = jnp.maximum(largest, jnp.max(jnp.abs(obs)))
    return (stepped.obs, stepped.state, update_stats(stats, obs), largest), seen


def _random_actions(key: jax.Array, env: Environment) -> jax.Array:
    """Uniform discrete actions, or standard normal continuous ones, [num_envs, ...]."""
    space = env.action_space
    output = jnp.zeros((NUM_ENVS, space.output_size))
    log_std = jnp.zeros(space.output_size) if space.has_log_std else None
    return space.distribution(output, log_std).sample(space.draw_noise(key, (NUM_ENVS,)))


def _differ(obs: jax.Array, other: jax.Array) -> jax.Array:
    """Whether two batches of observations differ, environment by environment [num_envs]."""
    return jnp.any((obs != other).reshape(NUM_ENVS, -1), axis=1)
