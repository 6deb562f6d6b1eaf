"""How coefficients move over training. Schedules count updates, not gradient steps."""

from typing import Literal

import torch

KL_COEF_BOUNDS = (2.0**-20, 2.0**20)
"""The least and the greatest coefficient of the KL penalty that adaptation leads to."""


def scheduled(
    initial: torch.Tensor | float,
    schedule: Literal["constant", "linear"],
    update: torch.Tensor | int,
    num_updates: int,
) -> torch.Tensor | float:
    """The coefficient during update number `update`, counted from 0.

    constant: c.  linear: c (num_updates - update) / num_updates, so the first update uses c and the
    last one c / num_updates; zero is never reached.

    Args:
        initial: c.
        schedule: Which of the two.
        update: Updates already done [].
        num_updates: Updates in all.
    """
    if schedule == "constant":
        return initial
    # A product, because compilers make one of a division: so the last bit is JAX's too.
    return initial * ((num_updates - update) * (1.0 / num_updates))


def adapt_kl_coef(
    kl_coef: torch.Tensor | float, kl: torch.Tensor | float, kl_target: torch.Tensor | float
) -> torch.Tensor:
    """The KL penalty's next coefficient: halved if KL < target / 1.5, doubled if KL > 1.5 target.

    It stays within KL_COEF_BOUNDS: halved often enough it would be 0, and could not be doubled.

    Args:
        kl_coef: Coefficient of the update just done [].
        kl: Mean KL(old || new) over its batch, after its last gradient step [], in nats.
        kl_target: The divergence aimed at, in nats.

    Source: Schulman et al. (2017), section 4.
    """
    factor = 0.5 if kl < kl_target / 1.5 else 2.0 if kl > kl_target * 1.5 else 1.0
    return torch.clamp(torch.as_tensor(kl_coef * factor), *KL_COEF_BOUNDS)
