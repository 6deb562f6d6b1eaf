"""Several epochs of gradient steps on the samples of one rollout."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jax_ppo.advantages import normalize_advantages
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.kernels.collectives import all_reduce_mean, gathered_rows, local_shard
from jax_ppo.losses import LossFn, ppo_loss
from jax_ppo.networks import Network
from jax_ppo.shapes import check_loss
from jax_ppo.types import Batch, Metrics, Params

RMSPROP_DECAY = 0.99
"""Decay of RMSProp's second moment, as in the experiments of Mnih et al. (2016)."""


class OptimizerFn(Protocol):
    """Makes an optimizer for a learning rate; every optimizer of optax is one: `optax.rmsprop`."""

    def __call__(self, learning_rate: jax.Array | float) -> optax.GradientTransformation:
        """The optimizer; the structure of its state must not depend on the learning rate."""


class UpdateCoefficients(NamedTuple):
    """Coefficients that change from one update to the next."""

    learning_rate: jax.Array | float
    clip_eps: jax.Array | float
    kl_coef: jax.Array | float | None


class Learner(NamedTuple):
    """What a gradient step changes."""

    params: Params
    """Network parameters."""
    opt_state: Any
    """State of `make_optimizer`."""
    stopped: jax.Array
    """Whether the KL stop has fired in this update [], bool."""

    @classmethod
    def start(cls, params: Params, opt_state: Any) -> "Learner":
        """The learner before the first step of an update."""
        return cls(params, opt_state, jnp.zeros((), bool))


def make_optimizer(
    config: PPOConfig,
    learning_rate: jax.Array | float,
    optimizer_fn: OptimizerFn | None = None,
) -> optax.GradientTransformation:
    """Clip the gradient's global norm, then the optimizer.

    g' = g min(1, max_grad_norm / |g|);  m and v are the usual moments of g'; then
    adam:     theta' = theta - learning_rate m_hat / (sqrt(v_hat + eps_root) + eps)
    adamw:    the same, and - learning_rate weight_decay theta
    rmsprop:  theta' = theta - learning_rate g' / (sqrt(v) + eps), v decaying by 0.99
    sgd:      theta' = theta - learning_rate g'

    The config's optimizers treat all parameters as one long vector, so that the moments are two
    vectors: a dozen small arrays would need more kernels, and compile for longer. The state's
    structure does not depend on the learning rate, which may be traced.

    Args:
        config: Gives max_grad_norm, and optimizer, adam_eps, adam_eps_root and weight_decay.
        learning_rate: Step size.
        optimizer_fn: An optimizer to use in place of the config's; it is given the parameters as
            they are, not as one vector.

    Source: Kingma and Ba (2015), algorithm 1; weight decay: Loshchilov and Hutter (2019), algorithm
    2; RMSProp: Tieleman and Hinton (2012), "Neural networks for machine learning", lecture 6.5.
    """
    parts = []
    if config.max_grad_norm is not None:
        parts.append(optax.clip_by_global_norm(config.max_grad_norm))
    if optimizer_fn is not None:
        return optax.chain(*parts, optimizer_fn(learning_rate))
    if config.optimizer in ("adam", "adamw"):
        parts.append(optax.scale_by_adam(eps=config.adam_eps, eps_root=config.adam_eps_root))
    if config.optimizer == "adamw":
        parts.append(optax.add_decayed_weights(config.weight_decay))
    if config.optimizer == "rmsprop":
        parts.append(
            optax.scale_by_rms(decay=RMSPROP_DECAY, eps=config.adam_eps, eps_in_sqrt=False)
        )
    return optax.flatten(optax.chain(*parts, optax.scale(-1.0 * learning_rate)))


def global_norm(tree: Any) -> jax.Array:
    """sqrt(sum of x^2 over every entry x of every leaf): the length of the whole vector [].

    Source: Pascanu et al. (2013), "On the difficulty of training recurrent neural networks".
    """
    return jnp.linalg.norm(ravel_pytree(tree)[0])


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
        params: Where to take it.
        batch: The minibatch, or this device's shard of it; advantages are used as they are.
        config: The coefficients that stay constant.
        network: The actor-critic.
        coefficients: Those that change over training.
        loss_fn: The loss.

    Raises:
        ConfigError: The loss does not return a scalar and Metrics of scalars: see `check_loss`.
    """

    def loss_of(params: Params) -> tuple[jax.Array, Metrics]:
        distribution, values = network.apply(params, batch.obs)
        _, clip_eps, kl_coef = coefficients
        result = loss_fn(distribution, values, batch, config, clip_eps=clip_eps, kl_coef=kl_coef)
        check_loss(result, Metrics)
        return result

    gradient_and_metrics: tuple[Params, Metrics] = jax.grad(loss_of, has_aux=True)(params)
    return all_reduce_mean(gradient_and_metrics)


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
        batch: The minibatch, or this device's shard of it; advantages are used as they are.
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
    optimizer = make_optimizer(config, coefficients.learning_rate, optimizer_fn)
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in whole numbers
        steps, opt_state = optimizer.update(gradient, learner.opt_state, learner.params)
    after = Learner(optax.apply_updates(learner.params, steps), opt_state, learner.stopped)
    if config.target_kl is not None:
        if metrics.approx_kl is None:
            raise ConfigError("target_kl needs a loss_fn whose metrics have approx_kl")
        # Not `>`: a divergence that is not a number must stop too.
        stopped = learner.stopped | ~(metrics.approx_kl <= config.target_kl)
        after = jax.tree.map(lambda new, old: jnp.where(stopped, old, new), after, learner)
        after = after._replace(stopped=stopped)
    return after, dataclasses.replace(metrics, grad_norm=global_norm(gradient))


def update_policy(
    learner: Learner,
    batch: Batch,
    permutations: jax.Array,
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
        permutations: An order of the samples per epoch [update_epochs, batch_size], int32.
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
    rows = gathered_rows(permutations, config.num_steps, config.num_envs)
    rows = rows.reshape(-1, config.minibatch_size)
    advantages = arrange_advantages(batch.advantages, rows, config.advantage_normalization)
    take_step = partial(
        gradient_step,
        config=config,
        network=network,
        coefficients=coefficients,
        loss_fn=loss_fn,
        optimizer_fn=optimizer_fn,
    )

    def step(learner: Learner, minibatch: tuple[jax.Array, jax.Array]) -> tuple[Learner, tuple]:
        rows, advantages = minibatch
        samples = jax.tree.map(lambda leaf: leaf[rows], batch)
        learner, metrics = take_step(learner, dataclasses.replace(samples, advantages=advantages))
        return learner, (metrics, 1.0 - learner.stopped.astype(jnp.result_type(float)))

    minibatches = (local_shard(rows, axis=1), local_shard(advantages, axis=1))
    learner, (metrics, taken) = jax.lax.scan(step, learner, minibatches)
    return learner, summarize_steps(metrics, taken)


def summarize_steps(metrics: Metrics, taken: jax.Array) -> Metrics:
    """The metrics of an update from those of its gradient steps.

    Args:
        metrics: Every field [num_gradient_steps].
        taken: 1 where the step was taken, else 0 [num_gradient_steps].

    Returns:
        Means over the steps taken (over the first if none was), approx_kl_max over these and the
        one that fired the KL stop, kl_stop and gradient_steps, each [].
    """
    counted = taken.at[0].set(1.0) > 0
    averages = jax.tree.map(partial(jnp.mean, where=counted), metrics)
    seen = jnp.concatenate([jnp.ones_like(taken[:1]), taken[:-1]]) > 0
    approx_kl_max = None
    if metrics.approx_kl is not None:
        approx_kl_max = jnp.max(metrics.approx_kl, where=seen, initial=0.0)
    return dataclasses.replace(
        averages,
        approx_kl_max=approx_kl_max,
        kl_stop=1.0 - taken[-1],
        gradient_steps=jnp.sum(taken),
    )


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
