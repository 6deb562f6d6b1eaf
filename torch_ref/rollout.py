"""Collecting experience: the policy acts in the environments."""

import dataclasses
from typing import NamedTuple

import torch

from jax_ppo.config import PPOConfig
from jax_ppo.shapes import check_policy, check_step
from torch_ref.envs import Environment, EnvStep, draw_env_keys
from torch_ref.networks import Network
from torch_ref.normalize import init_stats, normalize, scale, update_stats
from torch_ref.permutations import draw_permutations
from torch_ref.types import Metrics, Params, RandomDraws, RolloutState, Transition, map_tensors


class EndedEpisodes(NamedTuple):
    """The episodes that ended in a step, or in all steps so far; zero where none did."""

    returns: torch.Tensor
    """Sum of their returns [num_envs]."""
    lengths: torch.Tensor
    """Sum of their lengths [num_envs], int32."""
    number: torch.Tensor
    """How many they are [num_envs], int32."""


def draw_randomness(generator: torch.Generator, config: PPOConfig, env: Environment) -> RandomDraws:
    """All random numbers of one rollout and the update on it.

    Args:
        generator: Source of random numbers; it advances.
        config: Gives num_steps, num_envs, update_epochs and the batch size.
        env: Its action space gives the noise.
    """
    steps = (config.num_steps, config.num_envs)
    return RandomDraws(
        noise=env.action_space.draw_noise(generator, steps),
        env_keys=draw_env_keys(generator, steps),
        permutations=draw_permutations(generator, config.update_epochs, config.batch_size),
    )


def init_rollout_state(
    generator: torch.Generator, config: PPOConfig, env: Environment
) -> RolloutState:
    """Freshly reset environments and empty statistics.

    Args:
        generator: Source of the seeds of the first resets; it advances.
        config: Gives num_envs and what is normalized.
        env: The environments.
    """
    obs, env_state = env.reset(draw_env_keys(generator, (config.num_envs,)))
    return RolloutState(
        env_state=env_state,
        obs=obs,
        episode_return=torch.zeros(config.num_envs),
        episode_length=torch.zeros(config.num_envs, dtype=torch.int32),
        discounted_return=torch.zeros(config.num_envs),
        obs_stats=init_stats(env.observation_space.shape)
        if config.normalize_observations
        else None,
        return_stats=init_stats(()) if config.normalize_rewards else None,
    )


@torch.no_grad()
def collect_rollout(
    state: RolloutState,
    params: Params,
    noise: torch.Tensor,
    env_keys: torch.Tensor,
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
        env_keys: Seeds of the environments [num_steps, num_envs].
        config: Gives gamma and the normalization.
        env: The environments.
        network: The actor-critic.

    Returns:
        The state to go on from, the transitions [num_steps, num_envs, ...], and statistics of the
        episodes that ended: episode_return and episode_length (means; NaN where none ended) and
        num_episodes.
    """
    transitions, endings = [], []
    for t in range(len(noise)):
        state, transition, ended = rollout_step(
            state, params, noise[t], env_keys[t], config=config, env=env, network=network
        )
        transitions.append(transition)
        endings.append(ended)

    number = torch.sum(torch.stack([ended.number for ended in endings]), dtype=torch.int32)
    returns = torch.sum(torch.stack([ended.returns for ended in endings]))
    lengths = torch.sum(torch.stack([ended.lengths for ended in endings]))
    metrics = Metrics(
        episode_return=mean_over_episodes(returns, number),
        episode_length=mean_over_episodes(lengths, number),
        num_episodes=number,
    )
    return state, map_tensors(lambda *steps: torch.stack(steps), *transitions), metrics


def mean_over_episodes(total: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """The mean of what was summed over some episodes; NaN if there were none.

    Args:
        total: The sum [].
        number: How many episodes [], int32.
    """
    return total / number  # 0 / 0 is NaN


def rollout_step(
    state: RolloutState,
    params: Params,
    noise: torch.Tensor,
    env_keys: torch.Tensor,
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
        env_keys: Seeds [num_envs].
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
    state: RolloutState, env_step: EnvStep, discounted_return: torch.Tensor
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
        returns=torch.where(done, episode_return, 0.0),
        lengths=torch.where(done, episode_length, 0),
        number=done.to(torch.int32),
    )
    next_state = dataclasses.replace(
        state,
        env_state=env_step.state,
        obs=env_step.obs,
        episode_return=torch.where(done, 0.0, episode_return),
        episode_length=torch.where(done, 0, episode_length),
        discounted_return=torch.where(done, 0.0, discounted_return),
    )
    return next_state, ended
