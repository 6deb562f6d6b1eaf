"""The objective of PPO, term by term, from the outputs of the network."""

from typing import Protocol

import torch

from jax_ppo.config import PPOConfig
from jax_ppo.shapes import check_same_shape
from torch_ref.diagnostics import approx_kl, clip_fraction
from torch_ref.distributions import Distribution
from torch_ref.normalize import clip_values
from torch_ref.types import Batch, Metrics

MAX_LOG_RATIO = 80.0
"""Largest log-ratio that the surrogate tells from larger ones: exp(89) is infinite in float32, and
infinity times an advantage or a gradient of 0 is not a number."""


class LossFn(Protocol):
    """A loss of the network's outputs on a minibatch, such as `ppo_loss`."""

    def __call__(
        self,
        distribution: Distribution,
        values: torch.Tensor,
        batch: Batch,
        config: PPOConfig,
        *,
        clip_eps: torch.Tensor | float,
        kl_coef: torch.Tensor | float | None,
    ) -> tuple[torch.Tensor, Metrics]:
        """The loss [], to be minimized, and what it measured; arguments as for `ppo_loss`."""


def clipped_surrogate_loss(
    log_prob: torch.Tensor,
    old_log_prob: torch.Tensor,
    advantages: torch.Tensor,
    clip_eps: torch.Tensor | float,
) -> torch.Tensor:
    """-mean(min(r A, clip(r, 1 - eps, 1 + eps) A)), with r = exp(log_prob - old_log_prob).

    r is exp(MAX_LOG_RATIO) at most; samples beyond have no gradient.

    Args:
        log_prob: log pi_new(a|s) [batch_size].
        old_log_prob: log pi_old(a|s) [batch_size].
        advantages: A [batch_size].
        clip_eps: Half width of the band around ratio 1.

    Returns:
        The loss [], to be minimized.

    Raises:
        ValueError: The three arrays differ in shape.

    Source: Schulman et al. (2017), "Proximal policy optimization algorithms", equation 7.
    """
    check_same_shape(
        "clipped_surrogate_loss",
        log_prob=log_prob,
        old_log_prob=old_log_prob,
        advantages=advantages,
    )
    ratio = torch.exp(torch.clamp(log_prob - old_log_prob, max=MAX_LOG_RATIO))
    clipped_ratio = clip_values(ratio, 1.0 - clip_eps, 1.0 + clip_eps)
    return -torch.mean(torch.minimum(ratio * advantages, clipped_ratio * advantages))


def value_loss(
    values: torch.Tensor,
    old_values: torch.Tensor,
    returns: torch.Tensor,
    value_clip_eps: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Half the mean squared error of the critic, optionally with clipped values.

    Without clipping 1/2 mean((V - R)^2); with it 1/2 mean(max((V - R)^2, (V_clip - R)^2)), where
    V_clip = V_old + clip(V - V_old, -eps, eps).

    Args:
        values: V(s) [batch_size].
        old_values: V(s) when the sample was collected [batch_size].
        returns: R, the targets [batch_size].
        value_clip_eps: eps, in units of value; None for no clipping.

    Returns:
        The loss [], to be minimized.

    Raises:
        ValueError: The three arrays differ in shape.

    Source: Schulman et al. (2017), equation 9; clipping as in OpenAI Baselines' ppo2 (2017).
    """
    check_same_shape("value_loss", values=values, old_values=old_values, returns=returns)
    squared_error = torch.square(values - returns)
    if value_clip_eps is not None:
        clipped_values = old_values + clip_values(
            values - old_values, -value_clip_eps, value_clip_eps
        )
        squared_error = torch.maximum(squared_error, torch.square(clipped_values - returns))
    return 0.5 * torch.mean(squared_error)


def ppo_loss(
    distribution: Distribution,
    values: torch.Tensor,
    batch: Batch,
    config: PPOConfig,
    *,
    clip_eps: torch.Tensor | float,
    kl_coef: torch.Tensor | float | None = None,
) -> tuple[torch.Tensor, Metrics]:
    """policy_loss + vf_coef value_loss - ent_coef entropy (+ kl_coef KL(old || new)).

    Args:
        distribution: The current policy at batch.obs, batch shape [batch_size].
        values: The current critic at batch.obs [batch_size].
        batch: The samples; its advantages are used as they are.
        config: Gives vf_coef, ent_coef and value_clip_eps.
        clip_eps: Half width of the clip band, at this point of its schedule.
        kl_coef: Weight of the KL penalty; None for no penalty.

    Returns:
        The loss [] and its metrics: loss, policy_loss, value_loss, entropy, approx_kl,
        clip_fraction, and kl if there is a penalty.

    Raises:
        ValueError: There is a penalty, but batch.old_distribution is None.

    Source: Schulman et al. (2017), equation 9 (negated), and equation 8 for the penalty.
    """
    log_prob = distribution.log_prob(batch.action)
    policy = clipped_surrogate_loss(log_prob, batch.old_log_prob, batch.advantages, clip_eps)
    value = value_loss(values, batch.old_value, batch.returns, config.value_clip_eps)
    entropy = torch.mean(distribution.entropy())
    loss = policy + config.vf_coef * value - config.ent_coef * entropy

    log_ratio = (log_prob - batch.old_log_prob).detach()
    kl = None
    if kl_coef is not None:
        if batch.old_distribution is None:
            raise ValueError("ppo_loss: a KL penalty needs batch.old_distribution")
        kl = torch.mean(batch.old_distribution.kl(distribution))
        loss = loss + kl_coef * kl
    return loss, Metrics(
        loss=loss,
        policy_loss=policy,
        value_loss=value,
        entropy=entropy,
        approx_kl=approx_kl(log_ratio),
        clip_fraction=clip_fraction(torch.exp(log_ratio), clip_eps),
        kl=kl,
    )
