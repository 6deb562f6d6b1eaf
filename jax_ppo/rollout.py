"""Collecting experience: the policy acts, the environments answer."""

import jax
import jax.numpy as jnp

from jax_ppo.collectives import sum_over_devices
from jax_ppo.config import PPOConfig
from jax_ppo.envs import Environment
from jax_ppo.networks import Network
from jax_ppo.normalize import init_stats, normalize, scale, update_stats
from jax_ppo.types import Metrics, Params, RolloutState, Transition


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
        obs_stats=init_stats(env.obs_shape) if config.normalize_observations else None,
        return_stats=init_stats(()) if config.normalize_rewards else None,
    )


def collect_rollout(
    state: RolloutState,
    params: Params,
    noise: jax.Array,
    env_keys: jax.Array,
    config: PPOConfig,
    env: Environment,
    network: Network,
    axis_name: str | None = None,
) -> tuple[RolloutState, Transition, Metrics]:
    """Step every environment num_steps times with the current policy.

    At each step the statistics of observations take in the current observation before it is
    normalized with them; those of returns take in R_t = gamma R_{t-1} + r_t before r_t is scaled.

    Args:
        state: Where the last rollout ended.
        params: Network parameters.
        noise: Noise of the actions [num_steps, num_envs, noise_dim].
        env_keys: Random keys of the environments [num_steps, num_envs].
        config: Gives gamma and the normalization.
        env: The environments.
        network: The actor-critic.
        axis_name: Mesh axis that the environments are spread over, inside `jax.shard_map`.

    Returns:
        The state to go on from, the transitions [num_steps, num_envs, ...], and statistics of the
        episodes that ended: episode_return and episode_length (means; NaN where none ended) and
        num_episodes.
    """

    def step(carry: tuple[RolloutState, Metrics], draws: tuple[jax.Array, jax.Array]) -> tuple:
        state, episodes = carry
        state, transition, ended = rollout_step(
            state, params, *draws, config, env, network, axis_name
        )
        return (state, jax.tree.map(jnp.add, episodes, ended)), transition

    num_envs = env_keys.shape[1]
    zeros = jnp.zeros(num_envs, jnp.int32)
    sums = {"return": jnp.zeros(num_envs), "length": zeros, "count": zeros}
    (state, sums), transitions = jax.lax.scan(step, (state, sums), (noise, env_keys))
    totals = {name: jnp.sum(per_env, dtype=per_env.dtype) for name, per_env in sums.items()}
    totals = sum_over_devices(totals, axis_name)
    count = jnp.asarray(totals["count"], float)
    metrics = {
        "episode_return": jnp.where(count > 0, totals["return"] / count, jnp.nan),
        "episode_length": jnp.where(count > 0, totals["length"] / count, jnp.nan),
        "num_episodes": totals["count"],
    }
    return state, transitions, metrics


def rollout_step(
    state: RolloutState,
    params: Params,
    noise: jax.Array,
    env_keys: jax.Array,
    config: PPOConfig,
    env: Environment,
    network: Network,
    axis_name: str | None = None,
) -> tuple[RolloutState, Transition, Metrics]:
    """One step of every environment.

    Args:
        state: Where the environments stand.
        params: Network parameters.
        noise: Noise of the actions [num_envs, noise_dim].
        env_keys: Random keys [num_envs].
        config: Gives gamma and the normalization.
        env: The environments.
        network: The actor-critic.
        axis_name: Mesh axis that the environments are spread over, inside `jax.shard_map`.

    Returns:
        The next state, the transition [num_envs, ...], and of each episode that ended its return
        and length, with a count of 1; zeros where none did [num_envs].
    """
    obs_stats, return_stats = state.obs_stats, state.return_stats
    if obs_stats is not None:
        obs_stats = update_stats(obs_stats, state.obs, axis_name)
    obs = normalize(obs_stats, state.obs, config.normalization_clip)
    distribution, _ = network.apply(params, obs)
    action = distribution.sample(noise)
    env_step = env.step(env_keys, state.env_state, env.actions.to_env(action))
    done = env_step.terminated | env_step.truncated

    discounted_return = config.gamma * state.discounted_return + env_step.reward
    if return_stats is not None:
        return_stats = update_stats(return_stats, discounted_return, axis_name)
    episode_return = state.episode_return + env_step.reward
    episode_length = state.episode_length + 1
    transition = Transition(
        obs=obs,
        action=action,
        reward=scale(return_stats, env_step.reward, config.normalization_clip),
        terminated=env_step.terminated,
        truncated=env_step.truncated,
        next_obs=normalize(obs_stats, env_step.next_obs, config.normalization_clip),
    )
    ended = {
        "return": jnp.where(done, episode_return, 0.0),
        "length": jnp.where(done, episode_length, 0),
        "count": done.astype(jnp.int32),
    }
    next_state = RolloutState(
        env_state=env_step.state,
        obs=env_step.obs,
        episode_return=jnp.where(done, 0.0, episode_return),
        episode_length=jnp.where(done, 0, episode_length),
        discounted_return=jnp.where(done, 0.0, discounted_return),
        obs_stats=obs_stats,
        return_stats=return_stats,
    )
    return next_state, transition, ended
