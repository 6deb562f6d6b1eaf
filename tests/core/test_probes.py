"""Probe environments: the smallest things to learn, each with a known answer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo import (
    Categorical,
    DiagGaussian,
    PPOConfig,
    compute_gae,
    ppo,
)

from . import probes
from .helpers import jit_train

CONFIG = PPOConfig(
    total_steps=6400,
    num_envs=8,
    num_steps=16,
    update_epochs=8,
    num_minibatches=2,
    hidden_sizes=(16,),
    learning_rate=1e-2,
    max_grad_norm=None,
    gamma=0.5,
)
"""50 updates of 16 gradient steps."""


def learn(
    probe: type[probes.Probe], config: PPOConfig = CONFIG, **parts: Any
) -> Callable[[float], tuple[Any, float]]:
    """Train on a probe; gives observation -> (policy, value)."""
    algorithm_fn = partial(ppo, env=probes.probe_env(probe), **parts)
    state, _ = jit_train(jax.random.key(0), config, algorithm_fn=algorithm_fn)
    network = algorithm_fn(config).network

    def look(obs: float) -> tuple[Any, float]:
        distribution, values = network.apply(state.params, jnp.array([[obs]]))
        return distribution, float(values[0])

    return look


def probability(distribution: Any) -> float:
    """Of action 1."""
    assert isinstance(distribution, Categorical)
    return float(jax.nn.softmax(distribution.logits)[0, 1])


def test_constant_reward() -> None:
    _, value = learn(probes.ConstantReward)(1.0)
    np.testing.assert_allclose(value, 1.0, atol=0.02)


def test_reward_that_is_seen() -> None:
    look = learn(probes.ObservedReward)
    np.testing.assert_allclose(look(1.0)[1], 1.0, atol=0.03)
    np.testing.assert_allclose(look(-1.0)[1], -1.0, atol=0.03)


def test_delayed_reward_is_discounted_once() -> None:
    look = learn(probes.DelayedReward)
    # V(s_1) = 1, V(s_0) = 0 + gamma * 1 = 0.5. No bootstrap: 0. No discount: 1. One too many: 0.25.
    np.testing.assert_allclose(look(1.0)[1], 1.0, atol=0.05)
    np.testing.assert_allclose(look(0.0)[1], 0.5, atol=0.05)


@pytest.mark.parametrize("scaled", [False, True])
def test_action_that_pays(scaled: bool) -> None:
    """Reward scaling divides; it must not turn what pays into what costs."""
    config = CONFIG.replace(normalize_rewards=scaled)
    distribution, value = learn(probes.RewardedAction, config)(1.0)
    assert probability(distribution) > 0.95
    assert scaled or value > 0.8


def test_action_that_the_observation_names() -> None:
    look = learn(probes.SignalledAction)
    assert probability(look(1.0)[0]) > 0.95
    assert probability(look(-1.0)[0]) < 0.05


def test_real_action_with_an_optimum() -> None:
    distribution, _ = learn(probes.TargetAction, CONFIG.replace(log_std_init=-0.5))(1.0)
    assert isinstance(distribution, DiagGaussian)
    np.testing.assert_allclose(distribution.mean, [[0.5]], atol=0.1)
    # Any spread costs reward: the deviation must have fallen from exp(-0.5) = 0.61.
    assert float(distribution.log_std[0, 0]) < -0.8


def merge_flags(*arrays: Any, terminated: Any, truncated: Any, **rest: Any) -> Any:
    """The mistake: a time limit taken for an end."""
    done = terminated | truncated
    return compute_gae(*arrays, terminated=done, truncated=done, **rest)


def merged_value(gamma: float, gae_lambda: float, limit: int) -> float:
    """The value that the mistake converges to, in float64.

    Every state looks the same, so the critic is one number V that settles at the mean of its
    targets. With j steps to go, the target is G_j = 1 + gamma ((1 - lambda) V + lambda G_{j-1}),
    and the last, taken for an end, is G_1 = 1. V = mean G_j is linear in V: two evaluations
    solve it.
    """

    def mean_target(value: float) -> float:
        targets = [1.0]
        while len(targets) < limit:
            blend = (1 - gae_lambda) * value + gae_lambda * targets[-1]
            targets.append(1.0 + gamma * blend)
        return float(np.mean(targets))

    intercept = mean_target(0.0)
    slope = mean_target(1.0) - intercept
    return intercept / (1 - slope)


@pytest.mark.parametrize("gamma", [0.5, 0.8])
def test_a_time_limit_is_not_an_end(gamma: float) -> None:
    config = CONFIG.replace(gamma=gamma, gae_lambda=0.95)
    right, wrong = 1 / (1 - gamma), merged_value(gamma, 0.95, probes.OnlyTruncated.limit)
    # gamma = 0.5: 2 against 1.55; gamma = 0.8: 5 against 2.2
    assert right - wrong > 0.4
    _, value = learn(probes.OnlyTruncated, config)(1.0)
    np.testing.assert_allclose(value, right, rtol=0.03)
    _, mistaken = learn(probes.OnlyTruncated, config, advantage_fn=merge_flags)(1.0)
    np.testing.assert_allclose(mistaken, wrong, rtol=0.05)
