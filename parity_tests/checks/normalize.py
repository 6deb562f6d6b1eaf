"""Running statistics, and what is normalized with them."""

from functools import partial
from typing import Any

import jax
import numpy as np
import torch

from parity_tests import oracles
from parity_tests.checks.check import Check, written_once
from parity_tests.compare import Tolerance
from parity_tests.inputs import normal


def stream_statistics(package: Any, first: Any, second: Any, third: Any) -> Any:
    """Statistics after three batches, taken in one after the other.

    Without the remainders, which are what rounding left over, and as different as rounding is.
    """
    stats = package.init_stats(tuple(first.shape[1:]))
    for batch in (first, second, third):
        stats = package.update_stats(stats, batch)
    return {"mean": stats.mean, "var": stats.var, "count": stats.count}


def stream_oracle(*batches: Any) -> dict[str, Any]:
    """The same by definition."""
    mean, var, count = oracles.stream_statistics(batches)
    return {"mean": mean, "var": var, "count": count}


def stream_terms(*batches: Any) -> dict[str, Any]:
    """Sizes of the terms: of a mean mean |x|, of a variance mean |x - mean| |x|, and the mean's."""
    stream = np.concatenate(batches)
    size, deviation = np.abs(stream), np.abs(stream - stream.mean(axis=0))
    variance = (deviation * (deviation + size)).mean(axis=0) + size.mean(axis=0) * deviation.mean(0)
    return {"mean": size.mean(axis=0), "var": variance, "count": len(stream)}


def normalized(package: Any, mean: Any, std: Any, values: Any, clip: Any) -> Any:
    """Observations normalized with statistics that are given."""
    return package.normalize(_stats(package, mean, std * std), values, clip)


def scaled(package: Any, std: Any, values: Any, clip: Any) -> Any:
    """Rewards scaled with statistics that are given."""
    return package.scale(_stats(package, std, std * std), values, clip)


def _stats(package: Any, mean: Any, var: Any) -> Any:
    """RunningStats of one sample."""
    one = torch.ones(()) if isinstance(mean, torch.Tensor) else jax.numpy.ones(())
    return package.RunningStats(mean=mean, var=var, count=one)


BATCH = normal("num_envs", 3, loc=2.0)
OTHER = normal("num_envs", 3, loc=-1.0, scale=5.0)

values_check = partial(
    Check, level=1, gradients=False, sizes={"num_envs": 8}, tolerance=Tolerance(1.5, 0)
)

CHECKS = (
    values_check(
        name="update_stats",
        **written_once(stream_statistics),
        inputs={"first": BATCH, "second": OTHER, "third": normal(2, 3)},
        oracle=stream_oracle,
        terms=stream_terms,
    ),
    values_check(
        name="normalize",
        **written_once(normalized),
        inputs={
            "mean": normal(3),
            "std": normal(3, loc=1.0, scale=0.2),
            "values": normal("num_envs", 3, scale=2.0),
            "clip": 3.0,
        },
        oracle=lambda mean, std, values, clip: oracles.normalized(mean, std * std, values, clip),
        terms=lambda mean, std, values, _: (abs(mean) + abs(values)) / np.sqrt(std**2 + 1e-8),
    ),
    values_check(
        name="scale",
        **written_once(scaled),
        inputs={"std": normal(loc=2.0, scale=0.2), "values": normal("num_envs"), "clip": 1.0},
        oracle=lambda std, values, clip: oracles.scaled(std * std, values, clip),
    ),
)
