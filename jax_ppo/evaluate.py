"""How good a policy is: whole episodes, with the statistics frozen and nothing learned."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.envs import EnvState
from jax_ppo.networks import Network
from jax_ppo.normalize import RunningStats, normalize
from jax_ppo.ppo import Algorithm, AlgorithmFn, ppo
from jax_ppo.types import EpisodeResults, Params


class _Evaluation(NamedTuple):
    """State of an evaluation."""

    time: jax.Array
    """Steps done [], int32."""
    obs: jax.Array
    """[num_episodes, *obs_shape]."""
    env_state: EnvState
    """Every leaf [num_episodes, ...]."""
    results: EpisodeResults
    """Of the steps done."""


def evaluate_policy(
    key: jax.Array,
    params: Params,
    obs_stats: RunningStats | None,
    config: PPOConfig,
    *,
    algorithm_fn: AlgorithmFn = ppo,
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
        algorithm_fn: The algorithm that it was trained with; gives environment and network.
        num_episodes: Episodes in all, run side by side.
        deterministic: Whether to take the mode of the policy; else a sample.
        max_steps: Steps after which an episode counts as unfinished. None: the environment's limit.

    Raises:
        ConfigError: The parameters are of another network, or max_steps is None and the
            environment's limit is not known, or num_episodes or max_steps is less than 1.
    """
    algorithm = algorithm_fn(config)
    _check_params(params, algorithm.network)
    env = algorithm.env
    limit = env.max_episode_steps if max_steps is None else max_steps
    if limit is None:
        raise ConfigError("the environment's time limit is not known here: pass max_steps")
    if num_episodes < 1 or limit < 1:
        raise ConfigError(
            f"num_episodes and max_steps must be at least 1, got {num_episodes} and {limit}"
        )

    reset_key, step_key = jax.random.split(key)
    obs, env_state = env.reset(jax.random.split(reset_key, num_episodes))
    none_finished = EpisodeResults(
        episode_return=jnp.zeros(num_episodes),
        episode_length=jnp.zeros(num_episodes, jnp.int32),
        finished=jnp.zeros(num_episodes, bool),
    )
    step = partial(
        _step,
        key=step_key,
        params=params,
        obs_stats=obs_stats,
        config=config,
        algorithm=algorithm,
        deterministic=deterministic,
    )
    with jax.default_matmul_precision(config.matmul_precision):
        start = _Evaluation(jnp.zeros((), jnp.int32), obs, env_state, none_finished)
        return jax.lax.while_loop(partial(_goes_on, limit=limit), step, start).results


def _check_params(params: Params, network: Network) -> None:
    """Raise ConfigError unless parameters are of a network; the message says what is."""
    wanted = jax.eval_shape(network.init, jax.random.key(0))
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (params, wanted)]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            "params are not those of the network that algorithm_fn(config) makes; a network of "
            "one's own has to be named: algorithm_fn=partial(ppo, network=...)"
        )


def _step(
    evaluation: _Evaluation,
    key: jax.Array,
    params: Params,
    obs_stats: RunningStats | None,
    *,
    config: PPOConfig,
    algorithm: Algorithm,
    deterministic: bool,
) -> _Evaluation:
    """One step of every environment; a finished episode counts no further."""
    env, network = algorithm.env, algorithm.network
    time, obs, env_state, results = evaluation
    num_episodes = len(results.finished)
    noise_key, env_key = jax.random.split(jax.random.fold_in(key, time))
    policy_obs = normalize(obs_stats, obs, config.normalization_clip)
    distribution, _ = network.apply(params, policy_obs)
    noise = env.action_space.draw_noise(noise_key, (num_episodes,))
    action = distribution.mode() if deterministic else distribution.sample(noise)
    keys = jax.random.split(env_key, num_episodes)
    env_step = env.step(keys, env_state, env.action_space.to_env(action))
    active = ~results.finished
    results = EpisodeResults(
        episode_return=results.episode_return + jnp.where(active, env_step.reward, 0.0),
        episode_length=results.episode_length + active.astype(jnp.int32),
        finished=results.finished | env_step.terminated | env_step.truncated,
    )
    return _Evaluation(time + 1, env_step.obs, env_step.state, results)


def _goes_on(evaluation: _Evaluation, limit: int) -> jax.Array:
    """Whether an episode is unfinished, within the limit."""
    return (evaluation.time < limit) & ~jnp.all(evaluation.results.finished)
