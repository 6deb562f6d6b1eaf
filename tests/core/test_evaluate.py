"""Evaluation against a plain Python loop over gymnax."""

from functools import partial
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo import (
    Categorical,
    ConfigError,
    DiagGaussian,
    DiscreteActions,
    Network,
    PPOConfig,
    RunningStats,
    evaluate_policy,
    ppo,
)

EPISODES = 6


NETWORK = Network(
    init=lambda _: jnp.zeros((4, 2)),
    apply=lambda params, obs: (Categorical(obs @ params), jnp.zeros(len(obs))),
)
"""logits = obs . params: a policy that is known."""
evaluate_linear = partial(evaluate_policy, algorithm_fn=partial(ppo, network=NETWORK))
LEAN = jnp.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 1.0], [-0.5, 0.5]])
"""Push to the side that the pole falls to: lives long on CartPole."""
ALWAYS_0 = jnp.zeros((4, 2))
"""Equal logits: the mode is action 0, whatever is seen."""


def replay(
    key: jax.Array,
    params: Any,
    limit: int,
    *,
    deterministic: bool,
    stats: tuple[Any, Any] | None = None,
    max_steps: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths of each episode, one environment after another."""
    env, env_params = gymnax.make("CartPole-v1")
    env_params = env_params.replace(max_steps_in_episode=limit)
    reset_key, step_key = jax.random.split(key)
    reset_keys = jax.random.split(reset_key, EPISODES)
    step = jax.jit(env.step)
    returns, lengths = [], []
    for episode in range(EPISODES):
        obs, state = env.reset(reset_keys[episode], env_params)
        total, t, done = 0.0, 0, False
        while not done and t < (max_steps or limit):
            noise_key, env_key = jax.random.split(jax.random.fold_in(step_key, t))
            seen = np.asarray(obs, np.float64)
            if stats is not None:
                seen = np.clip((seen - stats[0]) / np.sqrt(stats[1] + 1e-8), -10, 10)
            logits = seen @ np.asarray(params, np.float64)
            if not deterministic:
                noise = DiscreteActions(2).draw_noise(noise_key, (EPISODES,))
                logits = logits + np.asarray(noise)[episode]
            env_keys = jax.random.split(env_key, EPISODES)
            obs, state, reward, terminated, truncated, _ = step(
                env_keys[episode], state, int(np.argmax(logits)), env_params
            )
            total, t, done = total + float(reward), t + 1, bool(terminated | truncated)
        returns.append(total)
        lengths.append(t)
    return np.array(returns), np.array(lengths)


def evaluate(params: Any, limit: int, stats: Any = None, **options: Any) -> Any:
    """The library's answer for the same."""
    config = PPOConfig(env_params={"max_steps_in_episode": limit})
    return evaluate_linear(
        jax.random.key(0), params, stats, config, num_episodes=EPISODES, **options
    )


@pytest.mark.parametrize("deterministic", [True, False], ids=["mode", "sample"])
@pytest.mark.parametrize("params", [ALWAYS_0, LEAN], ids=["always-0", "lean"])
def test_returns_equal_a_python_loop(params: jax.Array, deterministic: bool) -> None:
    results = evaluate(params, 40, deterministic=deterministic)
    returns, lengths = replay(jax.random.key(0), params, 40, deterministic=deterministic)
    np.testing.assert_array_equal(results.episode_return, returns)
    np.testing.assert_array_equal(results.episode_length, lengths)
    assert results.finished.all()
    assert results.episode_length.dtype == jnp.int32


def test_mode_and_sample_differ_and_every_environment_counts_once() -> None:
    mode, sample = evaluate(ALWAYS_0, 500), evaluate(ALWAYS_0, 500, deterministic=False)
    # Always pushing left fails within 8 to 11 steps; a coin toss lasts some 20 on average.
    assert np.all((mode.episode_length >= 8) & (mode.episode_length <= 11))
    assert sample.episode_length.mean() > 11
    # CartPole pays 1 a step: the return of one episode is its length; two would be more than 11.
    np.testing.assert_array_equal(mode.episode_return, mode.episode_length)


def test_statistics_are_used_and_frozen() -> None:
    """Used: the replay normalizes by them. Frozen: it does so with the same ones to the end."""
    mean, var = np.array([0.0, 0.5, 0.25, 0.1]), np.array([1.0, 2.0, 0.01, 0.5])
    stats = RunningStats(jnp.asarray(mean), jnp.asarray(var), jnp.array(10.0))
    results = evaluate(LEAN, 60, stats)
    returns, _ = replay(jax.random.key(0), LEAN, 60, deterministic=True, stats=(mean, var))
    np.testing.assert_array_equal(results.episode_return, returns)
    unnormalized, _ = replay(jax.random.key(0), LEAN, 60, deterministic=True)
    assert not np.array_equal(returns, unnormalized)


def test_max_steps_leaves_episodes_unfinished() -> None:
    lengths = np.asarray(evaluate(ALWAYS_0, 500).episode_length)
    cut = int(np.sort(lengths)[EPISODES // 2])
    results = evaluate(ALWAYS_0, 500, max_steps=cut - 1)
    np.testing.assert_array_equal(results.finished, lengths <= cut - 1)
    np.testing.assert_array_equal(results.episode_length, np.minimum(lengths, cut - 1))
    assert not results.finished.all()


def test_a_limit_that_is_not_known_must_be_given() -> None:
    config = PPOConfig()

    @jax.jit
    def traced(limit: jax.Array) -> Any:
        setting = config.replace(env_params={"max_steps_in_episode": limit})
        return evaluate_linear(jax.random.key(0), ALWAYS_0, None, setting, num_episodes=2)

    with pytest.raises(ConfigError, match="max_steps"):
        traced(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_episodes": 0}, "num_episodes"),
        ({"num_episodes": -1}, "num_episodes"),
        ({"num_episodes": 1, "max_steps": 0}, "max_steps must be at least 1, got 1 and 0"),
    ],
)
def test_there_must_be_an_episode_and_a_step(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate_linear(jax.random.key(0), ALWAYS_0, None, PPOConfig(), **options)


def test_continuous_actions_are_clipped() -> None:
    """Far out of bounds, MountainCarContinuous costs 0.1 * 1^2 a step, not 0.1 * 50^2."""

    def far_out(_: Any, obs: jax.Array) -> Any:
        mean = jnp.full((len(obs), 1), -50.0)
        return DiagGaussian(mean, jnp.zeros_like(mean)), jnp.zeros(len(obs))

    config = PPOConfig(env_id="MountainCarContinuous-v0", env_params={"max_steps_in_episode": 10})
    algorithm_fn = partial(ppo, network=Network(init=lambda _: None, apply=far_out))
    results = evaluate_policy(
        jax.random.key(0), None, None, config, algorithm_fn=algorithm_fn, num_episodes=2
    )
    np.testing.assert_allclose(results.episode_return, [-1.0, -1.0], rtol=1e-5)


def test_under_jit_it_is_the_same() -> None:
    config = PPOConfig(env_params={"max_steps_in_episode": 30})
    jitted = jax.jit(
        lambda key, params: evaluate_linear(key, params, None, config, num_episodes=EPISODES)
    )
    got, expected = jitted(jax.random.key(0), LEAN), evaluate(LEAN, 30)
    np.testing.assert_array_equal(got.episode_return, expected.episode_return)
