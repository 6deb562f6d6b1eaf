"""An independent oracle of a whole training, in NumPy: rollouts, statistics, schedules, updates.

Statistics are taken in two passes over all that was seen, sums start anew with each episode, and
moments are sums over every gradient since the beginning: nothing is carried on that a mistake in
carrying it could hide in.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jax_ppo import PPOConfig
from parity_tests import oracle_update, oracles
from parity_tests.measure import wide
from parity_tests.oracle_update import Setting, Steps, Updated

Array = oracles.Array
Arrays = oracles.Arrays
Move = Callable[[Any, Array, Array], tuple[Array, Array, Array]]
"""(numpy, positions, actions) -> (positions, rewards, whether the episode terminated)."""


@dataclass(frozen=True)
class Task:
    """An environment whose next position follows from the position and the action alone."""

    starts: Array
    """Where the episodes of each environment begin [num_envs, n]."""
    scales: Array
    """Observations are positions times these [n]."""
    move: Move
    """A step."""
    limit: int
    """Steps after which an episode is truncated."""
    bound: float
    """Real actions are clipped to plus and minus this."""


@dataclass(frozen=True)
class Course:
    """Where a training is."""

    steps: Steps
    """Every gradient step so far."""
    params: Arrays
    kl_coef: Any
    position: Array
    """[num_envs, n]."""
    episode: tuple[tuple[Array, ...], ...]
    """The rewards since each environment's episode began, one array [] a step."""
    observations: tuple[Array, ...]
    """Every observation that was acted on [num_envs, n], since the beginning."""
    discounted: tuple[Array, ...]
    """Every environment's discounted return after each step [num_envs], since the beginning."""


def begin(params: Arrays, config: PPOConfig, task: Task) -> Course:
    """Before the first step."""
    starts = task.starts.astype(wide)
    none: tuple[tuple[Array, ...], ...] = ((),) * len(starts)
    return Course(Steps(params, (), ()), params, config.kl_coef, starts, none, (), ())


def rollout(
    course: Course, noise: Array, config: PPOConfig, setting: Setting, task: Task
) -> tuple[Course, Arrays, dict[str, Any]]:
    """(where it ends, transitions [num_steps, num_envs, ...], statistics of ended episodes)."""
    rows: list[dict[str, Any]] = []
    ended: list[tuple[Array, ...]] = []
    for step_noise in noise:
        course, row, episodes = _step(course, step_noise, config, setting, task)
        rows.append(row)
        ended += episodes
    transitions = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    returns, lengths = [sum(rewards) for rewards in ended], [len(rewards) for rewards in ended]
    nan = wide(np.nan)
    return (
        course,
        transitions,
        {
            "episode_return": sum(returns) / len(ended) if ended else nan,
            "episode_length": wide(sum(lengths)) / len(ended) if ended else nan,
            "num_episodes": wide(len(ended)),
        },
    )


def _step(
    course: Course, noise: Array, config: PPOConfig, setting: Setting, task: Task
) -> tuple[Course, dict[str, Any], list[tuple[Array, ...]]]:
    """One step of every environment, and the rewards of each episode that ended with it."""
    seen = (*course.observations, course.position * task.scales)
    obs = _normalized(seen[-1], seen, config)
    policy, _ = oracle_update.actor_critic(course.params, obs, setting)
    action = _sample(policy, course.params.get("log_std"), noise)
    played = action if setting.discrete else np.clip(action, -task.bound, task.bound)
    position, reward, terminated = task.move(np, course.position, played)
    episode = tuple((*past, r) for past, r in zip(course.episode, reward, strict=True))
    truncated = np.array([len(rewards) >= task.limit for rewards in episode])
    sums = [_discounted_sum(rewards, config.gamma) for rewards in episode]
    discounted = (*course.discounted, np.array(sums))
    row = {
        "obs": obs,
        "action": action,
        "reward": _scaled(reward, discounted, config),
        "terminated": terminated,
        "truncated": truncated,
        "next_obs": _normalized(position * task.scales, seen, config),
    }
    done = terminated | truncated
    after = replace(
        course,
        position=np.where(done[:, None], task.starts, position),
        episode=tuple(() if d else rewards for d, rewards in zip(done, episode, strict=True)),
        observations=seen,
        discounted=discounted,
    )
    return after, row, [rewards for d, rewards in zip(done, episode, strict=True) if d]


def _sample(policy: Array, log_std: Any, noise: Array) -> Array:
    """The largest of logit + Gumbel noise, or mean + std * standard normal noise."""
    if log_std is None:
        return np.array([max(range(len(row)), key=row.__getitem__) for row in policy + noise])
    return policy + np.exp(log_std) * noise


def _discounted_sum(rewards: tuple[Array, ...], gamma: Any) -> Any:
    """sum_k gamma^k r_(t-k)."""
    return sum(wide(gamma) ** k * r for k, r in enumerate(reversed(rewards)))


def _normalized(values: Array, seen: tuple[Array, ...], config: PPOConfig) -> Array:
    """Observations by the statistics of all that were acted on so far."""
    if not config.normalize_observations:
        return values
    mean, variance, _ = oracles.stream_statistics(seen)
    return oracles.normalized(mean, variance, values, config.normalization_clip)


def _scaled(reward: Array, discounted: tuple[Array, ...], config: PPOConfig) -> Array:
    """Rewards by the spread of all discounted returns so far."""
    if not config.normalize_rewards:
        return reward
    _, variance, _ = oracles.stream_statistics(discounted)
    return oracles.scaled(variance, reward, config.normalization_clip)


def clip_eps_at(config: PPOConfig, update: Any) -> Any:
    """The config's clip range in an update."""
    schedule = oracles.SCHEDULES[config.clip_eps_schedule]
    return schedule(config.clip_eps, update, config.num_updates)


def learn(
    steps: Steps,
    params: Arrays,
    transitions: Arrays,
    permutations: Array,
    *,
    config: PPOConfig,
    setting: Setting,
) -> tuple[Updated, Any]:
    """The update, with all of its metrics, and the KL penalty's next coefficient.

    Args:
        steps: The gradient steps before the update.
        params: The parameters that they led to, which collected the rollout.
        transitions: The rollout, [num_steps, num_envs, ...].
        permutations: [update_epochs, batch_size].
        config: Gives gamma, gae_lambda and how the penalty is adapted.
        setting: The coefficients of this update.
    """
    batch = make_batch(params, transitions, config, setting)
    updated = oracle_update.update_policy(steps, batch, permutations, setting)
    metrics = {
        **updated.metrics,
        "reward_mean": transitions["reward"].mean(),
        "explained_variance": oracles.explained_variance(batch["old_value"], batch["returns"]),
        "advantage_std": np.std(batch["advantages"]),
        "value_mean": batch["old_value"].mean(),
        "param_norm": np.sqrt(sum((p**2).sum() for p in updated.params.values())),
        "learning_rate": setting.learning_rate,
        "clip_eps": setting.clip_eps,
    }
    next_coef = setting.kl_coef
    if next_coef is not None:
        kl = oracle_update.loss_of(updated.params, batch, setting)["kl"]
        metrics |= {"kl_coef": wide(setting.kl_coef), "kl_after_update": kl}
        if config.adaptive_kl:
            next_coef = oracles.adapted_kl_coef(setting.kl_coef, kl, config.kl_target)
    return replace(updated, metrics=metrics), next_coef


def make_batch(params: Arrays, transitions: Arrays, config: PPOConfig, setting: Setting) -> Arrays:
    """The samples of a rollout, evaluated and flattened."""
    shape = transitions["reward"].shape
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in transitions.items()}
    policy, values = oracle_update.actor_critic(params, flat["obs"], setting)
    _, next_values = oracle_update.actor_critic(params, flat["next_obs"], setting)
    log_std = params.get("log_std")
    log_prob, _ = oracle_update.log_prob_and_entropy(policy, log_std, flat["action"], setting)
    advantages, returns = oracles.gae(
        transitions["reward"],
        *(values.reshape(shape), next_values.reshape(shape)),
        *(transitions["terminated"], transitions["truncated"]),
        *(config.gamma, config.gae_lambda),
    )
    batch = {
        "obs": flat["obs"],
        "action": flat["action"],
        "old_policy": policy,
        "old_log_prob": log_prob,
        "old_value": values,
        "advantages": advantages.ravel(),
        "returns": returns.ravel(),
    }
    return batch if log_std is None else {**batch, "old_log_std": log_std}


def learned(course: Course, updated: Updated, kl_coef: Any) -> Course:
    """The training after an update."""
    return replace(course, steps=updated.steps, params=updated.params, kl_coef=kl_coef)


def state_of_rollout(course: Course, config: PPOConfig, task: Task) -> dict[str, Any]:
    """What the next rollout starts from, from all that was seen."""
    statistics = {}
    for name, seen in (("obs_stats", course.observations), ("return_stats", course.discounted)):
        mean, variance, count = oracles.stream_statistics(seen)
        statistics[name] = {"mean": mean, "var": variance, "count": count}
    return {
        "obs": course.position * task.scales,
        "episode_return": np.array([sum(rewards, wide(0)) for rewards in course.episode]),
        "episode_length": np.array([len(rewards) for rewards in course.episode]),
        "discounted_return": np.array(
            [_discounted_sum(rewards, config.gamma) + wide(0) for rewards in course.episode]
        ),
        **statistics,
    }
