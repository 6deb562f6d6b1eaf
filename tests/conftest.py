"""Strict numerics for every test, and the small configs that keep compilation short."""

import hypothesis
import jax
import pytest

from jax_ppo import PPOConfig

jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize=True, database=None, max_examples=25
)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def tiny_config() -> PPOConfig:
    """CartPole with so little of everything that it runs in milliseconds: 3 updates."""
    return PPOConfig(
        env_id="CartPole-v1",
        total_steps=96,
        num_envs=4,
        num_steps=8,
        update_epochs=2,
        num_minibatches=2,
        hidden_sizes=(8,),
    )


@pytest.fixture(scope="session")
def tiny_pendulum(tiny_config: PPOConfig) -> PPOConfig:
    """The same with continuous actions."""
    return tiny_config.replace(env_id="Pendulum-v1")
