"""The orders in which an update goes through its samples."""

import torch


def draw_permutations(generator: torch.Generator, num_permutations: int, size: int) -> torch.Tensor:
    """Random orders of the numbers 0, 1, ..., size - 1.

    Args:
        generator: Source of randomness; it advances.
        num_permutations: How many.
        size: Of what.

    Returns:
        [num_permutations, size], int64.
    """
    orders = [torch.randperm(size, generator=generator) for _ in range(num_permutations)]
    return torch.stack(orders)
