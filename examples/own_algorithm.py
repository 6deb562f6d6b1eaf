"""Train with an algorithm of your own: acting as in PPO, one plain gradient step per rollout."""

import jax
import jax.numpy as jnp

from jax_ppo import PPOConfig, make_batch, ppo, train


def actor_critic(config):
    """PPO's env, network, init and collect, with another learn."""
    algorithm = ppo(config)

    def loss_fn(params, batch):
        distribution, values = algorithm.network.apply(params, batch.obs)
        policy_loss = -jnp.mean(distribution.log_prob(batch.action) * batch.advantages)
        return policy_loss + jnp.mean(jnp.square(values - batch.returns))

    def learn(state, rollout):
        batch = make_batch(state.params, rollout.transitions, config, algorithm.network)
        slope = jax.grad(loss_fn)(state.params, batch)
        params = jax.tree.map(lambda p, g: p - config.learning_rate * g, state.params, slope)
        return state.replace(params=params, update=state.update + 1), rollout.metrics

    return algorithm._replace(learn=learn)


if __name__ == "__main__":
    _, metrics = jax.jit(train, static_argnums=2)(jax.random.key(0), PPOConfig(), actor_critic)
    print("last episode returns:", metrics.episode_return[-5:])
