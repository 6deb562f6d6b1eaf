"""Gymnasium as the trainer sees it: autoreset, the two kinds of ending, and what is refused."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from jax_ppo.config import ConfigError, PPOConfig
from torch_ref import (
    collect_rollout,
    draw_randomness,
    from_gymnasium,
    init_rollout_state,
    make_batch,
    make_network,
    train,
)
from torch_ref import make_env as make_env_of

KEYS = torch.tensor([3, 5])
STILL = torch.zeros(2, dtype=torch.int64)
TIME_LIMIT = "max_steps_in_episode must be a whole number"


def make_env(env_id: str, **changes: Any) -> Any:
    """The environment of a config with this id."""
    return make_env_of(PPOConfig(env_id=env_id, **changes))


def run(env: Any, num_steps: int, keys: torch.Tensor = KEYS, action: Any = STILL) -> list[Any]:
    """The steps of two environments that get the same action all the time."""
    _, state = env.reset(KEYS)
    return [env.step(keys, state, action) for _ in range(num_steps)]


# Autoreset


def test_the_step_that_ends_an_episode_gives_both_observations(clock: Any) -> None:
    steps = run(from_gymnasium(partial(clock, terminate_at=3)), 4)
    assert [step.obs[0].item() for step in steps] == [1, 2, 0, 1]
    assert [step.next_obs[0].item() for step in steps] == [1, 2, 3, 1]
    assert [step.terminated[0].item() for step in steps] == [False, False, True, False]


def test_only_the_environments_that_ended_are_reset(clock: Any) -> None:
    lengths = iter([3, 2, 100])
    env = from_gymnasium(lambda: clock(terminate_at=next(lengths)))
    second = run(env, 2)[-1]
    assert second.obs.tolist() == [[0], [2]]
    assert second.next_obs.tolist() == [[2], [2]]
    assert second.terminated.tolist() == [True, False]


@pytest.mark.parametrize("terminated", [False, True])
def test_truncation_is_not_termination(clock: Any, terminated: bool) -> None:
    """Not even where both come at once."""
    make = partial(clock, truncate_at=2, terminate_at=2 * terminated)
    last = run(from_gymnasium(make), 2)[-1]
    assert last.truncated.tolist() == [True, True]
    assert last.terminated.tolist() == [terminated, terminated]
    assert last.next_obs.tolist() == [[2], [2]]


def test_cartpole_ends_beyond_its_limits_and_starts_again_within() -> None:
    steps = run(make_env("CartPole-v1"), 12)
    ends = [
        (step.next_obs[i], step.obs[i]) for step in steps for i in torch.where(step.terminated)[0]
    ]
    assert ends, "pushed one way only, a pole falls within 12 steps"
    for last, first in ends:
        assert abs(last[2]) > 12 * np.pi / 180
        assert torch.all(torch.abs(first) <= 0.05)


def test_pendulum_is_only_ever_truncated() -> None:
    env = make_env("Pendulum-v1", env_params={"max_steps_in_episode": 3})
    steps = run(env, 3, action=torch.zeros(2, 1))
    assert [step.truncated.all().item() for step in steps] == [False, False, True]
    assert not any(step.terminated.any() for step in steps)
    assert not torch.equal(steps[-1].obs, steps[-1].next_obs)


def test_later_steps_leave_earlier_observations_alone() -> None:
    env = make_env("CartPole-v1")
    first, state = env.reset(KEYS)
    before = first.clone()
    second = env.step(KEYS, state, STILL).obs
    copy = second.clone()
    env.step(KEYS, state, STILL)
    assert torch.equal(first, before)
    assert torch.equal(second, copy)


# Seeds


def test_keys_decide_the_first_observations() -> None:
    env = make_env("CartPole-v1")
    obs, _ = env.reset(KEYS)
    assert torch.equal(obs, env.reset(KEYS)[0])
    assert not torch.equal(obs, env.reset(KEYS + 1)[0])
    assert not torch.equal(obs[0], obs[1])


def test_steps_make_no_use_of_their_keys() -> None:
    env = make_env("CartPole-v1")
    one, other = (
        torch.stack([step.obs for step in run(env, 20, keys)]) for keys in (KEYS, KEYS + 17)
    )
    assert torch.equal(one, other)


def test_each_reset_starts_environments_of_its_own() -> None:
    env = make_env("CartPole-v1")
    _, one = env.reset(KEYS)
    expected = env.step(KEYS, env.reset(KEYS)[1], STILL).obs
    assert torch.equal(env.step(KEYS, one, STILL).obs, expected)


# The time limit


def test_the_time_limit_is_that_of_the_registration_or_of_the_config(clock: Any) -> None:
    """A custom environment need not have one."""
    assert make_env("CartPole-v1").max_episode_steps == 500
    assert make_env("Pendulum-v1").max_episode_steps == 200
    assert make_env("CliffWalking-v1").max_episode_steps is None
    env = make_env("CartPole-v1", env_params={"max_steps_in_episode": 7.0})
    assert env.max_episode_steps == 7
    assert from_gymnasium(clock).max_episode_steps is None


# Observations


def test_whole_numbers_become_one_hot() -> None:
    """As many as the map has fields, and env_kwargs reach the constructor."""
    env = make_env("FrozenLake-v1")
    obs, state = env.reset(KEYS)
    assert env.observation_space.shape == (16,)
    larger = make_env("FrozenLake-v1", env_kwargs={"map_name": "8x8"})
    assert larger.observation_space.shape == (64,)
    assert torch.equal(obs, torch.eye(16)[[0, 0]])
    assert env.step(KEYS, state, STILL).obs.sum(dim=1).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("space", "raw", "shape", "expected"),
    [
        (spaces.Discrete(3, start=5), np.int64(6), (3,), [0.0, 1.0, 0.0]),
        (spaces.Box(0.0, 9.0, ()), np.array(4.0, np.float32), (1,), [4.0]),
        (spaces.Box(0, 255, (2, 2, 1), np.uint8), np.full((2, 2, 1), 7, np.uint8), (2, 2, 1), None),
    ],
    ids=["discrete with a start", "scalar", "image"],
)
def test_observations_become_floating_point_arrays(
    clock: Any, space: Any, raw: Any, shape: tuple[int, ...], expected: Any
) -> None:
    def make() -> Any:
        env = clock(terminate_at=1)
        env.observation_space, env.see = space, lambda: raw
        return env

    env = from_gymnasium(make)
    obs, state = env.reset(KEYS)
    step = env.step(KEYS, state, STILL)
    assert env.observation_space.shape == shape
    for array in (obs, step.obs, step.next_obs):
        assert array.shape == (2, *shape)
        assert array.dtype == torch.float32
        assert array[0].tolist() == (np.full(shape, 7.0).tolist() if expected is None else expected)


def test_everything_follows_the_default_dtype(float64: None) -> None:
    env = make_env("Pendulum-v1")
    obs, state = env.reset(KEYS)
    step = env.step(KEYS, state, torch.zeros(2, 1))
    assert {obs.dtype, step.obs.dtype, step.next_obs.dtype, step.reward.dtype} == {torch.float64}
    assert env.action_space.low.dtype == torch.float64


# Actions


def test_continuous_actions_are_clipped_to_the_bounds() -> None:
    actions = make_env("Pendulum-v1").action_space
    assert actions.to_env(torch.tensor([[-5.0], [0.5], [5.0]])).tolist() == [[-2.0], [0.5], [2.0]]


def test_the_policy_is_credited_with_the_action_before_clipping(
    clock: Any, tiny_config: PPOConfig, generator: torch.Generator
) -> None:
    env = from_gymnasium(partial(clock, action_space=spaces.Box(-0.1, 0.1, (2,))))
    network = make_network(tiny_config, env)
    state = init_rollout_state(generator, tiny_config, env)
    draws = draw_randomness(generator, tiny_config, env)
    params = network.init(generator)
    _, transitions, _ = collect_rollout(
        state, params, draws.noise, draws.env_keys, config=tiny_config, env=env, network=network
    )
    assert torch.any(torch.abs(transitions.action) > 0.1)
    batch = make_batch(params, transitions, tiny_config, network)
    policy, _ = network.apply(params, batch.obs)
    assert torch.equal(batch.old_log_prob, policy.log_prob(batch.action))
    taken = np.array([made.taken for made in state.env_state.envs])
    np.testing.assert_array_equal(
        taken, torch.clamp(transitions.action, -0.1, 0.1).transpose(0, 1).numpy()
    )


@pytest.mark.parametrize(
    ("space", "action", "received"),
    [
        (spaces.Discrete(3, start=-1), torch.tensor([0, 2]), [np.int64(-1), np.int64(1)]),
        (spaces.Box(-1.0, 1.0, (1, 2)), torch.ones(2, 2), [np.ones((1, 2), np.float32)] * 2),
    ],
    ids=["discrete with a start", "box"],
)
def test_the_environment_gets_actions_of_its_own_type(
    clock: Any, space: Any, action: torch.Tensor, received: Any
) -> None:
    env = from_gymnasium(partial(clock, action_space=space))
    _, state = env.reset(KEYS)
    env.step(KEYS, state, env.action_space.to_env(action))
    for made, expected in zip(state.envs, received, strict=True):
        assert space.contains(made.taken[0])
        np.testing.assert_array_equal(made.taken[0], expected)


# What is refused


@pytest.mark.parametrize(
    ("env_id", "changes", "message"),
    [
        ("cartpole-v1", {}, "'cartpole-v1'; did you mean CartPole-v1"),
        ("Pendulm-v1", {}, "'Pendulm-v1'; did you mean Pendulum-v1"),
        ("CartPole-v1", {"env_params": {"gravity": 1.0}}, r"'gravity'.*env_kwargs"),
        ("CartPole-v1", {"env_kwargs": {"size": 3}}, r"env_kwargs \{'size': 3\}"),
        ("Blackjack-v1", {}, "Blackjack-v1: observations of type Tuple"),
        *(
            ("CartPole-v1", {"env_params": {"max_steps_in_episode": limit}}, TIME_LIMIT)
            for limit in (0, -3, 2.5, float("nan"), float("inf"), "ten")
        ),
    ],
)
def test_the_message_names_what_is_wrong(env_id: str, changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(env_id, **changes)


def test_a_missing_package_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: Any, **__: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is missing,\n  run pip install box2d")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(ConfigError, match=r"^LunarLander-v3 .*: Box2D is missing, run pip install"):
        make_env("LunarLander-v3")


@pytest.mark.parametrize(
    "space",
    [spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2), spaces.Tuple([spaces.Discrete(2)])],
)
def test_other_kinds_of_actions_are_refused(clock: Any, space: Any) -> None:
    with pytest.raises(ConfigError, match=f"Clock: actions of type {type(space).__name__}"):
        from_gymnasium(partial(clock, action_space=space))


@pytest.mark.parametrize(
    ("package", "env_id", "obs_shape"),
    [
        ("Box2D", "LunarLander-v3", (8,)),
        ("Box2D", "LunarLanderContinuous-v3", (8,)),
        ("mujoco", "Hopper-v5", (11,)),
    ],
)
def test_environments_of_the_extras(package: str, env_id: str, obs_shape: tuple[int, ...]) -> None:
    """Where they are installed; a rollout with actions of their kind."""
    pytest.importorskip(package)
    config = PPOConfig(env_id=env_id, num_envs=2, num_steps=200, total_steps=400, num_minibatches=2)
    state, metrics = train(torch.Generator().manual_seed(0), config)
    assert state.rollout.obs.shape == (2, *obs_shape)
    assert metrics.num_episodes.sum() > 0
    assert all(torch.isfinite(param).all() for param in state.params.values())


class Talkative(gymnasium.Env):
    """Its info has another shape, or another type, in each environment."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)
    made = 0

    def __init__(self, info: Any) -> None:
        Talkative.made += 1
        self.number, self.info = Talkative.made, info

    def reset(self, **_: Any) -> Any:
        return np.zeros(2, np.float32), self.info(self.number)

    def step(self, _: Any) -> Any:
        return np.ones(2, np.float32), 1.0, True, False, self.info(self.number)


@pytest.mark.parametrize(
    "info", [lambda n: {"path": np.zeros(n)}, lambda n: {"why": 0 if n % 2 else "wall"}]
)
def test_an_info_of_any_shape_is_no_obstacle(info: Any) -> None:
    env = from_gymnasium(lambda: Talkative(info))
    _, state = env.reset(KEYS)
    stepped = env.step(KEYS, state, torch.zeros(len(KEYS), dtype=torch.int64))
    assert stepped.terminated.all()
    assert stepped.next_obs.tolist() == [[1.0, 1.0]] * len(KEYS)
    assert stepped.obs.tolist() == [[0.0, 0.0]] * len(KEYS)
