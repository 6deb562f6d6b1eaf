"""How good a policy is: whole episodes, with the statistics frozen and nothing learned."""

import jax
import jax.numpy as jnp

from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.distributions import draw_noise
from jax_ppo.envs import DiscreteActions
from jax_ppo.normalize import RunningStats, normalize
from jax_ppo.train import DEFAULT_COMPONENTS, Components
from jax_ppo.types import EpisodeResults, Params


def evaluate_policy(
    key: jax.Array,
    params: Params,
    obs_stats: RunningStats | None,
    config: PPOConfig,
    components: Components = DEFAULT_COMPONENTS,
    *,
    num_episodes: int = 128,
    deterministic: bool = True,
    max_steps: int | None = None,
) -> EpisodeResults:
    """Run one episode in each of num_episodes environments.

    Every environment contributes exactly one episode, so long episodes are not under-counted.

    Args:
        key: Random key.
        params: Network parameters, `state.params`.
        obs_stats: Statistics of observations, `state.rollout.obs_stats`.
        config: The config that the agent was trained with.
        components: Functions to use in place of the usual ones.
        num_episodes: Episodes in all, run side by side.
        deterministic: Whether to take the mode of the policy; else a sample.
        max_steps: Steps after which an episode counts as unfinished. None: the environment's limit.

    Raises:
        ConfigError: max_steps is None and the environment's limit is not known, or
            num_episodes or max_steps is less than 1.
    """
    env = components.make_env(config)
    network = components.make_network(config, env)
    limit = env.max_episode_steps if max_steps is None else max_steps
    if limit is None:
        raise ConfigError("the environment's time limit is not known here: pass max_steps")
    if num_episodes < 1 or limit < 1:
        raise ConfigError(
            f"num_episodes and max_steps must be at least 1, got {num_episodes} and {limit}"
        )
    discrete = isinstance(env.actions, DiscreteActions)

    def step(carry: tuple) -> tuple:
        t, obs, env_state, results = carry
        noise_key, env_key = jax.random.split(jax.random.fold_in(step_key, t))
        policy_obs = normalize(obs_stats, obs, config.normalization_clip)
        distribution, _ = network.apply(params, policy_obs)
        noise = draw_noise(noise_key, (num_episodes, env.actions.noise_dim), discrete=discrete)
        action = distribution.mode() if deterministic else distribution.sample(noise)
        keys = jax.random.split(env_key, num_episodes)
        env_step = env.step(keys, env_state, env.actions.to_env(action))
        active = ~results.finished
        results = EpisodeResults(
            episode_return=results.episode_return + jnp.where(active, env_step.reward, 0.0),
            episode_length=results.episode_length + active.astype(jnp.int32),
            finished=results.finished | env_step.terminated | env_step.truncated,
        )
        return t + 1, env_step.obs, env_step.state, results

    def unfinished(carry: tuple) -> jax.Array:
        t, _, _, results = carry
        return (t < limit) & ~jnp.all(results.finished)

    reset_key, step_key = jax.random.split(key)
    obs, env_state = env.reset(jax.random.split(reset_key, num_episodes))
    start = EpisodeResults(
        episode_return=jnp.zeros(num_episodes),
        episode_length=jnp.zeros(num_episodes, jnp.int32),
        finished=jnp.zeros(num_episodes, bool),
    )
    with jax.default_matmul_precision(config.matmul_precision):
        return jax.lax.while_loop(unfinished, step, (0, obs, env_state, start))[-1]
