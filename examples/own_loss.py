"""Train with a loss of your own: the surrogate without clipping, held by a quadratic penalty."""

from functools import partial

import jax
import jax.numpy as jnp

from jax_ppo import PPOConfig, ppo, ppo_loss, train


def penalized_loss(distribution, values, batch, config, *, clip_eps, kl_coef=None):
    """-mean(r A) + mean(|A| (r - 1)^2) / (2 eps), in place of the clipped surrogate."""
    loss, metrics = ppo_loss(
        distribution, values, batch, config, clip_eps=clip_eps, kl_coef=kl_coef
    )
    ratio = jnp.exp(distribution.log_prob(batch.action) - batch.old_log_prob)
    penalty = jnp.abs(batch.advantages) * jnp.square(ratio - 1) / (2 * clip_eps)
    policy_loss = jnp.mean(penalty - ratio * batch.advantages)
    loss = loss - metrics.policy_loss + policy_loss
    return loss, metrics.replace(policy_loss=policy_loss, loss=loss)


if __name__ == "__main__":
    run = jax.jit(train, static_argnames="algorithm_fn")
    _, metrics = run(jax.random.key(0), PPOConfig(), partial(ppo, loss_fn=penalized_loss))
    print("last episode returns:", metrics.episode_return[-5:])
