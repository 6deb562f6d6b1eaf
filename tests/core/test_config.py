"""The config: what it refuses, what it brings to one form, and how it behaves as a pytree."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo import ConfigError, PPOConfig

from .helpers import assert_trees_equal, count_compilations, jit_train, largest_difference

NOT_COUNTS = (0, -1, 1.5, 2.0, "8", None, True, [4])
# A list from a file would become part of the pytree's structure and fail far from here.
NOT_SCALARS = ((0.1, 0.2), [0.1, 0.2], [], {"a": 0.1}, 1j, 10**400)
NOT_NUMBERS = ("0.1", b"1", True, math.nan, math.inf, -math.inf, *NOT_SCALARS)
NOT_NON_NEGATIVE = (*NOT_NUMBERS, None, -1e-9)
NOT_POSITIVE = (*NOT_NUMBERS, 0, 0.0, -0.1)
NOT_UNIT = (*NOT_NUMBERS, None, -0.001, 1.001)
NOT_BOOLS = (0, 1, "true", None)
NOT_SIZES = ("64", 64, (0,), (-8, 8), (8.0,), (True,), ("8",), None)

BAD_VALUES: dict[str, tuple[Any, ...]] = {
    "env_id": (1, None, ("CartPole-v1",)),
    "env_params": ("gravity", 9.8, None, ("gravity",)),
    "env_kwargs": ("size", 3, None),
    "total_steps": NOT_COUNTS,
    "num_envs": NOT_COUNTS,
    "num_steps": NOT_COUNTS,
    "update_epochs": NOT_COUNTS,
    "num_minibatches": NOT_COUNTS,
    "learning_rate": NOT_NON_NEGATIVE,
    "learning_rate_schedule": ("exponential", "Linear", "", None, 0, True),
    "learning_rate_warmup": (*NOT_POSITIVE, 1.001),
    "optimizer": ("momentum", "ADAM", None),
    "adam_eps": (*NOT_POSITIVE, None),
    "adam_eps_root": NOT_NON_NEGATIVE,
    "weight_decay": NOT_NON_NEGATIVE,
    "max_grad_norm": NOT_POSITIVE,
    "gamma": NOT_UNIT,
    "gae_lambda": NOT_UNIT,
    "advantage_normalization": ("global", True, None),
    "clip_eps": (*NOT_POSITIVE, None),
    "clip_eps_schedule": ("exponential", None),
    "value_clip_eps": NOT_POSITIVE,
    "vf_coef": NOT_NON_NEGATIVE,
    "ent_coef": NOT_NON_NEGATIVE,
    "target_kl": NOT_POSITIVE,
    "kl_coef": (*NOT_NUMBERS, -0.1),
    "adaptive_kl": NOT_BOOLS,
    "kl_target": (*NOT_POSITIVE, None),
    "normalize_observations": NOT_BOOLS,
    "normalize_rewards": NOT_BOOLS,
    "normalization_clip": (*NOT_POSITIVE, None),
    "network": ("transformer", "CNN", None),
    "hidden_sizes": NOT_SIZES,
    "conv_channels": NOT_SIZES,
    "conv_kernel_size": NOT_COUNTS,
    "conv_stride": NOT_COUNTS,
    "activation": ("gelu", None),
    "shared_trunk": NOT_BOOLS,
    "initializer": ("xavier", None),
    "log_std_init": (*NOT_NUMBERS, None),
    "matmul_precision": ("tf32", "float32", None),
}

COEFFICIENTS = {
    spec.name for spec in dataclasses.fields(PPOConfig) if spec.type in (float, float | None)
}
"""Every field that is a floating-point number, found from the types alone."""


def test_bad_values_are_listed_for_every_field() -> None:
    assert set(BAD_VALUES) == {spec.name for spec in dataclasses.fields(PPOConfig)}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD_VALUES.items() for value in values],
    ids=lambda value: str(value)[:30],
)
def test_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        PPOConfig(**{name: value})


@pytest.mark.parametrize("name", sorted(COEFFICIENTS))
def test_every_number_of_an_array_is_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        PPOConfig(**{name: np.array([0.5, math.nan])})
    with pytest.raises(ConfigError, match=name):
        PPOConfig(**{name: jnp.array([jnp.inf, 0.5])})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # 3 * 5 = 15 samples; 15 = 4 * 3 + 3
        ({"num_envs": 3, "num_steps": 5, "num_minibatches": 4}, "15.*num_minibatches = 4"),
        # 2 * 2 = 4 samples cannot make 8 parts
        ({"num_envs": 2, "num_steps": 2, "num_minibatches": 8}, "num_minibatches = 8"),
        # 8 * 64 = 512 > 511
        ({"total_steps": 5e5}, "whole number of at least 1, got 500000.0; write 500000$"),
        ({"total_steps": 511}, "total_steps = 511.*512"),
        ({"num_minibatches": 512}, "one sample cannot be normalized"),
        ({"weight_decay": 0.01}, "adamw"),
        ({"weight_decay": 0.01, "optimizer": "sgd"}, "adamw; sgd does not use it"),
        ({"weight_decay": np.array([0.0, 0.01])}, "adamw"),
        ({"network": "cnn", "conv_channels": ()}, "conv_channels"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PPOConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"total_steps": 512},
        {"num_minibatches": 512, "advantage_normalization": "batch"},
        {"num_minibatches": 512, "advantage_normalization": "none"},
        {"num_minibatches": 256},
        {"weight_decay": 0.01, "optimizer": "adamw"},
        {"weight_decay": 0.0, "optimizer": "adam"},
        {"gamma": 0.0, "gae_lambda": 1.0},
        {"gamma": 1, "gae_lambda": 0},
        {"learning_rate": 0.0, "vf_coef": 0, "ent_coef": 0, "kl_coef": 0},
        {"max_grad_norm": None, "value_clip_eps": None, "target_kl": None, "kl_coef": None},
        {"learning_rate_warmup": 1, "optimizer": "rmsprop", "clip_eps_schedule": "cosine"},
        {"hidden_sizes": ()},
        {"num_envs": np.int64(8)},
        {"learning_rate": np.float32(0.1)},
        {"log_std_init": -3.5},
    ],
)
def test_edges_of_the_ranges_are_accepted(changes: dict[str, Any]) -> None:
    PPOConfig(**changes)


def test_a_config_error_is_a_value_error() -> None:
    assert issubclass(ConfigError, ValueError)


def test_values_are_brought_to_one_form_and_mappings_copied() -> None:
    config = PPOConfig(hidden_sizes=[32, 16], conv_channels=[4], gamma=1, max_grad_norm=2)  # type: ignore[arg-type]
    assert config.hidden_sizes == (32, 16)
    assert config.conv_channels == (4,)
    assert type(config.gamma) is float
    assert type(config.max_grad_norm) is float
    assert type(config.num_envs) is int
    params = {"gravity": 5.0}
    config = PPOConfig(env_params=params)
    params["gravity"] = 1.0
    assert config.env_params == {"gravity": 5.0}


def test_replace_checks_anew_and_nothing_changes_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PPOConfig().gamma = 0.5  # type: ignore[misc]
    assert PPOConfig().replace(gamma=0.5) == PPOConfig(gamma=0.5)
    with pytest.raises(ConfigError, match="gamma"):
        PPOConfig().replace(gamma=2.0)
    with pytest.raises(TypeError, match="gama"):
        PPOConfig().replace(gama=0.5)


def test_derived_sizes() -> None:
    config = PPOConfig(num_envs=6, num_steps=10, num_minibatches=4, total_steps=299)
    assert config.batch_size == 60  # 6 * 10
    assert config.minibatch_size == 15  # 60 / 4
    assert config.num_updates == 4  # 299 = 4 * 60 + 59


# As a pytree


def full_config() -> PPOConfig:
    """A config in which every coefficient is a number and has an effect."""
    return PPOConfig(
        env_id="Pendulum-v1",
        env_params={"g": 10.0},
        total_steps=96,
        num_envs=4,
        num_steps=8,
        update_epochs=2,
        num_minibatches=2,
        hidden_sizes=(8,),
        optimizer="adamw",
        weight_decay=0.1,
        learning_rate_warmup=0.5,
        max_grad_norm=0.5,
        value_clip_eps=0.2,
        ent_coef=0.01,
        target_kl=1e3,
        kl_coef=0.1,
        normalize_observations=True,
        normalize_rewards=True,
    )


CHANGED = {
    "learning_rate": 3e-3,
    "learning_rate_warmup": 1.0,
    "adam_eps": 1e-2,
    "adam_eps_root": 1.0,
    "weight_decay": 1.0,
    "max_grad_norm": 0.01,
    "gamma": 0.5,
    "gae_lambda": 0.2,
    "clip_eps": 1e-4,
    "value_clip_eps": 1e-3,
    "vf_coef": 2.0,
    "ent_coef": 1.0,
    "target_kl": 1e-12,
    "kl_coef": 10.0,
    "kl_target": 1e-9,
    "normalization_clip": 0.3,
    "log_std_init": 0.5,
}


def test_leaves_are_exactly_the_coefficients_and_the_environment_parameters() -> None:
    paths, _ = jax.tree_util.tree_flatten_with_path(full_config())
    names = {jax.tree_util.keystr(path) for path, _ in paths}
    assert names == {f".{name}" for name in COEFFICIENTS} | {".env_params['g']"}


def test_flatten_and_unflatten_are_inverse() -> None:
    config = PPOConfig(env_id="DeepSea-bsuite", env_kwargs={"size": 4}, env_params={"a": 1.0})
    flat, tree = jax.tree.flatten(config)
    assert jax.tree.unflatten(tree, flat) == config
    _, other = jax.tree.flatten(config.replace(env_kwargs={"size": 5}))
    assert tree != other
    assert hash(tree) == hash(jax.tree.structure(config.replace(gamma=0.1)))


def test_rebuilding_does_not_check_values() -> None:
    """JAX puts tracers, axes and placeholders where numbers were."""
    negated = jax.tree.map(lambda leaf: -leaf, full_config())
    assert negated.gamma == -0.99
    assert negated.env_params == {"g": -10.0}
    assert negated.num_envs == 4
    assert jax.tree.map(lambda _: object(), full_config()).optimizer == "adamw"


def test_passes_through_jit_and_vmap() -> None:
    config = PPOConfig().replace(gamma=jnp.array([0.5, 0.25]))
    axes = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, config)
    doubled = jax.jit(jax.vmap(lambda c: (2 * c.gamma, c.learning_rate * c.num_envs), (axes,)))
    gamma, product = doubled(config)
    np.testing.assert_array_equal(gamma, [1.0, 0.5])
    np.testing.assert_allclose(product, [0.016, 0.016], rtol=1e-6)


def test_tracers_pass_the_checks() -> None:
    """`replace` inside a traced function checks the static fields and lets tracers through."""
    value = jax.jit(lambda gamma: PPOConfig().replace(gamma=gamma).gamma + 1)(0.5)
    assert value == 1.5
    with pytest.raises(ConfigError, match="num_envs"):
        jax.jit(lambda gamma: PPOConfig().replace(gamma=gamma, num_envs=0).gamma)(0.5)


def test_every_coefficient_changes_the_result_and_only_a_static_field_recompiles() -> None:
    assert set(CHANGED) == COEFFICIENTS
    key, config = jax.random.key(0), full_config()
    with count_compilations() as compilations:
        reference, _ = jit_train(key, config)
    assert len(compilations) >= 1, "the listener must see compilations at all"
    results = {}
    with count_compilations() as compilations:
        for name, value in CHANGED.items():
            results[name], _ = jit_train(key, config.replace(**{name: value}))
        results["env_params"], _ = jit_train(key, config.replace(env_params={"g": 3.0}))
    assert len(compilations) == 0
    for name, state in results.items():
        difference = largest_difference(
            (state.params, state.kl_coef), (reference.params, reference.kl_coef)
        )
        assert difference > 1e-6, f"{name} has no effect"
    again, _ = jit_train(key, config)
    assert_trees_equal(again, reference)
    with count_compilations() as compilations:
        jit_train(key, config.replace(update_epochs=1))
    assert len(compilations) >= 1


def test_lists_in_env_kwargs_can_be_trained_on() -> None:
    """Files know lists and no tuples; a program must be found for them all the same."""
    config = PPOConfig(env_id="FrozenLake-misc", env_kwargs={"desc": ["SF", "HG"]})
    hash(jax.tree.structure(config))
    jax.eval_shape(jit_train, jax.random.key(0), config)
