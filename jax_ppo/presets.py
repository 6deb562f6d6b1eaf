"""Hyperparameters that are known to learn, per environment."""

from jax_ppo.config import PPOConfig

PRESETS: dict[str, PPOConfig] = {
    "CartPole-v1": PPOConfig(learning_rate=2e-3),
    "Pendulum-v1": PPOConfig(
        env_id="Pendulum-v1",
        total_steps=300_000,
        num_envs=8,
        num_steps=256,
        update_epochs=10,
        num_minibatches=32,
        learning_rate=1e-3,
        gamma=0.9,
    ),
    "Breakout-MinAtar": PPOConfig(
        env_id="Breakout-MinAtar",
        total_steps=3_000_000,
        num_envs=64,
        num_steps=128,
        update_epochs=4,
        num_minibatches=8,
        learning_rate=2e-3,
        ent_coef=0.05,
        network="mlp",
        activation="relu",
    ),
}
"""Configs by environment name; each field that is not given keeps its default."""


def preset(env_id: str) -> PPOConfig:
    """The preset of an environment or, where there is none, the defaults with that env_id.

    Args:
        env_id: Name of the environment, as gymnax registers it.
    """
    return PRESETS.get(env_id, PPOConfig(env_id=env_id))
