"""Training from end to end: a rollout, then an update, as often as the config says.

The functions of this chapter leave the generator they are given, or find in a state, as it was, and
draw from a copy. So the same generator always gives the same agent.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from jax_ppo.config import PPOConfig
from torch_ref.advantages import compute_gae
from torch_ref.diagnostics import explained_variance
from torch_ref.distributions import draw_noise
from torch_ref.envs import DiscreteActions, Environment, draw_env_keys, make_env
from torch_ref.losses import ppo_loss
from torch_ref.networks import Network, make_network, matmul_precision
from torch_ref.permutations import draw_permutations
from torch_ref.rollout import collect_rollout, init_rollout_state
from torch_ref.schedules import adapt_kl_coef, scheduled
from torch_ref.types import (
    Batch,
    Metrics,
    Params,
    RandomDraws,
    TrainState,
    Transition,
    map_tensors,
)
from torch_ref.update import LossFn, UpdateCoefficients, global_norm, make_optimizer, update_policy


@dataclass(frozen=True)
class Components:
    """The four functions that a researcher may replace by their own."""

    make_env: Callable[[PPOConfig], Environment] = make_env
    """Builds the environments."""
    make_network: Callable[[PPOConfig, Environment], Network] = make_network
    """Builds the actor-critic."""
    advantage_fn: Callable[..., tuple[torch.Tensor, torch.Tensor]] = compute_gae
    """Estimates advantages and returns, with the arguments of `compute_gae`."""
    loss_fn: LossFn = ppo_loss
    """Computes the loss and its metrics, with the arguments of `ppo_loss`."""


DEFAULT_COMPONENTS = Components()


def train(
    generator: torch.Generator, config: PPOConfig, components: Components = DEFAULT_COMPONENTS
) -> tuple[TrainState, Metrics]:
    """Train one agent from scratch.

    Small networks are fastest on one thread: call `torch.set_num_threads(1)` first. On a machine
    that is busy with other things, more threads can be many times slower.

    Args:
        generator: It decides everything that chance decides; it is left as it was.
        config: What to train, on what, and for how long.
        components: Functions to use in place of the usual ones.

    Returns:
        The state after the last update, and the metrics of every update [num_updates].

    Raises:
        ConfigError: The environment or the network cannot be built as the config says.
    """
    state = init_train_state(generator, config, components)
    rows = []
    for _ in range(config.num_updates):
        state, metrics = train_step(state, config, components)
        rows.append(metrics)
    return state, {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def init_train_state(
    generator: torch.Generator, config: PPOConfig, components: Components = DEFAULT_COMPONENTS
) -> TrainState:
    """The state before the first update: new parameters, empty moments, reset environments.

    Args:
        generator: Source of random numbers; it is left as it was.
        config: What to train.
        components: Functions to use in place of the usual ones.

    Raises:
        ConfigError: The environment or the network cannot be built as the config says.
    """
    env = components.make_env(config)
    network = components.make_network(config, env)
    generator = generator.clone_state()
    params = network.init(generator)
    return TrainState(
        params=params,
        opt_state=make_optimizer(config, config.learning_rate).init(params),
        rollout=init_rollout_state(generator, config, env),
        generator=generator,
        update=torch.zeros((), dtype=torch.int32),
        kl_coef=None
        if config.kl_coef is None
        else torch.as_tensor(config.kl_coef, dtype=torch.get_default_dtype()),
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
    generator = state.generator.clone_state()
    draws = draw_randomness(generator, config, env)
    state = dataclasses.replace(state, generator=generator)
    return train_step_from_draws(state, draws, config, components)


def draw_randomness(generator: torch.Generator, config: PPOConfig, env: Environment) -> RandomDraws:
    """All random numbers of one train step.

    Args:
        generator: Source of random numbers; it advances.
        config: Gives num_steps, num_envs, update_epochs and the batch size.
        env: Gives the kind of actions.
    """
    steps = (config.num_steps, config.num_envs)
    discrete = isinstance(env.actions, DiscreteActions)
    return RandomDraws(
        noise=draw_noise(generator, (*steps, env.actions.noise_dim), discrete=discrete),
        env_keys=draw_env_keys(generator, steps),
        permutations=draw_permutations(generator, config.update_epochs, config.batch_size),
    )


def train_step_from_draws(
    state: TrainState,
    draws: RandomDraws,
    config: PPOConfig,
    components: Components = DEFAULT_COMPONENTS,
) -> tuple[TrainState, Metrics]:
    """One rollout and one update with the random numbers given.

    Args:
        state: Where the last train step ended; its generator is passed through.
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
    with matmul_precision(config):
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
    dtype = torch.get_default_dtype()
    metrics = {
        **episodes,
        **update_metrics,
        **kl_metrics,
        "explained_variance": explained_variance(batch.old_value, batch.returns),
        "advantage_std": torch.std(batch.advantages, correction=0),
        "value_mean": torch.mean(batch.old_value),
        "reward_mean": torch.mean(transitions.reward),
        "param_norm": global_norm(params),
        "learning_rate": torch.as_tensor(coefficients.learning_rate, dtype=dtype),
        "clip_eps": torch.as_tensor(coefficients.clip_eps, dtype=dtype),
    }
    next_state = TrainState(params, opt_state, rollout, state.generator, state.update + 1, kl_coef)
    return next_state, metrics


@torch.no_grad()
def make_batch(
    params: Params,
    transitions: Transition,
    config: PPOConfig,
    network: Network,
    advantage_fn: Callable[..., tuple[torch.Tensor, torch.Tensor]] = compute_gae,
) -> Batch:
    """Judge a rollout with the parameters that collected it, and flatten it into samples.

    Args:
        params: Parameters that collected the rollout.
        transitions: [num_steps, num_envs, ...].
        config: Gives gamma and gae_lambda.
        network: Gives the values, and the policy that the actions were sampled from.
        advantage_fn: The estimator, as `compute_gae`.

    Returns:
        The samples [num_steps * num_envs, ...], time the slower index.
    """
    samples = map_tensors(lambda leaf: leaf.flatten(0, 1), transitions)
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
        advantages=advantages.flatten(),
        returns=returns.flatten(),
    )


def _at_update(config: PPOConfig, name: str, update: torch.Tensor) -> torch.Tensor | float:
    """The scheduled value of the coefficient `name` during update number `update`."""
    schedule = getattr(config, f"{name}_schedule")
    return scheduled(getattr(config, name), schedule, update, config.num_updates)


@torch.no_grad()
def _next_kl_coef(
    kl_coef: torch.Tensor | None, params: Params, batch: Batch, config: PPOConfig, network: Network
) -> tuple[torch.Tensor | None, Metrics]:
    """The KL penalty's coefficient for the next update, measured on the whole batch."""
    if kl_coef is None or batch.old_distribution is None:
        return kl_coef, {}
    distribution, _ = network.apply(params, batch.obs)
    kl = torch.mean(batch.old_distribution.kl(distribution))
    metrics = {"kl_after_update": kl, "kl_coef": kl_coef}
    if not config.adaptive_kl:
        return kl_coef, metrics
    return adapt_kl_coef(kl_coef, kl, config.kl_target), metrics
