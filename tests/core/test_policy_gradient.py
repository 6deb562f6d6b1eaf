"""REINFORCE and A2C beside PPO: gradients, whole updates and whole trainings."""

import dataclasses
import itertools
import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo import (
    Batch,
    Categorical,
    DiagGaussian,
    Learner,
    Network,
    PPOConfig,
    UpdateCoefficients,
    a2c,
    compute_gae,
    make_optimizer,
    ppo,
    ppo_loss,
    reinforce,
    reinforce_with_baseline,
    update_policy,
)
from jax_ppo.variants.policy_gradient import (
    NO_CLIPPING,
    a2c_config,
    a2c_loss,
    baseline_advantages,
    baseline_config,
    monte_carlo_returns,
    policy_gradient_loss,
    reinforce_config,
)
from parity_tests.precision import enable_x64

from . import probes
from .helpers import (
    assert_trees_close,
    assert_trees_equal,
    by_position,
    jit_train,
    largest_difference,
    random_batch,
)
from .test_advantages import LAST, MIDDLE, OPEN, column, flags

CONFIG = PPOConfig(
    total_steps=96,
    num_envs=4,
    num_steps=8,
    update_epochs=3,
    num_minibatches=2,
    hidden_sizes=(8,),
    ent_coef=0.02,
    vf_coef=0.7,
    clip_eps=0.1,
    value_clip_eps=0.2,
    target_kl=0.01,
    kl_coef=0.3,
    learning_rate=0.01,
)
"""PPO with everything on that A2C has not."""


# A2C: one gradient


@partial(jax.jit, static_argnums=(0, 3))
def gradient_of(
    loss_fn: Any, params: Any, batch: Batch, network: Network, config: PPOConfig, clip_eps: Any
) -> Any:
    """Of the loss to every parameter."""

    def loss(params: Any) -> jax.Array:
        return loss_fn(*network.apply(params, batch.obs), batch, config, clip_eps=clip_eps)[0]

    return jax.grad(loss)(params)


@pytest.mark.parametrize(
    ("env_id", "shared_trunk"),
    [("CartPole-v1", False), ("CartPole-v1", True), ("Pendulum-v1", False)],
)
def test_the_first_gradient_of_ppo_is_that_of_a2c(env_id: str, shared_trunk: bool) -> None:
    """Whatever the clip range: the ratio is 1."""
    with enable_x64(True):
        config = a2c_config(CONFIG.replace(env_id=env_id, shared_trunk=shared_trunk))
        params, batch, network = random_batch(config, config.batch_size)
        expected = gradient_of(a2c_loss, params, batch, network, config, 0.2)
        for clip_eps in (1e-3, 0.2, NO_CLIPPING):
            ours = gradient_of(ppo_loss, params, batch, network, config, clip_eps)
            assert_trees_close(ours, expected, rtol=1e-10, atol=1e-13)
        # The losses themselves are other numbers.
        losses = [
            loss_fn(*network.apply(params, batch.obs), batch, config, clip_eps=0.2)[0]
            for loss_fn in (ppo_loss, a2c_loss)
        ]
        assert abs(float(losses[0] - losses[1])) > 0.1


def test_what_is_not_a2c_has_another_gradient() -> None:
    config = a2c_config(CONFIG)
    params, batch, network = random_batch(config, config.batch_size)
    right = gradient_of(a2c_loss, params, batch, network, config, 0.2)
    moved = jax.tree.map(lambda p: 1.3 * p, params)
    standard = (batch.advantages - batch.advantages.mean()) / batch.advantages.std()
    wrong = {
        "normalized": (params, dataclasses.replace(batch, advantages=standard), config, 0.2),
        "another vf_coef": (params, batch, config.replace(vf_coef=1.4), 0.2),
        "no entropy": (params, batch, config.replace(ent_coef=0.0), 0.2),
    }
    for name, (at, samples, setting, clip_eps) in wrong.items():
        other = gradient_of(ppo_loss, at, samples, network, setting, clip_eps)
        assert largest_difference(other, right) > 1e-3, name
    # One step later the ratio is no longer 1: importance weights, then clipping, make a difference.
    later = gradient_of(a2c_loss, moved, batch, network, config, 0.2)
    unclipped = gradient_of(ppo_loss, moved, batch, network, config, NO_CLIPPING)
    clipped = gradient_of(ppo_loss, moved, batch, network, config, 0.05)
    assert largest_difference(unclipped, later) > 1e-3
    assert largest_difference(clipped, unclipped) > 1e-3


numbers = st.floats(-3.0, 3.0, width=32)

LOGITS_ALONE = Network(
    init=lambda _: jnp.zeros((3, 3)),
    apply=lambda params, obs: (Categorical(params), jnp.zeros(len(obs))),
)
"""The parameters are the logits of three samples."""


@given(
    st.lists(st.tuples(numbers, numbers, numbers, st.integers(0, 2)), min_size=3, max_size=3),
    st.floats(0.01, 1e6),
)
def test_any_advantage_any_clip_range(samples: list[tuple], clip_eps: float) -> None:
    """The gradient to the logits by hand: -A (onehot - p) / n."""
    logits = np.array([row[:3] for row in samples], np.float32)
    action = np.array([row[3] for row in samples])
    advantages = np.array([row[0] - 2 * row[1] for row in samples], np.float32)
    old_log_prob = Categorical(jnp.asarray(logits)).log_prob(jnp.asarray(action))
    batch = Batch(
        obs=jnp.zeros((3, 1)),
        action=jnp.asarray(action),
        old_distribution=None,
        old_log_prob=old_log_prob,
        old_value=jnp.zeros(3),
        advantages=jnp.asarray(advantages),
        returns=jnp.zeros(3),
    )
    config = a2c_config(PPOConfig(ent_coef=0.0))
    p = np.exp(logits.astype(float))
    p /= p.sum(axis=1, keepdims=True)
    expected = -advantages[:, None] * (np.eye(3)[action] - p) / 3
    for loss_fn in (ppo_loss, a2c_loss):
        got = gradient_of(loss_fn, jnp.asarray(logits), batch, LOGITS_ALONE, config, clip_eps)
        np.testing.assert_allclose(got, expected, atol=2e-6)


def test_the_loss_of_a2c_by_hand() -> None:
    batch = Batch(
        obs=jnp.zeros((2, 1)),
        action=jnp.array([[0.0], [1.0]]),
        old_distribution=None,
        old_log_prob=jnp.full(2, jnp.nan),
        old_value=jnp.full(2, jnp.nan),
        advantages=jnp.array([2.0, -1.0]),
        returns=jnp.array([1.0, 1.0]),
    )
    distribution = DiagGaussian(jnp.zeros((2, 1)), jnp.zeros((2, 1)))
    config = PPOConfig(vf_coef=0.5, ent_coef=0.1)
    loss, metrics = a2c_loss(distribution, jnp.array([0.0, 3.0]), batch, config)
    # log p(0) = -c, log p(1) = -1/2 - c, with c = log(2 pi) / 2 = 0.9189385
    # -mean(log p A) = -(-2 c + 1/2 + c) / 2 = (c - 1/2) / 2;  1/2 mean(1, 4) = 1.25;  H = 1/2 + c
    c = 0.9189385332046727
    np.testing.assert_allclose(metrics.policy_loss, (c - 0.5) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics.value_loss, 1.25, rtol=1e-6)
    np.testing.assert_allclose(metrics.entropy, 0.5 + c, rtol=1e-6)
    total = (c - 0.5) / 2 + 0.5 * 1.25 - 0.1 * (0.5 + c)
    np.testing.assert_allclose(loss, total, rtol=1e-6)
    assert metrics.loss == loss


# A2C: whole updates, whole trainings


def updated(config: PPOConfig, params: Any, batch: Batch, network: Network) -> Any:
    """Parameters after update_policy."""
    learner = Learner.start(params, make_optimizer(config, 1.0).init(params))
    order = np.stack([np.random.default_rng(i).permutation(config.batch_size) for i in range(9)])
    coefficients = UpdateCoefficients(config.learning_rate, config.clip_eps, None)
    order = jnp.asarray(order[: config.update_epochs], jnp.int32)
    update = jax.jit(update_policy, static_argnames="network")
    after, _ = update(learner, batch, order, config, network=network, coefficients=coefficients)
    return after.params


def test_a_whole_update_against_a_step_of_optax() -> None:
    """And every way of not being A2C gives other parameters."""
    with enable_x64(True):
        config = a2c_config(CONFIG)
        params, batch, network = random_batch(config, config.batch_size)

        def explicit_loss(params: Any) -> jax.Array:
            """The paper's, from the distribution's own numbers."""
            distribution, values = network.apply(params, batch.obs)
            log_prob = distribution.log_prob(batch.action)
            critic = jnp.mean((values - batch.returns) ** 2) / 2
            entropy = distribution.entropy().mean()
            return -(log_prob * batch.advantages).mean() + 0.7 * critic - 0.02 * entropy

        optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.01, eps=1e-5))
        steps, _ = optimizer.update(jax.grad(explicit_loss)(params), optimizer.init(params))
        expected = optax.apply_updates(params, steps)

        assert_trees_close(updated(config, params, batch, network), expected, rtol=1e-10)
        twice = config.replace(update_epochs=2)
        wrong = {
            "two epochs": twice,
            "two minibatches": config.replace(num_minibatches=2),
            "normalized advantages": config.replace(advantage_normalization="batch"),
        }
        for name, setting in wrong.items():
            new = updated(setting, params, batch, network)
            assert largest_difference(new, expected) > 1e-4, name
        # In a second epoch, and only there, a narrow clip range acts.
        assert_trees_close(
            updated(config.replace(clip_eps=1e-3), params, batch, network), expected, rtol=1e-10
        )
        narrow = updated(twice.replace(clip_eps=1e-3), params, batch, network)
        assert largest_difference(narrow, updated(twice, params, batch, network)) > 1e-4


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_whole_trainings_end_with_the_same_parameters(env_id: str) -> None:
    """Six rollouts and updates, with PPO's loss and with A2C's own."""
    with enable_x64(True):
        config = CONFIG.replace(env_id=env_id, total_steps=192)
        state, metrics = jit_train(jax.random.key(0), config, a2c)
        other, _ = jit_train(jax.random.key(0), config, partial(a2c, loss_fn=a2c_loss))
        assert_trees_close(state.params, other.params, rtol=1e-8, atol=1e-11)
        np.testing.assert_array_equal(metrics.gradient_steps, np.ones(6))
        np.testing.assert_array_equal(metrics.clip_fraction, np.zeros(6))
        start = a2c(config).init(jax.random.key(0))
        assert largest_difference(state.params, start.params) > 1e-2


def test_the_settings_leave_everything_else_alone() -> None:
    """Environment, networks, optimizer and discount are the config's own."""
    config = CONFIG.replace(gamma=0.9, optimizer="adamw", weight_decay=0.1, shared_trunk=True)
    # What already had A2C's value could not be seen to change.
    config = config.replace(clip_eps_schedule="linear")
    theirs = {
        *("update_epochs", "num_minibatches", "advantage_normalization", "gae_lambda"),
        *("clip_eps", "clip_eps_schedule", "value_clip_eps", "target_kl", "kl_coef"),
    }
    for setting, more in ((a2c_config, set()), (reinforce_config, {"vf_coef", "ent_coef"})):
        before, after = dataclasses.asdict(config), dataclasses.asdict(setting(config))
        changed = {name for name in before if before[name] != after[name]}
        assert changed == theirs | more
    assert baseline_config(config).vf_coef == config.vf_coef


@pytest.mark.parametrize(
    ("variant", "setting", "advantage_fn"),
    [
        (a2c, a2c_config, compute_gae),
        (reinforce, reinforce_config, monte_carlo_returns),
        (reinforce_with_baseline, baseline_config, baseline_advantages),
    ],
)
def test_each_is_ppo_with_another_config(variant: Any, setting: Any, advantage_fn: Any) -> None:
    state, metrics = jit_train(jax.random.key(0), CONFIG, variant)
    algorithm_fn = partial(ppo, advantage_fn=advantage_fn)
    expected = jit_train(jax.random.key(0), setting(CONFIG), algorithm_fn)
    assert_trees_close((state, metrics), expected, rtol=1e-4, atol=1e-5)
    plain, _ = jit_train(jax.random.key(0), CONFIG)
    assert largest_difference(state.params, plain.params) > 1e-3


# Returns and baselines


jit_baseline = by_position(baseline_advantages)
jit_returns = by_position(monte_carlo_returns)
jit_gae = by_position(compute_gae)
NO_VALUES = column(np.nan, np.nan, np.nan)


@pytest.mark.parametrize(
    ("terminated", "truncated", "returns"),
    [
        # G_2 = 4;  G_1 = 2 + 0.5 * 4 = 4;  G_0 = 1 + 0.5 * 4 = 3
        (OPEN, OPEN, [3.0, 4.0, 4.0]),
        (LAST, OPEN, [3.0, 4.0, 4.0]),
        # an end at 1, of whatever kind: G_1 = 2, G_0 = 1 + 0.5 * 2
        (MIDDLE, OPEN, [2.0, 2.0, 4.0]),
        (OPEN, MIDDLE, [2.0, 2.0, 4.0]),
        (MIDDLE, MIDDLE, [2.0, 2.0, 4.0]),
    ],
)
def test_returns_by_hand(terminated: jax.Array, truncated: jax.Array, returns: list[float]) -> None:
    """Values are NaN: nothing asks for them. And lambda is ignored."""
    rewards = column(1, 2, 4)
    for gae_lambda in (0.0, 0.95):
        arguments = (terminated, truncated, 0.5, gae_lambda)
        got = jit_returns(rewards, NO_VALUES, NO_VALUES, *arguments)
        np.testing.assert_array_equal(got[0][:, 0], returns)
        np.testing.assert_array_equal(got[1][:, 0], returns)
        values = column(10, 20, 30)
        advantages, targets = jit_baseline(rewards, values, NO_VALUES, *arguments)
        np.testing.assert_array_equal(targets[:, 0], returns)
        np.testing.assert_array_equal(advantages[:, 0], np.array(returns) - [10, 20, 30])


@given(
    st.lists(st.tuples(numbers, numbers, st.booleans()), min_size=6, max_size=6),
    st.floats(0.0, 1.0),
)
def test_a_baseline_is_a2c_where_every_episode_ends(steps: list[tuple], gamma: float) -> None:
    """With lambda = 1 the values in between cancel; only what lies beyond an open end is left."""
    rewards, values = column(*(s[0] for s in steps)), column(*(s[1] for s in steps))
    next_values = jnp.concatenate([values[1:], column(5.0)])
    ends = flags(*(int(s[2]) for s in steps[:-1]), 1)
    nothing = jnp.zeros_like(ends)
    ours = jit_baseline(rewards, values, next_values, ends, nothing, gamma, 1.0)
    theirs = jit_gae(rewards, values, next_values, ends, nothing, gamma, 1.0)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4, atol=1e-4)
    # Open at the end, or cut there by a time limit, A2C adds gamma V(s'): here 5 gamma.
    inner = np.asarray(ends).copy()
    inner[-1] = False
    for terminated, truncated in ((inner, nothing), (inner, np.asarray(ends) & ~inner)):
        ours = jit_baseline(rewards, values, next_values, terminated, truncated, gamma, 1.0)
        theirs = jit_gae(rewards, values, next_values, terminated, truncated, gamma, 1.0)
        beyond = theirs[0][-1, 0] - ours[0][-1, 0]
        np.testing.assert_allclose(beyond, 5.0 * gamma, rtol=1e-4, atol=1e-4)


# The theorem, by enumeration of everything that can happen


LOGITS = np.array([[0.3, -0.2], [-0.5, 0.4], [0.1, 0.9]])
"""Of two actions in three states."""
NEXT = np.array([[1, 2], [2, 0], [0, 1]])
REWARD = np.array([[1.0, -0.5], [2.0, 0.3], [-1.0, 1.5]])
ACTIONS = np.array(list(itertools.product((0, 1), repeat=3)))
"""Every way to act three times [8, 3]."""


def walk(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States and rewards from state 0 on."""
    states = [0]
    for action in actions[:-1]:
        states.append(int(NEXT[states[-1], action]))
    return np.array(states), REWARD[states, actions]


WALKS = [walk(actions) for actions in ACTIONS]
STATES = np.array([states for states, _ in WALKS])
REWARDS = np.array([rewards for _, rewards in WALKS])


def probabilities(logits: jax.Array) -> jax.Array:
    """Of each of the eight walks [8]."""
    log_probs = jax.nn.log_softmax(logits)[STATES, ACTIONS]
    return jnp.exp(jnp.sum(log_probs, axis=1))


def estimates(advantages: np.ndarray) -> np.ndarray:
    """The gradient estimate of each walk [8, 6], with these advantages [8, 3]."""

    def loss(logits: jax.Array, states: jax.Array, actions: jax.Array, a: jax.Array) -> jax.Array:
        log_prob = Categorical(logits[states]).log_prob(actions)
        return -3.0 * policy_gradient_loss(log_prob, a)  # a sum over three steps, to climb

    each = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0, 0))
    return np.asarray(each(jnp.asarray(LOGITS), STATES, ACTIONS, advantages)).reshape(8, 6)


def values_to_go() -> np.ndarray:
    """The exact value of each state with 3, 2 and 1 steps to go [3, num_states]."""
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    values = [np.zeros(3)]
    for _ in range(3):
        values.append((p * (REWARD + values[-1][NEXT])).sum(axis=1))
    return np.array(values[:0:-1])


def test_reinforce_is_unbiased_and_a_baseline_calms_it() -> None:
    with enable_x64(True):
        rewards = jnp.asarray(REWARDS.T)
        nothing = jnp.zeros(rewards.shape, bool)
        baseline = jnp.asarray(np.stack([values_to_go()[t][STATES[:, t]] for t in range(3)]))
        rest = (rewards, baseline, baseline, nothing, nothing, 1.0, 1.0)
        plain = estimates(jit_returns(*rest)[0].T)
        calm = estimates(jit_baseline(*rest)[0].T)
        p = np.asarray(probabilities(jnp.asarray(LOGITS)))
        exact = jax.grad(lambda x: jnp.sum(probabilities(x) * REWARDS.sum(axis=1)))
        gradient = np.ravel(exact(jnp.asarray(LOGITS)))

        np.testing.assert_allclose(p @ plain, gradient, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(p @ calm, gradient, rtol=1e-12, atol=1e-14)
        spread = [float(p @ ((each - gradient) ** 2).sum(axis=1)) for each in (plain, calm)]
        assert spread[1] < 0.8 * spread[0]
        # A baseline that looks at the action is none, and a short-sighted return is another aim.
        looks = np.asarray(baseline.T) + 0.5 * ACTIONS
        assert np.abs(p @ estimates(np.asarray(rest[0].T) - looks) - gradient).max() > 0.05
        short = jit_returns(*rest[:-2], 0.5, 1.0)[0].T
        assert np.abs(p @ estimates(short) - gradient).max() > 0.02


def test_unfinished_episodes_count_for_what_was_seen() -> None:
    """Action 0 ends an episode and pays 1, action 1 goes on and pays 2; a rollout has two steps.

    Going on is better. To leave out episodes that the rollout's end cuts off would teach to end.
    """
    actions = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]]).T  # [num_steps, four rollouts]
    rewards = jnp.where(actions == 0, 1.0, 2.0)
    ends, nothing = actions == 0, jnp.zeros((2, 4), bool)
    values = jnp.zeros((2, 4))
    q = 0.5  # of action 1
    p = np.where(np.asarray(actions) == 1, q, 1 - q).prod(axis=0)
    scores = np.asarray(actions) - q  # d log pi / d logit of action 1
    returns = jit_returns(rewards, values, values, ends, nothing, 1.0, 1.0)[0]
    got = float((p * (scores * returns).sum(axis=0)).sum())
    # An episode cut after n steps: J_1 = 1 - q + 2 q = 1 + q;  J_2 = 1 - q + q (2 + J_1).
    # dJ_1/dq = 1;  dJ_2/dq = 2 + 2 q;  dq/dlogit = q (1 - q). With probability 1 - q the first
    # ends at once, and a second one has one step left.
    np.testing.assert_allclose(got, q * (1 - q) * (2 + 2 * q + (1 - q)), rtol=1e-6)
    finished = np.asarray(jnp.flip(jnp.cumsum(jnp.flip(ends, 0), 0), 0) > 0)
    left_out = float((p * (scores * returns * finished).sum(axis=0)).sum())
    assert got > 0 > left_out


# Training with them


PROBE = PPOConfig(
    total_steps=12_800, num_envs=8, num_steps=16, hidden_sizes=(16,), learning_rate=3e-2
)


@pytest.mark.parametrize("variant", [reinforce, reinforce_with_baseline, a2c])
def test_each_finds_the_action_that_pays(variant: Any) -> None:
    """One step an episode, 1 for action 1 and -1 for action 0."""
    algorithm_fn = partial(variant, env=probes.probe_env(probes.RewardedAction))
    state, _ = jit_train(jax.random.key(0), PROBE, algorithm_fn)
    algorithm = algorithm_fn(PROBE)
    distribution, values = algorithm.network.apply(state.params, jnp.ones((1, 1)))
    assert float(jax.nn.softmax(distribution.logits)[0, 1]) > 0.95
    start = algorithm.init(jax.random.key(0)).params
    critics = [
        {name: leaf for name, leaf in params["params"].items() if name.startswith("value")}
        for params in (start, state.params)
    ]
    if variant is reinforce:
        assert_trees_equal(*critics)
    else:
        assert float(values[0]) > 0.8


# The page about them


ORIGINS = Path(__file__).parents[2] / "docs" / "origins.md"


def is_number(word: str) -> bool:
    return re.fullmatch(r"-?[0-9.]+", word) is not None


def test_the_code_on_the_page_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Word by word; numbers within a tenth, for processors that round in other ways."""
    page = ORIGINS.read_text()
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    exec(compile(program, str(ORIGINS), "exec"), {})
    said = " ".join(re.findall(r"```text\n(.*?)```", page, re.DOTALL)).split()
    printed = capsys.readouterr().out.split()
    assert len(printed) == len(said) > 40
    for ours, theirs in zip(printed, said, strict=True):
        if is_number(theirs):
            np.testing.assert_allclose(float(ours), float(theirs), rtol=0.1, atol=2e-5)
        else:
            assert ours == theirs
