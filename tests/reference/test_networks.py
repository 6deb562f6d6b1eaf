"""Initial parameters, their names, and the order of an image's axes."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from jax_ppo.config import ConfigError, PPOConfig
from torch_ref import ArraySpace, ContinuousActions, DiscreteActions, Environment, make_network

DISCRETE = DiscreteActions(3)
CONTINUOUS = ContinuousActions(-torch.ones(2), torch.ones(2), (2,))


def environment(obs_shape: tuple[int, ...], actions: Any = DISCRETE) -> Environment:
    """Something to build a network for."""
    return Environment(None, None, ArraySpace(obs_shape), actions, None)  # type: ignore[arg-type]


def init(config: PPOConfig, env: Environment) -> dict[str, torch.Tensor]:
    """Parameters from seed 0."""
    return make_network(config, env).init(torch.Generator().manual_seed(0))


def assert_orthogonal(weight: torch.Tensor, gain: float) -> None:
    """The shorter of rows and columns are at right angles, each of length `gain`."""
    matrix = weight.flatten(1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(gram, gain**2 * torch.eye(len(gram)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "gain"),
    [
        ("policy_trunk_dense_0", math.sqrt(2)),
        ("policy_trunk_dense_1", math.sqrt(2)),
        ("value_trunk_dense_0", math.sqrt(2)),
        ("policy_head", 0.01),
        ("value_head", 1.0),
    ],
)
def test_dense_layers_start_orthogonal(layer: str, gain: float) -> None:
    params = init(PPOConfig(hidden_sizes=(16, 8)), environment((4,)))
    assert_orthogonal(params[f"{layer}.weight"], gain)
    assert not params[f"{layer}.bias"].any()


def test_convolutions_start_orthogonal() -> None:
    params = init(PPOConfig(conv_channels=(5,), hidden_sizes=(8,)), environment((6, 6, 2)))
    assert params["policy_trunk_conv_0.weight"].shape == (5, 2, 3, 3)
    assert_orthogonal(params["policy_trunk_conv_0.weight"], math.sqrt(2))


@pytest.mark.parametrize("obs_shape", [(40,), (8, 8, 5)])
def test_the_default_initializer_is_that_of_torch(obs_shape: tuple[int, ...]) -> None:
    """Uniform, with the bounds and spread of a layer that torch.nn builds."""
    config = PPOConfig(initializer="default", hidden_sizes=(200,), conv_channels=(40,))
    params = init(config, environment(obs_shape))
    layer = "policy_trunk_conv_0" if len(obs_shape) == 3 else "policy_trunk_dense_0"
    theirs = torch.nn.Conv2d(5, 40, 3) if len(obs_shape) == 3 else torch.nn.Linear(40, 200)
    for name, other in theirs.named_parameters():
        ours = params[f"{layer}.{name}"]
        assert ours.shape == other.shape
        bound = 1 / math.sqrt(theirs.weight[0].numel())
        for values in (ours, other.detach()):
            assert 0.8 * bound < values.abs().max() <= bound
        assert ours.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.25)


def test_names_follow_the_architecture() -> None:
    config = PPOConfig(conv_channels=(2, 2), hidden_sizes=(8,), shared_trunk=True)
    params = init(config, environment((8, 8, 3), CONTINUOUS))
    layers = ["trunk_conv_0", "trunk_conv_1", "trunk_dense_0", "policy_head", "value_head"]
    expected = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert set(params) == {*expected, "log_std"}


def test_continuous_actions_add_a_log_std_that_ignores_the_observation() -> None:
    config = PPOConfig(log_std_init=-0.5)
    env = environment((4,), CONTINUOUS)
    params = init(config, env)
    distribution, values = make_network(config, env).apply(params, torch.randn(5, 4))
    assert distribution.log_std.tolist() == [[-0.5, -0.5]] * 5
    assert values.shape == (5,)


def test_parameters_load_into_modules(generator: torch.Generator) -> None:
    config = PPOConfig(hidden_sizes=(16, 8))
    env = environment((4,))
    params = init(config, env)
    obs = torch.randn(5, 4, generator=generator)
    sizes = {"trunk_dense_0": (4, 16), "trunk_dense_1": (16, 8)}
    layers = {
        f"{kind}_{layer}": torch.nn.Linear(*size)
        for kind, outputs in (("policy", 3), ("value", 1))
        for layer, size in {**sizes, "head": (8, outputs)}.items()
    }
    module = torch.nn.ModuleDict(layers)
    module.load_state_dict(params)
    distribution, values = make_network(config, env).apply(params, obs)
    for kind, outputs in (("policy", distribution.logits), ("value", values[:, None])):
        x = obs
        for i in range(2):
            x = torch.tanh(module[f"{kind}_trunk_dense_{i}"](x))
        assert torch.equal(outputs, module[f"{kind}_head"](x))


def test_images_have_channels_last_inside_and_out() -> None:
    """Against loops over pixels, in NumPy: one convolution, flattened row by row, channels last."""
    config = PPOConfig(
        conv_channels=(3,), conv_kernel_size=2, conv_stride=2, hidden_sizes=(), activation="relu"
    )
    env = environment((5, 4, 2))
    params = {name: torch.randn(leaf.shape) for name, leaf in init(config, env).items()}
    image = torch.randn(1, 5, 4, 2)
    weights = {name: leaf.numpy() for name, leaf in params.items()}
    features = np.zeros((2, 2, 3))
    for row in range(2):
        for column in range(2):
            patch = image.numpy()[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            for channel in range(3):
                kernel = weights["value_trunk_conv_0.weight"][channel].transpose(1, 2, 0)
                total = (patch * kernel).sum() + weights["value_trunk_conv_0.bias"][channel]
                features[row, column, channel] = max(total, 0.0)
    expected = weights["value_head.weight"] @ features.reshape(-1) + weights["value_head.bias"]
    _, values = make_network(config, env).apply(params, image)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("obs_shape", [(6, 6), (6, 6, 1)])
def test_gray_images_may_come_without_a_channel(obs_shape: tuple[int, ...]) -> None:
    config = PPOConfig(network="cnn", hidden_sizes=(8,))
    env = environment(obs_shape)
    _, values = make_network(config, env).apply(init(config, env), torch.zeros(2, *obs_shape))
    assert values.shape == (2,)


@pytest.mark.parametrize(
    ("changes", "obs_shape", "message"),
    [
        ({"network": "cnn"}, (4,), "network = cnn needs image observations"),
        ({"conv_kernel_size": 4}, (3, 3, 2), "leave nothing of images"),
    ],
)
def test_what_is_refused(changes: Any, obs_shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_network(PPOConfig(**changes), environment(obs_shape))


def test_equal_generators_give_equal_parameters_and_two_trunks_start_apart() -> None:
    params, again = (init(PPOConfig(), environment((4,))) for _ in range(2))
    assert all(torch.equal(params[name], again[name]) for name in params)
    policy, value = (params[f"{kind}_trunk_dense_0.weight"] for kind in ("policy", "value"))
    assert not torch.equal(policy, value)


def test_parameters_follow_the_default_dtype(float64: None) -> None:
    params = init(PPOConfig(), environment((4,), CONTINUOUS))
    assert {leaf.dtype for leaf in params.values()} == {torch.float64}
