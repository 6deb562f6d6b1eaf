"""Training from end to end: a rollout, then an update, as often as the config says."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.custom_batching
import jax.numpy as jnp

from jax_ppo.advantages import compute_gae
from jax_ppo.collectives import gather_shares, mean_over_devices, own_share
from jax_ppo.config import PPOConfig
from jax_ppo.diagnostics import explained_variance
from jax_ppo.distributions import draw_noise
from jax_ppo.envs import DiscreteActions, Environment, make_env
from jax_ppo.execution import (
    AGENTS,
    ONE_DEVICE,
    Execution,
    check_execution,
    for_each_agent,
    state_specs,
)
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
        TypeError: `key` is no random key, or `config` no PPOConfig.
        ValueError: There is not one key.
        ConfigError: The environment or the network cannot be built as the config says.
    """

    def step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
        return train_step(state, config, components)

    state = init_train_state(key, config, components)
    return jax.lax.scan(step, state, length=config.num_updates)


def train_agents(
    keys: jax.Array,
    config: PPOConfig,
    components: Components = DEFAULT_COMPONENTS,
    execution: Execution = ONE_DEVICE,
) -> tuple[TrainState, Metrics]:
    """Train several agents from scratch, on one device or on many.

    Args:
        keys: A random key for each agent [num_seeds].
        config: What to train; a coefficient that is an array [num_seeds] has an entry per agent.
        components: Functions to use in place of the usual ones; static.
        execution: How the agents are laid out on devices, as by `plan_execution`; static.

    Returns:
        The states after the last update [num_seeds, ...], and metrics [num_updates, num_seeds].

    Raises:
        TypeError: `keys` are no random keys, or `config` no PPOConfig.
        ValueError: There is no axis of keys.
        ConfigError: The environment or the network cannot be built as the config says, or there
            are not the devices that `execution` asks for.
    """
    states = init_train_states(keys, config, components, execution)
    num_updates = config.num_updates
    return train_updates(states, config, num_updates, num_updates, components, execution)


def init_train_states(
    keys: jax.Array,
    config: PPOConfig,
    components: Components = DEFAULT_COMPONENTS,
    execution: Execution = ONE_DEVICE,
) -> TrainState:
    """The states of several agents before their first update.

    Args:
        keys: A random key for each agent [num_seeds].
        config: What to train; a coefficient that is an array [num_seeds] has an entry per agent.
        components: Functions to use in place of the usual ones.
        execution: How the agents are laid out on devices.

    Returns:
        Every leaf [num_seeds, ...].

    Raises:
        TypeError: `keys` are no random keys, or `config` no PPOConfig.
        ValueError: There is no axis of keys.
        ConfigError: As `train_agents`.
    """
    _check_arguments(keys, config, ndim=1)
    check_execution(execution, config)
    initialize = partial(init_train_state, components=components)
    return for_each_agent(initialize, execution)(keys, config)


def train_updates(
    states: TrainState,
    config: PPOConfig,
    num_updates: jax.Array | int,
    capacity: int,
    components: Components = DEFAULT_COMPONENTS,
    execution: Execution = ONE_DEVICE,
) -> tuple[TrainState, Metrics]:
    """Some more updates of several agents; the piece that an outer loop repeats.

    `num_updates` may be traced, so one compiled program serves pieces of every length, and how
    training is cut into pieces cannot change its result.

    Args:
        states: The agents, every leaf [num_seeds, ...].
        config: What to train; a coefficient that is an array [num_seeds] has an entry per agent.
        num_updates: Updates to do now, at most `capacity`.
        capacity: Rows of metrics to make room for.
        components: Functions to use in place of the usual ones.
        execution: How the agents are laid out on devices.

    Returns:
        The states after the updates, and metrics [capacity, num_seeds]; rows from num_updates on
        are zero.

    Raises:
        ConfigError: `execution` asks for more devices than there are, or for equal shares of what
            cannot be divided.
    """
    check_execution(execution, config)
    train_one = partial(
        _train_some,
        capacity=capacity,
        components=components,
        axis_name=execution.env_axis,
        take_turns=execution.several_agents == "map" and execution.rollouts_together > 1,
    )
    specs = state_specs()
    together = execution.rollouts_together
    train_all = for_each_agent(train_one, execution, specs, (specs, AGENTS), together)
    states, metrics = train_all(states, config, jnp.asarray(num_updates))
    return states, jax.tree.map(lambda rows: jnp.moveaxis(rows, 0, 1), metrics)


def _train_some(
    state: TrainState,
    config: PPOConfig,
    num_updates: jax.Array,
    capacity: int,
    components: Components,
    axis_name: str | None,
    take_turns: bool,
) -> tuple[TrainState, Metrics]:
    """Some more updates of one agent, and their metrics [capacity]."""
    # Under jit the step is traced once, for the shapes of its metrics and for the loop.
    step = jax.jit(
        partial(train_step, components=components, axis_name=axis_name, take_turns=take_turns)
    )

    def body(row: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, rows = carry
        state, metrics = step(state, config)
        return state, jax.tree.map(lambda all_, new: all_.at[row].set(new), rows, metrics)

    _, shapes = jax.eval_shape(step, state, config)
    rows = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, num_updates, body, (state, rows))


def init_train_state(
    key: jax.Array, config: PPOConfig, components: Components = DEFAULT_COMPONENTS
) -> TrainState:
    """The state before the first update: new parameters, empty moments, reset environments.

    Args:
        key: Random key.
        config: What to train.
        components: Functions to use in place of the usual ones.

    Raises:
        TypeError: `key` is no random key, or `config` no PPOConfig.
        ValueError: There is not one key.
        ConfigError: As `train`.
    """
    _check_arguments(key, config, ndim=0)
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


def _check_arguments(keys: jax.Array, config: PPOConfig, ndim: int) -> None:
    """Raise TypeError or ValueError for what cannot be a config and keys with so many axes."""
    if not isinstance(config, PPOConfig):
        raise TypeError(
            f"config must be a PPOConfig, got {type(config).__name__}; arguments are (key, config)"
        )
    is_typed = hasattr(keys, "dtype") and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    if not is_typed and (jnp.result_type(keys) != jnp.uint32 or jnp.shape(keys)[-1:] != (2,)):
        raise TypeError(f"a random key is needed, such as jax.random.key(0); got {keys!r}")
    if keys.ndim != ndim + (not is_typed):
        wanted = "one key for one agent" if ndim == 0 else "an axis of keys, one for each agent,"
        raise ValueError(
            f"{wanted} is needed, got an array of shape {keys.shape}; jax.random.split makes "
            "several keys, and train_agents trains several agents"
        )


def train_step(
    state: TrainState,
    config: PPOConfig,
    components: Components = DEFAULT_COMPONENTS,
    axis_name: str | None = None,
    take_turns: bool = False,
) -> tuple[TrainState, Metrics]:
    """One rollout and one update, with fresh random draws.

    Args:
        state: Where the last train step ended.
        config: What to train.
        components: Functions to use in place of the usual ones.
        axis_name: Mesh axis that the environments are spread over, inside `jax.shard_map`.
        take_turns: As for `train_step_from_draws`.

    Returns:
        The next state and the metrics of this update, each a scalar.
    """
    env = components.make_env(config)
    key, draw_key = jax.random.split(state.key)
    draws = draw_randomness(draw_key, config, env, axis_name)
    state = dataclasses.replace(state, key=key)
    return train_step_from_draws(state, draws, config, components, axis_name, take_turns)


def draw_randomness(
    key: jax.Array, config: PPOConfig, env: Environment, axis_name: str | None = None
) -> RandomDraws:
    """All random numbers of one train step.

    Each environment has a key of its own, so that its numbers do not depend on which device it is
    on.

    Args:
        key: Random key.
        config: Gives num_steps, num_envs, update_epochs and the batch size.
        env: Gives the kind of actions.
        axis_name: Mesh axis that the environments are spread over, inside `jax.shard_map`.
    """
    noise_key, env_key, permutation_key = jax.random.split(key, 3)
    noise_keys = own_share(jax.random.split(noise_key, config.num_envs), axis_name)
    env_keys = own_share(jax.random.split(env_key, config.num_envs), axis_name)
    discrete = isinstance(env.actions, DiscreteActions)
    draw = partial(draw_noise, shape=(config.num_steps, env.actions.noise_dim), discrete=discrete)
    return RandomDraws(
        noise=jax.vmap(draw, out_axes=1)(noise_keys),
        env_keys=jax.vmap(partial(jax.random.split, num=config.num_steps), out_axes=1)(env_keys),
        permutations=draw_permutations(permutation_key, config.update_epochs, config.batch_size),
    )


def train_step_from_draws(
    state: TrainState,
    draws: RandomDraws,
    config: PPOConfig,
    components: Components = DEFAULT_COMPONENTS,
    axis_name: str | None = None,
    take_turns: bool = False,
) -> tuple[TrainState, Metrics]:
    """One rollout and one update with the random numbers given: a deterministic function.

    Args:
        state: Where the last train step ended; its key is passed through.
        draws: The random numbers to use.
        config: What to train.
        components: Functions to use in place of the usual ones.
        axis_name: Mesh axis that the environments are spread over, inside `jax.shard_map`.
        take_turns: Whether agents that `jax.vmap` has made a batch of learn one after another from
            the rollouts that they collected together. It cannot be differentiated in reverse.

    Returns:
        The next state and the metrics of this update, each a scalar.

    Source: Schulman et al. (2017), algorithm 1.
    """
    env = components.make_env(config)
    network = components.make_network(config, env)
    with jax.default_matmul_precision(config.matmul_precision):
        rollout, transitions, episodes = collect_rollout(
            state.rollout,
            state.params,
            draws.noise,
            draws.env_keys,
            config,
            env,
            network,
            axis_name,
        )
    learn = partial(_learn, components=components, axis_name=axis_name)
    if take_turns:
        learn = jax.custom_batching.sequential_vmap(learn)
    (params, opt_state, kl_coef), metrics = learn(state, transitions, draws.permutations, config)
    next_state = TrainState(params, opt_state, rollout, state.key, state.update + 1, kl_coef)
    return next_state, {**episodes, **metrics}


def _learn(
    state: TrainState,
    transitions: Transition,
    permutations: jax.Array,
    config: PPOConfig,
    components: Components,
    axis_name: str | None,
) -> tuple[tuple[Params, Any, jax.Array | None], Metrics]:
    """The update on a rollout that `state` collected.

    Everything that it depends on is an argument: nothing of a batch of agents may come in otherwise
    where they take turns.

    Returns:
        New parameters, optimizer state and kl_coef, and the metrics.
    """
    network = components.make_network(config, components.make_env(config))
    coefficients = UpdateCoefficients(
        learning_rate=_at_update(config, "learning_rate", state.update),
        clip_eps=_at_update(config, "clip_eps", state.update),
        kl_coef=state.kl_coef,
    )
    with jax.default_matmul_precision(config.matmul_precision):
        batch = make_batch(
            state.params, transitions, config, network, components.advantage_fn, axis_name
        )
        params, opt_state, update_metrics = update_policy(
            state.params,
            state.opt_state,
            batch,
            permutations,
            config,
            network,
            coefficients,
            components.loss_fn,
            axis_name,
        )
        kl_coef, kl_metrics = _next_kl_coef(state.kl_coef, params, batch, config, network)
    metrics = {
        **update_metrics,
        **kl_metrics,
        "explained_variance": explained_variance(batch.old_value, batch.returns),
        "advantage_std": jnp.std(batch.advantages),
        "value_mean": jnp.mean(batch.old_value),
        "reward_mean": mean_over_devices(jnp.mean(transitions.reward), axis_name),
        "param_norm": global_norm(params),
        "learning_rate": jnp.asarray(coefficients.learning_rate, float),
        "clip_eps": jnp.asarray(coefficients.clip_eps, float),
    }
    return (params, opt_state, kl_coef), metrics


def make_batch(
    params: Params,
    transitions: Transition,
    config: PPOConfig,
    network: Network,
    advantage_fn: Callable[..., tuple[jax.Array, jax.Array]] = compute_gae,
    axis_name: str | None = None,
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
        axis_name: Mesh axis that the environments are spread over, inside `jax.shard_map`.

    Returns:
        The samples [num_steps * num_envs, ...], time the slower index; where devices share the
        environments, those of the first device come first.
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
    batch = Batch(
        obs=samples.obs,
        action=samples.action,
        old_distribution=None if config.kl_coef is None else distribution,
        old_log_prob=distribution.log_prob(samples.action),
        old_value=values,
        advantages=advantages.reshape(-1),
        returns=returns.reshape(-1),
    )
    return gather_shares(batch, axis_name)


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
