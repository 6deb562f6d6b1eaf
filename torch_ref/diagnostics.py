"""Numbers that say whether an update went well; none of them is differentiated."""

import torch

from jax_ppo.shapes import check_same_shape

ROUNDING_UNITS = 4.0
"""Returns that differ by no more than this many units of rounding are taken to be equal."""


def approx_kl(log_ratio: torch.Tensor) -> torch.Tensor:
    """Estimate of KL(old || new) from samples of the old policy: mean((r - 1) - log r), in nats.

    Unbiased, never negative, and of lower variance than mean(-log r).

    Args:
        log_ratio: log r = log pi_new(a|s) - log pi_old(a|s), any shape.

    Source: Schulman (2020), "Approximating KL divergence", estimator k3.
    """
    return torch.mean(torch.expm1(log_ratio) - log_ratio)


def clip_fraction(ratio: torch.Tensor, clip_eps: torch.Tensor | float) -> torch.Tensor:
    """Share of samples whose probability ratio has left [1 - clip_eps, 1 + clip_eps], in [0, 1].

    Args:
        ratio: pi_new(a|s) / pi_old(a|s), any shape.
        clip_eps: Half width of the band.
    """
    outside = torch.abs(ratio - 1.0) > clip_eps
    return torch.mean(outside.to(ratio.dtype))


def explained_variance(values: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect critic, 0 one that knows nothing.

    Where the returns are all equal, but for the rounding that made them from the values, there is
    nothing to explain, and the result is 0.

    Args:
        values: The critic's estimates, any shape.
        returns: Their targets, the same shape.

    Raises:
        ValueError: The two differ in shape.
    """
    check_same_shape("explained_variance", values=values, returns=returns)
    size = torch.maximum(torch.max(torch.abs(returns)), torch.max(torch.abs(values)))
    spread = torch.max(returns) - torch.min(returns)
    if spread <= ROUNDING_UNITS * torch.finfo(returns.dtype).eps * size:
        return torch.zeros_like(spread)
    return 1.0 - torch.var(returns - values, correction=0) / torch.var(returns, correction=0)
