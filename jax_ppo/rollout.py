"""Collecting experience: the policy acts in the environments."""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_ppo.config import PPOConfig
from jax_ppo.envs import Environment, EnvStep
from jax_ppo.kernels.collectives import all_reduce_sum, local_shard
from jax_ppo.networks import Network
from jax_ppo.normalize import init_stats, normalize, scale, update_stats
from jax_ppo.permutations import draw_permutations
from jax_ppo.shapes import check_policy, check_step
from jax_ppo.types import Metrics, Params, RandomDraws, RolloutState, Transition


class EndedEpisodes(NamedTuple):
    """The episodes that ended in a step, or in all steps so far; zero where none did."""

    returns: jax.Array
    """Sum of their returns [num_envs]."""
    lengths: jax.Array
    """Sum of their lengths [num_envs], int32."""
    number: jax.Array
    """How many they are [num_envs], int32."""


def draw_randomness(key: jax.Array, config: PPOConfig, env: Environment) -> RandomDraws:
    """All random numbers of one rollout and the update on it.

    Each environment has a key of its own, so that its numbers do not depend on which device it is
    on.

    Args:
        key: Random key.
        config: Gives num_steps, num_envs, update_epochs and the batch size.
        env: Its action space gives the noise.
    """
    noise_key, env_key, permutation_key = jax.random.split(key, 3)
    noise_keys = local_shard(jax.random.split(noise_key, config.num_envs))
    env_keys = local_shard(jax.random.split(env_key, config.num_envs))
    draw = partial(env.action_space.draw_noise, shape=(config.num_steps,))
    return RandomDraws(
        noise=jax.vmap(draw, out_axes=1)(noise_keys),
        env_keys=jax.vmap(partial(jax.random.split, num=config.num_steps), out_axes=1)(env_keys),
        permutations=draw_permutations(permutation_key, config.update_epochs, config.batch_size),
    )


def init_rollout_state(key: jax.Array, config: PPOConfig, env: Environment) -> RolloutState:
    """Freshly reset environments and empty statistics.

    Args:
        key: Random key of the first resets.
        config: Gives num_envs and what is normalized.
        env: The environments.
    """
    obs, env_state = env.reset(jax.random.split(key, config.num_envs))
    return RolloutState(
        env_state=env_state,
        obs=obs,
        episode_return=jnp.zeros(config.num_envs),
        episode_length=jnp.zeros(config.num_envs, jnp.int32),
        discounted_return=jnp.zeros(config.num_envs),
        obs_stats=init_stats(env.observation_space.shape)
        if config.normalize_observations
        else None,
        return_stats=init_stats(()) if config.normalize_rewards else None,
    )


def collect_rollout(
    state: RolloutState,
    params: Params,
    noise: jax.Array,
    env_keys: jax.Array,
    *,
    config: PPOConfig,
    env: Environment,
    network: Network,
) -> tuple[RolloutState, Transition, Metrics]:
    """Step every environment num_steps times with the current policy.

    At each step the statistics of observations take in the current observation before it is
    normalized with them; those of returns take in R_t = gamma R_{t-1} + r_t before r_t is scaled.

    Args:
        state: Where the last rollout ended.
        params: Network parameters.
        noise: Noise of the actions [num_steps, num_envs, output_size].
        env_keys: Random keys of the environments [num_steps, num_envs].
        config: Gives gamma and the normalization.
        env: The environments.
        network: The actor-critic.

    Returns:
        The state to go on from, the transitions [num_steps, num_envs, ...], and statistics of the
        episodes that ended: episode_return and episode_length (means; NaN where none ended) and
        num_episodes.
    """

    def step(carry: tuple, draws: tuple[jax.Array, jax.Array]) -> tuple:
        state, episodes = carry
        state, transition, ended = rollout_step(
            state, params, *draws, config=config, env=env, network=network
        )
        return (state, jax.tree.map(jnp.add, episodes, ended)), transition

    num_envs = env_keys.shape[1]
    zeros = jnp.zeros(num_envs, jnp.int32)
    sums = EndedEpisodes(jnp.zeros(num_envs), zeros, zeros)
    (state, sums), transitions = jax.lax.scan(step, (state, sums), (noise, env_keys))
    totals = jax.tree.map(lambda per_env: jnp.sum(per_env, dtype=per_env.dtype), sums)
    totals = all_reduce_sum(totals)
    metrics = Metrics(
        episode_return=mean_over_episodes(totals.returns, totals.number),
        episode_length=mean_over_episodes(totals.lengths, totals.number),
        num_episodes=totals.number,
    )
    return state, transitions, metrics


def mean_over_episodes(total: jax.Array, number: jax.Array) -> jax.Array:
    """The mean of what was summed over some episodes; NaN if there were none.

    With `jax_debug_nans`, which stops a program at the first NaN, it is 0 if there were none.

    Args:
        total: The sum [].
        number: How many episodes [], int32.
    """
    nothing = 0.0 if jax.config.values["jax_debug_nans"] else jnp.nan
    count = jnp.asarray(number, float)
    mean = jnp.asarray(total, float) / jnp.maximum(count, 1.0)
    return jnp.where(number > 0, mean, nothing)


def rollout_step(
    state: RolloutState,
    params: Params,
    noise: jax.Array,
    env_keys: jax.Array,
    *,
    config: PPOConfig,
    env: Environment,
    network: Network,
) -> tuple[RolloutState, Transition, EndedEpisodes]:
    """One step of every environment.

    Args:
        state: State of the environments.
        params: Network parameters.
        noise: Noise of the actions [num_envs, output_size].
        env_keys: Random keys [num_envs].
        config: Gives gamma and the normalization.
        env: The environments.
        network: The actor-critic.

    Returns:
        The next state, the transition [num_envs, ...], and the episodes that ended.
    """
    obs_stats, return_stats = state.obs_stats, state.return_stats
    if obs_stats is not None:
        obs_stats = update_stats(obs_stats, state.obs)
    obs = normalize(obs_stats, state.obs, config.normalization_clip)
    policy = network.apply(params, obs)
    check_policy(policy, len(obs))
    action = policy[0].sample(noise)
    env_step = env.step(env_keys, state.env_state, env.action_space.to_env(action))
    check_step(env_step, EnvStep)

    discounted_return = config.gamma * state.discounted_return + env_step.reward
    if return_stats is not None:
        return_stats = update_stats(return_stats, discounted_return)
    transition = Transition(
        obs=obs,
        action=action,
        reward=scale(return_stats, env_step.reward, config.normalization_clip),
        terminated=env_step.terminated,
        truncated=env_step.truncated,
        next_obs=normalize(obs_stats, env_step.next_obs, config.normalization_clip),
    )
    state = dataclasses.replace(state, obs_stats=obs_stats, return_stats=return_stats)
    next_state, ended = advance_episodes(state, env_step, discounted_return)
    return next_state, transition, ended


def advance_episodes(
    state: RolloutState, env_step: EnvStep, discounted_return: jax.Array
) -> tuple[RolloutState, EndedEpisodes]:
    """The rollout's state after a step of the environments, and the episodes that ended with it.

    Args:
        state: State before the step.
        env_step: What the step gave.
        discounted_return: Running discounted sums of rewards, the step's included [num_envs].
    """
    done = env_step.terminated | env_step.truncated
    episode_return = state.episode_return + env_step.reward
    episode_length = state.episode_length + 1
    ended = EndedEpisodes(
        returns=jnp.where(done, episode_return, 0.0),
        lengths=jnp.where(done, episode_length, 0),
        number=done.astype(jnp.int32),
    )
    next_state = dataclasses.replace(
        state,
        env_state=env_step.state,
        obs=env_step.obs,
        episode_return=jnp.where(done, 0.0, episode_return),
        episode_length=jnp.where(done, 0, episode_length),
        discounted_return=jnp.where(done, 0.0, discounted_return),
    )
    return next_state, ended
