"""Train with a loss of your own: the surrogate without clipping, held by a quadratic penalty."""

import jax
import jax.numpy as jnp

from jax_ppo import Components, PPOConfig, ppo_loss, train


def penalized_loss(distribution, values, batch, config, clip_eps, kl_coef=None):
    """-mean(r A) + mean(|A| (r - 1)^2) / (2 eps), in place of the clipped surrogate."""
    loss, metrics = ppo_loss(distribution, values, batch, config, clip_eps, kl_coef)
    ratio = jnp.exp(distribution.log_prob(batch.action) - batch.old_log_prob)
    penalty = jnp.abs(batch.advantages) * jnp.square(ratio - 1) / (2 * clip_eps)
    policy_loss = jnp.mean(penalty - ratio * batch.advantages)
    loss = loss - metrics["policy_loss"] + policy_loss
    return loss, {**metrics, "policy_loss": policy_loss, "loss": loss}


if __name__ == "__main__":
    components = Components(loss_fn=penalized_loss)
    run = jax.jit(train, static_argnames="components")
    _, metrics = run(jax.random.key(0), PPOConfig(), components)
    print("last episode returns:", metrics["episode_return"][-5:])
