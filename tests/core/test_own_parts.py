"""Parts of a user's own that are not what they should be: each error names the part, before JAX."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref
from jax_ppo import (
    Categorical,
    ConfigError,
    Environment,
    Network,
    PPOConfig,
    evaluate_policy,
    make_env,
    make_network,
    ppo,
    train,
)

CONFIG = PPOConfig(
    total_steps=96, num_envs=4, num_steps=8, num_minibatches=2, hidden_sizes=(8,), update_epochs=1
)
ENV = make_env(CONFIG)
NETWORK = make_network(CONFIG, ENV)


def trained_with(**parts: Any) -> Any:
    """Shapes of what training gives; nothing is compiled."""
    algorithm_fn = partial(ppo, **parts)
    return jax.eval_shape(partial(train, algorithm_fn=algorithm_fn), jax.random.key(0), CONFIG)


def network_of(change: Any) -> Network:
    """The usual network with another result."""
    return Network(NETWORK.init, lambda params, obs: change(*NETWORK.apply(params, obs)))


def env_of(change: Any) -> Environment:
    """CartPole with another result of its step."""
    space, actions = ENV.observation_space, ENV.action_space
    return Environment(ENV.reset, lambda *args: change(ENV.step(*args)), space, actions, 500)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda policy, values: (policy.logits, values), r"\(distribution, values \[4\]\), got \("),
        (lambda policy, values: policy, "got Categorical"),
        (lambda policy, values: (policy, values[:, None]), r"got values of shape \[4, 1\]"),
        (lambda policy, values: (policy, values[0]), r"got values of shape \[\]"),
    ],
)
def test_networks(change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"network.apply must return .*{message}"):
        trained_with(network=network_of(change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda step: (*step[:5], {}), "env.step must return an EnvStep, got \\("),
        (
            lambda step: step._replace(terminated=step.terminated.astype(float)),
            "terminated must be an array of type bool, got float32",
        ),
    ],
)
def test_environments(change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trained_with(env=env_of(change))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Breakout-MinAtar"])
def test_one_observation_is_no_batch(env_id: str) -> None:
    """On either side."""
    config = CONFIG.replace(env_id=env_id)
    env = make_env(config)
    network, shape = make_network(config, env), env.observation_space.shape
    params = jax.eval_shape(network.init, jax.random.key(0))
    with pytest.raises(ValueError, match="of one alone make a batch: obs"):
        jax.eval_shape(network.apply, params, jnp.zeros(shape))
    torch_env = Environment(env.reset, env.step, env.observation_space, env.action_space, None)
    torch_network = torch_ref.make_network(config, torch_env)  # type: ignore[arg-type]
    weights = torch_network.init(torch.Generator())
    with pytest.raises(ValueError, match="of one alone make a batch: obs"):
        torch_network.apply(weights, torch.zeros(shape))


def test_evaluation_of_a_network_that_is_not_named() -> None:
    own = Network(
        init=lambda key: {"w": jnp.zeros((4, 2))},
        apply=lambda params, obs: (Categorical(obs @ params["w"]), obs.sum(-1)),
    )
    params = own.init(jax.random.key(0))
    with pytest.raises(ConfigError, match="has to be named: algorithm_fn=partial"):
        evaluate_policy(jax.random.key(0), params, None, CONFIG)
    options = {"algorithm_fn": partial(ppo, network=own), "num_episodes": 2, "max_steps": 3}
    results = evaluate_policy(jax.random.key(0), params, None, CONFIG, **options)
    assert results.episode_length.tolist() == [3, 3]


def test_configs_are_compared_and_hashed() -> None:
    """Also those that hold arrays; a static config is a constant of the program."""
    several = CONFIG.replace(gamma=np.array([0.5, 0.75]))
    assert several == CONFIG.replace(gamma=jnp.array([0.5, 0.75], float))
    assert several != CONFIG.replace(gamma=np.array([0.5, 0.7]))
    assert several != CONFIG.replace(gamma=0.9)
    assert CONFIG.replace(env_params={"gravity": 5.0}) != CONFIG
    assert CONFIG != 3
    assert hash(CONFIG) == hash(CONFIG.replace())
    assert len({CONFIG, CONFIG.replace(), CONFIG.replace(gamma=0.5)}) == 2
    with pytest.raises(TypeError, match="no hash while gamma is an array"):
        hash(several)
    half = jax.jit(lambda config: config.gamma / 2.0, static_argnums=0)
    assert half(CONFIG) == pytest.approx(0.495)


def test_strict_promotion_of_types() -> None:
    """Nothing is promoted but by gymnax and optax themselves."""
    everything = CONFIG.replace(
        normalize_observations=True,
        normalize_rewards=True,
        kl_coef=0.1,
        target_kl=0.1,
        value_clip_eps=0.2,
        clip_eps_schedule="cosine",
        learning_rate_warmup=0.3,
        optimizer="adamw",
    )
    with jax.numpy_dtype_promotion("strict"):
        for config in (everything, everything.replace(env_id="Catch-bsuite")):
            state, _ = jax.eval_shape(train, jax.random.key(0), config)
            jax.eval_shape(
                partial(evaluate_policy, config=config),
                jax.random.key(0),
                state.params,
                state.rollout.obs_stats,
            )


def test_no_episode_is_no_nan_while_nans_are_looked_for() -> None:
    """`jax_debug_nans` stops a program at the first NaN; the number of episodes says it too."""
    with jax.debug_nans(True):
        _, metrics = jax.jit(train)(jax.random.key(0), CONFIG.replace(env_id="Pendulum-v1"))
    assert metrics.num_episodes.tolist() == [0, 0, 0]
    assert metrics.episode_return.tolist() == [0, 0, 0]
