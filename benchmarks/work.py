"""The trainings that are measured, described independently of any implementation."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Self

from jax_ppo.app.errors import AppError
from jax_ppo.config import unknown_name


@dataclass(frozen=True)
class Work:
    """A training that every implementation carries out in the same way.

    Policy and value are two MLPs with tanh after each hidden layer; images are flattened. The
    learning rate falls linearly to zero.
    """

    name: str
    """Its name."""
    env_id: str
    """Environment, by the name that Gymnasium and gymnax give it."""
    num_envs: int
    """Environments stepped side by side, per agent."""
    num_minibatches: int
    """Gradient steps per epoch."""
    num_updates: int
    """Rollouts, each followed by update_epochs * num_minibatches gradient steps."""
    num_steps: int = 128
    """Steps of each environment per rollout."""
    update_epochs: int = 4
    """Passes over each rollout."""
    num_agents: int = 1
    """Agents trained at once."""
    learning_rate: float = 2.5e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_eps: float = 0.2
    value_clip_eps: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    hidden_sizes: tuple[int, ...] = (64, 64)

    @property
    def batch_size(self) -> int:
        """Environment steps of one agent per update."""
        return self.num_envs * self.num_steps

    @property
    def env_steps(self) -> int:
        """Environment steps in all, over all agents."""
        return self.batch_size * self.num_updates * self.num_agents

    def to_json(self) -> str:
        """The fields on one line, as an adapter takes them.

        `regression` also starts adapters of older commits, which read num_agents as num_seeds.
        """
        return json.dumps({**dataclasses.asdict(self), "num_seeds": self.num_agents})

    def lasting(self, env_steps: int) -> Self:
        """The same work with about this many environment steps: at least one update."""
        per_update = self.batch_size * self.num_agents
        return dataclasses.replace(self, num_updates=max(1, round(env_steps / per_update)))


NARROW = Work("narrow", "CartPole-v1", num_envs=4, num_minibatches=4, num_updates=800)
"""The default hyperparameters of CleanRL and PureJaxRL."""

WORKS = (
    NARROW,
    Work("wide", "CartPole-v1", num_envs=512, num_minibatches=8, num_updates=12),
    dataclasses.replace(NARROW, name="agents8", num_updates=200, num_agents=8),
    dataclasses.replace(NARROW, name="agents64", num_updates=100, num_agents=64),
    Work("breakout", "Breakout-MinAtar", num_envs=64, num_minibatches=8, num_updates=30),
    dataclasses.replace(NARROW, name="agents2048", num_updates=50, num_agents=2048),
    Work("envs4096", "CartPole-v1", num_envs=4096, num_minibatches=32, num_updates=20),
)
"""The works that have a name; the last two are for a GPU."""


def find_work(name: str, num_updates: int | None = None) -> Work:
    """A work by its name.

    Args:
        name: One of those in `WORKS`.
        num_updates: Its number of updates; None: as in `WORKS`.

    Raises:
        AppError: There is no work of that name, or num_updates is less than 1.
    """
    named = {work.name: work for work in WORKS}
    if name not in named:
        raise AppError(unknown_name("work", name, named))
    if num_updates is None:
        return named[name]
    if num_updates < 1:
        raise AppError(f"the number of updates must be at least 1, got {num_updates}")
    return dataclasses.replace(named[name], num_updates=num_updates)
