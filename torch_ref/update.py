"""Several epochs of gradient steps on the samples of one rollout."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import torch

from jax_ppo.config import ConfigError, PPOConfig
from torch_ref.advantages import normalize_advantages
from torch_ref.losses import ppo_loss
from torch_ref.networks import Network
from torch_ref.types import Batch, Metrics, Params, map_tensors

BETA_1 = 0.9
"""Decay of Adam's first moment."""
BETA_2 = 0.999
"""Decay of Adam's second moment."""

LossFn = Callable[..., tuple[torch.Tensor, Metrics]]
"""A function with the arguments and results of `ppo_loss`."""


class UpdateCoefficients(NamedTuple):
    """Coefficients that change from one update to the next."""

    learning_rate: torch.Tensor | float
    clip_eps: torch.Tensor | float
    kl_coef: torch.Tensor | float | None


class AdamState(NamedTuple):
    """What Adam remembers."""

    count: torch.Tensor  # type: ignore[assignment]
    """Steps taken so far [], int32."""
    mu: Params
    """First moment: running mean of the gradient, shaped like the parameters."""
    nu: Params
    """Second moment: running mean of the squared gradient, shaped like the parameters."""


class Optimizer(NamedTuple):
    """An optimizer as two functions."""

    init: Callable[[Params], AdamState]
    """params -> state."""
    update: Callable[[Params, AdamState, Params], tuple[Params, AdamState]]
    """(gradient, state, params) -> (steps, state), where params + steps are the new params."""


class Learner(NamedTuple):
    """What a gradient step changes."""

    params: Params
    opt_state: AdamState
    stopped: torch.Tensor
    """Whether the KL stop has fired in this update [], bool."""


def make_optimizer(config: PPOConfig, learning_rate: torch.Tensor | float) -> Optimizer:
    """Clip the gradient's global norm, then Adam or AdamW.

    g' = g min(1, max_grad_norm / |g|);  m and v are the usual moments of g';
    theta' = theta - learning_rate (m_hat / (sqrt(v_hat) + eps) + weight_decay theta).

    Args:
        config: Gives optimizer, max_grad_norm, adam_eps and weight_decay.
        learning_rate: Step size.

    Source: Kingma and Ba (2015), algorithm 1; decay: Loshchilov and Hutter (2019), algorithm 2.
    """
    return Optimizer(
        init=init_moments,
        update=lambda gradient, state, params: optimizer_steps(
            gradient, state, params, config, learning_rate
        ),
    )


def init_moments(params: Params) -> AdamState:
    """Adam's state before the first step: no steps, moments of zero."""
    return AdamState(
        count=torch.zeros((), dtype=torch.int32),
        mu={name: torch.zeros_like(param) for name, param in params.items()},
        nu={name: torch.zeros_like(param) for name, param in params.items()},
    )


def optimizer_steps(
    gradient: Params,
    state: AdamState,
    params: Params,
    config: PPOConfig,
    learning_rate: torch.Tensor | float,
) -> tuple[Params, AdamState]:
    """What to add to the parameters, and the optimizer's next state; see `make_optimizer`.

    Args:
        gradient: Of the loss, shaped like the parameters.
        state: Adam's moments.
        params: The parameters, for the decay.
        config: Gives optimizer, max_grad_norm, adam_eps and weight_decay.
        learning_rate: Step size.
    """
    if config.max_grad_norm is not None:
        gradient = clip_by_global_norm(gradient, config.max_grad_norm)
    state = update_moments(gradient, state)
    bias_1, bias_2 = 1.0 - BETA_1**state.count, 1.0 - BETA_2**state.count
    steps = {}
    for name, param in params.items():
        direction = (state.mu[name] / bias_1) / (
            torch.sqrt(state.nu[name] / bias_2) + config.adam_eps
        )
        if config.optimizer == "adamw":
            direction = direction + config.weight_decay * param
        steps[name] = -1.0 * learning_rate * direction
    return steps, state


def update_moments(gradient: Params, state: AdamState) -> AdamState:
    """Running means of the gradient and of its square, one step further.

    m' = beta_1 m + (1 - beta_1) g;  v' = beta_2 v + (1 - beta_2) g^2.

    Args:
        gradient: g.
        state: m, v and how often they were updated.

    Source: Kingma and Ba (2015), algorithm 1.
    """
    return AdamState(
        count=state.count + 1,
        mu={name: (1 - BETA_1) * g + BETA_1 * state.mu[name] for name, g in gradient.items()},
        nu={name: (1 - BETA_2) * g**2 + BETA_2 * state.nu[name] for name, g in gradient.items()},
    )


def clip_by_global_norm(gradient: Params, max_norm: torch.Tensor | float) -> Params:
    """Shorten a gradient to length max_norm if it is longer: g min(1, max_norm / |g|).

    Args:
        gradient: g.
        max_norm: Largest length.

    Source: Pascanu et al. (2013), "On the difficulty of training recurrent neural networks".
    """
    norm = global_norm(gradient)
    if norm < max_norm:
        return gradient
    return {name: (g / norm) * max_norm for name, g in gradient.items()}


def global_norm(tree: Params) -> torch.Tensor:
    """sqrt(sum of x^2 over every entry x of every tensor): the length of the whole vector [].

    Source: Pascanu et al. (2013), "On the difficulty of training recurrent neural networks".
    """
    squares = [torch.sum(torch.square(leaf)) for leaf in tree.values()]
    return torch.sqrt(torch.sum(torch.stack(squares)))


def gradient_step(
    learner: Learner,
    batch: Batch,
    config: PPOConfig,
    network: Network,
    coefficients: UpdateCoefficients,
    loss_fn: LossFn = ppo_loss,
) -> tuple[Learner, Metrics]:
    """One step of the optimizer on one minibatch, unless the KL stop has fired.

    The stop is checked before the step is taken: where approx_kl of the minibatch exceeds
    target_kl, neither this step nor any later one of the update is taken.

    Args:
        learner: Parameters, optimizer state and whether the stop has fired.
        batch: The minibatch; advantages are used as they are.
        config: The coefficients that stay constant.
        network: The actor-critic.
        coefficients: The ones that do not.
        loss_fn: The loss, as `ppo_loss`.

    Returns:
        The learner after the step, and the loss's metrics with grad_norm (before clipping) and
        `taken`: 1 where the step was taken, else 0.

    Raises:
        ConfigError: There is a target_kl, but the loss does not measure approx_kl.
    """
    gradient, metrics = loss_gradient(learner.params, batch, config, network, coefficients, loss_fn)
    stopped = learner.stopped
    if config.target_kl is not None:
        if "approx_kl" not in metrics:
            raise ConfigError("target_kl needs a loss_fn whose metrics have approx_kl")
        # Not `>`: a divergence that is not a number must stop too.
        stopped = stopped | ~(metrics["approx_kl"] <= config.target_kl)
    taken = 1.0 - stopped.to(torch.get_default_dtype())
    metrics = {**metrics, "grad_norm": global_norm(gradient), "taken": taken}
    if stopped and config.target_kl is not None:
        return learner._replace(stopped=stopped), metrics

    optimizer = make_optimizer(config, coefficients.learning_rate)
    steps, opt_state = optimizer.update(gradient, learner.opt_state, learner.params)
    params = {name: param + steps[name] for name, param in learner.params.items()}
    return Learner(params, opt_state, stopped), metrics


def loss_gradient(
    params: Params,
    batch: Batch,
    config: PPOConfig,
    network: Network,
    coefficients: UpdateCoefficients,
    loss_fn: LossFn = ppo_loss,
) -> tuple[Params, Metrics]:
    """Gradient of the loss in every parameter, and the loss's metrics.

    Args:
        params: Where to take it; a parameter that the loss does not depend on has gradient 0.
        batch: The minibatch; its advantages are used as they are.
        config: The coefficients that stay constant.
        network: The actor-critic.
        coefficients: The ones that do not.
        loss_fn: The loss, as `ppo_loss`.
    """
    variables = {name: param.detach().requires_grad_() for name, param in params.items()}
    distribution, values = network.apply(variables, batch.obs)
    loss, metrics = loss_fn(
        distribution, values, batch, config, coefficients.clip_eps, coefficients.kl_coef
    )
    gradients = torch.autograd.grad(loss, list(variables.values()), materialize_grads=True)
    gradient = dict(zip(variables, gradients, strict=True))
    return gradient, {name: value.detach() for name, value in metrics.items()}


def update_policy(
    params: Params,
    opt_state: AdamState,
    batch: Batch,
    permutations: torch.Tensor,
    config: PPOConfig,
    network: Network,
    coefficients: UpdateCoefficients,
    loss_fn: LossFn = ppo_loss,
) -> tuple[Params, AdamState, Metrics]:
    """update_epochs passes over the batch, each in num_minibatches shuffled parts.

    Args:
        params: Network parameters.
        opt_state: State of `make_optimizer`.
        batch: The samples [batch_size, ...].
        permutations: An order of the samples per epoch [update_epochs, batch_size], int64.
        config: Everything that stays constant.
        network: The actor-critic.
        coefficients: Learning rate, clip_eps and kl_coef of this update.
        loss_fn: The loss, as `ppo_loss`.

    Returns:
        New parameters, new optimizer state, and the metrics: each of the loss's averaged over the
        gradient steps that were taken (over the one that fired the stop if none was), grad_norm
        likewise, approx_kl_max (the largest approx_kl of a minibatch, the one that fired the stop
        included), kl_stop (1 if the stop fired, else 0) and gradient_steps (how many were taken).
    """
    indices = permutations.reshape(-1, config.minibatch_size)
    arranged = arrange_advantages(batch.advantages, indices, config.advantage_normalization)
    learner = Learner(params, opt_state, torch.zeros((), dtype=torch.bool))
    history = []
    for rows, advantages in zip(indices, arranged, strict=True):
        minibatch = map_tensors(lambda leaf, rows=rows: leaf[rows], batch)
        minibatch = dataclasses.replace(minibatch, advantages=advantages)
        learner, metrics = gradient_step(learner, minibatch, config, network, coefficients, loss_fn)
        history.append(metrics)
        if learner.stopped:
            break

    num_taken = torch.sum(torch.stack([metrics.pop("taken") for metrics in history]))
    averages = _average(history[: max(int(num_taken), 1)])
    if "approx_kl" in history[0]:
        averages["approx_kl_max"] = torch.max(torch.stack([seen["approx_kl"] for seen in history]))
    averages["kl_stop"] = learner.stopped.to(num_taken.dtype)
    averages["gradient_steps"] = num_taken
    return learner.params, learner.opt_state, averages


def arrange_advantages(
    advantages: torch.Tensor, minibatches: torch.Tensor, normalization: str
) -> torch.Tensor:
    """The advantages of every minibatch, normalized as the config says.

    Args:
        advantages: Of every sample [batch_size].
        minibatches: Samples of each minibatch [num_gradient_steps, minibatch_size].
        normalization: advantage_normalization of the config.

    Returns:
        [num_gradient_steps, minibatch_size].
    """
    if normalization == "batch":
        advantages = normalize_advantages(advantages)
    arranged = advantages[minibatches]
    if normalization == "minibatch":
        arranged = torch.stack([normalize_advantages(minibatch) for minibatch in arranged])
    return arranged


def _average(history: list[Metrics]) -> Metrics:
    """Mean of every metric over the entries of a list."""
    dtype = torch.get_default_dtype()
    return {
        name: torch.mean(torch.stack([metrics[name] for metrics in history]).to(dtype))
        for name in history[0]
    }
