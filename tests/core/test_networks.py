"""The actor-critic: shapes, initial values and what policy and value share."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo import (
    ArraySpace,
    Categorical,
    ConfigError,
    ContinuousActions,
    DiagGaussian,
    DiscreteActions,
    Environment,
    Network,
    PPOConfig,
    make_network,
)

DISCRETE = DiscreteActions(3)
CONTINUOUS = ContinuousActions(-jnp.ones(2), jnp.ones(2), (2,))


def environment(obs_shape: tuple[int, ...], actions: Any) -> Environment:
    """An environment of which only the spaces matter."""

    def never(*_: Any) -> Any:
        raise AssertionError("a network does not step environments")

    return Environment(never, never, ArraySpace(obs_shape), actions, None)


def build(
    obs_shape: tuple[int, ...], actions: Any, **changes: Any
) -> tuple[Network, Any, jax.Array]:
    """A network, its parameters and five random observations."""
    network = make_network(PPOConfig(**changes), environment(obs_shape, actions))
    obs = jax.random.normal(jax.random.key(9), (5, *obs_shape))
    return network, network.init(jax.random.key(0)), obs


def layers(params: Any) -> dict[str, dict[str, np.ndarray]]:
    """Kernels and biases by the layer's name."""
    return {
        name: {k: np.asarray(v) for k, v in layer.items()}
        for name, layer in params["params"].items()
        if isinstance(layer, dict)
    }


@pytest.mark.parametrize("shared_trunk", [False, True], ids=["separate", "shared"])
@pytest.mark.parametrize(
    ("obs_shape", "network"),
    [
        ((4,), "auto"),
        ((4,), "mlp"),
        ((2, 3), "auto"),
        ((5, 6), "cnn"),
        ((5, 6, 2), "auto"),
        ((5, 6, 2), "mlp"),
        ((1,), "auto"),
    ],
)
@pytest.mark.parametrize("actions", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_output_shapes(
    obs_shape: tuple[int, ...], network: str, shared_trunk: bool, actions: Any
) -> None:
    config = PPOConfig(
        network=network,  # type: ignore[arg-type]
        hidden_sizes=(8,),
        conv_channels=(2,),
        shared_trunk=shared_trunk,
    )
    net = make_network(config, environment(obs_shape, actions))
    params = jax.eval_shape(net.init, jax.random.key(0))
    distribution, values = jax.eval_shape(net.apply, params, jnp.zeros((5, *obs_shape)))
    assert values.shape == (5,)
    assert values.dtype == jnp.float32
    if actions is DISCRETE:
        assert isinstance(distribution, Categorical)
        assert distribution.logits.shape == (5, 3)
    else:
        assert isinstance(distribution, DiagGaussian)
        assert distribution.mean.shape == distribution.log_std.shape == (5, 2)
    has_convolution = any("conv" in name for name in params["params"])
    assert has_convolution == (network == "cnn" or (network == "auto" and len(obs_shape) == 3))


def test_an_mlp_by_hand() -> None:
    """tanh(tanh(x W0 + b0) W1 + b1) W + b, with the biases made non-zero."""
    network, params, obs = build((4,), DISCRETE, hidden_sizes=(6, 5))
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    distribution, values = network.apply(params, obs)
    layer = layers(params)

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ layer[name]["kernel"].astype(float) + layer[name]["bias"]

    x = np.asarray(obs, np.float64)
    policy = np.tanh(dense("policy_trunk_dense_1", np.tanh(dense("policy_trunk_dense_0", x))))
    value = np.tanh(dense("value_trunk_dense_1", np.tanh(dense("value_trunk_dense_0", x))))
    assert isinstance(distribution, Categorical)
    np.testing.assert_allclose(distribution.logits, dense("policy_head", policy), atol=2e-6)
    np.testing.assert_allclose(values, dense("value_head", value)[:, 0], atol=2e-6)


def test_a_convolution_by_hand() -> None:
    """Stride 2, kernel 2 x 2, no padding, over [height, width, channels]; relu; flattened."""
    network, params, obs = build(
        (4, 5, 2),
        DISCRETE,
        conv_channels=(3,),
        conv_kernel_size=2,
        conv_stride=2,
        hidden_sizes=(),
        activation="relu",
    )
    distribution, _ = network.apply(params, obs)
    layer = layers(params)
    kernel = layer["policy_trunk_conv_0"]["kernel"].astype(float)
    assert kernel.shape == (2, 2, 2, 3)
    x = np.asarray(obs, np.float64)
    features = np.zeros((5, 2, 2, 3))
    for i in range(2):
        for j in range(2):
            patch = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            features[:, i, j] = np.tensordot(patch, kernel, axes=3)
    features = np.maximum(features, 0).reshape(5, 12)
    assert isinstance(distribution, Categorical)
    np.testing.assert_allclose(
        distribution.logits, features @ layer["policy_head"]["kernel"].astype(float), atol=1e-6
    )


@pytest.mark.parametrize("shared_trunk", [False, True], ids=["separate", "shared"])
def test_orthogonal_kernels_with_the_right_gains(shared_trunk: bool) -> None:
    _, params, _ = build(
        (6, 6, 2),
        DISCRETE,
        hidden_sizes=(16, 8),
        conv_channels=(4,),
        shared_trunk=shared_trunk,
    )
    gains = {"policy_head": 0.01, "value_head": 1.0}
    named = layers(params)
    assert len(named) == 2 + 3 * (1 if shared_trunk else 2)
    for name, layer in named.items():
        np.testing.assert_array_equal(layer["bias"], 0)
        kernel = layer["kernel"].reshape(-1, layer["kernel"].shape[-1]).astype(np.float64)
        square = kernel.T @ kernel if len(kernel) >= kernel.shape[1] else kernel @ kernel.T
        gain = gains.get(name, math.sqrt(2.0))
        np.testing.assert_allclose(square, gain**2 * np.eye(len(square)), atol=1e-5 * gain**2)


def test_layers_start_from_different_random_numbers() -> None:
    _, params, _ = build((4,), DISCRETE, hidden_sizes=(8, 8))
    named = layers(params)
    kernels = [layer["kernel"] for layer in named.values()]
    for i, one in enumerate(kernels):
        for other in kernels[:i]:
            assert one.shape != other.shape or not np.allclose(one, other)


def test_default_initializer_is_another() -> None:
    _, orthogonal, _ = build((4,), DISCRETE, hidden_sizes=(64,))
    _, default, _ = build((4,), DISCRETE, hidden_sizes=(64,), initializer="default")
    kernel = layers(default)["policy_head"]["kernel"]
    # flax: a truncated normal of variance 1 / 64, so deviation 0.125 (192 draws: +- 5 %); the
    # orthogonal head has 0.01 / sqrt(64) = 0.00125
    assert 0.1 < kernel.std() < 0.15
    assert layers(orthogonal)["policy_head"]["kernel"].std() < 0.002


def test_the_first_policy_is_nearly_uniform() -> None:
    network, params, obs = build((4,), DISCRETE)
    distribution, _ = network.apply(params, obs)
    # logits of order 0.01: the entropy falls short of log 3 by their variance / 2
    np.testing.assert_allclose(distribution.entropy(), np.log(3.0), atol=1e-3)


def test_log_std_starts_where_the_config_says_and_ignores_the_observation() -> None:
    network, params, obs = build((4,), CONTINUOUS, log_std_init=-0.7)
    np.testing.assert_allclose(params["params"]["log_std"], [-0.7, -0.7], rtol=1e-6)
    changed = {"params": {**params["params"], "log_std": jnp.array([0.1, 0.2])}}
    distribution, _ = network.apply(changed, obs)
    assert isinstance(distribution, DiagGaussian)
    np.testing.assert_allclose(distribution.log_std, np.tile([0.1, 0.2], (5, 1)), rtol=1e-6)


def gradient_names(which: str, shared_trunk: bool) -> set[str]:
    """Names of the layers that the value, or the policy, depends on."""
    network, params, obs = build((4,), DISCRETE, hidden_sizes=(8,), shared_trunk=shared_trunk)

    def output(params: Any) -> jax.Array:
        distribution, values = network.apply(params, obs)
        return jnp.sum(
            values if which == "value" else distribution.log_prob(jnp.zeros(5, jnp.int32))
        )

    gradient = jax.grad(output)(params)["params"]
    return {
        name
        for name, layer in gradient.items()
        if any(float(jnp.max(jnp.abs(leaf))) > 0 for leaf in jax.tree.leaves(layer))
    }


def test_separate_trunks_share_nothing() -> None:
    assert gradient_names("value", shared_trunk=False) == {"value_head", "value_trunk_dense_0"}
    assert gradient_names("policy", shared_trunk=False) == {"policy_head", "policy_trunk_dense_0"}


def test_a_shared_trunk_is_shared() -> None:
    assert gradient_names("value", shared_trunk=True) == {"value_head", "trunk_dense_0"}
    assert gradient_names("policy", shared_trunk=True) == {"policy_head", "trunk_dense_0"}


@pytest.mark.parametrize("activation", ["tanh", "relu", "swish"])
def test_activation(activation: str) -> None:
    """One hidden unit with weight 1 and a value head with weight 1: the value is f(x)."""
    network, params, _ = build((1,), DISCRETE, hidden_sizes=(1,), activation=activation)
    params = jax.tree.map(lambda leaf: jnp.ones_like(leaf) * (leaf.ndim > 1), params)
    x = np.array([-2.0, -0.5, 0.0, 1.5])
    _, values = network.apply(params, jnp.asarray(x, jnp.float32)[:, None])
    expected = {"tanh": np.tanh(x), "relu": np.maximum(x, 0), "swish": x / (1 + np.exp(-x))}
    np.testing.assert_allclose(values, expected[activation], atol=1e-6)


def test_samples_do_not_mix() -> None:
    network, params, obs = build((6, 6, 2), DISCRETE, hidden_sizes=(8,), conv_channels=(2,))
    _, together = network.apply(params, obs)
    for i in range(5):
        _, alone = network.apply(params, obs[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-5)


@pytest.mark.parametrize("obs_shape", [(4,), (1,), (3, 3, 3, 3)])
def test_a_cnn_needs_images(obs_shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="network = mlp"):
        make_network(PPOConfig(network="cnn"), environment(obs_shape, DISCRETE))


@pytest.mark.parametrize(
    "changes",
    [
        {"conv_kernel_size": 4},
        {"conv_channels": (2, 2)},
        {"conv_kernel_size": 99, "conv_stride": 2},
    ],
    ids=["kernel", "depth", "huge"],
)
def test_convolutions_larger_than_the_image_are_refused(changes: dict[str, Any]) -> None:
    """VALID padding would leave an empty image, and a network that sees nothing at all."""
    config = PPOConfig(network="cnn", hidden_sizes=(8,), **changes)
    with pytest.raises(ConfigError, match="conv"):
        make_network(config, environment((3, 3, 2), DISCRETE))
