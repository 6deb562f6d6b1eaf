"""How much better an action was than the critic expected."""

from typing import Protocol

import torch

from jax_ppo.shapes import check_flags, check_same_shape


class AdvantageFn(Protocol):
    """An estimator of advantages, such as `compute_gae`."""

    def __call__(
        self,
        rewards: torch.Tensor,
        values: torch.Tensor,
        next_values: torch.Tensor,
        *,
        terminated: torch.Tensor,
        truncated: torch.Tensor,
        gamma: torch.Tensor | float,
        gae_lambda: torch.Tensor | float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Advantages and returns, both [num_steps, num_envs]; arguments as for `compute_gae`."""


def compute_gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    next_values: torch.Tensor,
    *,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: torch.Tensor | float,
    gae_lambda: torch.Tensor | float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalized advantage estimates, with termination and truncation kept apart.

    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)
    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1},  done_t = terminated_t or truncated_t

    A terminated episode has no future, so its last step bootstraps nothing. A truncated one has a
    future that was not seen, so its last step bootstraps V(s'_t), where s'_t is the observation
    before the environment was reset. The sum stops at either; where both are set, terminated wins.

    Args:
        rewards: r_t [num_steps, num_envs].
        values: V(s_t) [num_steps, num_envs].
        next_values: V(s'_t), of the observation before autoreset [num_steps, num_envs].
        terminated: [num_steps, num_envs], bool.
        truncated: [num_steps, num_envs], bool.
        gamma: Discount per step, in [0, 1].
        gae_lambda: Weight of longer returns, in [0, 1].

    Returns:
        Advantages and returns, both [num_steps, num_envs]; returns = advantages + values are the
        targets of the critic.

    Raises:
        ValueError: The five tensors differ in shape.

    Source: Schulman et al. (2016), "High-dimensional continuous control using generalized
    advantage estimation", equations 11 to 16; bootstrapping at time limits: Pardo et al. (2018).
    """
    check_same_shape(
        "compute_gae",
        rewards=rewards,
        values=values,
        next_values=next_values,
        terminated=terminated,
        truncated=truncated,
    )
    check_flags("compute_gae", terminated=terminated, truncated=truncated)
    gamma = torch.as_tensor(gamma, dtype=rewards.dtype)  # else gamma lambda would be in float64
    deltas = rewards + gamma * torch.where(terminated, 0.0, next_values) - values
    decays = gamma * gae_lambda * torch.where(terminated | truncated, 0.0, torch.ones_like(values))

    advantage = torch.zeros_like(deltas[0])
    backwards = []
    for t in reversed(range(len(deltas))):
        advantage = deltas[t] + decays[t] * advantage
        backwards.append(advantage)
    advantages = torch.stack(backwards[::-1])
    return advantages, advantages + values


def normalize_advantages(advantages: torch.Tensor) -> torch.Tensor:
    """(A - mean(A)) / (std(A) + 1e-8), over all entries.

    The standard deviation is the population's (ddof = 0), so a single sample gives 0, not NaN. The
    mean is subtracted twice, which takes away what rounding left of it the first time: without
    that, advantages that are all equal would come out as +1 or -1 instead of 0.

    Args:
        advantages: Any shape.

    Source: Engstrom et al. (2020), "Implementation matters in deep policy gradients", and
    common practice; it is not in the PPO paper.
    """
    centered = advantages - torch.mean(advantages)
    return (centered - torch.mean(centered)) / (torch.std(centered, correction=0) + 1e-8)
