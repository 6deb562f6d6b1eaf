"""Train with TRPO: a rollout, one step of the policy in its trust region, then the critic."""

import jax

from jax_ppo import PPOConfig, init_train_state
from jax_ppo.trpo import TrustRegion, trpo_train_step


def train_trpo(key, config, region):
    """As `train`, with another step."""

    def step(state, _):
        return trpo_train_step(state, config, region=region)

    return jax.lax.scan(step, init_train_state(key, config), length=config.num_updates)


if __name__ == "__main__":
    region = TrustRegion(max_kl=0.01)
    _, metrics = jax.jit(train_trpo)(jax.random.key(0), PPOConfig(), region)
    print("last episode returns:", metrics["episode_return"][-5:])
    print("last divergences:", metrics["kl"][-5:])
