"""Rollouts against a plain Python loop over gymnax that replays the same actions and keys."""

from functools import partial
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jax_ppo import (
    Metrics,
    Network,
    PPOConfig,
    Transition,
    collect_rollout,
    draw_randomness,
    init_rollout_state,
    make_batch,
    make_env,
    make_network,
)

ROLLOUTS, STEPS, ENVS, LIMIT, GAMMA, CLIP = 2, 30, 4, 13, 0.9, 1.3


class Replay(NamedTuple):
    """What really happened, [steps, envs, ...], nothing normalized; every array NumPy's."""

    obs: np.ndarray
    final_obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class Played(NamedTuple):
    """Consecutive rollouts, and their replay."""

    config: PPOConfig
    network: Network
    params: Any
    noise: list[np.ndarray]
    states: list[Any]
    transitions: list[Transition]
    metrics: list[Metrics]
    replays: list[Replay]


def play(**changes: Any) -> Played:
    """Some rollouts in a row with a random policy, recorded and replayed."""
    config = PPOConfig(
        env_params={"max_steps_in_episode": LIMIT},
        num_envs=ENVS,
        num_steps=STEPS,
        hidden_sizes=(8,),
        gamma=GAMMA,
        normalization_clip=CLIP,
        **changes,
    )
    env = make_env(config)
    network = make_network(config, env)
    params = network.init(jax.random.key(0))
    collect = jax.jit(partial(collect_rollout, config=config, env=env, network=network))
    gym_env, gym_params = gymnax.make(config.env_id)
    gym_params = gym_params.replace(max_steps_in_episode=LIMIT)
    gym_step = jax.jit(jax.vmap(gym_env.step, in_axes=(0, 0, 0, None)))

    state = jax.jit(lambda key: init_rollout_state(key, config, env))(jax.random.key(1))
    played = Played(config, network, params, [], [state], [], [], [])
    obs, env_state = state.obs, state.env_state
    for index in range(ROLLOUTS):
        draws = draw_randomness(jax.random.key(10 + index), config, env)
        state, transitions, metrics = collect(state, params, draws.noise, draws.env_keys)
        steps = []
        for t in range(STEPS):
            action = transitions.action[t]
            if config.env_id != "CartPole-v1":
                action = jnp.clip(action, -1.0, 1.0)
            before = obs
            obs, env_state, reward, terminated, truncated, info = gym_step(
                draws.env_keys[t], env_state, action, gym_params
            )
            steps.append((before, info["final_observation"], reward, terminated, truncated))
        played.replays.append(Replay(*(np.stack(x) for x in zip(*steps, strict=True))))
        played.noise.append(np.asarray(draws.noise))
        played.states.append(state)
        played.transitions.append(transitions)
        played.metrics.append(metrics)
        # Start the next replay from the recorded state, so that roundings cannot add up.
        obs, env_state = state.obs, state.env_state
    return played


@pytest.fixture(scope="module")
def plain() -> Played:
    return play()


@pytest.fixture(scope="module")
def normalized() -> Played:
    return play(normalize_observations=True, normalize_rewards=True)


@pytest.fixture(scope="module")
def continuous() -> Played:
    return play(env_id="MountainCarContinuous-v0", log_std_init=1.5)


def test_shapes(plain: Played, continuous: Played) -> None:
    one = plain.transitions[0]
    assert one.obs.shape == one.next_obs.shape == (STEPS, ENVS, 4)
    assert one.action.shape == (STEPS, ENVS)
    assert one.action.dtype == jnp.int32
    for array in (one.reward, one.terminated, one.truncated):
        assert array.shape == (STEPS, ENVS)
    assert continuous.transitions[0].action.shape == (STEPS, ENVS, 1)
    assert plain.states[0].obs_stats is None
    assert plain.states[0].return_stats is None


def test_transitions_equal_the_replay(plain: Played) -> None:
    """Including the observation before the reset, which differs from the next one acted on."""
    for transitions, replay in zip(plain.transitions, plain.replays, strict=True):
        np.testing.assert_allclose(transitions.obs, replay.obs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(transitions.next_obs, replay.final_obs, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(transitions.reward, replay.reward)
        np.testing.assert_array_equal(transitions.terminated, replay.terminated)
        np.testing.assert_array_equal(transitions.truncated, replay.truncated)
        done = (replay.terminated | replay.truncated)[:-1]
        assert replay.truncated.any()
        assert replay.terminated.any()
        gap = np.abs(transitions.next_obs[:-1] - transitions.obs[1:]).max(axis=-1)
        assert np.all(gap[done] > 1e-3), "next_obs is from before the reset"
        assert np.all(gap[~done] == 0), "inside an episode next_obs is the next obs"
    # The second rollout goes on where the first ended.
    np.testing.assert_array_equal(plain.transitions[1].obs[0], plain.states[1].obs)


def test_the_batch_evaluates_the_policy_that_took_the_actions(plain: Played) -> None:
    """Gumbel's trick: the action is where logits + noise is largest, its probability softmax."""
    for transitions, noise in zip(plain.transitions, plain.noise, strict=True):
        batch = make_batch(plain.params, transitions, plain.config, plain.network)
        policy, values = plain.network.apply(plain.params, batch.obs)
        logits = np.asarray(policy.logits, np.float64)  # type: ignore[union-attr]
        action = np.argmax(logits + noise.reshape(-1, 2), axis=-1)
        np.testing.assert_array_equal(batch.action, action)
        probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        taken = np.take_along_axis(probs, action[:, None], -1)[:, 0]
        np.testing.assert_allclose(np.exp(batch.old_log_prob), taken, rtol=1e-6)
        np.testing.assert_array_equal(batch.old_value, values)
        assert set(np.unique(action)) == {0, 1}


def finished_episodes(replays: list[Replay]) -> list[list[tuple[float, int]]]:
    """(return, length) of the episodes that ended in each rollout; episodes may span rollouts."""
    running = [(0.0, 0)] * ENVS
    ended: list[list[tuple[float, int]]] = []
    for replay in replays:
        ended.append([])
        for t in range(STEPS):
            for env in range(ENVS):
                total, length = running[env]
                running[env] = (total + float(replay.reward[t, env]), length + 1)
                if replay.terminated[t, env] or replay.truncated[t, env]:
                    ended[-1].append(running[env])
                    running[env] = (0.0, 0)
    return ended


@pytest.mark.parametrize("fixture", ["plain", "normalized", "continuous"])
def test_episode_statistics(fixture: str, request: pytest.FixtureRequest) -> None:
    """Of raw rewards, whatever is normalized, and over the seam between rollouts."""
    played: Played = request.getfixturevalue(fixture)
    for metrics, episodes in zip(played.metrics, finished_episodes(played.replays), strict=True):
        assert metrics.num_episodes == len(episodes) > 0
        expected_return, expected_length = np.mean(episodes, axis=0)
        np.testing.assert_allclose(metrics.episode_return, expected_return, rtol=1e-5)
        np.testing.assert_allclose(metrics.episode_length, expected_length, rtol=1e-6)
    # What runs on at the end is carried on, not counted.
    last = played.states[-1]
    assert int(last.episode_length.sum()) == ROLLOUTS * STEPS * ENVS - sum(
        length for episodes in finished_episodes(played.replays) for _, length in episodes
    )


def test_no_finished_episode_gives_nan_and_zero() -> None:
    config = PPOConfig(env_id="Pendulum-v1", num_envs=2, num_steps=4, hidden_sizes=(4,))
    env = make_env(config)
    network = make_network(config, env)
    state = init_rollout_state(jax.random.key(0), config, env)
    draws = draw_randomness(jax.random.key(1), config, env)
    collect = jax.jit(partial(collect_rollout, config=config, env=env, network=network))
    params = network.init(jax.random.key(2))
    _, _, metrics = collect(state, params, draws.noise, draws.env_keys)
    assert metrics.num_episodes == 0
    assert np.isnan(metrics.episode_return)
    assert np.isnan(metrics.episode_length)


def test_statistics_are_those_of_every_observation_acted_on(normalized: Played) -> None:
    for index in range(ROLLOUTS):
        seen = np.concatenate([r.obs.reshape(-1, 4) for r in normalized.replays[: index + 1]])
        stats = normalized.states[index + 1].obs_stats
        assert stats.count == len(seen) == (index + 1) * STEPS * ENVS
        np.testing.assert_allclose(stats.mean, seen.astype(float).mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(stats.var, seen.astype(float).var(axis=0, ddof=0), rtol=1e-4)
    # Not those of the observations after the step, before the reset:
    other = np.concatenate([r.final_obs.reshape(-1, 4) for r in normalized.replays])
    assert np.max(np.abs(other.var(axis=0) / stats.var - 1)) > 0.01


def test_normalized_observations(normalized: Played) -> None:
    """With the statistics as they are at that step: its observation included, later ones not."""
    # [steps, observation and next one, envs, 4]
    raw = np.concatenate([np.stack([r.obs, r.final_obs], 1) for r in normalized.replays])
    got = np.concatenate([np.stack([t.obs, t.next_obs], 1) for t in normalized.transitions])
    raw = raw.astype(float)
    assert np.abs(got[:, 0]).max() == np.float32(CLIP)
    for t in range(len(raw)):
        seen = raw[: t + 1, 0].reshape(-1, 4)
        mean, std = seen.mean(axis=0), np.sqrt(seen.var(axis=0) + 1e-8)
        # float32 statistics: their error of 1e-6 is divided by deviations of 0.03 at first
        np.testing.assert_allclose(got[t], np.clip((raw[t] - mean) / std, -CLIP, CLIP), atol=2e-3)


def scaled_rewards(replays: list[Replay], *, restart: bool = True) -> np.ndarray:
    """r_t / sqrt(Var(R_0 .. R_t) + 1e-8), R_t = gamma R_{t-1} + r_t, from 0 after each episode."""
    running, seen, scaled = np.zeros(ENVS), [], []
    for replay in replays:
        for t in range(STEPS):
            running = GAMMA * running + replay.reward[t]
            seen.extend(running)
            scaled.append(np.clip(replay.reward[t] / np.sqrt(np.var(seen) + 1e-8), -CLIP, CLIP))
            if restart:
                running = np.where(replay.terminated[t] | replay.truncated[t], 0.0, running)
    return np.array(scaled)


def test_scaled_rewards(normalized: Played) -> None:
    got = np.concatenate([t.reward for t in normalized.transitions])
    expected = scaled_rewards(normalized.replays)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert np.unique(expected).size > 10, "not everything is clipped"
    wrong = scaled_rewards(normalized.replays, restart=False)
    assert np.max(np.abs(got - wrong)) > 0.01, "the sum must restart where an episode ends"
    assert normalized.states[-1].return_stats.count == ROLLOUTS * STEPS * ENVS


def test_actions_are_stored_unclipped_and_played_clipped(continuous: Played) -> None:
    """exp(1.5) = 4.5 standard deviations wide, bounds of 1: most actions lie outside."""
    transitions, replay = continuous.transitions[0], continuous.replays[0]
    action = np.asarray(transitions.action, np.float64)
    assert np.mean(np.abs(action) > 1) > 0.5
    batch = make_batch(continuous.params, transitions, continuous.config, continuous.network)
    policy, _ = continuous.network.apply(continuous.params, batch.obs)
    mean = np.asarray(policy.mean, np.float64)  # type: ignore[union-attr]
    actions = action.reshape(-1, 1)
    expected = scipy.stats.norm(mean, np.exp(1.5)).logpdf(actions)[:, 0]
    np.testing.assert_allclose(batch.old_log_prob, expected, rtol=1e-5)
    clipped = scipy.stats.norm(mean, np.exp(1.5)).logpdf(np.clip(actions, -1, 1))[:, 0]
    assert np.max(np.abs(batch.old_log_prob - clipped)) > 0.1
    # Away from the goal the reward is -0.1 a^2 of the action that the environment was given.
    np.testing.assert_allclose(
        transitions.reward, -0.1 * np.clip(action[..., 0], -1, 1) ** 2, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(transitions.reward, replay.reward, rtol=1e-5, atol=1e-7)
