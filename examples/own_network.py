"""Train a network of your own: any two functions, init and apply, will do."""

import jax
import jax.numpy as jnp

from jax_ppo import Network, PPOConfig, make_env, ppo, train

WIDTH = 128


def fourier_ppo(config):
    """Random Fourier features, fixed, and a linear policy and a linear critic on top of them."""
    env = make_env(config)
    actions = env.action_space
    frequencies = jax.random.normal(jax.random.key(1), (*env.observation_space.shape, WIDTH))

    def init(key):
        return {"weights": 0.01 * jax.random.normal(key, (WIDTH, actions.output_size + 1))}

    def apply(params, obs):
        outputs = jnp.cos(obs @ frequencies) @ params["weights"]
        return actions.distribution(outputs[..., 1:], None), outputs[..., 0]

    return ppo(config, env, Network(init, apply))


if __name__ == "__main__":
    _, metrics = jax.jit(train, static_argnums=2)(jax.random.key(0), PPOConfig(), fourier_ppo)
    print("last episode returns:", metrics.episode_return[-5:])
