"""Adapter of torch_ref: its `train`, for one agent."""

from typing import Any

import eager
import numpy as np
import protocol
import torch
from ours import config_of

from jax_ppo import PPOConfig
from torch_ref import train


def prepare(work: Any, seed: int) -> tuple[torch.Generator, PPOConfig]:
    """The arguments of `train`."""
    torch.set_num_threads(eager.THREADS)
    return torch.Generator().manual_seed(seed), config_of(work)


def learn(work: Any, arguments: tuple[torch.Generator, PPOConfig]) -> float:
    """Train; the mean return of the episodes of the last tenth of the updates."""
    _, metrics = train(*arguments)
    returns = metrics.as_dict()["episode_return"].numpy()[-max(1, work.num_updates // 10) :]
    known = returns[~np.isnan(returns)]
    return float(known.mean()) if known.size else float("nan")


if __name__ == "__main__":
    task = protocol.begin()
    eager.serve(task, prepare, learn, ("torch", "gymnasium", "numpy"))
