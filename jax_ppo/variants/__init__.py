"""Other algorithms as values of the same kind, and what PPO's clipping does to the samples."""

from jax_ppo.variants.policy_gradient import a2c, reinforce, reinforce_with_baseline
from jax_ppo.variants.trpo import TrustRegion, trpo

__all__ = ["TrustRegion", "a2c", "reinforce", "reinforce_with_baseline", "trpo"]
