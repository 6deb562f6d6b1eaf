"""The optimizer against PyTorch's own, and where it deliberately differs."""

from functools import partial
from typing import Any

import pytest
import torch

from jax_ppo.config import PPOConfig
from torch_ref import global_norm, make_optimizer
from torch_ref.update import clip_by_global_norm

SHAPES = {"a": (3, 4), "b": (4,), "c": ()}


def draw(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A tensor of each shape."""
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    ("optimizer", "decay", "theirs"),
    [
        ("adam", 0.0, partial(torch.optim.Adam, eps=1e-3)),
        ("adamw", 0.3, partial(torch.optim.AdamW, eps=1e-3, weight_decay=0.3)),
        ("rmsprop", 0.0, partial(torch.optim.RMSprop, eps=1e-3)),
        ("sgd", 0.0, torch.optim.SGD),
    ],
)
def test_200_steps_equal_those_of_pytorch(
    optimizer: Any, decay: float, theirs: Any, generator: torch.Generator, float64: None
) -> None:
    config = PPOConfig(optimizer=optimizer, weight_decay=decay, max_grad_norm=None, adam_eps=1e-3)
    params = draw(generator)
    copies = {name: param.clone().requires_grad_() for name, param in params.items()}
    reference = theirs(copies.values(), lr=0.1)
    state = make_optimizer(config, 0.1).init(params)
    for i in range(200):
        learning_rate = 0.1 / (i + 1)
        gradient = draw(generator)
        steps, state = make_optimizer(config, learning_rate).update(gradient, state, params)
        params = {name: param + steps[name] for name, param in params.items()}
        reference.param_groups[0]["lr"] = learning_rate
        for name, copy in copies.items():
            copy.grad = gradient[name]
        reference.step()
    for name, param in params.items():
        torch.testing.assert_close(param, copies[name].detach(), rtol=1e-12, atol=1e-14)


def test_decay_is_not_part_of_the_gradient(generator: torch.Generator) -> None:
    """A gradient of zero: theta shrinks by learning_rate * weight_decay, whatever Adam does."""
    config = PPOConfig(optimizer="adamw", weight_decay=0.5)
    params = draw(generator)
    optimizer = make_optimizer(config, 0.1)
    zero = {name: torch.zeros_like(param) for name, param in params.items()}
    steps, _ = optimizer.update(zero, optimizer.init(params), params)
    for name, param in params.items():
        torch.testing.assert_close(steps[name], -0.05 * param)


def test_a_long_gradient_is_shortened_to_the_limit_exactly(float64: None) -> None:
    """[3, 4] to length 1 is [0.6, 0.8]; PyTorch's own clipping would be short of that by 2e-7."""
    gradient = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    clipped = clip_by_global_norm(gradient, 1.0)
    torch.testing.assert_close(clipped["a"], torch.tensor([0.6]), rtol=1e-15, atol=0)
    torch.testing.assert_close(clipped["b"], torch.tensor([0.8]), rtol=1e-15, atol=0)
    theirs = [leaf.clone().requires_grad_() for leaf in gradient.values()]
    for leaf in theirs:
        leaf.grad = leaf.detach().clone()
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    assert 1e-7 < 0.6 - theirs[0].grad.item() < 2e-7


def test_short_gradients_and_the_norm_over_all_parameters_together() -> None:
    """A gradient shorter than the limit is left alone, and one of zero stays finite."""
    gradient = {"a": torch.tensor([0.3]), "b": torch.tensor([0.4])}
    assert clip_by_global_norm(gradient, 0.6) == gradient
    assert clip_by_global_norm({"a": torch.zeros(2)}, 0.5)["a"].tolist() == [0, 0]
    assert global_norm({"a": torch.tensor([[3.0]]), "b": torch.tensor(4.0)}) == 5


def test_the_limit_applies_before_the_moments(generator: torch.Generator) -> None:
    params, gradient = draw(generator), draw(generator)
    optimizer = make_optimizer(PPOConfig(max_grad_norm=0.25), 0.1)
    _, state = optimizer.update(gradient, optimizer.init(params), params)
    torch.testing.assert_close(global_norm(state.mu), torch.tensor(0.1 * 0.25))


def test_no_argument_is_changed(generator: torch.Generator) -> None:
    params, gradient = draw(generator), draw(generator)
    optimizer = make_optimizer(PPOConfig(optimizer="adamw", weight_decay=0.1), 0.1)
    _, state = optimizer.update(gradient, optimizer.init(params), params)
    given = (gradient, state.mu, state.nu, params)
    copies = [{name: leaf.clone() for name, leaf in tree.items()} for tree in given]
    optimizer.update(gradient, state, params)
    assert state.count == 1
    for tree, copy in zip(given, copies, strict=True):
        assert all(torch.equal(tree[name], copy[name]) for name in copy)
