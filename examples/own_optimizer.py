"""Train with an optimizer and a schedule of your own: Lion, and a cosine after a warm-up."""

from functools import partial

import jax
import optax

from jax_ppo import PPOConfig, ppo, train


def warmup_cosine(update, num_updates):
    """What the learning rate is multiplied by: up to 1 in a tenth of training, then down to 0."""
    rising = max(1, num_updates // 10)
    return optax.warmup_cosine_decay_schedule(0.1, 1.0, rising, num_updates)(update)


if __name__ == "__main__":
    run = jax.jit(train, static_argnames="algorithm_fn")
    algorithm_fn = partial(ppo, optimizer_fn=optax.lion, learning_rate_schedule=warmup_cosine)
    _, metrics = run(jax.random.key(0), PPOConfig(learning_rate=3e-4), algorithm_fn)
    print("last episode returns:", metrics.episode_return[-5:])
    print("learning rates:", metrics.learning_rate)
