"""Several epochs of gradient steps on the samples of one rollout."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch

from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.shapes import check_loss
from torch_ref.advantages import normalize_advantages
from torch_ref.losses import LossFn, ppo_loss
from torch_ref.networks import Network
from torch_ref.optimizers import Optimizer, adam, rmsprop, sgd
from torch_ref.types import Batch, Metrics, Params, map_tensors

RMSPROP_DECAY = 0.99
"""Decay of RMSProp's second moment, as in the experiments of Mnih et al. (2016)."""


class OptimizerFn(Protocol):
    """Makes an optimizer for a learning rate, such as `sgd`."""

    def __call__(self, learning_rate: torch.Tensor | float) -> Optimizer:
        """The optimizer; the structure of its state must not depend on the learning rate."""


class UpdateCoefficients(NamedTuple):
    """Coefficients that change from one update to the next."""

    learning_rate: torch.Tensor | float
    clip_eps: torch.Tensor | float
    kl_coef: torch.Tensor | float | None


class Learner(NamedTuple):
    """What a gradient step changes."""

    params: Params
    """Network parameters."""
    opt_state: Any
    """State of `make_optimizer`."""
    stopped: torch.Tensor
    """Whether the KL stop has fired in this update [], bool."""

    @classmethod
    def start(cls, params: Params, opt_state: Any) -> "Learner":
        """The learner before the first step of an update."""
        return cls(params, opt_state, torch.zeros((), dtype=torch.bool))


def make_optimizer(
    config: PPOConfig,
    learning_rate: torch.Tensor | float,
    optimizer_fn: OptimizerFn | None = None,
) -> Optimizer:
    """Clip the gradient's global norm, then the optimizer.

    g' = g min(1, max_grad_norm / |g|);  m and v are the usual moments of g'; then
    adam:     theta' = theta - learning_rate m_hat / (sqrt(v_hat + eps_root) + eps)
    adamw:    the same, and - learning_rate weight_decay theta
    rmsprop:  theta' = theta - learning_rate g' / (sqrt(v) + eps), v decaying by 0.99
    sgd:      theta' = theta - learning_rate g'

    Args:
        config: Gives max_grad_norm, and optimizer, adam_eps, adam_eps_root and weight_decay.
        learning_rate: Step size.
        optimizer_fn: An optimizer to use in place of the config's.

    Source: Kingma and Ba (2015), algorithm 1; weight decay: Loshchilov and Hutter (2019), algorithm
    2; RMSProp: Tieleman and Hinton (2012), "Neural networks for machine learning", lecture 6.5.
    """
    if optimizer_fn is not None:
        optimizer = optimizer_fn(learning_rate)
    elif config.optimizer == "rmsprop":
        optimizer = rmsprop(learning_rate, config.adam_eps, RMSPROP_DECAY)
    elif config.optimizer == "sgd":
        optimizer = sgd(learning_rate)
    else:
        optimizer = adam(
            learning_rate, config.adam_eps, config.weight_decay, eps_root=config.adam_eps_root
        )
    if config.max_grad_norm is None:
        return optimizer
    return optimizer._replace(
        update=partial(clipped_steps, optimizer=optimizer, max_norm=config.max_grad_norm)
    )


def clipped_steps(
    gradient: Params,
    state: Any,
    params: Params,
    *,
    optimizer: Optimizer,
    max_norm: torch.Tensor | float,
) -> tuple[Params, Any]:
    """What an optimizer makes of a gradient that `clip_by_global_norm` has clipped.

    Args:
        gradient: Of the loss, shaped like the parameters.
        state: Of the optimizer.
        params: The parameters.
        optimizer: The optimizer.
        max_norm: Largest length of the gradient.
    """
    return optimizer.update(clip_by_global_norm(gradient, max_norm), state, params)


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


def loss_gradient(
    params: Params,
    batch: Batch,
    config: PPOConfig,
    network: Network,
    *,
    coefficients: UpdateCoefficients,
    loss_fn: LossFn = ppo_loss,
) -> tuple[Params, Metrics]:
    """Gradient of the loss in every parameter, and the loss's metrics.

    Args:
        params: Where to take it; a parameter that the loss does not depend on has gradient 0.
        batch: The minibatch; its advantages are used as they are.
        config: The coefficients that stay constant.
        network: The actor-critic.
        coefficients: Those that change over training.
        loss_fn: The loss.

    Raises:
        ConfigError: The loss does not return a scalar and Metrics of scalars: see `check_loss`.
    """
    variables = {name: param.detach().requires_grad_() for name, param in params.items()}
    distribution, values = network.apply(variables, batch.obs)
    _, clip_eps, kl_coef = coefficients
    result = loss_fn(distribution, values, batch, config, clip_eps=clip_eps, kl_coef=kl_coef)
    check_loss(result, Metrics)
    loss, metrics = result
    gradients = torch.autograd.grad(loss, list(variables.values()), materialize_grads=True)
    gradient = dict(zip(variables, gradients, strict=True))
    return gradient, map_tensors(torch.Tensor.detach, metrics)


def gradient_step(
    learner: Learner,
    batch: Batch,
    config: PPOConfig,
    network: Network,
    *,
    coefficients: UpdateCoefficients,
    loss_fn: LossFn = ppo_loss,
    optimizer_fn: OptimizerFn | None = None,
) -> tuple[Learner, Metrics]:
    """One step of the optimizer on one minibatch, unless the KL stop has fired.

    The stop is checked before the step is taken: where approx_kl of the minibatch exceeds
    target_kl, neither this step nor any later one of the update is taken.

    Args:
        learner: Parameters, optimizer state and whether the stop has fired.
        batch: The minibatch; its advantages are used as they are.
        config: The coefficients that stay constant.
        network: The actor-critic.
        coefficients: Those that change over training.
        loss_fn: The loss.
        optimizer_fn: As for `make_optimizer`.

    Returns:
        The learner after the step, and the loss's metrics with grad_norm (before clipping).

    Raises:
        ConfigError: There is a target_kl, but the loss does not measure approx_kl.
    """
    gradient, metrics = loss_gradient(
        learner.params, batch, config, network, coefficients=coefficients, loss_fn=loss_fn
    )
    metrics = dataclasses.replace(metrics, grad_norm=global_norm(gradient))
    if config.target_kl is not None:
        if metrics.approx_kl is None:
            raise ConfigError("target_kl needs a loss_fn whose metrics have approx_kl")
        # Not `>`: a divergence that is not a number must stop too.
        stopped = learner.stopped | ~(metrics.approx_kl <= config.target_kl)
        learner = learner._replace(stopped=stopped)
        if stopped:
            return learner, metrics
    optimizer = make_optimizer(config, coefficients.learning_rate, optimizer_fn)
    steps, opt_state = optimizer.update(gradient, learner.opt_state, learner.params)
    params = {name: param + steps[name] for name, param in learner.params.items()}
    return Learner(params, opt_state, learner.stopped), metrics


def update_policy(
    learner: Learner,
    batch: Batch,
    permutations: torch.Tensor,
    config: PPOConfig,
    *,
    network: Network,
    coefficients: UpdateCoefficients,
    loss_fn: LossFn = ppo_loss,
    optimizer_fn: OptimizerFn | None = None,
) -> tuple[Learner, Metrics]:
    """update_epochs passes over the batch, each in num_minibatches shuffled parts.

    Args:
        learner: Parameters, state of `make_optimizer`, and False: `Learner.start` makes it.
        batch: The samples [batch_size, ...], as `make_batch` arranges them.
        permutations: An order of the samples per epoch [update_epochs, batch_size], int64.
        config: Everything that stays constant.
        network: The actor-critic.
        coefficients: Learning rate, clip_eps and kl_coef of this update.
        loss_fn: The loss.
        optimizer_fn: As for `make_optimizer`.

    Returns:
        The learner after the last step, and the metrics: each of the loss's averaged over the
        gradient steps that were taken (over the one that fired the stop if none was), grad_norm
        likewise, approx_kl_max, kl_stop and gradient_steps.
    """
    rows = permutations.reshape(-1, config.minibatch_size)
    advantages = arrange_advantages(batch.advantages, rows, config.advantage_normalization)
    history, taken = [], []
    for indices, normalized in zip(rows, advantages, strict=True):
        samples = map_tensors(lambda leaf, indices=indices: leaf[indices], batch)
        learner, metrics = gradient_step(
            learner,
            dataclasses.replace(samples, advantages=normalized),
            config,
            network,
            coefficients=coefficients,
            loss_fn=loss_fn,
            optimizer_fn=optimizer_fn,
        )
        history.append(metrics)
        taken.append(1.0 - learner.stopped.to(torch.get_default_dtype()))
        if learner.stopped:
            break
    stacked = map_tensors(lambda *steps: torch.stack(steps), *history)
    return learner, summarize_steps(stacked, torch.stack(taken))


def summarize_steps(metrics: Metrics, taken: torch.Tensor) -> Metrics:
    """The metrics of an update from those of its gradient steps.

    Args:
        metrics: Every field [num_gradient_steps]; nothing need follow the step that fired the KL
            stop.
        taken: 1 where the step was taken, else 0 [num_gradient_steps].

    Returns:
        Means over the steps taken (over the first if none was), approx_kl_max over these and the
        one that fired the KL stop, kl_stop and gradient_steps, each [].
    """
    counted = torch.cat([torch.ones_like(taken[:1]), taken[1:]]) > 0
    averages = map_tensors(lambda steps: torch.mean(steps[counted].to(taken.dtype)), metrics)
    seen = torch.cat([torch.ones_like(taken[:1]), taken[:-1]]) > 0
    approx_kl_max = None
    if metrics.approx_kl is not None:
        approx_kl_max = torch.max(metrics.approx_kl[seen])
    return dataclasses.replace(
        averages,
        approx_kl_max=approx_kl_max,
        kl_stop=1.0 - taken[-1],
        gradient_steps=torch.sum(taken),
    )


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
