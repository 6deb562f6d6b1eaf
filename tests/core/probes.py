"""Probe environments: each so small that the right answer is known, each with one thing to learn.

After Jones, "Debugging RL, without the agonizing pain" (2021): where a probe fails and the one
before it passes, the fault lies in what the second adds.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from jax_ppo import Environment, from_gymnax


@struct.dataclass
class State(environment.EnvState):
    """Where a probe stands."""

    signal: jax.Array
    """-1 or 1, drawn when the episode begins."""


class Probe(environment.Environment):
    """Two actions; observation, reward and length are what the subclasses say."""

    length = 1
    """Steps after which the episode terminates; 0 for never."""
    limit = 1000
    """Steps after which it is truncated."""

    @property
    def default_params(self) -> environment.EnvParams:
        return environment.EnvParams(max_steps_in_episode=self.limit)

    def reset_env(self, key: jax.Array, params: Any) -> tuple[jax.Array, State]:
        signal = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
        state = State(time=0, signal=signal)
        return self.see(state), state

    def step_env(self, key: jax.Array, state: State, action: Any, params: Any) -> tuple:
        reward = jnp.asarray(self.reward(state, action), jnp.float32)
        state = State(time=state.time + 1, signal=state.signal)
        terminated = jnp.asarray((self.length > 0) & (state.time >= self.length))
        return self.see(state), state, reward, terminated, {}

    def see(self, state: State) -> jax.Array:
        """The observation."""
        return jnp.ones(1)

    def reward(self, state: State, action: Any) -> jax.Array | float:
        """The reward of an action in a state."""
        return 1.0

    def observation_space(self, params: Any) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (1,))

    def action_space(self, params: Any) -> Any:
        return spaces.Discrete(2)


class ConstantReward(Probe):
    """One step, reward 1, nothing to see: V = 1. Tests the value loss and the optimizer."""


class ObservedReward(Probe):
    """One step, the reward is what is seen: V(-1) = -1, V(1) = 1. Adds observations."""

    def see(self, state: State) -> jax.Array:
        return state.signal[None]

    def reward(self, state: State, action: Any) -> jax.Array:
        return state.signal


class DelayedReward(Probe):
    """Two steps, reward 1 after the second: V(s_1) = 1, V(s_0) = gamma. Adds the bootstrap."""

    length = 2

    def see(self, state: State) -> jax.Array:
        return jnp.reshape(jnp.asarray(state.time, jnp.float32), (1,))

    def reward(self, state: State, action: Any) -> jax.Array:
        return jnp.where(state.time == 1, 1.0, 0.0)


class RewardedAction(Probe):
    """One step, action 1 pays 1 and action 0 pays -1. Adds advantages and the policy loss."""

    def reward(self, state: State, action: Any) -> jax.Array:
        return jnp.where(action == 1, 1.0, -1.0)


class SignalledAction(Probe):
    """One step, the action that the observation names pays. Adds a policy that looks."""

    def see(self, state: State) -> jax.Array:
        return state.signal[None]

    def reward(self, state: State, action: Any) -> jax.Array:
        return jnp.where((action == 1) == (state.signal > 0), 1.0, -1.0)


class TargetAction(Probe):
    """One step, a real action pays -(a - 0.5)^2: the mean must come to 0.5."""

    def reward(self, state: State, action: Any) -> jax.Array:
        return -jnp.sum(jnp.square(action - 0.5))

    def action_space(self, params: Any) -> spaces.Box:
        return spaces.Box(-10.0, 10.0, (1,))


class OnlyTruncated(Probe):
    """Reward 1 for ever, cut every 4 steps, always the same sight: V = 1 / (1 - gamma)."""

    length = 0
    limit = 4


def probe_env(probe: type[Probe]) -> Environment:
    """The probe as an environment to train on."""
    env = probe()
    return from_gymnax(env, env.default_params)
