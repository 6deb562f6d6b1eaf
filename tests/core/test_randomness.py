"""Every stream of random numbers is independent of every other, on both sides.

Environments of one agent, agents of one training, steps, epochs: numbers that two of them share
would leave every formula right and every parity test green.
"""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref
from jax_ppo import PPOConfig, make_env, ppo
from parity_tests.planted import DRAWN, Planted

CONFIG = PPOConfig(num_envs=6, num_steps=400, update_epochs=8, num_minibatches=4)
PENDULUM = CONFIG.replace(env_id="Pendulum-v1")
JAX_PPO, TORCH_PPO = (importlib.import_module(f"{side}.ppo") for side in ("jax_ppo", "torch_ref"))
"""The chapters that draw; their names are those of functions too."""
LIMIT = 4.5
"""Correlations beyond this many standard errors: one in 10^5 by chance, of some hundred."""


def jax_draws(config: PPOConfig, seed: int) -> dict[str, np.ndarray]:
    """Noise, environment keys and permutations of a rollout of the JAX side."""
    draws = JAX_PPO.draw_randomness(jax.random.key(seed), config, make_env(config))
    keys = np.asarray(jax.random.key_data(draws.env_keys))
    return {
        "noise": np.asarray(draws.noise),
        "env_keys": keys,
        "permutations": np.asarray(draws.permutations),
    }


def torch_draws(config: PPOConfig, seed: int) -> dict[str, np.ndarray]:
    """The same of the PyTorch side."""
    generator = torch.Generator().manual_seed(seed)
    draws = TORCH_PPO.draw_randomness(generator, config, torch_ref.make_env(config))
    return {name: np.asarray(value) for name, value in vars(draws).items()}


SIDES = pytest.mark.parametrize("draw", [jax_draws, torch_draws], ids=["jax", "torch"])
Draw = Callable[[PPOConfig, int], dict[str, np.ndarray]]


def largest_correlation(series: np.ndarray) -> float:
    """Of any two of the series [num_series, length], in standard errors."""
    correlations = np.corrcoef(series.astype(np.float64))
    apart = correlations[~np.eye(len(series), dtype=bool)]
    return float(np.abs(apart).max() * np.sqrt(series.shape[1]))


def rows_of(keys: np.ndarray) -> np.ndarray:
    """A row for each key [num_steps * num_envs, words]."""
    return keys.reshape(CONFIG.num_steps * CONFIG.num_envs, -1)


def check_independent(noise: np.ndarray) -> None:
    """Over environments and dimensions at one time, and from one step to the next."""
    flat = noise.reshape(len(noise), -1).T
    lagged = np.concatenate([flat[:, 1:], flat[:, :-1]])
    assert largest_correlation(flat) < LIMIT
    assert largest_correlation(lagged) < LIMIT
    assert len(np.unique(flat)) > 0.99 * flat.size


@SIDES
@pytest.mark.parametrize("config", [CONFIG, PENDULUM], ids=["discrete", "continuous"])
def test_noise_of_actions(draw: Draw, config: PPOConfig) -> None:
    noise = draw(config, 0)["noise"]
    check_independent(noise)
    # The mistake, planted: the second environment of each pair has the noise of the first.
    paired = np.repeat(noise[:, ::2], 2, axis=1)
    with pytest.raises(AssertionError):
        check_independent(paired)


@SIDES
def test_two_rollouts_and_two_agents(draw: Draw) -> None:
    """Another seed is another stream, for each kind of number."""
    one, other = draw(CONFIG, 0), draw(CONFIG, 1)
    series = np.stack([one["noise"].ravel(), other["noise"].ravel()])
    assert largest_correlation(series) < LIMIT
    keys = np.concatenate([rows_of(draws["env_keys"]) for draws in (one, other)])
    assert len(np.unique(keys, axis=0)) == len(keys)
    for epoch in one["permutations"]:
        assert np.mean(epoch == other["permutations"], axis=1).max() < 0.01


@SIDES
def test_environment_keys_are_all_different(draw: Draw) -> None:
    keys = rows_of(draw(CONFIG, 0)["env_keys"])
    assert len(np.unique(keys, axis=0)) == len(keys) == CONFIG.num_steps * CONFIG.num_envs


@SIDES
def test_epochs_have_orders_of_their_own(draw: Draw) -> None:
    """Two orders have one place in common on average; the ranks of samples are uncorrelated."""
    orders = draw(CONFIG, 0)["permutations"]
    assert [sorted(order) for order in orders] == [list(range(CONFIG.batch_size))] * 8
    assert largest_correlation(np.argsort(orders, axis=1)) < LIMIT
    for i, order in enumerate(orders):
        for other in orders[:i]:
            assert np.sum(order == other) < 10


def actions_of(algorithm: Any, seed: int) -> np.ndarray:
    """The actions of a rollout of uniform policies [num_steps, num_envs]."""
    state = algorithm.init(jax.random.key(seed))
    uniform = jax.tree.map(jnp.zeros_like, state.params)
    _, rollout = jax.jit(algorithm.collect)(state.replace(params=uniform))
    return np.asarray(rollout.transitions.action)


def test_environments_and_agents_act_independently() -> None:
    """From the noise to the actions: every environment of each of two agents."""
    algorithm = ppo(CONFIG)
    both = [actions_of(algorithm, seed) for seed in (0, 1)]
    actions = np.concatenate(both, axis=1).T
    assert largest_correlation(actions) < LIMIT
    assert 0.4 < actions.mean() < 0.6


def test_environments_start_apart() -> None:
    """First observations of environments and of agents, by both sides."""
    starts = [np.asarray(ppo(CONFIG).init(jax.random.key(seed)).rollout.obs) for seed in (0, 1)]
    generator = torch.Generator().manual_seed(0)
    env = torch_ref.make_env(CONFIG)
    for obs in (
        np.concatenate(starts),
        np.concatenate(
            [torch_ref.init_rollout_state(generator, CONFIG, env).obs.numpy() for _ in "ab"]
        ),
    ):
        assert len(np.unique(obs[:, 0])) == 12


def check_draws(draw: Draw) -> None:
    """Every check of what is drawn for a rollout."""
    check_independent(draw(CONFIG, 0)["noise"])
    test_two_rollouts_and_two_agents(draw)
    test_environment_keys_are_all_different(draw)
    test_epochs_have_orders_of_their_own(draw)


@SIDES
@pytest.mark.parametrize("mistake", DRAWN, ids=lambda mistake: mistake.name)
def test_a_mistake_on_both_sides_is_found(draw: Draw, mistake: Planted) -> None:
    check_draws(draw)
    with mistake.on_both_sides(), np.errstate(all="ignore"), pytest.raises(AssertionError):
        check_draws(draw)
