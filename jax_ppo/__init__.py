"""PPO in pure JAX: the whole rollout-plus-update loop is one function that jits and vmaps."""

from jax_ppo.advantages import compute_gae, normalize_advantages
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.diagnostics import approx_kl, clip_fraction, explained_variance
from jax_ppo.distributions import Categorical, DiagGaussian, draw_noise
from jax_ppo.envs import (
    ContinuousActions,
    DiscreteActions,
    Environment,
    EnvStep,
    from_gymnax,
    make_env,
)
from jax_ppo.evaluate import evaluate_policy
from jax_ppo.execution import Execution, compiler_options, config_axes, plan_execution
from jax_ppo.losses import clipped_surrogate_loss, ppo_loss, value_loss
from jax_ppo.networks import Network, make_network
from jax_ppo.normalize import RunningStats, init_stats, normalize, scale, update_stats
from jax_ppo.permutations import draw_permutations
from jax_ppo.presets import PRESETS, preset
from jax_ppo.rollout import collect_rollout, init_rollout_state
from jax_ppo.schedules import adapt_kl_coef, scheduled
from jax_ppo.train import (
    Components,
    draw_randomness,
    init_train_state,
    make_batch,
    train,
    train_agents,
    train_step,
    train_step_from_draws,
    train_updates,
)
from jax_ppo.types import (
    Batch,
    EpisodeResults,
    Metrics,
    RandomDraws,
    RolloutState,
    TrainState,
    Transition,
)
from jax_ppo.update import (
    UpdateCoefficients,
    global_norm,
    gradient_step,
    make_optimizer,
    update_policy,
)

__version__ = "0.1.0"

__all__ = [
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
    "Execution",
    "Metrics",
    "Network",
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
    "compiler_options",
    "compute_gae",
    "config_axes",
    "draw_noise",
    "draw_permutations",
    "draw_randomness",
    "evaluate_policy",
    "explained_variance",
    "from_gymnax",
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
    "plan_execution",
    "ppo_loss",
    "preset",
    "scale",
    "scheduled",
    "train",
    "train_agents",
    "train_step",
    "train_step_from_draws",
    "train_updates",
    "update_policy",
    "update_stats",
    "value_loss",
]
