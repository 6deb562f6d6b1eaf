"""Networks forward, and the whole loss back to every parameter and every sample."""

from functools import partial
from typing import Any

import numpy as np

import jax_ppo
import torch_ref
from jax_ppo.adapters.torch_params import flat_params
from parity_tests import oracle_update, weights
from parity_tests.checks.check import Check
from parity_tests.checks.tiny import ARCHITECTURES, Architecture
from parity_tests.compare import Tolerance

BATCH_SIZE = 4

PARTS = ("policy_loss", "value_loss", "entropy", "kl")
"""The others are diagnostics."""

COEFFICIENTS = ("clip_eps", "kl_coef")
"""Arguments of a loss, in the order of the check's."""


def forward_check(architecture: Architecture) -> Check:
    """Outputs of the network and their gradients in parameters and observations."""
    return Check(
        level=3,
        name=f"network: {architecture.name}",
        jax_fn=lambda params, obs: architecture.jax_network().apply(params, obs),
        torch_fn=lambda params, obs: architecture.torch_network().apply(
            weights.rename_to_torch(params), obs
        ),
        inputs={"params": architecture.params(), "obs": architecture.samples(BATCH_SIZE)["obs"]},
        oracle=lambda params, obs: _outputs(architecture, params, obs),
        samples=1,
        tolerance=Tolerance(4, 8, slope=1.0),
    )


def loss_check(architecture: Architecture, torch_loss: Any = torch_ref.ppo_loss) -> Check:
    """The whole loss, and its gradients in parameters, samples and coefficients.

    Args:
        architecture: The network.
        torch_loss: The PyTorch side's loss, or a mutant of it.
    """
    samples = architecture.samples(BATCH_SIZE)
    kl_coef = architecture.config.kl_coef
    return Check(
        level=2,
        name=f"loss of a network: {architecture.name}",
        jax_fn=partial(_differentiable, jax_ppo, jax_ppo.ppo_loss, architecture),
        torch_fn=partial(_differentiable, torch_ref, torch_loss, architecture),
        inputs={
            "params": architecture.params(),
            "batch": samples,
            "clip_eps": np.asarray(0.2),
            "kl_coef": None if kl_coef is None else np.asarray(kl_coef),
        },
        oracle=partial(_loss, architecture),
        terms=partial(_loss_terms, architecture),
        samples=1,
        tolerance=Tolerance(8, 16, slope=0.5),
    )


def _sides_arguments(
    package: Any, architecture: Architecture, params: Any, batch: Any
) -> tuple[Any, ...]:
    """The network's outputs, the samples and the config, as `ppo_loss` takes them."""
    if package is torch_ref:
        network, params = architecture.torch_network(), weights.rename_to_torch(params)
    else:
        network = architecture.jax_network()
    distribution, values = network.apply(params, batch["obs"])
    return distribution, values, architecture.batch(package, batch), architecture.config


def _differentiable(
    package: Any, loss_fn: Any, architecture: Architecture, params: Any, batch: Any, *numbers: Any
) -> dict[str, Any]:
    """The loss and those of its parts that gradients flow through."""
    arguments = _sides_arguments(package, architecture, params, batch)
    loss, metrics = loss_fn(*arguments, **dict(zip(COEFFICIENTS, numbers, strict=True)))
    return _select(loss, metrics.as_dict())


def _select(loss: Any, metrics: dict[str, Any]) -> dict[str, Any]:
    return {"loss": loss, "parts": {name: metrics[name] for name in PARTS if name in metrics}}


def _loss_terms(
    architecture: Architecture, params: Any, batch: Any, clip_eps: Any, kl_coef: Any
) -> Any:
    """Sizes of what is added up; a divergence is a sum of terms of order 1 that nearly cancel."""
    outputs = _loss(architecture, params, batch, clip_eps, kl_coef)
    parts = {name: abs(value) + 1 for name, value in outputs["parts"].items()}
    config = architecture.config
    total = parts["policy_loss"] + config.vf_coef * parts["value_loss"]
    return {"loss": total + (0 if kl_coef is None else kl_coef * parts["kl"]), "parts": parts}


def _outputs(architecture: Architecture, params: Any, obs: Any) -> Any:
    """The oracle's outputs in the form of the distributions'."""
    flat = flat_params(params)
    policy, values = oracle_update.actor_critic(flat, obs, architecture.setting())
    if architecture.discrete:
        return {"logits": policy}, values
    log_std = np.broadcast_to(flat["log_std"], policy.shape)
    return {"mean": policy, "log_std": log_std}, values


def _loss(architecture: Architecture, params: Any, batch: Any, clip_eps: Any, kl_coef: Any) -> Any:
    """The oracle's loss in the form of `ppo_loss`'s."""
    setting = architecture.setting(clip_eps=clip_eps, kl_coef=kl_coef)
    parts = oracle_update.loss_of(flat_params(params), batch, setting)
    return _select(parts["loss"], parts)


CHECKS = (
    *(forward_check(architecture) for architecture in ARCHITECTURES),
    *(loss_check(architecture) for architecture in ARCHITECTURES),
)
