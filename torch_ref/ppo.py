"""PPO as a value: an `Algorithm` of three functions, init, collect and learn.

They leave the generator that they are given, or find in a state, as it was, and draw from a copy:
the same generator always gives the same agent.
"""

import dataclasses
from functools import partial
from typing import NamedTuple, Protocol

import torch

from jax_ppo.config import PPOConfig
from torch_ref.adapters import make_env
from torch_ref.advantages import AdvantageFn, compute_gae
from torch_ref.diagnostics import explained_variance
from torch_ref.envs import Environment
from torch_ref.losses import LossFn, ppo_loss
from torch_ref.networks import Network, make_network, matmul_precision
from torch_ref.rollout import collect_rollout, draw_randomness, init_rollout_state
from torch_ref.schedules import Schedule, adapt_kl_coef, scheduled, warmup
from torch_ref.types import (
    Batch,
    Metrics,
    Params,
    RandomDraws,
    Rollout,
    TrainState,
    Transition,
    map_tensors,
)
from torch_ref.update import (
    Learner,
    OptimizerFn,
    UpdateCoefficients,
    global_norm,
    make_optimizer,
    update_policy,
)


class InitFn(Protocol):
    """The state of an agent before its first update."""

    def __call__(self, generator: torch.Generator) -> TrainState:
        """Source of random numbers, which is left as it was -> state."""


class CollectFn(Protocol):
    """The agent acts."""

    def __call__(self, state: TrainState) -> tuple[TrainState, Rollout]:
        """State -> (state with new generator and environments, rollout)."""


class LearnFn(Protocol):
    """The agent learns from what it has collected."""

    def __call__(self, state: TrainState, rollout: Rollout) -> tuple[TrainState, Metrics]:
        """State and rollout, as from `collect` -> (state with new parameters, metrics)."""


class Algorithm(NamedTuple):
    """A training algorithm for one agent, as functions."""

    env: Environment
    """Where the agent acts."""
    network: Network
    """Its actor-critic."""
    init: InitFn
    """The state before the first update."""
    collect: CollectFn
    """The agent acts."""
    learn: LearnFn
    """The agent learns."""

    def step(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """One update: collect, then learn."""
        return self.learn(*self.collect(state))


class AlgorithmFn(Protocol):
    """Makes an algorithm for a config; `ppo` is one, and so is `partial(ppo, loss_fn=...)`."""

    def __call__(self, config: PPOConfig) -> Algorithm:
        """The algorithm."""


def ppo(
    config: PPOConfig,
    env: Environment | None = None,
    network: Network | None = None,
    *,
    advantage_fn: AdvantageFn = compute_gae,
    loss_fn: LossFn = ppo_loss,
    optimizer_fn: OptimizerFn | None = None,
    learning_rate_schedule: Schedule | None = None,
) -> Algorithm:
    """Proximal policy optimization.

    Args:
        config: What to train.
        env: The environment; None: the one that the config names.
        network: The actor-critic; None: the one that the config describes.
        advantage_fn: Estimates advantages and value targets.
        loss_fn: The loss of a minibatch.
        optimizer_fn: As for `make_optimizer`; None: the config's optimizer.
        learning_rate_schedule: None: the config's.

    Raises:
        ConfigError: The environment or the network cannot be built as the config says.

    Source: Schulman et al. (2017), "Proximal policy optimization algorithms", algorithm 1.
    """
    env = make_env(config) if env is None else env
    network = make_network(config, env) if network is None else network
    return Algorithm(
        env=env,
        network=network,
        init=partial(
            init_train_state, config=config, env=env, network=network, optimizer_fn=optimizer_fn
        ),
        collect=partial(collect, config=config, env=env, network=network),
        learn=partial(
            learn,
            config=config,
            network=network,
            advantage_fn=advantage_fn,
            loss_fn=loss_fn,
            optimizer_fn=optimizer_fn,
            learning_rate_schedule=learning_rate_schedule,
        ),
    )


def init_train_state(
    generator: torch.Generator,
    config: PPOConfig,
    env: Environment,
    network: Network,
    *,
    optimizer_fn: OptimizerFn | None = None,
) -> TrainState:
    """The state before the first update: new parameters, empty moments, reset environments.

    Args:
        generator: Source of random numbers; it is left as it was.
        config: What to train.
        env: The environment.
        network: The actor-critic.
        optimizer_fn: As for `make_optimizer`.
    """
    generator = generator.clone_state()
    params = network.init(generator)
    return TrainState(
        params=params,
        opt_state=make_optimizer(config, config.learning_rate, optimizer_fn).init(params),
        rollout=init_rollout_state(generator, config, env),
        generator=generator,
        update=torch.zeros((), dtype=torch.int32),
        kl_coef=None if config.kl_coef is None else _as_float(config.kl_coef),
    )


def collect(
    state: TrainState, config: PPOConfig, env: Environment, network: Network
) -> tuple[TrainState, Rollout]:
    """A rollout with fresh random numbers.

    Args:
        state: Where the last update ended.
        config: What to train.
        env: The environment.
        network: The actor-critic.

    Returns:
        The state with its next generator and with the environments where the rollout left them, and
        the rollout.
    """
    generator = state.generator.clone_state()
    draws = draw_randomness(generator, config, env)
    state = dataclasses.replace(state, generator=generator)
    return collect_from_draws(state, draws, config=config, env=env, network=network)


def collect_from_draws(
    state: TrainState,
    draws: RandomDraws,
    *,
    config: PPOConfig,
    env: Environment,
    network: Network,
) -> tuple[TrainState, Rollout]:
    """A rollout with the random numbers given: `collect` without its randomness.

    Args:
        state: Where the last update ended; its generator stays as it is.
        draws: The random numbers to use.
        config: What to train.
        env: The environment.
        network: The actor-critic.
    """
    with matmul_precision(config):
        rollout_state, transitions, metrics = collect_rollout(
            state.rollout,
            state.params,
            draws.noise,
            draws.env_keys,
            config=config,
            env=env,
            network=network,
        )
    rollout = Rollout(transitions, draws.permutations, metrics)
    return dataclasses.replace(state, rollout=rollout_state), rollout


def learn(
    state: TrainState,
    rollout: Rollout,
    config: PPOConfig,
    network: Network,
    *,
    advantage_fn: AdvantageFn = compute_gae,
    loss_fn: LossFn = ppo_loss,
    optimizer_fn: OptimizerFn | None = None,
    learning_rate_schedule: Schedule | None = None,
) -> tuple[TrainState, Metrics]:
    """The update of PPO: a deterministic function of the state and its rollout.

    Args:
        state: The state that `collect` gave with the rollout.
        rollout: What was collected.
        config: What to train.
        network: The actor-critic.
        advantage_fn: Estimates advantages and value targets.
        loss_fn: The loss of a minibatch.
        optimizer_fn: As for `make_optimizer`.
        learning_rate_schedule: None: the config's.

    Returns:
        The state after the update, and every metric of it.
    """
    coefficients = coefficients_at(state, config, learning_rate_schedule)
    with matmul_precision(config):
        batch = make_batch(
            state.params, rollout.transitions, config, network, advantage_fn=advantage_fn
        )
        learner, metrics = update_policy(
            Learner.start(state.params, state.opt_state),
            batch,
            rollout.permutations,
            config,
            network=network,
            coefficients=coefficients,
            loss_fn=loss_fn,
            optimizer_fn=optimizer_fn,
        )
        kl_coef, kl = next_kl_coef(state.kl_coef, learner.params, batch, config, network=network)
    metrics = dataclasses.replace(
        metrics,
        kl_after_update=kl,
        kl_coef=state.kl_coef,
        clip_eps=_as_float(coefficients.clip_eps),
    )
    next_state = advance(state, learner, kl_coef)
    measured = measure_update(rollout, batch, learner.params, coefficients.learning_rate)
    return next_state, rollout.metrics.merge(metrics).merge(measured)


def advance(state: TrainState, learner: Learner, kl_coef: torch.Tensor | None) -> TrainState:
    """The state after an update.

    Args:
        state: The state before it.
        learner: New parameters and optimizer state.
        kl_coef: Weight of the KL penalty in the next update.
    """
    return dataclasses.replace(
        state,
        params=learner.params,
        opt_state=learner.opt_state,
        update=state.update + 1,
        kl_coef=kl_coef,
    )


def coefficients_at(
    state: TrainState, config: PPOConfig, learning_rate_schedule: Schedule | None = None
) -> UpdateCoefficients:
    """The coefficients that change over training, as they are in this update.

    Args:
        state: Gives the number of the update and kl_coef.
        config: Gives the initial values, the schedules and the warm-up.
        learning_rate_schedule: None: the config's.
    """
    update, num_updates = state.update, config.num_updates
    schedule = learning_rate_schedule or config.learning_rate_schedule
    learning_rate = scheduled(config.learning_rate, schedule, update, num_updates)
    if config.learning_rate_warmup is not None:
        learning_rate = learning_rate * warmup(config.learning_rate_warmup, update, num_updates)
    clip_eps = scheduled(config.clip_eps, config.clip_eps_schedule, update, num_updates)
    return UpdateCoefficients(learning_rate, clip_eps, state.kl_coef)


@torch.no_grad()
def make_batch(
    params: Params,
    transitions: Transition,
    config: PPOConfig,
    network: Network,
    *,
    advantage_fn: AdvantageFn = compute_gae,
) -> Batch:
    """Evaluate a rollout with the parameters that collected it, and flatten it into samples.

    Args:
        params: Parameters that collected the rollout.
        transitions: [num_steps, num_envs, ...].
        config: Gives gamma and gae_lambda.
        network: Gives the values, and the policy that the actions were sampled from.
        advantage_fn: The estimator.

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
        terminated=transitions.terminated,
        truncated=transitions.truncated,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
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


@torch.no_grad()
def next_kl_coef(
    kl_coef: torch.Tensor | None,
    params: Params,
    batch: Batch,
    config: PPOConfig,
    *,
    network: Network,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The KL penalty's coefficient for the next update, and the divergence that it follows from.

    Args:
        kl_coef: The coefficient of this update; None without a penalty.
        params: Parameters after the update.
        batch: Its samples, with the policy that collected them.
        config: Gives adaptive_kl and kl_target.
        network: The actor-critic.

    Returns:
        The coefficient, and KL(old || new) over the whole batch, in nats; None without a penalty.
    """
    if kl_coef is None or batch.old_distribution is None:
        return kl_coef, None
    distribution, _ = network.apply(params, batch.obs)
    kl = torch.mean(batch.old_distribution.kl(distribution))
    return adapt_kl_coef(kl_coef, kl, config.kl_target) if config.adaptive_kl else kl_coef, kl


def measure_update(
    rollout: Rollout, batch: Batch, params: Params, learning_rate: torch.Tensor | float
) -> Metrics:
    """The metrics that every algorithm has: of the batch, the parameters and the learning rate.

    Args:
        rollout: What was collected.
        batch: Its samples.
        params: Parameters after the update.
        learning_rate: Learning rate of the update.
    """
    return Metrics(
        reward_mean=torch.mean(rollout.transitions.reward),
        explained_variance=explained_variance(batch.old_value, batch.returns),
        advantage_std=torch.std(batch.advantages, correction=0),
        value_mean=torch.mean(batch.old_value),
        param_norm=global_norm(params),
        learning_rate=_as_float(learning_rate),
    )


def _as_float(number: torch.Tensor | float) -> torch.Tensor:
    """A number as a tensor [] of the default type."""
    return torch.as_tensor(number, dtype=torch.get_default_dtype())
