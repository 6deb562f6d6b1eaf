"""Noise: its law, and that it is always finite."""

from typing import Any

import pytest
import torch

from torch_ref import Categorical, ContinuousActions, DiscreteActions


def test_gumbel_noise_makes_samples_of_the_policy(generator: torch.Generator) -> None:
    logits = torch.log(torch.tensor([0.1, 0.2, 0.7])).expand(20_000, 3)
    noise = DiscreteActions(3).draw_noise(generator, (20_000,))
    counts = torch.bincount(Categorical(logits).sample(noise), minlength=3)
    torch.testing.assert_close(counts / 20_000, torch.tensor([0.1, 0.2, 0.7]), rtol=0, atol=0.015)


def test_gaussian_noise_is_standard(generator: torch.Generator) -> None:
    noise = ContinuousActions(-torch.ones(2), torch.ones(2), (2,)).draw_noise(generator, (10_000,))
    assert noise.shape == (10_000, 2)
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03


@pytest.mark.parametrize("extreme", ["zero", "just below one"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gumbel_noise_is_finite(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator, extreme: str, dtype: torch.dtype
) -> None:
    one = torch.ones((), dtype=dtype)
    value = torch.nextafter(one, torch.zeros_like(one)) if extreme != "zero" else 0 * one

    def rand(shape: Any, **_: Any) -> torch.Tensor:
        return value.expand(shape)

    monkeypatch.setattr(torch, "rand", rand)
    assert torch.isfinite(DiscreteActions(2).draw_noise(generator, (3,))).all()


def test_any_integer_type_names_an_action() -> None:
    distribution = Categorical(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    action = torch.tensor([1, 0])
    expected = distribution.log_prob(action)
    for dtype in (torch.int8, torch.int32):
        assert torch.equal(distribution.log_prob(action.to(dtype)), expected)
