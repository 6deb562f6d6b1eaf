"""The whole program lowers for accelerators that this machine need not have."""

from typing import Any

import jax
import jax.export
import pytest

from jax_ppo import PPOConfig, train

CASES: dict[str, dict[str, Any]] = {
    "CartPole-v1": {},
    "Pendulum-v1": {"normalize_observations": True, "normalize_rewards": True},
    "Breakout-MinAtar": {"conv_channels": (2,), "conv_stride": 3, "target_kl": 0.01},
}


@pytest.mark.parametrize("env_id", CASES)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_train_lowers(env_id: str, platform: str) -> None:
    config = PPOConfig(
        env_id=env_id,
        total_steps=64,
        num_envs=4,
        num_steps=8,
        update_epochs=2,
        num_minibatches=2,
        hidden_sizes=(8,),
        **CASES[env_id],
    )
    key = jax.random.key(0)
    exported = jax.export.export(jax.jit(train), platforms=[platform])(key, config)
    assert exported.platforms == (platform,)
    state, metrics = exported.out_tree.unflatten(exported.out_avals)
    assert metrics.loss.shape == (config.num_updates,)
    assert state.update.shape == ()
