"""Several epochs of gradient steps on the samples of one rollout."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jax_ppo.advantages import normalize_advantages
from jax_ppo.collectives import mean_over_devices, own_share, place_in_shares
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.losses import ppo_loss
from jax_ppo.networks import Network
from jax_ppo.types import Batch, Metrics, Params

LossFn = Callable[..., tuple[jax.Array, Metrics]]
"""A function with the arguments and results of `ppo_loss`."""


class UpdateCoefficients(NamedTuple):
    """Coefficients that change from one update to the next."""

    learning_rate: jax.Array | float
    clip_eps: jax.Array | float
    kl_coef: jax.Array | float | None


class Learner(NamedTuple):
    """What a gradient step changes."""

    params: Params
    opt_state: Any
    stopped: jax.Array
    """Whether the KL stop has fired in this update [], bool."""


def make_optimizer(
    config: PPOConfig, learning_rate: jax.Array | float
) -> optax.GradientTransformation:
    """Clip the gradient's global norm, then Adam or AdamW.

    g' = g min(1, max_grad_norm / |g|);  m and v are the usual moments of g';
    theta' = theta - learning_rate (m_hat / (sqrt(v_hat) + eps) + weight_decay theta).

    All parameters are treated as one long vector, so that the moments are two vectors: a dozen
    small arrays would cost a processor more in starts than in arithmetic, and compile for longer.
    The state's structure does not depend on the learning rate, which may be traced.

    Args:
        config: Gives optimizer, max_grad_norm, adam_eps and weight_decay.
        learning_rate: Step size.

    Source: Kingma and Ba (2015), algorithm 1; decay: Loshchilov and Hutter (2019), algorithm 2.
    """
    parts = []
    if config.max_grad_norm is not None:
        parts.append(optax.clip_by_global_norm(config.max_grad_norm))
    parts.append(optax.scale_by_adam(eps=config.adam_eps))
    if config.optimizer == "adamw":
        parts.append(optax.add_decayed_weights(config.weight_decay))
    return optax.flatten(optax.chain(*parts, optax.scale(-1.0 * learning_rate)))


def global_norm(tree: Any) -> jax.Array:
    """sqrt(sum of x^2 over every entry x of every leaf): the length of the whole vector [].

    Source: Pascanu et al. (2013), "On the difficulty of training recurrent neural networks".
    """
    return jnp.linalg.norm(ravel_pytree(tree)[0])


def gradient_step(
    learner: Learner,
    batch: Batch,
    config: PPOConfig,
    network: Network,
    coefficients: UpdateCoefficients,
    loss_fn: LossFn = ppo_loss,
    axis_name: str | None = None,
) -> tuple[Learner, Metrics]:
    """One step of the optimizer on one minibatch, unless the KL stop has fired.

    The stop is checked before the step is taken: where approx_kl of the minibatch exceeds
    target_kl, neither this step nor any later one of the update is taken.

    Args:
        learner: Parameters, optimizer state and whether the stop has fired.
        batch: The minibatch, or this device's share of it; advantages are used as they are.
        config: The coefficients that stay constant.
        network: The actor-critic.
        coefficients: The ones that do not.
        loss_fn: The loss, as `ppo_loss`.
        axis_name: Mesh axis that the minibatch is spread over, inside `jax.shard_map`.

    Returns:
        The learner after the step, and the loss's metrics with grad_norm (before clipping) and
        `taken`: 1 where the step was taken, else 0.

    Raises:
        ConfigError: There is a target_kl, but the loss does not measure approx_kl.
    """

    def loss_of(params: Params) -> tuple[jax.Array, Metrics]:
        distribution, values = network.apply(params, batch.obs)
        _, clip_eps, kl_coef = coefficients
        return loss_fn(distribution, values, batch, config, clip_eps, kl_coef)

    gradient, metrics = mean_over_devices(
        jax.grad(loss_of, has_aux=True)(learner.params), axis_name
    )
    optimizer = make_optimizer(config, coefficients.learning_rate)
    steps, opt_state = optimizer.update(gradient, learner.opt_state, learner.params)
    after = Learner(optax.apply_updates(learner.params, steps), opt_state, learner.stopped)
    if config.target_kl is not None:
        if "approx_kl" not in metrics:
            raise ConfigError("target_kl needs a loss_fn whose metrics have approx_kl")
        # Not `>`: a divergence that is not a number must stop too.
        stopped = learner.stopped | ~(metrics["approx_kl"] <= config.target_kl)
        after = jax.tree.map(lambda new, old: jnp.where(stopped, old, new), after, learner)
        after = after._replace(stopped=stopped)
    taken = 1.0 - after.stopped.astype(jnp.result_type(float))
    return after, {**metrics, "grad_norm": global_norm(gradient), "taken": taken}


def update_policy(
    params: Params,
    opt_state: Any,
    batch: Batch,
    permutations: jax.Array,
    config: PPOConfig,
    network: Network,
    coefficients: UpdateCoefficients,
    loss_fn: LossFn = ppo_loss,
    axis_name: str | None = None,
) -> tuple[Params, Any, Metrics]:
    """update_epochs passes over the batch, each in num_minibatches shuffled parts.

    Args:
        params: Network parameters.
        opt_state: State of `make_optimizer`.
        batch: The samples [batch_size, ...], as `make_batch` arranges them.
        permutations: An order of the samples per epoch [update_epochs, batch_size], int32.
        config: Everything that stays constant.
        network: The actor-critic.
        coefficients: Learning rate, clip_eps and kl_coef of this update.
        loss_fn: The loss, as `ppo_loss`.
        axis_name: Mesh axis over which every minibatch is spread, inside `jax.shard_map`.

    Returns:
        New parameters, new optimizer state, and the metrics: each of the loss's averaged over the
        gradient steps that were taken (over the one that fired the stop if none was), grad_norm
        likewise, approx_kl_max (the largest approx_kl of a minibatch, the one that fired the stop
        included), kl_stop (1 if the stop fired, else 0) and gradient_steps (how many were taken).
    """
    places = place_in_shares(permutations, config.num_steps, config.num_envs, axis_name)
    indices = places.reshape(-1, config.minibatch_size)
    advantages = arrange_advantages(batch.advantages, indices, config.advantage_normalization)

    def step(learner: Learner, minibatch: tuple[jax.Array, ...]) -> tuple[Learner, Metrics]:
        rows, advantages = minibatch
        samples = jax.tree.map(lambda leaf: leaf[rows], batch)
        samples = dataclasses.replace(samples, advantages=advantages)
        return gradient_step(learner, samples, config, network, coefficients, loss_fn, axis_name)

    minibatches = [own_share(array, axis_name, axis=1) for array in (indices, advantages)]
    learner = Learner(params, opt_state, jnp.zeros((), bool))
    learner, metrics = jax.lax.scan(step, learner, tuple(minibatches))
    taken = metrics.pop("taken")
    counted = taken.at[0].set(1.0) > 0
    averages = {name: jnp.mean(value, where=counted) for name, value in metrics.items()}
    seen = jnp.concatenate([jnp.ones_like(taken[:1]), taken[:-1]]) > 0
    if "approx_kl" in metrics:
        averages["approx_kl_max"] = jnp.max(metrics["approx_kl"], where=seen, initial=0.0)
    averages["kl_stop"] = learner.stopped.astype(taken.dtype)
    averages["gradient_steps"] = jnp.sum(taken)
    return learner.params, learner.opt_state, averages


def arrange_advantages(
    advantages: jax.Array, minibatches: jax.Array, normalization: str
) -> jax.Array:
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
    return jax.vmap(normalize_advantages)(arranged) if normalization == "minibatch" else arranged
