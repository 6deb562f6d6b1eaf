"""Adapter of SBX, which is Stable-Baselines3 with networks in JAX."""

from functools import partial
from typing import Any

import baselines
import eager
import flax.linen as nn
import protocol
from sbx import PPO

NOTES = """\
It does not clip values, its value loss has twice the weight, it clips the gradients of policy \
and value separately and has flax's own initializer. Every run continues with the same model, \
since a new one would be compiled again."""


def same(model: PPO, work: Any, seed: int) -> PPO:
    """The one model, whatever the seed."""
    return model


if __name__ == "__main__":
    task = protocol.begin()
    model = baselines.model_of(PPO, task.work, 0, nn.tanh)
    packages = ("sbx-rl", "stable_baselines3", "jax", "jaxlib", "flax", "gymnasium", "numpy")
    eager.serve(task, partial(same, model), baselines.learn, packages, NOTES)
