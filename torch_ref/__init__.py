"""PPO in plain PyTorch over Gymnasium: the same as `jax_ppo`, to be read as its specification."""

from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.presets import PRESETS, preset
from torch_ref.adapters import make_env
from torch_ref.adapters.gymnasium import from_gymnasium
from torch_ref.advantages import AdvantageFn, compute_gae, normalize_advantages
from torch_ref.diagnostics import approx_kl, clip_fraction, explained_variance
from torch_ref.distributions import Categorical, DiagGaussian, Distribution
from torch_ref.envs import Environment, EnvStep
from torch_ref.evaluate import evaluate_policy
from torch_ref.losses import LossFn, clipped_surrogate_loss, ppo_loss, value_loss
from torch_ref.networks import Network, make_network
from torch_ref.normalize import RunningStats, init_stats, normalize, scale, update_stats
from torch_ref.optimizers import AdamState, Optimizer, RMSPropState, SGDState
from torch_ref.permutations import draw_permutations
from torch_ref.ppo import Algorithm, AlgorithmFn, collect_from_draws, make_batch, ppo
from torch_ref.rollout import collect_rollout, draw_randomness, init_rollout_state
from torch_ref.schedules import Schedule, adapt_kl_coef, scheduled, warmup
from torch_ref.spaces import ActionSpace, ArraySpace, ContinuousActions, DiscreteActions
from torch_ref.train import train
from torch_ref.types import (
    Batch,
    EpisodeResults,
    Metrics,
    RandomDraws,
    Rollout,
    RolloutState,
    TrainState,
    Transition,
)
from torch_ref.update import (
    Learner,
    OptimizerFn,
    UpdateCoefficients,
    global_norm,
    gradient_step,
    make_optimizer,
    update_policy,
)

__all__ = [
    "ActionSpace",
    "AdamState",
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
    "Learner",
    "LossFn",
    "Metrics",
    "Network",
    "Optimizer",
    "OptimizerFn",
    "PPOConfig",
    "PRESETS",
    "RMSPropState",
    "RandomDraws",
    "Rollout",
    "RolloutState",
    "RunningStats",
    "SGDState",
    "Schedule",
    "TrainState",
    "Transition",
    "UpdateCoefficients",
    "adapt_kl_coef",
    "approx_kl",
    "clip_fraction",
    "clipped_surrogate_loss",
    "collect_from_draws",
    "collect_rollout",
    "compute_gae",
    "draw_permutations",
    "draw_randomness",
    "evaluate_policy",
    "explained_variance",
    "from_gymnasium",
    "global_norm",
    "gradient_step",
    "init_rollout_state",
    "init_stats",
    "make_batch",
    "make_env",
    "make_network",
    "make_optimizer",
    "normalize",
    "normalize_advantages",
    "ppo",
    "ppo_loss",
    "preset",
    "scale",
    "scheduled",
    "train",
    "update_policy",
    "update_stats",
    "value_loss",
    "warmup",
]
