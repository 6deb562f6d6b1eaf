"""Training from end to end: collect, then learn, as often as the config says."""

import torch

from jax_ppo.config import PPOConfig
from torch_ref.ppo import AlgorithmFn, ppo
from torch_ref.types import Metrics, TrainState, map_tensors


def train(
    generator: torch.Generator, config: PPOConfig, algorithm_fn: AlgorithmFn = ppo
) -> tuple[TrainState, Metrics]:
    """Train one agent from scratch.

    Small networks are fastest on one thread: call `torch.set_num_threads(1)` first. On a machine
    that is busy with other things, more threads can be many times slower.

    Args:
        generator: Everything random follows from it; it is left as it was.
        config: What to train, on what, and for how long.
        algorithm_fn: Makes the algorithm, such as `ppo` or `partial(ppo, loss_fn=...)`.

    Returns:
        The state after the last update, and the metrics of every update [num_updates].

    Raises:
        TypeError: `config` is no PPOConfig.
        ConfigError: The environment or the network cannot be built as the config says.
    """
    check_config(config)
    algorithm = algorithm_fn(config)
    state, history = algorithm.init(generator), []
    for _ in range(config.num_updates):
        state, metrics = algorithm.step(state)
        history.append(metrics)
    return state, map_tensors(lambda *updates: torch.stack(updates), *history)


def check_config(config: PPOConfig) -> None:
    """Raise TypeError unless `config` is a PPOConfig."""
    if not isinstance(config, PPOConfig):
        raise TypeError(
            f"config must be a PPOConfig, got {type(config).__name__}; "
            "arguments are (generator, config)"
        )
