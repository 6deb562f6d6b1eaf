"""The defaults and the presets learn, on every seed."""

from functools import partial

import jax
import numpy as np
import pytest

from jax_ppo import PRESETS, PPOConfig, evaluate_policy, make_env, make_network, preset, train

pytestmark = pytest.mark.usefixtures("full_optimization")


def final_returns(config: PPOConfig, num_agents: int) -> np.ndarray:
    """Train num_agents agents; mean return of 64 episodes with the most probable actions."""
    limit = make_env(config).max_episode_steps
    evaluate = partial(evaluate_policy, config=config, num_episodes=64, max_steps=limit)

    def train_and_evaluate(key: jax.Array) -> jax.Array:
        state, _ = train(key, config)
        return evaluate(key, state.params, state.rollout.obs_stats).episode_return.mean()

    keys = jax.vmap(jax.random.key)(np.arange(num_agents))
    return np.asarray(jax.jit(jax.vmap(train_and_evaluate))(keys))


@pytest.mark.slow
def test_cartpole_without_any_options() -> None:
    """Each of 512 agents got there; where rounding differs, one in 16 may be unlucky."""
    config = preset(PPOConfig.env_id)
    assert config.env_id == "CartPole-v1"
    assert config.total_steps <= 150_000
    returns = np.sort(final_returns(config, num_agents=16))
    assert returns[1] >= 475


@pytest.mark.slow
def test_pendulum() -> None:
    config = PRESETS["Pendulum-v1"]
    assert config.total_steps <= 300_000
    assert final_returns(config, num_agents=8).min() > -250


@pytest.mark.slow
def test_breakout() -> None:
    config = PRESETS["Breakout-MinAtar"].replace(total_steps=3_000_000)
    assert final_returns(config, num_agents=4).min() > 15


@pytest.mark.parametrize("env_id", sorted(PRESETS))
def test_preset_can_be_built(env_id: str) -> None:
    config = preset(env_id)
    assert config.env_id == env_id
    make_network(config, make_env(config))


def test_no_preset_means_the_defaults() -> None:
    env_id = "my_module:MyEnv-v0"
    assert preset(env_id) == PPOConfig(env_id=env_id)
