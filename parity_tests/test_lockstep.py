"""The two trainers, given the same draws, stay together as long as JAX stays with itself."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import jax_ppo
import torch_ref
from parity_tests import lockstep
from parity_tests.checks.optimizer import MOMENTUM, harmonic
from parity_tests.lockstep import CARTPOLE, cross_framework, self_neighbour
from parity_tests.measure import Precision
from parity_tests.mutants import entropy_not_added, truncation_as_termination

EVERYTHING = CARTPOLE.replace(
    num_envs=8,
    num_steps=32,
    normalize_observations=True,
    normalize_rewards=True,
    value_clip_eps=0.2,
    kl_coef=0.2,
    target_kl=0.003,
    clip_eps_schedule="linear",
    optimizer="adamw",
    weight_decay=1e-3,
    advantage_normalization="batch",
    shared_trunk=True,
    activation="swish",
)
"""Every option that changes the arithmetic, switched on."""

PENDULUM = EVERYTHING.replace(
    env_id="Pendulum-v1",
    env_params={"max_steps_in_episode": 20},
    optimizer="rmsprop",
    weight_decay=0.0,
    learning_rate_schedule="cosine",
    learning_rate_warmup=0.5,
)
"""Continuous actions, whose episodes end by truncation alone; RMSProp, cosine and warm-up."""

BREAKOUT = CARTPOLE.replace(
    env_id="Breakout-MinAtar", num_steps=8, conv_channels=(4,), hidden_sizes=(16,)
)
"""Images, and so a CNN."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """PyTorch's threads only wait for each other at these sizes."""
    torch.set_num_threads(1)


def test_metrics_are_compared_one_by_one() -> None:
    """Relative to their size, or to 1; NaN agrees with NaN alone; none may be missing."""
    nan = float("nan")
    assert lockstep.compare_metrics({"a": 3.0, "b": nan}, {"a": 2.0, "b": nan}) == 0.5
    assert lockstep.compare_metrics({"a": 0.25}, {"a": 0.5}) == 0.25
    assert np.isnan(lockstep.compare_metrics({"a": nan}, {"a": 0.5}))
    assert lockstep.compare_metrics({"a": 1.0}, {"b": 1.0}) == np.inf


def shortened(config: lockstep.PPOConfig, num_updates: int) -> lockstep.PPOConfig:
    """The first updates of a training, under the schedules of a training of that length."""
    return config.replace(total_steps=num_updates * config.batch_size)


@pytest.mark.parametrize(
    ("precision", "seed", "num_updates", "params", "metrics"),
    [("float64", 0, 30, 1e-14, 1e-12), ("float32", 1, 20, 1e-5, np.inf)],
)
def test_both_stay_within_rounding(
    precision: Precision, seed: int, num_updates: int, params: float, metrics: float
) -> None:
    """Not one action differs: in float64 for 30 updates, 15,360 steps; in float32 for 20.

    Which is far from the limit of float32, as the committed report measures it.
    """
    result = cross_framework(seed, shortened(CARTPOLE, num_updates), precision)
    assert result.identical_updates == result.num_updates == num_updates
    assert result.distances.max() < params
    assert result.metric_distances.max() < metrics


@pytest.mark.parametrize("config", [EVERYTHING, PENDULUM, BREAKOUT], ids=lambda c: c.env_id)
def test_every_option_in_float64(config: lockstep.PPOConfig) -> None:
    result = cross_framework(2, shortened(config, 10), "float64")
    if config.env_id != "Pendulum-v1":
        assert result.identical_updates == 10
    assert result.distances.max() < 1e-13
    assert result.metric_distances.max() < 1e-11


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_neighbour_starts_an_ulp_away(precision: Precision) -> None:
    result = self_neighbour(0, shortened(CARTPOLE, 2), precision)
    eps = float(np.finfo(precision).eps)
    assert 0.1 * eps < result.distances[0] < 10 * eps
    assert result.identical_updates == 2


def test_parts_of_ones_own_stay_together() -> None:
    """A user's own optimizer, schedule and loss, each written for both sides."""
    common = {"learning_rate_schedule": harmonic}
    result = cross_framework(
        3,
        shortened(CARTPOLE, 5).replace(learning_rate=0.05, learning_rate_warmup=0.5),
        "float64",
        jax_parts={**common, "optimizer_fn": MOMENTUM.jax_optimizer, "loss_fn": own_loss(jax_ppo)},
        torch_parts={
            **common,
            "optimizer_fn": MOMENTUM.torch_optimizer,
            "loss_fn": own_loss(torch_ref),
        },
    )
    assert result.identical_updates == 5
    assert result.distances.max() < 1e-14
    assert result.metric_distances.max() < 1e-12


def own_loss(package: Any) -> Any:
    """A loss of a user's own, with a measurement of its own: PPO's, and the values' square."""

    def loss_fn(
        distribution: Any, values: Any, batch: Any, config: Any, **coefficients: Any
    ) -> Any:
        loss, metrics = package.ppo_loss(distribution, values, batch, config, **coefficients)
        square = (values * values).mean()
        extra = {"squared_values": square}
        return loss + 0.01 * square, dataclasses.replace(metrics, extra=extra)

    return loss_fn


@pytest.mark.parametrize(
    "mutation",
    [{"loss_fn": entropy_not_added}, {"advantage_fn": truncation_as_termination}],
    ids=["entropy left out", "truncation as termination"],
)
def test_known_mistakes_are_seen_at_once(mutation: dict) -> None:
    """After one update a mistake is ten million times farther away than rounding is."""
    config = shortened(CARTPOLE, 3).replace(env_params={"max_steps_in_episode": 15})
    result = cross_framework(0, config, "float64", torch_parts=mutation)
    assert result.distances[-1] > 1e-7
