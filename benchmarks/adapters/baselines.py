"""Shared by the adapters of Stable-Baselines3 and SBX, which have the same interface."""

from typing import Any

import numpy as np
import protocol
import torch
from eager import THREADS
from stable_baselines3.common.env_util import make_vec_env


def model_of(algorithm: Any, work: Any, seed: int, activation: Any, **more: Any) -> Any:
    """A model before training.

    Args:
        algorithm: The class PPO.
        work: The training.
        seed: Seed of all random numbers.
        activation: tanh, as the implementation takes it.
        **more: Arguments that only one of the two takes.
    """
    torch.set_num_threads(THREADS)
    sizes = list(work.hidden_sizes)
    return algorithm(
        "MlpPolicy",
        make_vec_env(work.env_id, n_envs=work.num_envs, seed=seed),
        learning_rate=LinearDecay(work.learning_rate),
        n_steps=work.num_steps,
        batch_size=work.num_envs * work.num_steps // work.num_minibatches,
        n_epochs=work.update_epochs,
        gamma=work.gamma,
        gae_lambda=work.gae_lambda,
        clip_range=work.clip_eps,
        ent_coef=work.ent_coef,
        vf_coef=work.vf_coef,
        max_grad_norm=work.max_grad_norm,
        policy_kwargs={"net_arch": {"pi": sizes, "vf": sizes}, "activation_fn": activation},
        device="cpu",
        seed=seed,
        **more,
    )


class LinearDecay:
    """A learning rate that falls to zero."""

    def __init__(self, start: float) -> None:
        """Begin at `start`."""
        self.start = start

    def __call__(self, remaining: float) -> float:
        """The learning rate when a fraction `remaining` of training, from 1 to 0, is left."""
        return self.start * remaining


def learn(work: Any, model: Any) -> float:
    """Train; the mean return of the last hundred episodes."""
    model.learn(total_timesteps=protocol.env_steps(work))
    returns = [episode["r"] for episode in model.ep_info_buffer]
    return float(np.mean(returns)) if returns else float("nan")
