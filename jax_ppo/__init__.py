"""PPO in pure JAX: the whole rollout-plus-update loop is one function that jits and vmaps."""

from jax_ppo.adapters import make_env
from jax_ppo.adapters.gymnax import from_gymnax
from jax_ppo.advantages import AdvantageFn, compute_gae, normalize_advantages
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.devices import (
    Layout,
    compiler_options,
    config_axes,
    init_train_states,
    plan_layout,
    train_agents,
    train_updates,
)
from jax_ppo.diagnostics import approx_kl, clip_fraction, explained_variance
from jax_ppo.distributions import Categorical, DiagGaussian, Distribution
from jax_ppo.envs import Environment, EnvStep, autoreset
from jax_ppo.evaluate import evaluate_policy
from jax_ppo.losses import LossFn, clipped_surrogate_loss, ppo_loss, value_loss
from jax_ppo.networks import Network, make_network
from jax_ppo.normalize import RunningStats, init_stats, normalize, scale, update_stats
from jax_ppo.permutations import draw_permutations
from jax_ppo.ppo import Algorithm, AlgorithmFn, collect_from_draws, make_batch, ppo
from jax_ppo.presets import PRESETS, preset
from jax_ppo.rollout import collect_rollout, draw_randomness, init_rollout_state
from jax_ppo.schedules import Schedule, adapt_kl_coef, scheduled, warmup
from jax_ppo.spaces import ActionSpace, ArraySpace, ContinuousActions, DiscreteActions
from jax_ppo.train import train
from jax_ppo.types import (
    Batch,
    EpisodeResults,
    Metrics,
    RandomDraws,
    Rollout,
    RolloutState,
    TrainState,
    Transition,
)
from jax_ppo.update import (
    Learner,
    OptimizerFn,
    UpdateCoefficients,
    global_norm,
    gradient_step,
    make_optimizer,
    update_policy,
)
from jax_ppo.variants import TrustRegion, a2c, reinforce, reinforce_with_baseline, trpo

__version__ = "0.1.0"

__all__ = [
    "ActionSpace",
    "AdvantageFn",
    "Algorithm",
    "AlgorithmFn",
    "ArraySpace",
    "Batch",
    "Categorical",
    "ConfigError",
    "ContinuousActions",
    "DiagGaussian",
    "DiscreteActions",
    "Distribution",
    "EnvStep",
    "Environment",
    "EpisodeResults",
    "Layout",
    "Learner",
    "LossFn",
    "Metrics",
    "Network",
    "OptimizerFn",
    "PPOConfig",
    "PRESETS",
    "RandomDraws",
    "Rollout",
    "RolloutState",
    "RunningStats",
    "Schedule",
    "TrainState",
    "Transition",
    "TrustRegion",
    "UpdateCoefficients",
    "a2c",
    "adapt_kl_coef",
    "approx_kl",
    "autoreset",
    "clip_fraction",
    "clipped_surrogate_loss",
    "collect_from_draws",
    "collect_rollout",
    "compiler_options",
    "compute_gae",
    "config_axes",
    "draw_permutations",
    "draw_randomness",
    "evaluate_policy",
    "explained_variance",
    "from_gymnax",
    "global_norm",
    "gradient_step",
    "init_rollout_state",
    "init_stats",
    "init_train_states",
    "make_batch",
    "make_env",
    "make_network",
    "make_optimizer",
    "normalize",
    "normalize_advantages",
    "plan_layout",
    "ppo",
    "ppo_loss",
    "preset",
    "reinforce",
    "reinforce_with_baseline",
    "scale",
    "scheduled",
    "train",
    "train_agents",
    "train_updates",
    "trpo",
    "update_policy",
    "update_stats",
    "value_loss",
    "warmup",
]
