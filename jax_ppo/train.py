"""Training from end to end: a rollout, then an update, as often as the config says."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jax_ppo.advantages import compute_gae
from jax_ppo.config import PPOConfig
from jax_ppo.diagnostics import explained_variance
from jax_ppo.distributions import draw_noise
from jax_ppo.envs import DiscreteActions, Environment, make_env
from jax_ppo.losses import ppo_loss
from jax_ppo.networks import Network, make_network
from jax_ppo.permutations import draw_permutations
from jax_ppo.rollout import collect_rollout, init_rollout_state
from jax_ppo.schedules import adapt_kl_coef, scheduled
from jax_ppo.types import Batch, Metrics, Params, RandomDraws, TrainState, Transition
from jax_ppo.update import LossFn, UpdateCoefficients, global_norm, make_optimizer, update_policy


@dataclass(frozen=True)
class Components:
    """The four functions that a researcher may replace by their own."""

    make_env: Callable[[PPOConfig], Environment] = make_env
    """Builds the environments."""
    make_network: Callable[[PPOConfig, Environment], Network] = make_network
    """Builds the actor-critic."""
    advantage_fn: Callable[..., tuple[jax.Array, jax.Array]] = compute_gae
    """Estimates advantages and returns, with the arguments of `compute_gae`."""
    loss_fn: LossFn = ppo_loss
    """Computes the loss and its metrics, with the arguments of `ppo_loss`."""


DEFAULT_COMPONENTS = Components()


def train(
    key: jax.Array, config: PPOConfig, components: Components = DEFAULT_COMPONENTS
) -> tuple[TrainState, Metrics]:
    """Train one agent from scratch.

    Pure, so it can be transformed: `jax.jit(train)`, `jax.vmap(train, in_axes=(0, None))` over
    keys, and, with `config_axes`, over coefficients. `components` is static.

    Args:
        key: Random key; it decides everything that chance decides.
        config: What to train, on what, and for how long.
        components: Functions to use in place of the usual ones.

    Returns:
        The state after the last update, and the metrics of every update [num_updates].

    Raises:
        ConfigError: The environment or the network cannot be built as the config says.
    """

    def step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
        return train_step(state, config, components)

    state = init_train_state(key, config, components)
    return jax.lax.scan(step, state, length=config.num_updates)


def train_updates(
    states: TrainState,
    config: PPOConfig,
    num_updates: jax.Array | int,
    capacity: int,
    components: Components = DEFAULT_COMPONENTS,
) -> tuple[TrainState, Metrics]:
    """Some more updates of several agents; the piece that an outer loop repeats.

    `num_updates` may be traced, so one compiled program serves pieces of every length, and how
    training is cut into pieces cannot change its result.

    Args:
        states: The agents, every leaf [num_seeds, ...].
        config: What to train.
        num_updates: Updates to do now, at most `capacity`.
        capacity: Rows of metrics to make room for.
        components: Functions to use in place of the usual ones.

    Returns:
        The states after the updates, and metrics [capacity, num_seeds]; rows from num_updates on
        are zero.
    """

    def step(states: TrainState) -> tuple[TrainState, Metrics]:
        return jax.vmap(lambda state: train_step(state, config, components))(states)

    def body(row: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        states, rows = carry
        states, metrics = step(states)
        return states, jax.tree.map(lambda all_, new: all_.at[row].set(new), rows, metrics)

    _, shapes = jax.eval_shape(step, states)
    rows = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, num_updates, body, (states, rows))


def config_axes(config: PPOConfig) -> PPOConfig:
    """The `in_axes` of a config for `jax.vmap`: 0 for coefficients that are arrays, else None.

    Example: `jax.vmap(train, in_axes=(None, config_axes(config)))(key, config)` trains an agent for
    each entry of the arrays in `config`.
    """
    return jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) > 0 else None, config)


def init_train_state(
    key: jax.Array, config: PPOConfig, components: Components = DEFAULT_COMPONENTS
) -> TrainState:
    """The state before the first update: new parameters, empty moments, reset environments.

    Args:
        key: Random key.
        config: What to train.
        components: Functions to use in place of the usual ones.

    Raises:
        ConfigError: The environment or the network cannot be built as the config says.
    """
    env = components.make_env(config)
    network = components.make_network(config, env)
    key, params_key, env_key = jax.random.split(key, 3)
    params = network.init(params_key)
    return TrainState(
        params=params,
        opt_state=make_optimizer(config, config.learning_rate).init(params),
        rollout=init_rollout_state(env_key, config, env),
        key=key,
        update=jnp.zeros((), jnp.int32),
        kl_coef=None if config.kl_coef is None else jnp.asarray(config.kl_coef, float),
    )


def train_step(
    state: TrainState, config: PPOConfig, components: Components = DEFAULT_COMPONENTS
) -> tuple[TrainState, Metrics]:
    """One rollout and one update, with fresh random draws.

    Args:
        state: Where the last train step ended.
        config: What to train.
        components: Functions to use in place of the usual ones.

    Returns:
        The next state and the metrics of this update, each a scalar.
    """
    env = components.make_env(config)
    key, draw_key = jax.random.split(state.key)
    draws = draw_randomness(draw_key, config, env)
    return train_step_from_draws(dataclasses.replace(state, key=key), draws, config, components)


def draw_randomness(key: jax.Array, config: PPOConfig, env: Environment) -> RandomDraws:
    """All random numbers of one train step.

    Args:
        key: Random key.
        config: Gives num_steps, num_envs, update_epochs and the batch size.
        env: Gives the kind of actions.
    """
    noise_key, env_key, permutation_key = jax.random.split(key, 3)
    steps = (config.num_steps, config.num_envs)
    discrete = isinstance(env.actions, DiscreteActions)
    return RandomDraws(
        noise=draw_noise(noise_key, (*steps, env.actions.noise_dim), discrete=discrete),
        env_keys=jax.random.split(env_key, steps),
        permutations=draw_permutations(permutation_key, config.update_epochs, config.batch_size),
    )


def train_step_from_draws(
    state: TrainState,
    draws: RandomDraws,
    config: PPOConfig,
    components: Components = DEFAULT_COMPONENTS,
) -> tuple[TrainState, Metrics]:
    """One rollout and one update with the random numbers given: a deterministic function.

    Args:
        state: Where the last train step ended; its key is passed through.
        draws: The random numbers to use.
        config: What to train.
        components: Functions to use in place of the usual ones.

    Returns:
        The next state and the metrics of this update, each a scalar.

    Source: Schulman et al. (2017), algorithm 1.
    """
    env = components.make_env(config)
    network = components.make_network(config, env)
    coefficients = UpdateCoefficients(
        learning_rate=_at_update(config, "learning_rate", state.update),
        clip_eps=_at_update(config, "clip_eps", state.update),
        kl_coef=state.kl_coef,
    )
    with jax.default_matmul_precision(config.matmul_precision):
        rollout, transitions, episodes = collect_rollout(
            state.rollout, state.params, draws.noise, draws.env_keys, config, env, network
        )
        batch = make_batch(state.params, transitions, config, network, components.advantage_fn)
        params, opt_state, update_metrics = update_policy(
            state.params,
            state.opt_state,
            batch,
            draws.permutations,
            config,
            network,
            coefficients,
            components.loss_fn,
        )
        kl_coef, kl_metrics = _next_kl_coef(state.kl_coef, params, batch, config, network)
    metrics = {
        **episodes,
        **update_metrics,
        **kl_metrics,
        "explained_variance": explained_variance(batch.old_value, batch.returns),
        "advantage_std": jnp.std(batch.advantages),
        "value_mean": jnp.mean(batch.old_value),
        "reward_mean": jnp.mean(transitions.reward),
        "param_norm": global_norm(params),
        "learning_rate": jnp.asarray(coefficients.learning_rate, float),
        "clip_eps": jnp.asarray(coefficients.clip_eps, float),
    }
    next_state = TrainState(params, opt_state, rollout, state.key, state.update + 1, kl_coef)
    return next_state, metrics


def make_batch(
    params: Params,
    transitions: Transition,
    config: PPOConfig,
    network: Network,
    advantage_fn: Callable[..., tuple[jax.Array, jax.Array]] = compute_gae,
) -> Batch:
    """Judge a rollout with the parameters that collected it, and flatten it into samples.

    The whole rollout goes through the network at once, which is far cheaper than judging each step
    while it is collected.

    Args:
        params: Parameters that collected the rollout.
        transitions: [num_steps, num_envs, ...].
        config: Gives gamma and gae_lambda.
        network: Gives the values, and the policy that the actions were sampled from.
        advantage_fn: The estimator, as `compute_gae`.

    Returns:
        The samples [num_steps * num_envs, ...], time the slower index.
    """
    samples = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), transitions)
    distribution, values = network.apply(params, samples.obs)
    _, next_values = network.apply(params, samples.next_obs)
    advantages, returns = advantage_fn(
        transitions.reward,
        values.reshape(transitions.reward.shape),
        next_values.reshape(transitions.reward.shape),
        transitions.terminated,
        transitions.truncated,
        config.gamma,
        config.gae_lambda,
    )
    return Batch(
        obs=samples.obs,
        action=samples.action,
        old_distribution=None if config.kl_coef is None else distribution,
        old_log_prob=distribution.log_prob(samples.action),
        old_value=values,
        advantages=advantages.reshape(-1),
        returns=returns.reshape(-1),
    )


def _at_update(config: PPOConfig, name: str, update: jax.Array) -> jax.Array | float:
    """The scheduled value of the coefficient `name` during update number `update`."""
    schedule = getattr(config, f"{name}_schedule")
    return scheduled(getattr(config, name), schedule, update, config.num_updates)


def _next_kl_coef(
    kl_coef: jax.Array | None, params: Params, batch: Batch, config: PPOConfig, network: Network
) -> tuple[jax.Array | None, Metrics]:
    """The KL penalty's coefficient for the next update, measured on the whole batch."""
    if kl_coef is None or batch.old_distribution is None:
        return kl_coef, {}
    distribution, _ = network.apply(params, batch.obs)
    kl = jnp.mean(batch.old_distribution.kl(distribution))
    metrics = {"kl_after_update": kl, "kl_coef": kl_coef}
    if not config.adaptive_kl:
        return kl_coef, metrics
    return adapt_kl_coef(kl_coef, kl, config.kl_target), metrics
