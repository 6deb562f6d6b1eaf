"""Train with an advantage estimator of your own: one-step temporal differences."""

from functools import partial

import jax

from jax_ppo import PPOConfig, ppo, train


def td_advantages(rewards, values, next_values, *, terminated, gamma, **_):
    """A = r + gamma (1 - terminated) V(s') - V(s), and the value targets A + V."""
    advantages = rewards + gamma * ~terminated * next_values - values
    return advantages, advantages + values


if __name__ == "__main__":
    run = jax.jit(train, static_argnames="algorithm_fn")
    _, metrics = run(jax.random.key(0), PPOConfig(), partial(ppo, advantage_fn=td_advantages))
    print("last episode returns:", metrics.episode_return[-5:])
