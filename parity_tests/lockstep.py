"""Two trainings from the same draws: for how many updates they stay the same.

Training is chaotic: two runs that differ in the last bit of one number diverge in the end, whatever
computes them. How soon is a property of the training, and it can be measured, by running the JAX
trainer a second time with its initial parameters moved by one unit in the last place. No two
implementations can be expected to stay together for longer than that.

Both sides run their own `collect_from_draws` and `learn` on one and the same environment, from the
same initial parameters and environment states, with the same action noise, random keys of the
environments (which decide the resets) and permutations.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import jax_ppo
import torch_ref
from jax_ppo import PPOConfig
from parity_tests.measure import Precision
from parity_tests.precision import precision_of
from parity_tests.weights import optimizer_to_torch, params_to_torch, record_to_torch, to_tensor

CARTPOLE = PPOConfig(
    env_id="CartPole-v1",
    total_steps=300 * 512,
    num_envs=4,
    num_steps=128,
    update_epochs=4,
    num_minibatches=4,
    learning_rate=2.5e-4,
    ent_coef=0.01,
)
"""The usual small setting of PPO on CartPole."""


class Step(NamedTuple):
    """One update as seen from outside."""

    actions: np.ndarray
    """Actions that the environments received [num_steps, num_envs, ...]."""
    params: np.ndarray
    """All parameters after the update, as one vector [num_params], float64."""
    metrics: dict[str, float]
    """The update's metrics."""


NO_PARTS: Mapping[str, Any] = {}
"""The usual parts of PPO."""


@dataclass(frozen=True)
class Lockstep:
    """Two trainings side by side."""

    identical_updates: int
    """Updates before the first in which an action differs; all of them if none does."""
    num_updates: int
    """Updates compared."""
    distances: np.ndarray
    """|theta_a - theta_b| / |theta_b| after each update [num_updates]."""
    metric_distances: np.ndarray
    """max over metrics of |a - b| / max(|b|, 1), for each update [num_updates]."""


def compare_steps(left: Iterator[Step], right: Iterator[Step]) -> Lockstep:
    """Run two trainings side by side and find the first update in which an action differs."""
    distances, metric_distances, identical = [], [], []
    for a, b in zip(left, right, strict=True):
        metric_distances.append(compare_metrics(a.metrics, b.metrics))
        identical.append(np.array_equal(a.actions, b.actions))
        distance = np.linalg.norm(a.params - b.params) / np.linalg.norm(b.params)
        distances.append(float(distance))
    together = identical.index(False) if False in identical else len(identical)
    return Lockstep(together, len(identical), np.array(distances), np.array(metric_distances))


def compare_metrics(left: dict[str, float], right: dict[str, float]) -> float:
    """The largest |a - b| / max(|b|, 1) of all metrics; infinite if they are not the same ones.

    A metric that is not a number on both sides agrees.
    """
    if set(left) != set(right):
        return np.inf
    pairs = [(left[name], right[name]) for name in left]
    return max(
        0.0 if np.isnan(a) and np.isnan(b) else abs(a - b) / max(abs(b), 1.0) for a, b in pairs
    )


def cross_framework(
    seed: int,
    config: PPOConfig,
    precision: Precision,
    *,
    jax_parts: Mapping[str, Any] = NO_PARTS,
    torch_parts: Mapping[str, Any] = NO_PARTS,
) -> Lockstep:
    """PyTorch beside JAX.

    Args:
        seed: Decides the initial parameters and all draws.
        config: What to train, and for how long.
        precision: What both compute in.
        jax_parts: Keyword arguments of `jax_ppo.ppo`, such as a loss of one's own.
        torch_parts: Those of `torch_ref.ppo`, such as the same loss in PyTorch.
    """
    with precision_of(precision):
        trainer = JaxTrainer(config, jax_parts)
        state = trainer.initial_state(seed)
        return compare_steps(run_torch(state, trainer, torch_parts), run_jax(state, trainer))


def self_neighbour(seed: int, config: PPOConfig, precision: Precision) -> Lockstep:
    """JAX beside itself with every initial parameter moved up by one unit in the last place.

    Its arguments are those of `cross_framework`.
    """
    with precision_of(precision):
        trainer = JaxTrainer(config)
        state = trainer.initial_state(seed)
        params = jax.tree.map(lambda leaf: jnp.nextafter(leaf, jnp.inf), state.params)
        moved = dataclasses.replace(state, params=params)
        return compare_steps(run_jax(moved, trainer), run_jax(state, trainer))


@dataclass(frozen=True, eq=False)
class JaxTrainer:
    """The JAX trainer, with environments that record the actions that they receive."""

    config: PPOConfig
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `jax_ppo.ppo`."""

    def initial_state(self, seed: int) -> jax_ppo.TrainState:
        """The state that both trainings start from."""
        return jax.jit(lambda key, config: self._algorithm(config).init(key))(
            jax.random.key(seed), self.config
        )

    @cached_property
    def draw(self) -> Callable[..., Any]:
        """(state, config) -> state and draws of the next update, as `collect` makes them."""
        return jax.jit(self._draw)

    @cached_property
    def step(self) -> Callable[..., Any]:
        """(state, draws, config) -> state and metrics after the update."""
        return jax.jit(self._step)

    def _algorithm(self, config: PPOConfig) -> jax_ppo.Algorithm:
        return jax_ppo.ppo(config, recording_env(config), **self.parts)

    def _draw(
        self, state: jax_ppo.TrainState, config: PPOConfig
    ) -> tuple[jax_ppo.TrainState, jax_ppo.RandomDraws]:
        key, draw_key = jax.random.split(state.key)
        env = jax_ppo.make_env(config)
        return dataclasses.replace(state, key=key), jax_ppo.draw_randomness(draw_key, config, env)

    def _step(
        self, state: jax_ppo.TrainState, draws: jax_ppo.RandomDraws, config: PPOConfig
    ) -> tuple[jax_ppo.TrainState, jax_ppo.Metrics]:
        algorithm = self._algorithm(config)
        collected = jax_ppo.collect_from_draws(
            state, draws, config=config, env=algorithm.env, network=algorithm.network
        )
        return algorithm.learn(*collected)


def run_jax(state: jax_ppo.TrainState, trainer: JaxTrainer) -> Iterator[Step]:
    """Updates of the JAX trainer."""
    for _ in range(trainer.config.num_updates):
        state, draws = trainer.draw(state, trainer.config)
        state, metrics = trainer.step(state, draws, trainer.config)
        yield _seen(state.rollout.env_state, params_to_torch(state.params), metrics)


def run_torch(
    state: jax_ppo.TrainState, trainer: JaxTrainer, parts: Mapping[str, Any] = NO_PARTS
) -> Iterator[Step]:
    """Updates of the PyTorch trainer, from a JAX state and with JAX's draws."""
    config = trainer.config
    algorithm = torch_ref.ppo(config, bridge(config), **parts)
    learner = torch_state(state)
    if "optimizer_fn" in parts:
        optimizer = torch_ref.make_optimizer(config, config.learning_rate, parts["optimizer_fn"])
        learner = dataclasses.replace(learner, opt_state=optimizer.init(learner.params))
    for _ in range(config.num_updates):
        state, draws = trainer.draw(state, config)
        collected = torch_ref.collect_from_draws(
            learner, torch_draws(draws), config=config, env=algorithm.env, network=algorithm.network
        )
        learner, metrics = algorithm.learn(*collected)
        yield _seen(learner.rollout.env_state, learner.params, metrics)


class Recorded(NamedTuple):
    """State of environments that remember their last actions."""

    env_state: Any
    """The environments' own."""
    actions: jax.Array
    """Last actions, the newest last [num_steps, num_envs, ...]."""


def recording_env(config: PPOConfig) -> jax_ppo.Environment:
    """The environment of a config, with the actions of the last rollout kept in its state."""
    env = jax_ppo.make_env(config)

    def reset(keys: jax.Array) -> tuple[jax.Array, Recorded]:
        obs, env_state = env.reset(keys)
        return obs, Recorded(env_state, _no_actions(env, config))

    def step(keys: jax.Array, state: Recorded, action: jax.Array) -> jax_ppo.EnvStep:
        env_step = env.step(keys, state.env_state, action)
        actions = jnp.concatenate([state.actions[1:], action[None]])
        return env_step._replace(state=Recorded(env_step.state, actions))

    return dataclasses.replace(env, reset=reset, step=step)


def _no_actions(env: jax_ppo.Environment, config: PPOConfig) -> jax.Array:
    """Zeros in place of the actions of a rollout [num_steps, num_envs, ...]."""
    outputs = jnp.zeros((config.num_envs, env.action_space.output_size))
    actions = env.action_space.to_env(env.action_space.distribution(outputs, outputs[0]).mode())
    return jnp.zeros((config.num_steps, *actions.shape), actions.dtype)


def bridge(config: PPOConfig) -> torch_ref.Environment:
    """The same environment for PyTorch: JAX computes the step, keys and state stay JAX's."""
    env = jax_ppo.make_env(config)
    return torch_ref.Environment(
        reset=lambda keys: _bridged_reset(keys, config),
        step=partial(_bridged_step, config),
        observation_space=torch_ref.ArraySpace(env.observation_space.shape),
        action_space=action_space_to_torch(env.action_space),
        max_episode_steps=env.max_episode_steps,
    )


def action_space_to_torch(space: Any) -> torch_ref.ActionSpace:
    """A space of actions of JAX's, field by field, as PyTorch's."""
    fields = {
        name: to_tensor(value) if isinstance(value, jax.Array) else value
        for name, value in vars(space).items()
    }
    converted: torch_ref.ActionSpace = getattr(torch_ref, type(space).__name__)(**fields)
    return converted


def torch_state(state: jax_ppo.TrainState) -> torch_ref.TrainState:
    """A JAX state as PyTorch's; the environments' state stays what it is."""
    rollout = state.rollout
    converted = {
        field.name: record_to_torch(getattr(rollout, field.name))
        for field in dataclasses.fields(rollout)
        if field.name != "env_state"
    }
    return torch_ref.TrainState(
        params=params_to_torch(state.params),
        opt_state=optimizer_to_torch(state.opt_state, state.params),
        rollout=torch_ref.RolloutState(env_state=rollout.env_state, **converted),
        generator=torch.Generator(),
        update=to_tensor(state.update),
        kl_coef=None if state.kl_coef is None else to_tensor(state.kl_coef),
    )


def torch_draws(draws: jax_ppo.RandomDraws) -> torch_ref.RandomDraws:
    """JAX's draws for PyTorch; the environments' keys stay JAX's."""
    return torch_ref.RandomDraws(
        noise=to_tensor(draws.noise),
        env_keys=draws.env_keys,  # type: ignore[arg-type]
        permutations=to_tensor(draws.permutations).long(),
    )


def _bridged_reset(keys: Any, config: PPOConfig) -> tuple[torch.Tensor, Any]:
    obs, state = recording_env(config).reset(keys)
    return to_tensor(obs), state


def _bridged_step(
    config: PPOConfig, keys: Any, state: Any, action: torch.Tensor
) -> torch_ref.EnvStep:
    env_step = _env_step(keys, state, jnp.asarray(action.numpy()), config)
    tensors = {
        name: to_tensor(getattr(env_step, name))
        for name in ("obs", "reward", "terminated", "truncated", "next_obs")
    }
    return torch_ref.EnvStep(state=env_step.state, **tensors)


@jax.jit
def _env_step(keys: jax.Array, state: Any, action: jax.Array, config: PPOConfig) -> Any:
    return recording_env(config).step(keys, state, action)


def _seen(env_state: Recorded, params: torch_ref.types.Params, metrics: Any) -> Step:
    """What is compared after an update; parameters in the order of their names."""
    parts = [params[name].detach().numpy().ravel() for name in sorted(params)]
    vector = np.concatenate(parts).astype(np.float64)
    floats = {name: float(value) for name, value in metrics.as_dict().items()}
    return Step(np.asarray(env_state.actions), vector, floats)
