"""Mistakes that are known from other implementations, each with the check that must detect it.

A mutant replaces one side of a check; the check has to fail. The list is data, so that the tests
run it and the report shows which level detects which mistake.
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


def ddof_one(advantages: Tensor) -> Tensor:
    """Normalize with the sample standard deviation, which is torch.std's default."""
    centered = advantages - advantages.mean()
    return centered / (torch.sqrt(torch.sum(centered**2) / (len(advantages) - 1)) + 1e-8)


def epsilon_inside_root(advantages: Tensor) -> Tensor:
    """Normalize with sqrt(var + 1e-8)."""
    variance = advantages.var(correction=0)
    return (advantages - advantages.mean()) / torch.sqrt(variance + 1e-8)


def truncation_as_termination(
    *arrays: Tensor, terminated: Tensor, truncated: Tensor, **discounts: Any
) -> Any:
    """No bootstrap at a time limit."""
    done = terminated | truncated
    return torch_ref.compute_gae(*arrays, terminated=done, truncated=done, **discounts)


def truncation_ignored(
    *arrays: Tensor, terminated: Tensor, truncated: Tensor, **discounts: Any
) -> Any:
    """The sum runs on across a time limit."""
    never = torch.zeros_like(truncated)
    return torch_ref.compute_gae(*arrays, terminated=terminated, truncated=never, **discounts)


def value_after_reset(rewards: Tensor, values: Tensor, next_values: Tensor, **others: Any) -> Any:
    """V(s_{t+1}) of the next row, which is the new episode's where one ended, for V(s'_t)."""
    shifted = torch.cat([values[1:], next_values[-1:]])
    return torch_ref.compute_gae(rewards, values, shifted, **others)


def done_shifted(*arrays: Tensor, terminated: Tensor, truncated: Tensor, **discounts: Any) -> Any:
    """The flags of the step before."""
    terminated, truncated = torch.roll(terminated, 1, 0), torch.roll(truncated, 1, 0)
    return torch_ref.compute_gae(*arrays, terminated=terminated, truncated=truncated, **discounts)


def gamma_missing_beside_lambda(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    *,
    terminated: Tensor,
    truncated: Tensor,
    gamma: Any,
    gae_lambda: Any,
) -> Any:
    """A = delta + lambda A_next: the sum decays by lambda alone."""
    deltas = rewards + gamma * torch.where(terminated, 0.0, next_values) - values
    advantages = torch.zeros_like(deltas)
    advantage = torch.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        ahead = torch.where(terminated[t] | truncated[t], 0.0, advantage)
        advantage = advantages[t] = deltas[t] + gae_lambda * ahead
    return advantages, advantages + values


def time_and_environments_swapped(**arguments: Any) -> Any:
    """Rows read as environments: the sum runs from one environment into the next."""
    swapped = {name: array.T if array.ndim == 2 else array for name, array in arguments.items()}
    advantages, returns = torch_ref.compute_gae(**swapped)
    return advantages.T, returns.T


def advantages_as_targets(**arguments: Any) -> Any:
    """Advantages returned in place of advantages + values."""
    advantages, _ = torch_ref.compute_gae(**arguments)
    return advantages, advantages


def returns_of_zeroed_advantages(**arguments: Any) -> Any:
    """Targets made of advantages that were set to zero first: the critic learns its own values."""
    advantages, _ = torch_ref.compute_gae(**arguments)
    return advantages, torch.zeros_like(advantages) + arguments["values"]


def ratio_not_exponentiated(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, clip_eps: Any
) -> Tensor:
    """The log ratio plus one, its first-order expansion, for the ratio."""
    ratio = 1.0 + log_prob - old_log_prob
    clipped = torch.minimum(torch.maximum(ratio, 1.0 - clip_eps), 1.0 + clip_eps)
    return -torch.mean(torch.minimum(ratio * advantages, clipped * advantages))


def maximum_for_minimum(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, clip_eps: Any
) -> Tensor:
    """The optimistic bound."""
    return -torch_ref.clipped_surrogate_loss(log_prob, old_log_prob, -advantages, clip_eps)


def clamp_for_minimum(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, clip_eps: Any
) -> Tensor:
    """torch.clamp, which passes the whole gradient at an edge: equal everywhere else."""
    ratio = torch.exp(log_prob - old_log_prob)
    clipped = torch.clamp(ratio, 1.0 - clip_eps, 1.0 + clip_eps)
    return -torch.mean(torch.minimum(ratio * advantages, clipped * advantages))


def old_log_prob_recomputed(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, clip_eps: Any
) -> Tensor:
    """The old log-probabilities taken from the new policy: every ratio is 1, whatever it does."""
    recomputed = log_prob.detach() + 0.0 * old_log_prob
    return torch_ref.clipped_surrogate_loss(log_prob, recomputed, advantages, clip_eps)


def no_half(values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
    """The value loss without its 1/2."""
    return 2.0 * torch_ref.value_loss(values, old_values, returns)


def clipping_ignored(
    values: Tensor, old_values: Tensor, returns: Tensor, value_clip_eps: Any
) -> Tensor:
    """The plain value loss in place of the clipped one."""
    return torch_ref.value_loss(values, old_values, returns) + 0.0 * value_clip_eps


def minimum_for_maximum(
    values: Tensor, old_values: Tensor, returns: Tensor, value_clip_eps: Any
) -> Tensor:
    """The smaller of the two errors."""
    moved = torch.minimum(torch.maximum(values - old_values, -value_clip_eps), value_clip_eps)
    errors = torch.square(values - returns), torch.square(old_values + moved - returns)
    return 0.5 * torch.mean(torch.minimum(*errors))


def entropy_not_added(*arguments: Any, **coefficients: Any) -> Any:
    """The bonus is computed and logged, and left out of the loss."""
    loss, metrics = torch_ref.ppo_loss(*arguments, **coefficients)
    loss = loss + arguments[3].ent_coef * metrics.entropy
    return loss, dataclasses.replace(metrics, loss=loss)


def entropy_sign(*arguments: Any, **coefficients: Any) -> Any:
    """The bonus is a penalty."""
    loss, metrics = torch_ref.ppo_loss(*arguments, **coefficients)
    loss = loss + 2.0 * arguments[3].ent_coef * metrics.entropy
    return loss, dataclasses.replace(metrics, loss=loss)


def kl_reversed(logits: Tensor, other_logits: Tensor) -> Tensor:
    """KL(q || p) for KL(p || q)."""
    return torch_ref.Categorical(other_logits).kl(torch_ref.Categorical(logits))


def kl_sign(log_ratio: Tensor) -> Tensor:
    """Log r for -log r: the estimate of the wrong sign."""
    return torch.mean(torch.expm1(log_ratio) + log_ratio)


def log_prob_averaged(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """The mean over the action's dimensions for the sum."""
    return torch_ref.DiagGaussian(mean, log_std).log_prob(action) / mean.shape[-1]


def variance_with_ddof_one(first: Tensor, second: Tensor, third: Tensor) -> Any:
    """Running statistics merged from sample variances."""
    stats = torch_ref.init_stats(tuple(first.shape[1:]))
    for batch in (first, second, third):
        stats = torch_ref.update_stats(stats, batch)
    n = stats.count
    return torch_ref.RunningStats(stats.mean, stats.var * n / (n - 1.0), n)


def elementwise_clipping(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """optax.clip, which clips every entry by itself, where the norm is to be clipped."""
    limit = config.max_grad_norm or math.inf
    clipped = jax.tree.map(lambda leaf: jnp.clip(leaf, -limit, limit), gradients)
    return optimizer.jax_steps(config.replace(max_grad_norm=None), params, clipped)


def norm_plus_1e_6(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """Every gradient clipped as torch.nn.utils.clip_grad_norm_ does it."""
    limit = config.max_grad_norm or math.inf

    def clip(gradient: Any) -> Any:
        factor = jnp.minimum(limit / (jax_ppo.global_norm(gradient) + 1e-6), 1.0)
        return jax.tree.map(lambda leaf: leaf * factor, gradient)

    clipped = jax.vmap(clip)(gradients)
    return optimizer.jax_steps(config.replace(max_grad_norm=None), params, clipped)


def epsilon_inside_the_moments_root(
    inside: optax.GradientTransformation, params: Any, gradients: Any
) -> dict[str, Any]:
    """sqrt(v + eps) for sqrt(v) + eps, of Adam or RMSProp."""
    inside = optax.flatten(optax.chain(inside, optax.scale(-optimizer.LEARNING_RATE)))

    def step(carry: Any, gradient: Any) -> Any:
        params, state = carry
        steps, state = inside.update(gradient, state, params)
        return (optax.apply_updates(params, steps), state), None

    (params, state), _ = jax.lax.scan(step, (params, inside.init(params)), gradients)
    return optimizer.jax_outcome(params, state)


def coupled_weight_decay(config: jax_ppo.PPOConfig, params: Any, gradients: Any) -> dict[str, Any]:
    """Decay added to the gradient, before the moments: Adam with L2, not AdamW."""
    decay = config.weight_decay
    plain = config.replace(optimizer="adam", weight_decay=0.0)
    coupled = jax.tree.map(lambda g, p: g + decay * p[None], gradients, params)
    return optimizer.jax_steps(plain, params, coupled)


def scheduled_by_gradient_steps(config: jax_ppo.PPOConfig, step: Any, _: Any) -> Any:
    """The schedule counts gradient steps, as optax and torch.optim.lr_scheduler do."""
    schedule, share = config.learning_rate_schedule, config.learning_rate_warmup or 1.0
    rate = torch_ref.scheduled(config.learning_rate, schedule, step, optimizer.NUM_STEPS)
    return rate * torch_ref.warmup(share, step, optimizer.NUM_STEPS)


def warmup_from_zero(share: Tensor, update: Tensor) -> Tensor:
    """A warm-up that is one update late: the first has a factor of 0."""
    factor = update / (share * schedules.NUM_UPDATES)
    return torch.minimum(factor, torch.ones_like(factor))


def cosine_of_a_whole_turn(initial: Tensor, update: Tensor) -> dict[str, Any]:
    """cos(2 pi update / N), which rises again in the second half."""
    factor = 0.5 * (1.0 + torch.cos(2.0 * math.pi * (update * (1.0 / schedules.NUM_UPDATES))))
    own = torch_ref.scheduled(initial, optimizer.harmonic, update, schedules.NUM_UPDATES)
    return {"cosine": initial * factor, "harmonic": own}


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


def own_optimizer_ignored(*arguments: Any, **parts: Any) -> Any:
    """Plain gradient descent in place of the optimizer that the user gave."""
    return learn.torch_learn(*arguments, **{**parts, "optimizer_fn": _descent_with_trace})


def _descent_with_trace(learning_rate: Any) -> torch_ref.Optimizer:
    """Plain gradient descent that leaves the state of momentum as it is."""
    momentum, plain = optimizer.torch_momentum(learning_rate), sgd(learning_rate)
    return torch_ref.Optimizer(init=momentum.init, update=plain.update)


def transposed_kernel(params: Any, obs: Any) -> Any:
    """A square kernel carried over as it is: the shapes still fit."""
    tree = params["params"]
    swapped = {**tree["policy_trunk_dense_1"]}
    swapped["kernel"] = swapped["kernel"].T
    changed = {"params": {**tree, "policy_trunk_dense_1": swapped}}
    return SQUARE.torch_fn(changed, obs)


def channels_first(params: Any, obs: Any) -> Any:
    """The dense layer after the convolution reads its inputs in the order channels, height, width.

    For a network that flattens so, the kernel's rows are permuted.
    """
    tree = params["params"]
    kernel = tree["trunk_dense_0"]["kernel"]
    rows = torch.arange(len(kernel)).reshape(3, 2, 2).permute(2, 0, 1).reshape(-1)
    dense = {**tree["trunk_dense_0"], "kernel": kernel[rows]}
    return IMAGE.torch_fn({"params": {**tree, "trunk_dense_0": dense}}, obs)


def batch_statistics(updates: update.Updates) -> update.Updates:
    """Advantages normalized once over the batch, where the config says minibatch."""
    return _with_config(updates, advantage_normalization="batch")


def kl_stop_ignored(updates: update.Updates) -> update.Updates:
    """approx_kl is logged, and never stops anything."""
    return _with_config(updates, target_kl=None)


def _with_config(updates: update.Updates, **changes: Any) -> update.Updates:
    """The update under another config."""
    architecture = updates.architecture
    changed = dataclasses.replace(architecture, config=architecture.config.replace(**changes))
    return dataclasses.replace(updates, architecture=changed)


def _named(checks: Sequence[Check], name: str) -> Check:
    """The check of that name."""
    return next(check for check in checks if check.name == name)


MLP, GAUSSIAN = tiny.ARCHITECTURES[0], tiny.ARCHITECTURES[2]
SQUARE = _named(networks.CHECKS, "network: MLP, KL penalty")
IMAGE = _named(networks.CHECKS, "network: CNN")
ADAM, CLIPPED_ADAM, ADAMW, RMSPROP, SCHEDULED_RMSPROP = optimizer.CHECKS[:5]
CONFIGS = tuple(optimizer.CONFIGS.values())
ADAM_CONFIG, CLIPPED_CONFIG, ADAMW_CONFIG, RMSPROP_CONFIG, SCHEDULED_CONFIG = CONFIGS[:5]
MINIBATCHES, STOPPED = update.ARCHITECTURES[0], update.ARCHITECTURES[-2]


def _torch(check: Check, mutant: Callable[..., Any], name: str, quantity: str) -> Mutant:
    """A mistake on the PyTorch side."""
    return Mutant(name, check.replace(torch_fn=mutant), quantity)


def _jax(check: Check, mutant: Callable[..., Any], name: str, quantity: str) -> Mutant:
    """A mistake on the JAX side."""
    return Mutant(name, check.replace(jax_fn=mutant), quantity)


def _gae(mutant: Callable[..., Any], name: str, quantity: str = "0") -> Mutant:
    """A mistake in the estimator of the PyTorch side."""
    return _torch(GAE, partial(advantages.estimated, mutant), name, quantity)


def _learn(learning: learn.Learning, mutant: Callable[..., Any], name: str) -> Mutant:
    """A mistake in the whole update of the PyTorch side, which shows in the parameters."""
    check = learn.learn_check(dataclasses.replace(learning, torch_learn=mutant))
    return Mutant(name, check, "params")


GAE, NORMALIZE_ADVANTAGES = advantages.CHECKS
SURROGATE, VALUE_LOSS, CLIPPED_VALUE_LOSS = losses.CHECKS

MUTANTS: tuple[Mutant, ...] = (
    _gae(truncation_as_termination, "truncation treated as termination"),
    _gae(truncation_ignored, "truncation ignored"),
    _gae(value_after_reset, "value of the observation after the reset"),
    _gae(done_shifted, "flags shifted by one step"),
    _gae(gamma_missing_beside_lambda, "gamma missing beside lambda"),
    _gae(time_and_environments_swapped, "time and environments swapped"),
    _gae(advantages_as_targets, "advantages used as value targets", "1"),
    _gae(returns_of_zeroed_advantages, "value targets from zeroed advantages", "1"),
    _torch(NORMALIZE_ADVANTAGES, ddof_one, "advantages normalized with ddof 1", "value"),
    _torch(NORMALIZE_ADVANTAGES, epsilon_inside_root, "1e-8 inside the root", "value"),
    _torch(
        NORMALIZE_ADVANTAGES.replace(inputs={"advantages": normal(1)}, oracle=None, terms=None),
        ddof_one,
        "one sample normalized with ddof 1",
        "value",
    ),
    _torch(SURROGATE, ratio_not_exponentiated, "ratio not exponentiated", "value"),
    _torch(SURROGATE, maximum_for_minimum, "maximum in place of minimum", "value"),
    _torch(SURROGATE, clamp_for_minimum, "other slope exactly at the clip edge", "d/d log_prob"),
    _torch(SURROGATE, old_log_prob_recomputed, "old log-probabilities recomputed", "value"),
    _torch(VALUE_LOSS, no_half, "value loss without 1/2", "value"),
    _torch(CLIPPED_VALUE_LOSS, clipping_ignored, "value loss not clipped", "value"),
    _torch(CLIPPED_VALUE_LOSS, minimum_for_maximum, "smaller value error taken", "value"),
    Mutant(
        "entropy bonus computed but not added to the loss",
        networks.loss_check(MLP, entropy_not_added),
        "loss",
    ),
    Mutant("entropy bonus subtracted", networks.loss_check(GAUSSIAN, entropy_sign), "loss"),
    _torch(_named(DISTRIBUTIONS, "Categorical.kl"), kl_reversed, "KL the wrong way round", "value"),
    _torch(
        _named(DISTRIBUTIONS, "DiagGaussian.log_prob"),
        log_prob_averaged,
        "log-density averaged over dimensions",
        "value",
    ),
    _torch(_named(DIAGNOSTICS, "approx_kl"), kl_sign, "approx_kl with the wrong sign", "value"),
    _torch(
        _named(NORMALIZE, "update_stats"),
        variance_with_ddof_one,
        "running variance with ddof 1",
        "var",
    ),
    _torch(SQUARE, transposed_kernel, "kernel carried over without transposing", "0.logits"),
    _torch(IMAGE, channels_first, "wrong flatten order after the CNN", "0.logits"),
    _jax(
        CLIPPED_ADAM,
        partial(elementwise_clipping, CLIPPED_CONFIG),
        "elementwise clip called norm clip",
        "params.head.weight",
    ),
    _jax(CLIPPED_ADAM, partial(norm_plus_1e_6, CLIPPED_CONFIG), "1e-6 added to the norm", "mu"),
    _jax(
        ADAM,
        partial(
            epsilon_inside_the_moments_root,
            optax.scale_by_adam(eps=0.0, eps_root=ADAM_CONFIG.adam_eps),
        ),
        "Adam's epsilon inside the root",
        "params.head.weight",
    ),
    _jax(
        ADAMW,
        partial(coupled_weight_decay, ADAMW_CONFIG),
        "weight decay added to the gradient",
        "params.head.weight",
    ),
    _jax(
        RMSPROP,
        partial(
            epsilon_inside_the_moments_root,
            optax.scale_by_rms(decay=0.99, eps=RMSPROP_CONFIG.adam_eps, eps_in_sqrt=True),
        ),
        "RMSProp's epsilon inside the root",
        "params.head.weight",
    ),
    _torch(
        SCHEDULED_RMSPROP,
        partial(optimizer.torch_steps, SCHEDULED_CONFIG, rates=scheduled_by_gradient_steps),
        "cosine and warm-up over gradient steps, not updates",
        "params.head.weight",
    ),
    _torch(schedules.WARMUP, warmup_from_zero, "warm-up one update late", "value"),
    _torch(schedules.COSINE, cosine_of_a_whole_turn, "cosine of a whole turn", "cosine"),
    _learn(learn.RMSPROP_LEARNING, schedule_only_logged, "schedule logged but not applied"),
    _learn(learn.OWN_LEARNING, schedule_only_logged, "a user's own schedule logged, not applied"),
    _learn(learn.OWN_LEARNING, own_optimizer_ignored, "a user's own optimizer not used"),
    Mutant(
        "entropy bonus missing from a whole update",
        update.update_check(MINIBATCHES, entropy_not_added),
        "metrics.loss",
    ),
    _torch(
        update.update_check(MINIBATCHES),
        batch_statistics(update.Updates(MINIBATCHES)).on_torch,
        "advantages normalized over the batch, not the minibatch",
        "metrics.policy_loss",
    ),
    _torch(
        update.update_check(STOPPED),
        kl_stop_ignored(update.Updates(STOPPED)).on_torch,
        "KL stop that never stops",
        "metrics.gradient_steps",
    ),
)
"""Every one must be caught."""
