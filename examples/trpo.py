"""Train with TRPO: a rollout, one step of the policy in its trust region, then the critic."""

from functools import partial

import jax

from jax_ppo import PPOConfig, TrustRegion, train, trpo

if __name__ == "__main__":
    run = jax.jit(train, static_argnames="algorithm_fn")
    algorithm_fn = partial(trpo, region=TrustRegion(max_kl=0.01))
    _, metrics = run(jax.random.key(0), PPOConfig(), algorithm_fn)
    print("last episode returns:", metrics.episode_return[-5:])
    print("last divergences:", metrics.kl[-5:])
