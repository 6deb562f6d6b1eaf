"""Train with an advantage estimator of your own: one-step temporal differences."""

import jax

from jax_ppo import Components, PPOConfig, train


def td_advantages(rewards, values, next_values, terminated, truncated, gamma, gae_lambda):
    """A = r + gamma (1 - terminated) V(s') - V(s), and the value targets A + V."""
    advantages = rewards + gamma * ~terminated * next_values - values
    return advantages, advantages + values


if __name__ == "__main__":
    run = jax.jit(train, static_argnames="components")
    _, metrics = run(jax.random.key(0), PPOConfig(), Components(advantage_fn=td_advantages))
    print("last episode returns:", metrics["episode_return"][-5:])
