"""Trust region policy optimization, whose step PPO's clipped gradient steps replace.

maximize mean((r - 1) A)  subject to  mean KL(old || new) <= delta

The direction is the natural gradient, the length what the constraint allows in its second-order
form, and a search backwards from there ends where the constraint itself holds.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from jax_ppo.advantages import AdvantageFn, compute_gae, normalize_advantages
from jax_ppo.config import ConfigError, PPOConfig
from jax_ppo.distributions import Distribution
from jax_ppo.envs import Environment
from jax_ppo.losses import value_loss
from jax_ppo.networks import Network
from jax_ppo.ppo import Algorithm, advance, coefficients_at, make_batch, measure_update, ppo
from jax_ppo.schedules import Schedule
from jax_ppo.types import Batch, Metrics, Params, Rollout, TrainState
from jax_ppo.update import Learner, OptimizerFn, global_norm, update_policy

LinearMap = Callable[[Params], Params]
"""A matrix as the function that multiplies by it; vectors have the structure of the parameters."""


class TrustRegion(NamedTuple):
    """The constraint of a step, and the work spent on finding it; every field may be traced.

    Source: Schulman et al. (2015), tables 2 and 3 for max_kl, appendix C for cg_iterations and the
    exponential search; damping, halving and ten tries as in OpenAI Baselines' trpo_mpi (2017).
    """

    max_kl: jax.Array | float = 0.01
    """delta: largest mean KL(old || new) of a step, in nats."""
    damping: jax.Array | float = 0.1
    """Added to the Fisher matrix's diagonal, which makes it positive definite."""
    cg_iterations: jax.Array | int = 10
    """Iterations of conjugate gradients, at most."""
    cg_tolerance: jax.Array | float = 1e-5
    """They end early where the residual has become this small a part of the gradient."""
    shrink: jax.Array | float = 0.5
    """What a step that failed is multiplied by."""
    max_tries: jax.Array | int = 10
    """Lengths that are tried before the step is given up."""


DEFAULT_REGION = TrustRegion()


class Search(NamedTuple):
    """State of a line search."""

    params: Params
    """The parameters tried last."""
    tries: jax.Array
    """How many lengths have been tried [], int32."""
    improvement: jax.Array
    """`surrogate_improvement` at params []."""
    kl: jax.Array
    """`mean_kl` at params []."""
    accepted: jax.Array
    """Whether the surrogate has improved within the trust region [], bool."""


def surrogate_improvement(params: Params, batch: Batch, network: Network) -> jax.Array:
    """L(new) - L(old) = mean((r - 1) A), with r = pi_new(a|s) / pi_old(a|s).

    r - 1 is taken as one number, since L(old) = mean(A) may be far larger than the difference.

    Args:
        params: Parameters of the new policy.
        batch: Samples of the old one [batch_size, ...].
        network: The actor-critic.

    Returns:
        What the surrogate gains [], to be maximized.

    Source: Schulman et al. (2015), "Trust region policy optimization", equation 14.
    """
    distribution, _ = network.apply(params, batch.obs)
    log_ratio = distribution.log_prob(batch.action) - batch.old_log_prob
    return jnp.mean(jnp.expm1(log_ratio) * batch.advantages)


def mean_kl(params: Params, old: Distribution, obs: jax.Array, network: Network) -> jax.Array:
    """mean_s KL(pi_old(.|s) || pi_new(.|s)), in closed form, in nats.

    Args:
        params: Parameters of the new policy.
        old: The old policy at obs, batch shape [batch_size].
        obs: [batch_size, *obs_shape].
        network: The actor-critic.

    Returns:
        The divergence [].

    Source: Schulman et al. (2015), equation 12.
    """
    distribution, _ = network.apply(params, obs)
    return jnp.mean(old.kl(distribution))


def fisher_vector_product(params: Params, obs: jax.Array, network: Network) -> LinearMap:
    """The map v -> F v, with F the Fisher information matrix of the policy's parameters.

    F = mean_s E_a[grad log pi(a|s) grad log pi(a|s)^T] is the Hessian of mean KL(old || new) at
    new = old, so F v is the directional derivative of that divergence's gradient, and the matrix,
    num_parameters x num_parameters, is never formed. The expectation is over all actions, not over
    those that were taken. Rows and columns of parameters that the policy does not depend on, such
    as the critic's own, are zero.

    Args:
        params: Where F is taken; v has the same structure.
        obs: States that it is averaged over [batch_size, *obs_shape].
        network: The actor-critic.

    Source: Schulman et al. (2015), section 6 and appendix C.1, the generic method of its end;
    Pearlmutter (1994), "Fast exact multiplication by the Hessian".
    """
    old, _ = network.apply(params, obs)
    gradient = jax.grad(partial(mean_kl, old=old, obs=obs, network=network))
    _, product = jax.linearize(gradient, params)
    return product


def damped(product: LinearMap, damping: jax.Array | float, vector: Params) -> Params:
    """(F + damping I) v.

    Args:
        product: v -> F v.
        damping: Added to every eigenvalue.
        vector: v.

    Source: Martens (2010), "Deep learning via Hessian-free optimization", section 4.1.
    """
    return jax.tree.map(lambda a, v: a + damping * v, product(vector), vector)


def natural_gradient(
    product: LinearMap, gradient: Params, region: TrustRegion
) -> tuple[Params, jax.Array]:
    """The solution x of H x = g, nearly: some iterations of conjugate gradients from x = 0.

    For the critic's own parameters, where g is zero and H has no entry but the damping on its
    diagonal, x is zero exactly.

    Args:
        product: v -> H v, of a positive definite matrix.
        gradient: g.
        region: Gives cg_iterations and cg_tolerance.

    Returns:
        x, and what was left over, |H x - g| / |g| [] (0 where g = 0).

    Source: Schulman et al. (2015), appendix C; Kakade (2001), "A natural policy gradient".
    """
    direction, _ = cg(product, gradient, tol=region.cg_tolerance, maxiter=region.cg_iterations)
    left_over = jax.tree.map(jnp.subtract, product(direction), gradient)
    norm = global_norm(gradient)
    return direction, global_norm(left_over) / jnp.where(norm > 0, norm, 1.0)


def longest_step(product: LinearMap, direction: Params, max_kl: jax.Array | float) -> Params:
    """The step beta x, beta = sqrt(2 delta / x^T H x): as far as KL's quadratic form allows.

    Near the old policy KL = 1/2 s^T F s for a step s, and H is F but for the damping.

    Args:
        product: v -> H v, of a positive definite matrix.
        direction: x.
        max_kl: delta.

    Returns:
        The step; x itself where x is zero.

    Source: Schulman et al. (2015), appendix C.
    """
    curvature = _dot(direction, product(direction))
    beta = jnp.sqrt(2.0 * max_kl / jnp.where(curvature > 0, curvature, 1.0))
    return jax.tree.map(lambda x: beta.astype(x.dtype) * x, direction)


def line_search(
    params: Params, step: Params, batch: Batch, network: Network, *, region: TrustRegion
) -> Search:
    """The first of params + shrink^k step, k = 0, 1, ..., that improves within the trust region.

    Accepted is what has surrogate_improvement > 0 and mean_kl <= max_kl, both measured on the
    batch; a comparison with a number that is not finite fails.

    Args:
        params: Parameters of the old policy, which collected the batch.
        step: The longest step to try.
        batch: The samples [batch_size, ...].
        network: The actor-critic.
        region: Gives max_kl, shrink and max_tries.

    Returns:
        The end of the search, at the first that was accepted, or the last that was not.

    Source: Schulman et al. (2015), appendix C.
    """
    old, _ = network.apply(params, batch.obs)
    try_next = partial(
        _try_next, params=params, step=step, old=old, batch=batch, network=network, region=region
    )
    zero = jnp.zeros(())
    start = Search(params, jnp.zeros((), jnp.int32), zero, zero, jnp.zeros((), bool))
    return jax.lax.while_loop(partial(_goes_on, max_tries=region.max_tries), try_next, start)


def trpo_step(
    params: Params, batch: Batch, network: Network, region: TrustRegion = DEFAULT_REGION
) -> tuple[Params, Metrics]:
    """One step of the policy: natural gradient, longest step, line search.

    Only the policy is trained. Parameters that it does not depend on stay as they are, to the last
    bit; where it shares some with the critic they move, and the critic's values with them.

    The step depends on the direction of the advantages alone: times a positive number, they give
    the same.

    Args:
        params: Parameters that collected the batch.
        batch: All samples of a rollout [batch_size, ...]; its advantages are used as they are.
        network: The actor-critic.
        region: The constraint, and the work spent on the step.

    Returns:
        The new parameters, which are the old ones if no length was accepted, and the metrics of the
        step: kl, surrogate_improvement, step_fraction and cg_residual.

    Source: Schulman et al. (2015), section 6 and appendix C.
    """
    gradient = jax.grad(surrogate_improvement)(params, batch, network)
    product = partial(damped, fisher_vector_product(params, batch.obs, network), region.damping)
    direction, residual = natural_gradient(product, gradient, region)
    step = longest_step(product, direction, region.max_kl)
    search = line_search(params, step, batch, network, region=region)

    taken = search.accepted
    new = jax.tree.map(lambda tried, old: jnp.where(taken, tried, old), search.params, params)
    fraction = step_fraction(region, search.tries - 1)
    metrics = Metrics(
        kl=jnp.where(taken, search.kl, 0.0),
        surrogate_improvement=jnp.where(taken, search.improvement, 0.0),
        step_fraction=jnp.where(taken, fraction, 0.0),
        cg_residual=residual,
    )
    return new, metrics


def critic_loss(
    distribution: Distribution,
    values: jax.Array,
    batch: Batch,
    config: PPOConfig,
    *,
    clip_eps: jax.Array | float | None = None,
    kl_coef: jax.Array | float | None = None,
) -> tuple[jax.Array, Metrics]:
    """The value loss alone, for the critic's own epochs: a loss_fn.

    Args:
        distribution: Not used.
        values: The current critic at batch.obs [batch_size].
        batch: The samples.
        config: Gives value_clip_eps.
        clip_eps: Not used.
        kl_coef: Not used.

    Returns:
        The loss [], and it again as value_loss.
    """
    loss = value_loss(values, batch.old_value, batch.returns, config.value_clip_eps)
    return loss, Metrics(value_loss=loss)


def trpo(
    config: PPOConfig,
    env: Environment | None = None,
    network: Network | None = None,
    *,
    region: TrustRegion = DEFAULT_REGION,
    advantage_fn: AdvantageFn = compute_gae,
    optimizer_fn: OptimizerFn | None = None,
    learning_rate_schedule: Schedule | None = None,
) -> Algorithm:
    """Trust region policy optimization: acts as PPO does, and learns by `trpo_learn`.

    Args:
        config: What to train.
        env: The environment; None: the one that the config names.
        network: The actor-critic; None: the one that the config describes. In a network of one's
            own, policy and critic may share no parameters.
        region: The constraint, and the work spent on the step.
        advantage_fn: Estimates advantages and value targets.
        optimizer_fn: Of the critic, as for `make_optimizer`; None: the config's optimizer.
        learning_rate_schedule: Of the critic; None: the config's.

    Raises:
        ConfigError: Policy and critic share a trunk, or weights decay: fitting the critic would
            move the policy out of the trust region.
    """
    if config.shared_trunk or config.optimizer == "adamw":
        raise ConfigError(
            "TRPO trains the critic apart: set shared_trunk = False and an optimizer other than "
            "adamw"
        )
    acting = ppo(config, env, network, optimizer_fn=optimizer_fn)
    return acting._replace(
        learn=partial(
            trpo_learn,
            config=config,
            network=acting.network,
            region=region,
            advantage_fn=advantage_fn,
            optimizer_fn=optimizer_fn,
            learning_rate_schedule=learning_rate_schedule,
        )
    )


def trpo_learn(
    state: TrainState,
    rollout: Rollout,
    config: PPOConfig,
    network: Network,
    *,
    region: TrustRegion = DEFAULT_REGION,
    advantage_fn: AdvantageFn = compute_gae,
    optimizer_fn: OptimizerFn | None = None,
    learning_rate_schedule: Schedule | None = None,
) -> tuple[TrainState, Metrics]:
    """One TRPO step of the policy, then update_epochs passes of the critic's optimizer.

    Unless advantage_normalization is none, the advantages of the rollout are brought to mean 0, all
    together. The config's learning rate, epochs and minibatches are the critic's. Devices that
    share the environments all take the policy's step on the whole batch.

    Args:
        state: The state that `collect` gave with the rollout.
        rollout: What was collected.
        config: What to train.
        network: The actor-critic.
        region: As for `trpo`.
        advantage_fn: As for `trpo`.
        optimizer_fn: As for `trpo`.
        learning_rate_schedule: As for `trpo`.

    Returns:
        The state after the update, and the metrics of it: those of the step and value_loss, beside
        what every algorithm measures.

    Source: Schulman et al. (2015), algorithm 1 in its practical form; a critic of its own with
    generalized advantage estimates: Schulman et al. (2016).
    """
    coefficients = coefficients_at(state, config, learning_rate_schedule)._replace(kl_coef=None)
    with jax.default_matmul_precision(config.matmul_precision):
        batch = make_batch(
            state.params, rollout.transitions, config, network, advantage_fn=advantage_fn
        )
        normalized = batch
        if config.advantage_normalization != "none":
            advantages = normalize_advantages(batch.advantages)
            normalized = dataclasses.replace(batch, advantages=advantages)
        params, metrics = trpo_step(state.params, normalized, network, region)
        learner, critic_metrics = update_policy(
            Learner.start(params, state.opt_state),
            normalized,
            rollout.permutations,
            config.replace(target_kl=None),
            network=network,
            coefficients=coefficients,
            loss_fn=critic_loss,
            optimizer_fn=optimizer_fn,
        )
    metrics = dataclasses.replace(metrics, value_loss=critic_metrics.value_loss)
    measured = measure_update(rollout, batch, learner.params, coefficients.learning_rate)
    next_state = advance(state, learner, state.kl_coef)
    return next_state, rollout.metrics.merge(metrics).merge(measured)


def step_fraction(region: TrustRegion, tries: jax.Array) -> jax.Array:
    """The length of a step that was shortened some times, as a part of the longest: shrink^tries.

    Args:
        region: Gives shrink.
        tries: How often it was shortened [], int32.
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.asarray(region.shrink, float) ** tries


def _try_next(
    search: Search,
    params: Params,
    step: Params,
    old: Distribution,
    batch: Batch,
    network: Network,
    region: TrustRegion,
) -> Search:
    """Try the next shorter step."""
    fraction = step_fraction(region, search.tries)
    tried = jax.tree.map(lambda p, s: p + fraction.astype(p.dtype) * s, params, step)
    improvement = jnp.asarray(surrogate_improvement(tried, batch, network), float)
    kl = jnp.asarray(mean_kl(tried, old, batch.obs, network), float)
    accepted = (improvement > 0) & (kl <= region.max_kl)
    return Search(tried, search.tries + 1, improvement, kl, accepted)


def _goes_on(search: Search, max_tries: jax.Array | int) -> jax.Array:
    """Whether another length is to be tried."""
    return ~search.accepted & (search.tries < max_tries)


def _dot(a: Params, b: Params) -> jax.Array:
    """Sum of products over every entry of every leaf []."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.sum(x * y), a, b))
