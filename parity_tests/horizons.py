"""For how long two trainings from the same draws stay together, over several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from jax_ppo import PPOConfig
from parity_tests.lockstep import CARTPOLE, Lockstep, cross_framework, self_neighbour
from parity_tests.measure import Precision

SEEDS = tuple(range(8))
"""What the committed report measures."""

RATIO = 0.8
"""The frameworks must stay together for this share of the updates that two JAX runs do."""

LEAST: dict[Precision, int] = {"float32": 25, "float64": 100}
"""And for this many updates, median over the seeds."""

PAIRS = {"PyTorch - JAX": cross_framework, "JAX, one ulp away - JAX": self_neighbour}
"""What is compared."""


@dataclass(frozen=True)
class Horizons:
    """How long the trainings of several seeds stayed together, in one precision."""

    precision: Precision
    seeds: tuple[int, ...]
    cross: tuple[Lockstep, ...]
    """PyTorch beside JAX, one per seed."""
    neighbour: tuple[Lockstep, ...]
    """JAX beside itself from initial parameters one ulp away, one per seed."""

    @property
    def cross_median(self) -> float:
        """Updates until the first differing action, PyTorch beside JAX."""
        return float(np.median([run.identical_updates for run in self.cross]))

    @property
    def neighbour_median(self) -> float:
        """Updates until the first differing action, JAX beside itself."""
        return float(np.median([run.identical_updates for run in self.neighbour]))

    @property
    def ratio(self) -> float:
        """Median against median."""
        return self.cross_median / self.neighbour_median

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {
            "precision": self.precision,
            "seeds": list(self.seeds),
            "cross": [_to_dict(run) for run in self.cross],
            "neighbour": [_to_dict(run) for run in self.neighbour],
            "cross_median": self.cross_median,
            "neighbour_median": self.neighbour_median,
            "ratio": self.ratio,
        }


def measure_horizons(
    precision: Precision,
    num_processes: int,
    config: PPOConfig = CARTPOLE,
    seeds: Sequence[int] = SEEDS,
) -> Horizons:
    """Train every seed four times: PyTorch beside JAX, and JAX beside its neighbour.

    `num_processes` is how many pairs of trainings run at a time.
    """
    work = [(name, seed, config, precision) for name in PAIRS for seed in seeds]
    with get_context("spawn").Pool(num_processes) as pool:
        runs = pool.starmap(_run_pair, work, chunksize=1)
    cross, neighbour = runs[: len(seeds)], runs[len(seeds) :]
    return Horizons(precision, tuple(seeds), tuple(cross), tuple(neighbour))


def _run_pair(name: str, seed: int, config: PPOConfig, precision: Precision) -> Lockstep:
    """One pair of trainings, in a process of its own."""
    torch.set_num_threads(1)
    return PAIRS[name](seed, config, precision)


def _to_dict(run: Lockstep) -> dict[str, Any]:
    """The numbers of one pair of trainings."""
    return {
        "identical_updates": run.identical_updates,
        "num_updates": run.num_updates,
        "distances": run.distances.tolist(),
    }
