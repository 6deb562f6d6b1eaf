"""Environments: every one that gymnax has, gymnax's own step as the oracle, and what is refused."""

import urllib.error
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers.purerl import FlattenObservationWrapper, StickyActionWrapper

from jax_ppo import ArraySpace, ConfigError, PPOConfig, from_gymnax, make_env, ppo

from .helpers import jit_train, leaves

NEEDS_NETWORK = "MNISTBandit-bsuite"
ENV_IDS = [env_id for env_id in gymnax.registered_envs if env_id != NEEDS_NETWORK]
ACTION_DIMS = {
    "Pendulum-v1": 1,
    "MountainCarContinuous-v0": 1,
    "PointRobot-misc": 2,
    "Reacher-misc": 2,
    "Swimmer-misc": 2,
}


def numerics_of(env_id: str) -> Any:
    """gymnax's Swimmer broadcasts [2] against [5, 2]; nothing else does."""
    return jax.numpy_rank_promotion("allow") if env_id == "Swimmer-misc" else nullcontext()


def test_there_are_25_environments_that_need_no_network() -> None:
    assert len(set(ENV_IDS)) == 25


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_every_environment_trains(env_id: str) -> None:
    config = PPOConfig(
        env_id=env_id,
        total_steps=8,
        num_envs=2,
        num_steps=4,
        update_epochs=1,
        num_minibatches=2,
        hidden_sizes=(4,),
        conv_channels=(2,),
        conv_stride=3,
    )
    with numerics_of(env_id):
        env = make_env(config)
        keys = jax.random.split(jax.random.key(0), 2)
        obs, state = jax.eval_shape(env.reset, keys)
        action = jnp.zeros((2, ACTION_DIMS[env_id])) if env_id in ACTION_DIMS else jnp.zeros(2, int)
        step = jax.eval_shape(
            lambda *a: env.step(*a[:2], env.action_space.to_env(a[2])), keys, state, action
        )
        trained, metrics = jit_train(jax.random.key(0), config)

    for array in (obs, step.obs, step.next_obs):
        assert array.shape == (2, *env.observation_space.shape)
        assert array.dtype == jnp.float32
    for array, dtype in ((step.reward, float), (step.terminated, bool), (step.truncated, bool)):
        assert array.shape == (2,)
        assert array.dtype == jnp.result_type(dtype)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), step.state) == jax.tree.map(
        lambda a: (a.shape, a.dtype), state
    )
    assert env.action_space.output_size >= 1
    assert env.max_episode_steps is not None
    assert env.max_episode_steps >= 1
    for name, values in metrics.as_dict().items():
        assert values.shape == (1,)
        if name not in ("episode_return", "episode_length"):
            assert np.isfinite(values).all(), name
    assert all(np.isfinite(leaf).all() for leaf in leaves(trained.params))
    assert metrics.gradient_steps == 2


@pytest.mark.parametrize(
    ("env_id", "limit"),
    [("CartPole-v1", 12), ("Pendulum-v1", 4), ("Breakout-MinAtar", 6), ("FrozenLake-misc", 3)],
)
def test_step_equals_gymnax_step(env_id: str, limit: int) -> None:
    """Same keys, same state: gymnax's own `step` with its autoreset gives the same, over resets."""
    ours = make_env(PPOConfig(env_id=env_id, env_params={"max_steps_in_episode": limit}))
    theirs, params = gymnax.make(env_id)
    params = params.replace(max_steps_in_episode=limit)

    def encode(obs: jax.Array) -> np.ndarray:
        raw = np.asarray(obs)
        return np.eye(16)[raw] if env_id == "FrozenLake-misc" else raw.astype(np.float64)

    our_step = jax.jit(ours.step)
    their_step = jax.jit(jax.vmap(theirs.step, in_axes=(0, 0, 0, None)))
    keys = jax.random.split(jax.random.key(1), 3)
    obs, state = jax.jit(ours.reset)(keys)
    their_obs, their_state = jax.vmap(theirs.reset, in_axes=(0, None))(keys, params)
    np.testing.assert_allclose(obs, encode(their_obs), rtol=1e-6)
    for a, b in zip(leaves(state), leaves(their_state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)

    ended = {"terminated": 0, "truncated": 0}
    space = theirs.action_space(params)
    for t in range(4 * limit):
        action_keys = jax.random.split(jax.random.key(100 + t), 3)
        action = jax.vmap(space.sample)(action_keys)
        step_keys = jax.random.split(jax.random.key(1000 + t), 3)
        ours_stepped = our_step(step_keys, state, action)
        obs, next_state, reward, terminated, truncated, info = their_step(
            step_keys, state, action, params
        )
        # One program against another: the last bit of a float may differ.
        np.testing.assert_allclose(ours_stepped.obs, encode(obs), rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(
            ours_stepped.next_obs, encode(info["final_observation"]), rtol=2e-6, atol=1e-6
        )
        np.testing.assert_allclose(ours_stepped.reward, reward.reshape(3), rtol=2e-6, atol=1e-6)
        np.testing.assert_array_equal(ours_stepped.terminated, terminated)
        np.testing.assert_array_equal(ours_stepped.truncated, truncated)
        for a, b in zip(leaves(ours_stepped.state), leaves(next_state), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)
        done = np.asarray(terminated | truncated)
        moved = np.any(np.reshape(ours_stepped.obs != ours_stepped.next_obs, (3, -1)), axis=1)
        assert not np.any(moved & ~done), "obs is next_obs unless the episode ended"
        ended["terminated"] += int(terminated.sum())
        ended["truncated"] += int(truncated.sum())
        state = ours_stepped.state
    assert ended["truncated"] > 0
    assert ended["terminated"] > 0 or env_id == "Pendulum-v1"


def test_environment_parameters_take_effect() -> None:
    """With a limit of 5, a pendulum is truncated at every 5th step and nowhere else."""
    config = PPOConfig(env_id="Pendulum-v1", env_params={"max_steps_in_episode": 5.0, "g": 0.0})
    env = make_env(config)
    assert env.max_episode_steps == 5
    step = jax.jit(env.step)
    keys = jax.random.split(jax.random.key(0), 2)
    obs, state = env.reset(keys)
    truncated = []
    for _ in range(11):
        before = obs
        obs, state, _, _, cut, next_obs = step(keys, state, jnp.zeros((2, 1)))
        truncated.append(bool(cut.all()))
        # Without gravity and torque the speed, observation number 2, stays.
        np.testing.assert_allclose(next_obs[:, 2], before[:, 2], rtol=1e-6)
    assert truncated == [t % 5 == 4 for t in range(11)]


def test_environment_parameters_may_be_traced() -> None:
    """Under jit the time limit is a tracer: nothing static may be asked of it."""

    @jax.jit
    def first_cut(limit: jax.Array) -> jax.Array:
        env = make_env(
            PPOConfig(env_id="Pendulum-v1").replace(env_params={"max_steps_in_episode": limit})
        )
        assert env.max_episode_steps is None
        keys = jax.random.split(jax.random.key(0), 2)
        _, state = env.reset(keys)
        cuts = []
        for _ in range(4):
            stepped = env.step(keys, state, jnp.zeros((2, 1)))
            state = stepped.state
            cuts.append(stepped.truncated.all())
        return jnp.argmax(jnp.stack(cuts))

    assert [int(first_cut(limit)) for limit in (1, 2, 3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_params": {"gravitty": 1.0}}, r"no environment parameter 'gravitty'.*gravity"),
        *(
            ({"env_id": wrong}, f"no environment '{wrong}'.*CartPole-v1")
            for wrong in ("Cartpole", "cartpole-v1", "CartPole-v0")
        ),
        ({"env_id": "%%%%"}, "known are"),
        *(
            ({"env_id": name}, "cannot import")
            for name in (":CartPole-v1", "..a:CartPole-v1", "a b:CartPole-v1")
        ),
        ({"env_id": "DeepSea-bsuite", "env_kwargs": {"sice": 5}}, "sice"),
        ({"env_id": "FrozenLake-misc", "env_kwargs": {"map_name": "5x5"}}, "map_name"),
        # A word, or nothing, where the environment computes with a number
        *(({"env_params": {"gravity": value}}, "gravity") for value in ("heavy", None, [1.0, 2.0])),
        *(
            ({"env_params": {"gravity": value}}, "gravity must be finite")
            for value in (float("nan"), float("inf"), np.float32("nan"))
        ),
        *(
            ({"env_params": {"max_steps_in_episode": limit}}, "episode must be at least 1")
            for limit in (0, -3)
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    """At once, as soon as an algorithm is made."""
    with pytest.raises(ConfigError, match=message):
        ppo(PPOConfig(**changes))


def test_environments_that_need_the_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(gymnax, "make", offline)
    with pytest.raises(ConfigError, match=f"{NEEDS_NETWORK}.*download"):
        make_env(PPOConfig(env_id=NEEDS_NETWORK))


def test_constructor_arguments() -> None:
    env = make_env(PPOConfig(env_id="DeepSea-bsuite", env_kwargs={"size": 5}))
    assert env.observation_space == ArraySpace((5, 5))


# Wrappers


def test_a_wrapper_acts() -> None:
    """With probability 1 a sticky action is replayed for ever: 0, which pushes to the left."""
    keys = jax.random.split(jax.random.key(0), 3)
    for probability, pushed_left in ((0.0, False), (1.0, True)):
        bare, params = gymnax.make("CartPole-v1")
        env = from_gymnax(StickyActionWrapper(bare, probability), params)
        obs, state = env.reset(keys)
        stepped = env.step(keys, state, jnp.ones(3, jnp.int32))
        np.testing.assert_array_equal(stepped.obs[:, 1] < obs[:, 1], [pushed_left] * 3)


def test_a_wrapper_that_does_nothing_changes_nothing() -> None:
    """Over time limits and resets, with the observation before each reset."""
    params = gymnax.make("CartPole-v1")[1].replace(max_steps_in_episode=5)
    bare = from_gymnax(gymnax.make("CartPole-v1")[0], params)
    wrapped = from_gymnax(StickyActionWrapper(gymnax.make("CartPole-v1")[0], 0.0), params)
    keys = jax.random.split(jax.random.key(0), 3)
    states = [env.reset(keys)[1] for env in (bare, wrapped)]
    steps = [jax.jit(env.step) for env in (bare, wrapped)]
    ends = 0
    for t in range(12):
        keys = jax.random.split(jax.random.key(t), 3)
        ours, theirs = (
            step(keys, state, jnp.array([0, 1, t % 2]))
            for step, state in zip(steps, states, strict=True)
        )
        for name in ("obs", "next_obs", "reward", "terminated", "truncated"):
            np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), rtol=1e-5)
        states = [ours.state, theirs.state]
        ends += int(ours.truncated.sum())
    assert ends == 6


def test_a_wrapper_of_observations() -> None:
    env, params = gymnax.make("Breakout-MinAtar")
    flat = from_gymnax(FlattenObservationWrapper(env), params)
    assert flat.observation_space == ArraySpace((400,))
    keys = jax.random.split(jax.random.key(0), 2)
    stepped = flat.step(keys, flat.reset(keys)[1], jnp.zeros(2, jnp.int32))
    assert stepped.obs.shape == stepped.next_obs.shape == (2, 400)


# Observations of every kind


def test_discrete_observations_become_one_hot() -> None:
    env = make_env(PPOConfig(env_id="FrozenLake-misc"))
    obs, _ = env.reset(jax.random.split(jax.random.key(0), 2))
    assert env.observation_space == ArraySpace((16,))
    np.testing.assert_array_equal(obs, np.eye(16)[[0, 0]])


class Custom(environment.Environment):
    """One step long; the observation is whatever it was built with."""

    def __init__(
        self, obs: Any = 0.0, space: Any = None, actions: Any = None, end: Any = False
    ) -> None:
        self.obs = jax.tree.map(jnp.asarray, obs)
        self.end = jnp.asarray(end)
        self.space = space or spaces.Box(0, 1, jnp.shape(obs))
        self.actions = actions or spaces.Discrete(2)

    @property
    def default_params(self) -> environment.EnvParams:
        return environment.EnvParams()

    def reset_env(self, key: jax.Array, params: Any) -> tuple:
        return self.obs, environment.EnvState(time=0)

    def step_env(self, key: jax.Array, state: Any, action: Any, params: Any) -> tuple:
        reward = jnp.sum(jnp.asarray(action, jnp.int32))
        return self.obs, environment.EnvState(time=state.time + 1), reward, self.end, {}

    def observation_space(self, params: Any) -> Any:
        return self.space

    def action_space(self, params: Any) -> Any:
        return self.actions


@struct.dataclass
class Sum:
    """A state that begins as a whole number."""

    time: int
    total: jax.Array


class Adder(Custom):
    """Adds a half at every step to what its reset made a whole number."""

    def reset_env(self, key: jax.Array, params: Any) -> tuple:
        return self.obs, Sum(time=0, total=jnp.array(0))

    def step_env(self, key: jax.Array, state: Any, action: Any, params: Any) -> tuple:
        total = state.total + 0.5
        return self.obs, Sum(state.time + 1, total), total, jnp.array(False), {}


def test_a_state_that_would_lose_its_fraction_is_refused() -> None:
    env = from_gymnax(Adder(), environment.EnvParams())
    keys = jax.random.split(jax.random.key(0), 2)
    _, state = env.reset(keys)
    with pytest.raises(ConfigError, match="state total is int32 after a reset and float32 after"):
        env.step(keys, state, jnp.zeros(2, jnp.int32))


@pytest.fixture
def registered() -> Iterator[str]:
    """The custom environment under a name of its own, for the length of a test."""
    name = "Custom-test"
    gymnax.register(name, Custom)
    yield name
    gymnax.registered_envs.remove(name)
    gymnax.registration._registry.pop(name)


def test_registered_environments_can_be_named(registered: str) -> None:
    env = make_env(PPOConfig(env_id=registered, env_kwargs={"obs": 0.25}))
    obs, state = env.reset(jax.random.split(jax.random.key(0), 3))
    # A scalar observation becomes a vector of one entry; an integer reward a float.
    np.testing.assert_array_equal(obs, [[0.25]] * 3)
    stepped = env.step(jax.random.split(jax.random.key(0), 3), state, jnp.array([0, 1, 1]))
    np.testing.assert_array_equal(stepped.reward, [0.0, 1.0, 1.0])
    assert stepped.reward.dtype == jnp.float32
    np.testing.assert_array_equal(stepped.truncated, [True] * 3)
    np.testing.assert_array_equal(stepped.terminated, [False] * 3)


def test_a_constructor_that_fails_becomes_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("out of paint")

    monkeypatch.setattr(gymnax, "make", broken)
    with pytest.raises(ConfigError, match=r"CartPole-v1.*out of paint"):
        make_env(PPOConfig())


def test_integer_images_become_floats() -> None:
    env = Custom(np.full((4, 3), 7, np.uint8))
    wrapped = from_gymnax(env, env.default_params)
    obs, _ = wrapped.reset(jax.random.split(jax.random.key(0), 2))
    assert obs.dtype == jnp.float32
    np.testing.assert_array_equal(obs, np.full((2, 4, 3), 7.0))


@pytest.mark.parametrize(
    ("changes", "space"),
    [
        ({"obs": {"a": 0.0}, "space": spaces.Dict({"a": spaces.Box(0, 1, ())})}, "Dict"),
        ({"actions": spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])}, "Tuple"),
    ],
)
def test_other_spaces_are_refused(changes: dict[str, Any], space: str) -> None:
    env = Custom(**changes)
    with pytest.raises(ConfigError, match=f"Custom.*{space}"):
        from_gymnax(env, env.default_params)


# Actions


@pytest.mark.parametrize("end", [True, 1, 0, 2])
def test_an_end_may_be_a_whole_number(end: int) -> None:
    env = from_gymnax(Custom(end=end), environment.EnvParams())
    keys = jax.random.split(jax.random.key(0), 2)
    stepped = env.step(keys, env.reset(keys)[1], jnp.zeros(2, jnp.int32))
    assert stepped.terminated.dtype == bool
    assert stepped.terminated.tolist() == [bool(end)] * 2


def test_an_end_may_not_be_a_fraction() -> None:
    env = from_gymnax(Custom(end=0.0), environment.EnvParams())
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ConfigError, match="Custom: terminated of a step is float32"):
        env.step(keys, env.reset(keys)[1], jnp.zeros(2, jnp.int32))


def test_bounds_of_each_action_dimension() -> None:
    low, high = np.array([-1.0, -np.inf]), np.array([0.5, np.inf])
    env = Custom(actions=spaces.Box(low, high, (2,)))
    actions = from_gymnax(env, env.default_params).action_space
    clipped = actions.to_env(jnp.array([[-9.0, -9.0], [9.0, 9.0], [0.1, 0.2]]))
    np.testing.assert_allclose(clipped, [[-1, -9], [0.5, 9], [0.1, 0.2]], rtol=1e-6)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_an_environment_can_be_a_static_argument(env_id: str) -> None:
    env = make_env(PPOConfig(env_id=env_id))
    reset = jax.jit(lambda key, env: env.reset(key[None])[0], static_argnames="env")
    assert reset(jax.random.key(0), env).shape == (1, *env.observation_space.shape)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_actions_take_the_shape_that_the_environment_wants(shape: tuple[int, ...]) -> None:
    env = Custom(actions=spaces.Box(-1.0, 1.0, shape))
    actions = from_gymnax(env, env.default_params).action_space
    size = int(np.prod(shape))
    assert actions.output_size == size
    flat = jnp.linspace(-0.9, 0.9, 4 * size).reshape(4, size)
    np.testing.assert_array_equal(actions.to_env(flat), np.reshape(flat, (4, *shape)))


def test_each_environment_of_a_batch_resets_alone_and_differently() -> None:
    env = make_env(PPOConfig())
    obs, _ = env.reset(jax.random.split(jax.random.key(0), 4))
    assert len(np.unique(np.asarray(obs), axis=0)) == 4
