"""A scripted Gymnasium environment and the small configs that keep these tests short."""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from jax_ppo.config import PPOConfig
from torch_ref import make_env, make_network, ppo

torch.set_num_threads(1)  # more of them only slow such small networks down


class Clock(gymnasium.Env):
    """Its observation is the number of steps since the reset; all else is as the test says."""

    def __init__(
        self,
        terminate_at: int = 0,
        truncate_at: int = 0,
        reward: Callable[[Any], float] = lambda action: 1.0,
        action_space: spaces.Space | None = None,
    ) -> None:
        self.observation_space = spaces.Box(0.0, 100.0, (1,))
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self.terminate_at, self.truncate_at, self.reward = terminate_at, truncate_at, reward
        self.taken: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self.see(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.taken.append(action)
        self.time += 1
        terminated, truncated = self.time == self.terminate_at, self.time == self.truncate_at
        return self.see(), self.reward(action), terminated, truncated, {}

    def see(self) -> np.ndarray:
        return np.array([self.time], np.float32)


def watched(note: Callable[[torch.Tensor], None]) -> Callable[[PPOConfig], Any]:
    """PPO whose network passes every observation to `note` first."""

    def algorithm_fn(config: PPOConfig) -> Any:
        env = make_env(config)
        network = make_network(config, env)

        def apply(params: Any, obs: torch.Tensor) -> Any:
            note(obs)
            return network.apply(params, obs)

        return ppo(config, env, network._replace(apply=apply))

    return algorithm_fn


@pytest.fixture(scope="session")
def clock() -> type[Clock]:
    """The scripted environment."""
    return Clock


@pytest.fixture
def generator() -> torch.Generator:
    """A source of random numbers that is the same in every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision inside the test."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
