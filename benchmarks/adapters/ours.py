"""The config of a work, for jax_ppo and torch_ref."""

from typing import Any

from jax_ppo import PPOConfig


def config_of(work: Any) -> PPOConfig:
    """The config of a work.

    Args:
        work: A `Work`, or anything with its fields.
    """
    return PPOConfig(
        env_id=work.env_id,
        total_steps=work.num_envs * work.num_steps * work.num_updates,
        num_envs=work.num_envs,
        num_steps=work.num_steps,
        update_epochs=work.update_epochs,
        num_minibatches=work.num_minibatches,
        learning_rate=work.learning_rate,
        gamma=work.gamma,
        gae_lambda=work.gae_lambda,
        clip_eps=work.clip_eps,
        value_clip_eps=work.value_clip_eps,
        ent_coef=work.ent_coef,
        vf_coef=work.vf_coef,
        max_grad_norm=work.max_grad_norm,
        hidden_sizes=tuple(work.hidden_sizes),
        network="mlp",
    )
