"""Mistakes that are known from other implementations, each with the check that must detect it.

A mutant replaces one side of a check; the check has to fail. Each function below is one, and its
decorator adds it to `MUTANTS`, which the tests run; the report shows which level detects it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from torch import Tensor

import jax_ppo
import torch_ref
from parity_tests.checks import (
    advantages,
    learn,
    losses,
    networks,
    optimizer,
    schedules,
    tiny,
    update,
)
from parity_tests.checks.check import Check
from parity_tests.checks.diagnostics import CHECKS as DIAGNOSTICS
from parity_tests.checks.distributions import CHECKS as DISTRIBUTIONS
from parity_tests.checks.normalize import CHECKS as NORMALIZE
from parity_tests.inputs import normal
from parity_tests.measure import PRECISIONS, Precision
from torch_ref.optimizers import sgd


@dataclass(frozen=True)
class Mutant:
    """A mistake, planted on one side of a check."""

    name: str
    """What is wrong."""
    check: Check
    """The check, with the mistake in it."""
    quantity: str
    """Beginning of the name of a quantity that must be among the failures."""

    def without_oracle(self) -> "Mutant":
        """The same without an oracle, and without gradients unless the mistake is in one."""
        about_gradients = self.quantity.startswith("d")
        check = self.check.replace(oracle=None, gradients=about_gradients)
        return dataclasses.replace(self, check=check)

    def caught(self, precisions: Sequence[Precision] = PRECISIONS) -> bool:
        """Whether the check fails, and on the quantity that is wrong."""
        failures = self.check.run(precisions).failures()
        return any(entry.quantity.startswith(self.quantity) for entry in failures)


MUTANTS: list[Mutant] = []
"""Every one must be caught."""

Planting = Callable[[Callable[..., Any]], Callable[..., Any]]
"""A decorator that adds a mutant and leaves the function as it is."""


def _planted(name: str, check_with: Callable[..., Check], quantity: str) -> Planting:
    """A mistake by its name; `check_with` makes the check with the function in it."""

    def plant(mutant: Callable[..., Any]) -> Callable[..., Any]:
        MUTANTS.append(Mutant(name, check_with(mutant), quantity))
        return mutant

    return plant


def _torch(name: str, check: Check, quantity: str = "value") -> Planting:
    """A mistake on the PyTorch side of a check."""
    return _planted(name, lambda mutant: check.replace(torch_fn=mutant), quantity)


def _gae(name: str, quantity: str = "0") -> Planting:
    """A mistake in the estimator of the PyTorch side."""
    return _planted(
        name, lambda mutant: GAE.replace(torch_fn=partial(advantages.estimated, mutant)), quantity
    )


def _steps(
    name: str, of: str, quantity: str = "params.head.weight", side: str = "jax_fn"
) -> Planting:
    """A mistake in one side of an optimizer's check; its function takes the config first."""
    check, config = optimizer.optimizer_check(of), optimizer.CONFIGS[of]
    return _planted(name, lambda mutant: check.replace(**{side: partial(mutant, config)}), quantity)


def _learn(name: str, learning: learn.Learning) -> Planting:
    """A mistake in the whole update of the PyTorch side, which shows in the parameters."""
    replace = partial(dataclasses.replace, learning)
    return _planted(name, lambda mutant: learn.learn_check(replace(torch_learn=mutant)), "params")


def _loss(name: str, check: Callable[..., Check], of: tiny.Architecture, quantity: str) -> Planting:
    """A mistake in the PyTorch side's loss, in a check of a loss or of an update."""
    return _planted(name, partial(check, of), quantity)


def _config(name: str, architecture: tiny.Architecture, quantity: str) -> Planting:
    """A mistake in the config by which the PyTorch side updates."""

    def check_with(mutant: Callable[..., Any]) -> Check:
        changed = dataclasses.replace(architecture, config=mutant(architecture.config))
        return update.update_check(architecture).replace(torch_fn=update.Updates(changed).on_torch)

    return _planted(name, check_with, quantity)


def _named(checks: Sequence[Check], name: str) -> Check:
    """The check of that name."""
    return next(check for check in checks if check.name == name)


GAE, NORMALIZE_ADVANTAGES = advantages.CHECKS
ONE_SAMPLE = NORMALIZE_ADVANTAGES.replace(inputs={"advantages": normal(1)}, oracle=None, terms=None)
SURROGATE, VALUE_LOSS, CLIPPED_VALUE_LOSS = losses.CHECKS
MLP, GAUSSIAN = tiny.ARCHITECTURES[0], tiny.ARCHITECTURES[2]
SQUARE = _named(networks.CHECKS, "network: MLP, KL penalty")
IMAGE = _named(networks.CHECKS, "network: CNN")
MINIBATCHES, STOPPED = update.ARCHITECTURES[0], update.ARCHITECTURES[-2]

ADAM, CLIPPED_ADAM, ADAMW, RMSPROP, SCHEDULED_RMSPROP = list(optimizer.CONFIGS)[:5]
"""Names of configs."""


@_gae("truncation treated as termination")
def truncation_as_termination(
    *arrays: Tensor, terminated: Tensor, truncated: Tensor, **discounts: Any
) -> Any:
    """No bootstrap at a time limit."""
    done = terminated | truncated
    return torch_ref.compute_gae(*arrays, terminated=done, truncated=done, **discounts)


@_gae("truncation ignored")
def truncation_ignored(*, truncated: Tensor, **arguments: Any) -> Any:
    """The sum runs on across a time limit."""
    return torch_ref.compute_gae(truncated=torch.zeros_like(truncated), **arguments)


@_gae("value of the observation after the reset")
def value_after_reset(*, values: Tensor, next_values: Tensor, **others: Any) -> Any:
    """V(s_{t+1}) of the next row, which is the new episode's where one ended, for V(s'_t)."""
    shifted = torch.cat([values[1:], next_values[-1:]])
    return torch_ref.compute_gae(values=values, next_values=shifted, **others)


@_gae("flags shifted by one step")
def done_shifted(*, terminated: Tensor, truncated: Tensor, **arguments: Any) -> Any:
    """The flags of the step before."""
    terminated, truncated = torch.roll(terminated, 1, 0), torch.roll(truncated, 1, 0)
    return torch_ref.compute_gae(terminated=terminated, truncated=truncated, **arguments)


@_gae("gamma missing beside lambda")
def gamma_missing_beside_lambda(*, next_values: Tensor, gamma: Any, **arguments: Any) -> Any:
    """A = delta + lambda A_next: the sum decays by lambda alone."""
    return torch_ref.compute_gae(next_values=gamma * next_values, gamma=1.0, **arguments)


@_gae("time and environments swapped")
def time_and_environments_swapped(**arguments: Any) -> Any:
    """Rows read as environments: the sum runs from one environment into the next."""
    swapped = {name: array.T if array.ndim == 2 else array for name, array in arguments.items()}
    advantages, returns = torch_ref.compute_gae(**swapped)
    return advantages.T, returns.T


@_gae("advantages used as value targets", "1")
def advantages_as_targets(**arguments: Any) -> Any:
    """Advantages returned in place of advantages + values."""
    advantages, _ = torch_ref.compute_gae(**arguments)
    return advantages, advantages


@_gae("value targets from zeroed advantages", "1")
def returns_of_zeroed_advantages(**arguments: Any) -> Any:
    """Targets made of advantages that were set to zero first: the critic learns its own values."""
    advantages, _ = torch_ref.compute_gae(**arguments)
    return advantages, torch.zeros_like(advantages) + arguments["values"]


@_torch("one sample normalized with ddof 1", ONE_SAMPLE)
@_torch("advantages normalized with ddof 1", NORMALIZE_ADVANTAGES)
def ddof_one(advantages: Tensor) -> Tensor:
    """Normalize with the sample standard deviation, which is torch.std's default."""
    centered = advantages - advantages.mean()
    return centered / (torch.sqrt(torch.sum(centered**2) / (len(advantages) - 1)) + 1e-8)


@_torch("1e-8 inside the root", NORMALIZE_ADVANTAGES)
def epsilon_inside_root(advantages: Tensor) -> Tensor:
    """Normalize with sqrt(var + 1e-8)."""
    variance = advantages.var(correction=0)
    return (advantages - advantages.mean()) / torch.sqrt(variance + 1e-8)


@_torch("ratio not exponentiated", SURROGATE)
def ratio_not_exponentiated(new: Tensor, old: Tensor, advantages: Tensor, clip_eps: Any) -> Tensor:
    """The log ratio plus one, its first-order expansion, for the ratio."""
    ratio = 1.0 + new - old
    clipped = torch.minimum(torch.maximum(ratio, 1.0 - clip_eps), 1.0 + clip_eps)
    return -torch.mean(torch.minimum(ratio * advantages, clipped * advantages))


@_torch("maximum in place of minimum", SURROGATE)
def maximum_for_minimum(new: Tensor, old: Tensor, advantages: Tensor, clip_eps: Any) -> Tensor:
    """The optimistic bound."""
    return -torch_ref.clipped_surrogate_loss(new, old, -advantages, clip_eps)


@_torch("other slope exactly at the clip edge", SURROGATE, "d/d log_prob")
def clamp_for_minimum(new: Tensor, old: Tensor, advantages: Tensor, clip_eps: Any) -> Tensor:
    """torch.clamp, which passes the whole gradient at an edge: equal everywhere else."""
    ratio = torch.exp(new - old)
    clipped = torch.clamp(ratio, 1.0 - clip_eps, 1.0 + clip_eps)
    return -torch.mean(torch.minimum(ratio * advantages, clipped * advantages))


@_torch("old log-probabilities recomputed", SURROGATE)
def old_log_prob_recomputed(new: Tensor, old: Tensor, advantages: Tensor, clip_eps: Any) -> Tensor:
    """The old log-probabilities taken from the new policy: every ratio is 1, whatever it does."""
    recomputed = new.detach() + 0.0 * old
    return torch_ref.clipped_surrogate_loss(new, recomputed, advantages, clip_eps)


@_torch("value loss without 1/2", VALUE_LOSS)
def no_half(values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
    """The value loss without its 1/2."""
    return 2.0 * torch_ref.value_loss(values, old_values, returns)


@_torch("value loss not clipped", CLIPPED_VALUE_LOSS)
def clipping_ignored(
    values: Tensor, old_values: Tensor, returns: Tensor, value_clip_eps: Any
) -> Tensor:
    """The plain value loss in place of the clipped one."""
    return torch_ref.value_loss(values, old_values, returns) + 0.0 * value_clip_eps


@_torch("smaller value error taken", CLIPPED_VALUE_LOSS)
def minimum_for_maximum(
    values: Tensor, old_values: Tensor, returns: Tensor, value_clip_eps: Any
) -> Tensor:
    """The smaller of the two errors."""
    moved = torch.minimum(torch.maximum(values - old_values, -value_clip_eps), value_clip_eps)
    errors = torch.square(values - returns), torch.square(old_values + moved - returns)
    return 0.5 * torch.mean(torch.minimum(*errors))


@_loss(
    "entropy bonus missing from a whole update", update.update_check, MINIBATCHES, "metrics.loss"
)
@_loss("entropy bonus computed but not added to the loss", networks.loss_check, MLP, "loss")
def entropy_not_added(*arguments: Any, **coefficients: Any) -> Any:
    """The bonus is computed and logged, and left out of the loss."""
    loss, metrics = torch_ref.ppo_loss(*arguments, **coefficients)
    loss = loss + arguments[3].ent_coef * metrics.entropy
    return loss, dataclasses.replace(metrics, loss=loss)


@_loss("entropy bonus subtracted", networks.loss_check, GAUSSIAN, "loss")
def entropy_sign(*arguments: Any, **coefficients: Any) -> Any:
    """The bonus is a penalty."""
    loss, metrics = torch_ref.ppo_loss(*arguments, **coefficients)
    loss = loss + 2.0 * arguments[3].ent_coef * metrics.entropy
    return loss, dataclasses.replace(metrics, loss=loss)


@_torch("KL the wrong way round", _named(DISTRIBUTIONS, "Categorical.kl"))
def kl_reversed(logits: Tensor, other_logits: Tensor) -> Tensor:
    """KL(q || p) for KL(p || q)."""
    return torch_ref.Categorical(other_logits).kl(torch_ref.Categorical(logits))


@_torch("log-density averaged over dimensions", _named(DISTRIBUTIONS, "DiagGaussian.log_prob"))
def log_prob_averaged(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """The mean over the action's dimensions for the sum."""
    return torch_ref.DiagGaussian(mean, log_std).log_prob(action) / mean.shape[-1]


@_torch("approx_kl with the wrong sign", _named(DIAGNOSTICS, "approx_kl"))
def kl_sign(log_ratio: Tensor) -> Tensor:
    """Log r for -log r: the estimate of the wrong sign."""
    return torch.mean(torch.expm1(log_ratio) + log_ratio)


@_torch("running variance with ddof 1", _named(NORMALIZE, "update_stats"), "var")
def variance_with_ddof_one(first: Tensor, second: Tensor, third: Tensor) -> Any:
    """Running statistics merged from sample variances."""
    stats = torch_ref.init_stats(tuple(first.shape[1:]))
    for batch in (first, second, third):
        stats = torch_ref.update_stats(stats, batch)
    n = stats.count
    return {"mean": stats.mean, "var": stats.var * n / (n - 1.0), "count": n}


@_torch("kernel carried over without transposing", SQUARE, "0.logits")
def transposed_kernel(params: Any, obs: Any) -> Any:
    """A square kernel carried over as it is: the shapes still fit."""
    tree = params["params"]
    layer = tree["policy_trunk_dense_1"]
    swapped = {**layer, "kernel": layer["kernel"].T}
    return SQUARE.torch_fn({"params": {**tree, "policy_trunk_dense_1": swapped}}, obs)


@_torch("wrong flatten order after the CNN", IMAGE, "0.logits")
def channels_first(params: Any, obs: Any) -> Any:
    """The dense layer after the convolution reads its inputs in the order channels, height, width.

    For a network that flattens so, the kernel's rows are permuted.
    """
    tree = params["params"]
    kernel = tree["trunk_dense_0"]["kernel"]
    rows = torch.arange(len(kernel)).reshape(3, 2, 2).permute(2, 0, 1).reshape(-1)
    dense = {**tree["trunk_dense_0"], "kernel": kernel[rows]}
    return IMAGE.torch_fn({"params": {**tree, "trunk_dense_0": dense}}, obs)


@_steps("elementwise clip called norm clip", CLIPPED_ADAM)
def elementwise_clipping(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """optax.clip, which clips every entry by itself, where the norm is to be clipped."""
    limit = config.max_grad_norm or math.inf
    clipped = jax.tree.map(lambda leaf: jnp.clip(leaf, -limit, limit), gradients)
    return optimizer.jax_steps(config.replace(max_grad_norm=None), params, clipped)


@_steps("1e-6 added to the norm", CLIPPED_ADAM, "mu")
def norm_plus_1e_6(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """Every gradient clipped as torch.nn.utils.clip_grad_norm_ does it."""
    limit = config.max_grad_norm or math.inf

    def clip(gradient: Any) -> Any:
        factor = jnp.minimum(limit / (jax_ppo.global_norm(gradient) + 1e-6), 1.0)
        return jax.tree.map(lambda leaf: leaf * factor, gradient)

    clipped = jax.vmap(clip)(gradients)
    return optimizer.jax_steps(config.replace(max_grad_norm=None), params, clipped)


@_steps("RMSProp's epsilon inside the root", RMSPROP)
@_steps("Adam's epsilon inside the root", ADAM)
def epsilon_inside_the_moments_root(
    config: jax_ppo.PPOConfig, params: Any, gradients: Any
) -> dict[str, Any]:
    """sqrt(v + eps) for sqrt(v) + eps."""
    eps = config.adam_eps
    scaling = {
        "adam": optax.scale_by_adam(eps=0.0, eps_root=eps),
        "rmsprop": optax.scale_by_rms(decay=0.99, eps=eps, eps_in_sqrt=True),
    }[config.optimizer]
    inside = optax.flatten(optax.chain(scaling, optax.scale(-optimizer.LEARNING_RATE)))

    def step(carry: Any, gradient: Any) -> Any:
        params, state = carry
        steps, state = inside.update(gradient, state, params)
        return (optax.apply_updates(params, steps), state), None

    (params, state), _ = jax.lax.scan(step, (params, inside.init(params)), gradients)
    return optimizer.jax_outcome(params, state)


@_steps("weight decay added to the gradient", ADAMW)
def coupled_weight_decay(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """Decay added to the gradient, before the moments: Adam with L2, not AdamW."""
    decay = config.weight_decay
    plain = config.replace(optimizer="adam", weight_decay=0.0)
    coupled = jax.tree.map(lambda g, p: g + decay * p[None], gradients, params)
    return optimizer.jax_steps(plain, params, coupled)


@_steps("cosine and warm-up over gradient steps, not updates", SCHEDULED_RMSPROP, side="torch_fn")
def scheduled_by_gradient_steps(config: Any, params: Any, gradients: Any) -> dict[str, Any]:
    """The schedule counts gradient steps, as optax and torch.optim.lr_scheduler do."""

    def rates(config: jax_ppo.PPOConfig, step: Any, _: Any) -> Any:
        schedule, share = config.learning_rate_schedule, config.learning_rate_warmup or 1.0
        rate = torch_ref.scheduled(config.learning_rate, schedule, step, optimizer.NUM_STEPS)
        return rate * torch_ref.warmup(share, step, optimizer.NUM_STEPS)

    return optimizer.torch_steps(config, params, gradients, rates=rates)


@_torch("warm-up one update late", schedules.WARMUP)
def warmup_from_zero(share: Tensor, update: Tensor) -> Tensor:
    """A warm-up that is one update late: the first has a factor of 0."""
    factor = update / (share * schedules.NUM_UPDATES)
    return torch.minimum(factor, torch.ones_like(factor))


@_torch("cosine of a whole turn", schedules.COSINE, "cosine")
def cosine_of_a_whole_turn(initial: Tensor, update: Tensor) -> dict[str, Any]:
    """cos(2 pi update / N), which rises again in the second half."""
    factor = 0.5 * (1.0 + torch.cos(2.0 * math.pi * (update * (1.0 / schedules.NUM_UPDATES))))
    own = torch_ref.scheduled(initial, optimizer.harmonic, update, schedules.NUM_UPDATES)
    return {"cosine": initial * factor, "harmonic": own}


@_learn("a user's own schedule logged, not applied", learn.OWN_LEARNING)
@_learn("schedule logged but not applied", learn.RMSPROP_LEARNING)
def schedule_only_logged(
    state: Any, rollout: Any, config: jax_ppo.PPOConfig, *arguments: Any, **parts: Any
) -> Any:
    """The learning rate is scheduled in the metrics, and constant in the gradient steps."""
    _, logged = learn.torch_learn(state, rollout, config, *arguments, **parts)
    constant = config.replace(learning_rate_schedule="constant", learning_rate_warmup=None)
    state, metrics = learn.torch_learn(
        state, rollout, constant, *arguments, **{**parts, "learning_rate_schedule": None}
    )
    return state, dataclasses.replace(metrics, learning_rate=logged.learning_rate)


@_learn("a user's own optimizer not used", learn.OWN_LEARNING)
def own_optimizer_ignored(*arguments: Any, **parts: Any) -> Any:
    """Plain gradient descent in place of the optimizer that the user gave."""
    return learn.torch_learn(*arguments, **{**parts, "optimizer_fn": _descent_with_trace})


def _descent_with_trace(learning_rate: Any) -> torch_ref.Optimizer:
    """Plain gradient descent that leaves the state of momentum as it is."""
    momentum, plain = optimizer.torch_momentum(learning_rate), sgd(learning_rate)
    return torch_ref.Optimizer(init=momentum.init, update=plain.update)


@_config(
    "advantages normalized over the batch, not the minibatch", MINIBATCHES, "metrics.policy_loss"
)
def batch_statistics(config: jax_ppo.PPOConfig) -> jax_ppo.PPOConfig:
    """Advantages normalized once over the batch, where the config says minibatch."""
    return config.replace(advantage_normalization="batch")


@_config("KL stop that never stops", STOPPED, "metrics.gradient_steps")
def kl_stop_ignored(config: jax_ppo.PPOConfig) -> jax_ppo.PPOConfig:
    """approx_kl is logged, and never stops anything."""
    return config.replace(target_kl=None)
