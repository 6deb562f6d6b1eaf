"""How good a policy is: whole episodes, with the statistics frozen and nothing learned."""

import torch

from jax_ppo.config import ConfigError, PPOConfig
from torch_ref.envs import draw_env_keys
from torch_ref.networks import matmul_precision
from torch_ref.normalize import RunningStats, normalize
from torch_ref.ppo import AlgorithmFn, ppo
from torch_ref.types import EpisodeResults, Params


@torch.no_grad()
def evaluate_policy(
    generator: torch.Generator,
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
        generator: Source of random numbers; it is left as it was.
        params: Network parameters, `state.params`.
        obs_stats: Statistics of observations, `state.rollout.obs_stats`.
        config: The config that the agent was trained with.
        algorithm_fn: The algorithm that it was trained with; gives environment and network.
        num_episodes: Episodes in all, run side by side.
        deterministic: Whether to take the mode of the policy; else a sample.
        max_steps: Steps after which an episode counts as unfinished. None: the environment's limit.

    Raises:
        ConfigError: max_steps is None and the environment has no limit, or num_episodes or
            max_steps is less than 1.
    """
    algorithm = algorithm_fn(config)
    env, network = algorithm.env, algorithm.network
    limit = env.max_episode_steps if max_steps is None else max_steps
    if limit is None:
        raise ConfigError("the environment has no time limit: pass max_steps")
    if num_episodes < 1 or limit < 1:
        raise ConfigError(
            f"num_episodes and max_steps must be at least 1, got {num_episodes} and {limit}"
        )
    generator = generator.clone_state()

    obs, env_state = env.reset(draw_env_keys(generator, (num_episodes,)))
    episode_return = torch.zeros(num_episodes)
    episode_length = torch.zeros(num_episodes, dtype=torch.int32)
    finished = torch.zeros(num_episodes, dtype=torch.bool)
    with matmul_precision(config):
        for _ in range(limit):
            policy_obs = normalize(obs_stats, obs, config.normalization_clip)
            distribution, _ = network.apply(params, policy_obs)
            noise = env.action_space.draw_noise(generator, (num_episodes,))
            action = distribution.mode() if deterministic else distribution.sample(noise)
            keys = draw_env_keys(generator, (num_episodes,))
            env_step = env.step(keys, env_state, env.action_space.to_env(action))
            obs, env_state = env_step.obs, env_step.state
            episode_return = episode_return + torch.where(finished, 0.0, env_step.reward)
            episode_length = episode_length + (~finished).int()
            finished = finished | env_step.terminated | env_step.truncated
            if torch.all(finished):
                break
    return EpisodeResults(episode_return, episode_length, finished)
