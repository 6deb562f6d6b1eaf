"""Train a network of your own: any two functions, init and apply, will do."""

import jax
import jax.numpy as jnp

from jax_ppo import Categorical, Components, Network, PPOConfig, train

WIDTH = 128


def fourier_network(config, env):
    """Random Fourier features, fixed, and a linear policy and a linear critic on top of them."""
    frequencies = jax.random.normal(jax.random.key(1), (*env.obs_shape, WIDTH))
    num_outputs = env.actions.num_actions + 1

    def init(key):
        return {"weights": 0.01 * jax.random.normal(key, (WIDTH, num_outputs))}

    def apply(params, obs):
        outputs = jnp.cos(obs @ frequencies) @ params["weights"]
        return Categorical(outputs[..., 1:]), outputs[..., 0]

    return Network(init, apply)


if __name__ == "__main__":
    run = jax.jit(train, static_argnames="components")
    _, metrics = run(jax.random.key(0), PPOConfig(), Components(make_network=fourier_network))
    print("last episode returns:", metrics["episode_return"][-5:])
