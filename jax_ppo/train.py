"""Training from end to end: collect, then learn, as often as the config says."""

import jax

from jax_ppo.config import PPOConfig
from jax_ppo.ppo import AlgorithmFn, ppo
from jax_ppo.types import Metrics, TrainState


def train(
    key: jax.Array, config: PPOConfig, algorithm_fn: AlgorithmFn = ppo
) -> tuple[TrainState, Metrics]:
    """Train one agent from scratch.

    Pure, so it can be transformed: `jax.jit(train)`, `jax.vmap(train, in_axes=(0, None))` over
    keys, and, with `config_axes`, over coefficients. Under jit `algorithm_fn` is static.

    Args:
        key: Random key; everything random follows from it.
        config: What to train, on what, and for how long.
        algorithm_fn: Makes the algorithm, such as `ppo`, `partial(ppo, loss_fn=...)` or
            `variants.trpo`.

    Returns:
        The state after the last update, and the metrics of every update [num_updates].

    Raises:
        TypeError: `key` is no random key, or `config` no PPOConfig.
        ValueError: There is not exactly one key.
        ConfigError: The environment or the network cannot be built as the config says.
    """
    check_config(config)
    algorithm = algorithm_fn(config)

    def step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
        return algorithm.step(state)

    return jax.lax.scan(step, algorithm.init(key), length=config.num_updates)


def check_config(config: PPOConfig) -> None:
    """Raise TypeError unless `config` is a PPOConfig."""
    if not isinstance(config, PPOConfig):
        raise TypeError(
            f"config must be a PPOConfig, got {type(config).__name__}; arguments are (key, config)"
        )
