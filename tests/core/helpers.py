"""What several chapters' tests share."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import numpy as np

from jax_ppo import (
    AdvantageFn,
    Batch,
    Environment,
    Network,
    PPOConfig,
    make_env,
    make_network,
    train,
)

jit_train = jax.jit(train, static_argnames="algorithm_fn")
"""One jitted `train` for all, so that tests of equal static configs share a program."""


def by_position(advantage_fn: AdvantageFn) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The estimator, jitted, with its arguments by position: rewards to gae_lambda."""
    names = ("terminated", "truncated", "gamma", "gae_lambda")
    return jax.jit(
        lambda r, v, n, *rest: advantage_fn(r, v, n, **dict(zip(names, rest, strict=True)))
    )


def random_batch(config: PPOConfig, size: int) -> tuple[Any, Batch, Network]:
    """Parameters away from the initial ones, what they did at random states, and the network."""
    env = make_env(config)
    network = make_network(config, env)
    params, batch = jax.jit(partial(_draw_batch, size=size, env=env, network=network))()
    return params, batch, network


def _draw_batch(size: int, env: Environment, network: Network) -> tuple[Any, Batch]:
    keys = jax.random.split(jax.random.key(3), 5)
    params = network.init(keys[0])
    params = jax.tree.map(lambda p: p + 0.5 * jax.random.normal(keys[1], p.shape, p.dtype), params)
    obs = jax.random.normal(keys[2], (size, *env.observation_space.shape))
    distribution, values = network.apply(params, obs)
    action = distribution.sample(env.action_space.draw_noise(keys[3], (size,)))
    advantages, returns = 3.0 * jax.random.normal(keys[4], (2, size)) + 1.0
    log_prob = distribution.log_prob(action)
    return params, Batch(obs, action, None, log_prob, values, advantages, returns)


_listening: list[list[float]] = []
"""What `count_compilations` is collecting at the moment."""


def _listen(event: str, duration: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        for durations in _listening:
            durations.append(duration)


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextmanager
def count_compilations() -> Iterator[list[float]]:
    """Collect the duration of every XLA compilation inside the block: as many as entries."""
    durations: list[float] = []
    _listening.append(durations)
    try:
        yield durations
    finally:
        _listening.remove(durations)


def leaves(tree: Any) -> list[np.ndarray]:
    """The leaves of a pytree as NumPy arrays; random keys as their words."""

    def to_numpy(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf)

    return [to_numpy(leaf) for leaf in jax.tree.leaves(tree)]


def assert_trees_equal(actual: Any, expected: Any) -> None:
    """Every leaf identical to the last bit."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(leaves(actual), leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_trees_close(actual: Any, expected: Any, *, rtol: float, atol: float = 0.0) -> None:
    """Every leaf close."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(leaves(actual), leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def largest_difference(a: Any, b: Any) -> float:
    """Largest absolute difference over all leaves of two trees."""
    pairs = zip(leaves(a), leaves(b), strict=True)
    return max(float(np.max(np.abs(x.astype(np.float64) - y.astype(np.float64)))) for x, y in pairs)


def printed_by(*arguments: str, timeout: float) -> str:
    """What another process of Python prints; it must end well, within `timeout` seconds."""
    process = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=timeout
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
