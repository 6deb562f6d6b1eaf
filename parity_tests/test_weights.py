"""Parameters and states converted: exactly, in both directions, in both precisions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jax_ppo
import torch_ref
from parity_tests import Precision, precision_of, weights
from parity_tests.checks.tiny import ARCHITECTURES, Architecture


def assert_same(left: Any, right: Any) -> None:
    """The same tree, the same types, the same bits."""
    assert str(jax.tree.structure(left)) == str(jax.tree.structure(right))
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_round_trip(architecture: Architecture, precision: Precision) -> None:
    """There and back is nothing; the names and shapes in between are those of `init_params`."""
    with precision_of(precision):
        params = jax.tree.map(lambda p: jnp.asarray(p, precision), architecture.params())
        there = weights.params_to_torch(params)
        assert_same(weights.params_to_jax(there), params)
        own = architecture.torch_network().init(torch.Generator().manual_seed(0))
    assert {n: p.shape for n, p in there.items()} == {n: p.shape for n, p in own.items()}
    assert {p.dtype for p in there.values()} == {p.dtype for p in own.values()}


def test_layout_by_hand() -> None:
    """Entry (in 0, out 2) becomes (2, 0), and a convolution's (1, 0, 1, 2) becomes (2, 1, 1, 0)."""
    dense, conv = np.arange(6.0).reshape(2, 3), np.arange(24.0).reshape(2, 2, 2, 3)
    tree = {"a": {"kernel": dense, "bias": np.zeros(3)}, "b": {"kernel": conv, "bias": np.ones(3)}}
    renamed = weights.rename_to_torch({"params": {**tree, "log_std": np.ones(1)}})
    assert sorted(renamed) == ["a.bias", "a.weight", "b.bias", "b.weight", "log_std"]
    assert renamed["a.weight"][2, 0] == dense[0, 2]
    assert renamed["b.weight"][2, 1, 1, 0] == conv[1, 0, 1, 2]


def test_gradients_flow_through_renaming() -> None:
    """What check_parity relies on."""
    kernel = torch.ones(2, 3, requires_grad=True)
    tree = {"params": {"a": {"kernel": kernel, "bias": torch.zeros(3)}}}
    weights.rename_to_torch(tree)["a.weight"].sum().backward()
    assert kernel.grad is not None
    assert (kernel.grad == 1).all()


KERNEL, BIAS = np.zeros((2, 2)), np.zeros(2)
LAYER = {"kernel": KERNEL, "bias": BIAS}
FLAX, TORCH = weights.rename_to_torch, weights.rename_to_jax


@pytest.mark.parametrize(
    ("rename", "params", "message"),
    [
        (FLAX, {"params": {"a": {"kernel": KERNEL}}}, "layer 'a' has no 'bias'"),
        (FLAX, {"params": {"a": {"bias": BIAS}}}, "layer 'a' has no 'kernel'"),
        (FLAX, {"params": {"a": {**LAYER, "scale": BIAS}}}, "unknown parameter 'a.scale'"),
        (FLAX, {"params": {"temperature": BIAS}}, "unknown parameter 'temperature'"),
        (FLAX, {"batch_stats": {}}, "expected the one entry 'params', got .'batch_stats'"),
        (FLAX, {"params": {}, "batch_stats": {}}, "got .'batch_stats', 'params'"),
        (FLAX, {"params": {"a": {"kernel": BIAS, "bias": BIAS}}}, "2 or 4 axes, not 1"),
        (TORCH, {"a.weight": KERNEL}, "layer 'a' has no 'bias'"),
        (TORCH, {"a.bias": BIAS}, "layer 'a' has no 'weight'"),
        (TORCH, {**FLAX({"params": {"a": LAYER}}), "a.scale": BIAS}, "unknown parameter 'a.scale'"),
        (TORCH, {"weight": KERNEL}, "unknown parameter 'weight'"),
    ],
)
def test_what_params_must_be(rename: Any, params: Any, message: str) -> None:
    """Before they are renamed; the message names what is wrong."""
    with pytest.raises(weights.WeightsError, match=message):
        rename(params)


def test_float64_is_never_rounded_in_silence() -> None:
    """Outside enable_x64, JAX would make float32 of it."""
    params = {"a.weight": torch.zeros(2, 2, dtype=torch.float64), "a.bias": torch.zeros(2)}
    with pytest.raises(weights.WeightsError, match="would be rounded"):
        weights.params_to_jax(params)


@pytest.mark.parametrize(
    ("name", "limit"), [("adam", None), ("adamw", 0.5), ("rmsprop", 0.5), ("sgd", 0.5)]
)
def test_optimizers(name: Any, limit: float | None, precision: Precision) -> None:
    """Count and moments, out of a chain with and without clipping, and back into it."""
    with precision_of(precision):
        config = jax_ppo.PPOConfig(optimizer=name, max_grad_norm=limit)
        params = jax.tree.map(jnp.asarray, ARCHITECTURES[0].params())
        optimizer = jax_ppo.make_optimizer(config, 0.1)
        fresh = optimizer.init(params)
        _, state = optimizer.update(params, fresh, params)
        there = weights.optimizer_to_torch(state, params)
        own = torch_ref.make_optimizer(config, 0.1).init(weights.params_to_torch(params))
        assert type(there) is type(own)
        assert there._asdict().get("count", 1) == 1
        if name != "sgd":
            moments = weights.moments_in(state, params)
            assert_same(there.nu, weights.params_to_torch(moments.nu))
        assert_same(weights.optimizer_to_jax(there, like=fresh), state)


def test_a_chain_of_two_optimizers_is_refused() -> None:
    """It is not one of the config's."""
    state = optax.chain(optax.scale_by_adam(), optax.scale_by_rms()).init({})
    with pytest.raises(weights.WeightsError, match="expected one optimizer in the state, found 2"):
        weights.optimizer_to_torch(state, {})


def records(kl: bool) -> list[Any]:
    """One of each record of JAX, with numbers that differ from field to field."""
    numbers = [jnp.arange(6.0) + i for i in range(9)]
    old = jax_ppo.DiagGaussian(numbers[7], numbers[8]) if kl else None
    bits = numbers[0] > 2
    action = jnp.arange(6)
    return [
        jax_ppo.Batch(numbers[0], action, old, *numbers[3:7]),
        jax_ppo.RunningStats(*numbers[:6]),
        jax_ppo.Transition(numbers[0], action, numbers[5], bits, ~bits, numbers[6]),
        jax_ppo.Categorical(numbers[2]),
        jax_ppo.Metrics(loss=jnp.ones(()), kl=jnp.zeros(()), extra={"mine": jnp.ones(())}),
    ]


@pytest.mark.parametrize("kl", [False, True])
def test_records(kl: bool, precision: Precision) -> None:
    """Batches, statistics, transitions and metrics, there and back."""
    with precision_of(precision):
        for record in records(kl):
            there = weights.record_to_torch(record)
            assert type(there) is getattr(torch_ref, type(record).__name__)
            assert_same(weights.record_to_jax(there), record)
