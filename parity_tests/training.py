"""A whole training on both sides and by the oracle: every coefficient at a value of its own.

What both sides do wrong alike, no comparison of the two can see: a schedule that is logged and not
applied, a coefficient that stays at its default. Here each side is compared with the oracle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import jax_ppo
import torch_ref
from jax_ppo.adapters.torch_params import flat_params, to_torch_names
from jax_ppo.ppo import collect_from_draws as jax_collect
from jax_ppo.ppo import learn as jax_learn
from parity_tests import oracle_training, weights
from parity_tests.checks.optimizer import USUAL
from parity_tests.checks.tiny import BASE, NUM_OUTPUTS, Architecture
from parity_tests.measure import wide
from parity_tests.oracle_training import Task
from parity_tests.precision import precision_of
from parity_tests.sides import flatten
from torch_ref.ppo import collect_from_draws as torch_collect
from torch_ref.ppo import learn as torch_learn

NUM_UPDATES = 4
AGREEMENT = 1e-9
"""Largest difference from the oracle, relative to a size of at least 1: a mistake makes a million
times as much."""

Outcome = dict[str, Any]
"""Numbers by name."""


def move(lib: Any, position: Any, action: Any) -> tuple[Any, Any, Any]:
    """The step of the task, in NumPy, JAX or PyTorch (`lib`)."""
    push = action.sum(-1) if action.ndim == 2 else 2.0 * action - 1.0
    first = 0.8 * position[:, 0] + 0.3 * push + 0.1 * position[:, 1]
    moved = lib.stack([first, -position[:, 1]], 1)
    return moved, first + 2.0 * moved[:, 1] - 0.5 * push, first > 0.9


TASK = Task(
    starts=np.array([[0.1, 0.3], [-0.4, 0.7]]),
    scales=np.array([1.0, 20.0]),
    move=move,
    limit=3,
    bound=1.0,
)


class Place(NamedTuple):
    """State of the task's environments."""

    position: Any
    time: Any


def task_env(lib: Any, array: Callable[[np.ndarray], Any], package: Any, actions: Any) -> Any:
    """The task as an environment of one of the packages; its keys are not used."""
    starts, scales = array(TASK.starts), array(TASK.scales)[None]

    def reset(_: Any) -> Any:
        return starts * scales, Place(starts, array(np.zeros(len(TASK.starts))))

    def step(_: Any, state: Place, action: Any) -> Any:
        position, reward, terminated = TASK.move(lib, state.position, action)
        time = state.time + 1.0
        truncated = time >= TASK.limit
        done = terminated | truncated
        after = lib.where(done[:, None], starts, position)
        state = Place(after, lib.where(done, 0.0, time))
        flags = {"terminated": terminated, "truncated": truncated}
        return package.EnvStep(
            obs=after * scales, state=state, reward=reward, next_obs=position * scales, **flags
        )

    space = package.ArraySpace((2,))
    return package.Environment(reset, step, space, actions, None)


EVERYTHING = Architecture(
    "discrete, AdamW, KL penalty",
    BASE.replace(
        total_steps=NUM_UPDATES * BASE.batch_size,
        gamma=0.9,
        gae_lambda=0.8,
        learning_rate=0.04,
        learning_rate_schedule="linear",
        learning_rate_warmup=0.6,
        optimizer="adamw",
        adam_eps=1e-2,
        adam_eps_root=3e-3,
        weight_decay=0.2,
        max_grad_norm=0.4,
        clip_eps=0.15,
        clip_eps_schedule="cosine",
        value_clip_eps=0.03,
        kl_coef=0.5,
        kl_target=0.004,
        normalize_observations=True,
        normalize_rewards=True,
        normalization_clip=1.5,
        shared_trunk=True,
    ),
)
STOPPING = Architecture(
    "continuous, RMSProp, KL stop",
    EVERYTHING.config.replace(
        optimizer="rmsprop",
        adam_eps_root=0.0,
        weight_decay=0.0,
        learning_rate=0.02,
        learning_rate_schedule="cosine",
        clip_eps_schedule="linear",
        advantage_normalization="batch",
        value_clip_eps=None,
        kl_coef=None,
        target_kl=0.02,
        shared_trunk=False,
        activation="swish",
    ),
    discrete=False,
)
TRAININGS = (EVERYTHING, STOPPING)


@dataclass(frozen=True)
class Draws:
    """The random numbers of a training."""

    noise: np.ndarray
    """[num_updates, num_steps, num_envs, NUM_OUTPUTS]."""
    permutations: np.ndarray
    """[num_updates, update_epochs, batch_size]."""


def draws_of(training: Architecture) -> Draws:
    """The same for every side."""
    config, rng = training.config, np.random.default_rng(5)
    shape = (NUM_UPDATES, config.num_steps, config.num_envs, NUM_OUTPUTS)
    noise = rng.gumbel(size=shape) if training.discrete else rng.normal(size=shape)
    orders = [rng.permutation(config.batch_size) for _ in range(NUM_UPDATES * config.update_epochs)]
    return Draws(noise, np.reshape(orders, (NUM_UPDATES, config.update_epochs, -1)))


def on_jax(training: Architecture) -> Outcome:
    """The JAX side, in float64, one compiled program for all updates."""
    draws = draws_of(training)
    with precision_of("float64"):
        params = jax.tree.map(jnp.asarray, training.params())
        numbers = jnp.asarray(draws.noise), jnp.asarray(draws.permutations)
        state, metrics = jax.jit(partial(_train_on_jax, training))(training.config, params, numbers)
        return _outcome(weights.rename_to_torch(state.params), state, metrics)


def _train_on_jax(training: Architecture, config: Any, params: Any, numbers: Any) -> Any:
    env = task_env(jnp, jnp.asarray, jax_ppo, training.action_space(jax_ppo))
    network = jax_ppo.make_network(config, env)
    optimizer = jax_ppo.make_optimizer(config, config.learning_rate)
    state = jax_ppo.TrainState(
        params=params,
        opt_state=optimizer.init(params),
        rollout=jax_ppo.init_rollout_state(jax.random.key(0), config, env),
        key=jax.random.key(0),
        update=jnp.zeros((), jnp.int32),
        kl_coef=None if config.kl_coef is None else jnp.asarray(config.kl_coef, float),
    )
    keys = jax.random.split(jax.random.key(0), (config.num_steps, config.num_envs))

    def step(state: Any, numbers: Any) -> Any:
        noise, permutations = numbers
        draws = jax_ppo.RandomDraws(noise, keys, permutations)
        state, rollout = jax_collect(state, draws, config=config, env=env, network=network)
        return jax_learn(state, rollout, config, network)

    return jax.lax.scan(step, state, numbers)


def on_torch(training: Architecture) -> Outcome:
    """The PyTorch side, in float64."""
    config, draws = training.config, draws_of(training)
    with precision_of("float64"):
        env = task_env(torch, torch.as_tensor, torch_ref, training.action_space(torch_ref))
        network = torch_ref.make_network(config, env)
        tree = jax.tree.map(torch.as_tensor, training.params())
        params = weights.rename_to_torch(tree)
        generator = torch.Generator()
        state = torch_ref.TrainState(
            params=params,
            opt_state=torch_ref.make_optimizer(config, config.learning_rate).init(params),
            rollout=torch_ref.init_rollout_state(generator, config, env),
            generator=generator,
            update=torch.zeros((), dtype=torch.int32),
            kl_coef=None if config.kl_coef is None else torch.as_tensor(config.kl_coef),
        )
        keys = torch.zeros((config.num_steps, config.num_envs), dtype=torch.int64)
        history = []
        for noise, orders in zip(draws.noise, draws.permutations, strict=True):
            numbers = torch_ref.RandomDraws(torch.as_tensor(noise), keys, torch.as_tensor(orders))
            state, rollout = torch_collect(state, numbers, config=config, env=env, network=network)
            state, metrics = torch_learn(state, rollout, config, network)
            history.append(metrics.as_dict())
        stacked = {n: torch.stack([torch.as_tensor(m[n]) for m in history]) for n in history[0]}
        return _outcome(state.params, state, stacked)


def _outcome(params: Any, state: Any, metrics: Any) -> Outcome:
    """Everything that is compared, as NumPy arrays by name."""
    metrics = metrics if isinstance(metrics, dict) else metrics.as_dict()
    tree = {
        "params": params,
        "metrics": metrics,
        "kl_coef": state.kl_coef,
        "update": state.update,
        "obs": state.rollout.obs,
        "episode_return": state.rollout.episode_return,
        "episode_length": state.rollout.episode_length,
        "discounted_return": state.rollout.discounted_return,
    }
    for name in ("obs_stats", "return_stats"):
        stats = getattr(state.rollout, name)
        tree[name] = {"mean": stats.mean, "var": stats.var, "count": stats.count}
    return {name: np.asarray(value) for name, value in flatten(tree).items()}


def by_oracle(training: Architecture) -> Outcome:
    """The independent oracle."""
    config, draws = training.config, draws_of(training)
    start = {name: value.astype(wide) for name, value in flat_params(training.params()).items()}
    course, history = oracle_training.begin(start, config, TASK), []
    for update in range(NUM_UPDATES):
        setting = training.setting(
            learning_rate=USUAL.learning_rate(config, update),
            clip_eps=oracle_training.clip_eps_at(config, update),
            kl_coef=course.kl_coef,
        )
        noise = draws.noise[update].astype(wide)
        course, transitions, ended = oracle_training.rollout(course, noise, config, setting, TASK)
        orders = draws.permutations[update]
        updated, kl_coef = oracle_training.learn(
            course.steps, course.params, transitions, orders, config=config, setting=setting
        )
        history.append({**ended, **updated.metrics})
        course = oracle_training.learned(course, updated, kl_coef)
    metrics = {name: np.array([row[name] for row in history]) for name in history[0]}
    return _oracle_outcome(course, metrics, config)


def _oracle_outcome(course: oracle_training.Course, metrics: Any, config: Any) -> Outcome:
    """As `_outcome`, from all that the oracle has seen."""
    tree = {
        "params": to_torch_names(course.params),
        "metrics": metrics,
        "kl_coef": course.kl_coef,
        "update": np.asarray(NUM_UPDATES),
        **oracle_training.state_of_rollout(course, config, TASK),
    }
    return {name: np.asarray(value) for name, value in flatten(tree).items()}


def differences(outcome: Outcome, oracle: Outcome) -> dict[str, float]:
    """How far each number is from the oracle's, relative to a size of at least 1.

    Raises:
        AssertionError: One has a number that the other lacks.
    """
    assert set(outcome) == set(oracle), sorted(set(outcome) ^ set(oracle))
    found = {}
    for name, value in outcome.items():
        size = np.maximum(np.abs(np.nan_to_num(oracle[name].astype(wide))), 1.0)
        same = np.isnan(value.astype(wide)) & np.isnan(oracle[name].astype(wide))
        apart = np.where(same, 0.0, np.abs(value.astype(wide) - oracle[name]) / size)
        found[name] = float(np.max(np.nan_to_num(apart, nan=np.inf)))
    return found


def wrong_numbers(outcome: Outcome, oracle: Outcome) -> list[str]:
    """The names of those beyond AGREEMENT."""
    return [name for name, size in differences(outcome, oracle).items() if size > AGREEMENT]
