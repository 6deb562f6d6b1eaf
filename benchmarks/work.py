"""What is measured: a training, described so that every implementation can be told to do it."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Self

from jax_ppo.app.errors import AppError
from jax_ppo.config import unknown_name


@dataclass(frozen=True)
class Work:
    """A training that every implementation is to do alike.

    Policy and value are two MLPs with tanh after each hidden layer; images are flattened. The
    learning rate falls linearly to zero.
    """

    name: str
    """What to call it."""
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
    num_seeds: int = 1
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
        return self.batch_size * self.num_updates * self.num_seeds

    def to_json(self) -> str:
        """The work on one line; `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The work that `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "hidden_sizes": tuple(fields["hidden_sizes"])})

    def lasting(self, env_steps: int) -> Self:
        """The same with as many updates as come nearest to so many steps in all; at least one."""
        per_update = self.batch_size * self.num_seeds
        return dataclasses.replace(self, num_updates=max(1, round(env_steps / per_update)))


NARROW = Work("narrow", "CartPole-v1", num_envs=4, num_minibatches=4, num_updates=800)
"""CleanRL's and PureJaxRL's own setting."""

WORKS = (
    NARROW,
    Work("wide", "CartPole-v1", num_envs=512, num_minibatches=8, num_updates=12),
    dataclasses.replace(NARROW, name="agents8", num_updates=200, num_seeds=8),
    dataclasses.replace(NARROW, name="agents64", num_updates=100, num_seeds=64),
    Work("breakout", "Breakout-MinAtar", num_envs=64, num_minibatches=8, num_updates=30),
    dataclasses.replace(NARROW, name="agents2048", num_updates=50, num_seeds=2048),
    Work("envs4096", "CartPole-v1", num_envs=4096, num_minibatches=32, num_updates=20),
)
"""The works that have a name; the last two are for a GPU."""


def find_work(name: str, num_updates: int | None = None) -> Work:
    """A work by its name.

    Args:
        name: One of those in `WORKS`.
        num_updates: How many updates it is to have; None: its own number.

    Raises:
        AppError: There is none of that name, or it would have no updates.
    """
    named = {work.name: work for work in WORKS}
    if name not in named:
        raise AppError(unknown_name("work", name, named))
    if num_updates is None:
        return named[name]
    if num_updates < 1:
        raise AppError(f"the number of updates must be at least 1, got {num_updates}")
    return dataclasses.replace(named[name], num_updates=num_updates)
