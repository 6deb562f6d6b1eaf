"""PPO in plain PyTorch over Gymnasium: the twin of `jax_ppo`, to be read as its specification."""

from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.presets import PRESETS, preset
from torch_ref.advantages import compute_gae, normalize_advantages
from torch_ref.diagnostics import approx_kl, clip_fraction, explained_variance
from torch_ref.distributions import Categorical, DiagGaussian, draw_noise
from torch_ref.envs import (
    ContinuousActions,
    DiscreteActions,
    Environment,
    EnvStep,
    from_gymnasium,
    make_env,
)
from torch_ref.evaluate import evaluate_policy
from torch_ref.losses import clipped_surrogate_loss, ppo_loss, value_loss
from torch_ref.networks import Network, make_network
from torch_ref.normalize import RunningStats, init_stats, normalize, scale, update_stats
from torch_ref.permutations import draw_permutations
from torch_ref.rollout import collect_rollout, init_rollout_state
from torch_ref.schedules import adapt_kl_coef, scheduled
from torch_ref.train import (
    Components,
    draw_randomness,
    init_train_state,
    make_batch,
    train,
    train_step,
    train_step_from_draws,
)
from torch_ref.types import (
    Batch,
    EpisodeResults,
    Metrics,
    RandomDraws,
    RolloutState,
    TrainState,
    Transition,
)
from torch_ref.update import (
    AdamState,
    Optimizer,
    UpdateCoefficients,
    global_norm,
    gradient_step,
    make_optimizer,
    update_policy,
)

__all__ = [
    "AdamState",
    "Batch",
    "Categorical",
    "Components",
    "ConfigError",
    "ContinuousActions",
    "DiagGaussian",
    "DiscreteActions",
    "EnvStep",
    "Environment",
    "EpisodeResults",
    "Metrics",
    "Network",
    "Optimizer",
    "PRESETS",
    "PPOConfig",
    "RandomDraws",
    "RolloutState",
    "RunningStats",
    "TrainState",
    "Transition",
    "UpdateCoefficients",
    "adapt_kl_coef",
    "approx_kl",
    "clip_fraction",
    "clipped_surrogate_loss",
    "collect_rollout",
    "compute_gae",
    "draw_noise",
    "draw_permutations",
    "draw_randomness",
    "evaluate_policy",
    "explained_variance",
    "from_gymnasium",
    "global_norm",
    "gradient_step",
    "init_rollout_state",
    "init_stats",
    "init_train_state",
    "make_batch",
    "make_env",
    "make_network",
    "make_optimizer",
    "normalize",
    "normalize_advantages",
    "ppo_loss",
    "preset",
    "scale",
    "scheduled",
    "train",
    "train_step",
    "train_step_from_draws",
    "update_policy",
    "update_stats",
    "value_loss",
]
