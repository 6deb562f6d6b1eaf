"""Adapter of Stable-Baselines3: `PPO("MlpPolicy", ...).learn(...)`."""

from typing import Any

import baselines
import eager
import protocol
import torch
from stable_baselines3 import PPO

NOTES = "Its value loss has twice the weight."


def prepare(work: Any, seed: int) -> PPO:
    """A model before training."""
    return baselines.model_of(PPO, work, seed, torch.nn.Tanh, clip_range_vf=work.value_clip_eps)


if __name__ == "__main__":
    task = protocol.begin()
    packages = ("stable_baselines3", "torch", "gymnasium", "numpy")
    eager.serve(task, prepare, baselines.learn, packages, NOTES)
