"""The actor-critic: an MLP or a CNN, with separate trunks for policy and value or a shared one."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch.nn.functional import conv2d, linear, silu

from jax_ppo.config import PPOConfig, check_image_size, conv_size, is_convolutional
from jax_ppo.shapes import check_observations
from torch_ref.distributions import Distribution
from torch_ref.envs import Environment
from torch_ref.types import Params

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "swish": silu}

TORCH_PRECISIONS = {"highest": "highest", "high": "high", "default": "high"}
"""matmul_precision as torch names it: below highest, TF32 where the hardware has it."""


class InitFn(Protocol):
    """Makes parameters."""

    def __call__(self, generator: torch.Generator) -> Params:
        """Source of random numbers, which advances -> parameters."""


class ApplyFn(Protocol):
    """Evaluates policy and value function."""

    def __call__(self, params: Params, obs: torch.Tensor) -> tuple[Distribution, torch.Tensor]:
        """Parameters, obs [batch_size, *obs_shape] -> (policy, values [batch_size])."""


class Network(NamedTuple):
    """An actor-critic as two functions; anything of this form can take its place."""

    init: InitFn
    """Makes parameters."""
    apply: ApplyFn
    """Evaluates policy and value function."""


def make_network(config: PPOConfig, env: Environment) -> Network:
    """The actor-critic that a config describes, for the environment's observations and actions.

    Args:
        config: Gives the architecture and the initializer.
        env: Gives the spaces of observations and actions.

    Raises:
        ConfigError: A CNN is asked for observations that are not images, or too small for it.
    """
    obs_shape = env.observation_space.shape
    if is_convolutional(config, obs_shape):
        check_image_size(config, obs_shape)
    return Network(
        init=partial(init_params, config=config, env=env),
        apply=partial(actor_critic, config=config, env=env),
    )


def init_params(generator: torch.Generator, config: PPOConfig, env: Environment) -> Params:
    """New parameters: weights and biases of every layer, and log_std for continuous actions.

    Args:
        generator: Source of random numbers; it advances.
        config: Gives the architecture and the initializer.
        env: Gives the spaces of observations and actions.

    Returns:
        `<layer>.weight` [out, in] of a dense layer or [out, in, height, width] of a convolution,
        and `<layer>.bias` [out], for the layers `<trunk>_conv_<i>`, `<trunk>_dense_<i>`,
        `policy_head` and `value_head`; the trunks are `policy_trunk` and `value_trunk`, or just
        `trunk` if it is shared.
    """
    obs_shape, size = env.observation_space.shape, env.action_space.output_size
    trunks = ["trunk"] if config.shared_trunk else ["policy_trunk", "value_trunk"]
    shapes = {}
    for trunk in trunks:
        shapes.update(_trunk_shapes(trunk, config, obs_shape))
    width = config.hidden_sizes[-1] if config.hidden_sizes else _num_features(config, obs_shape)
    shapes["policy_head"] = (size, width)
    shapes["value_head"] = (1, width)

    params = {}
    for name, shape in shapes.items():
        gain = {"policy_head": 0.01, "value_head": 1.0}.get(name, math.sqrt(2.0))
        weight, bias = _init_layer(generator, shape, config.initializer, gain)
        params[f"{name}.weight"] = weight
        params[f"{name}.bias"] = bias
    if env.action_space.has_log_std:
        params["log_std"] = torch.full((size,), config.log_std_init)
    return params


def actor_critic(
    params: Params, obs: torch.Tensor, config: PPOConfig, env: Environment
) -> tuple[Distribution, torch.Tensor]:
    """Map observations to a policy and to values.

    Args:
        params: As `init_params` names them.
        obs: [batch_size, *obs_shape]; images are [batch_size, height, width, channels].
        config: Gives the architecture.
        env: Its action space makes the policy of the outputs.

    Returns:
        The policy, and values [batch_size].

    Raises:
        ValueError: The observations are no batch of that shape.
    """
    check_observations(obs, env.observation_space.shape)
    if config.shared_trunk:
        policy_features = value_features = _trunk(params, "trunk", obs, config)
    else:
        policy_features = _trunk(params, "policy_trunk", obs, config)
        value_features = _trunk(params, "value_trunk", obs, config)
    policy_out = _dense(params, "policy_head", policy_features)
    values = _dense(params, "value_head", value_features)[..., 0]
    return env.action_space.distribution(policy_out, params.get("log_std")), values


@contextmanager
def matmul_precision(config: PPOConfig) -> Iterator[None]:
    """Multiply float32 matrices as config.matmul_precision says, inside a `with` block.

    PyTorch keeps this setting for the whole process; it is put back at the end of the block. It
    covers matrix products; convolutions on a GPU follow `torch.backends.cudnn` instead.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(TORCH_PRECISIONS[config.matmul_precision])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _trunk(params: Params, name: str, obs: torch.Tensor, config: PPOConfig) -> torch.Tensor:
    """Hidden layers: convolutions over [batch, height, width, channels], then dense ones."""
    activation = ACTIVATIONS[config.activation]
    x = obs
    if is_convolutional(config, tuple(obs.shape[1:])):
        x = x if x.ndim == 4 else x[..., None]
        x = x.permute(0, 3, 1, 2)  # torch convolves [batch, channels, height, width]
        for i in range(len(config.conv_channels)):
            x = activation(_conv(params, f"{name}_conv_{i}", x, config.conv_stride))
        x = x.permute(0, 2, 3, 1)
    x = x.reshape(x.shape[0], -1)
    for i in range(len(config.hidden_sizes)):
        x = activation(_dense(params, f"{name}_dense_{i}", x))
    return x


def _dense(params: Params, name: str, x: torch.Tensor) -> torch.Tensor:
    """W x + b, for x [batch, in] and W [out, in]."""
    return linear(x, params[f"{name}.weight"], params[f"{name}.bias"])


def _conv(params: Params, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    """Cross-correlation of [batch, in, height, width] with [out, in, kernel, kernel], unpadded."""
    return conv2d(x, params[f"{name}.weight"], params[f"{name}.bias"], stride)


def _trunk_shapes(
    name: str, config: PPOConfig, obs_shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a trunk, by layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    if is_convolutional(config, obs_shape):
        channels = obs_shape[2] if len(obs_shape) == 3 else 1
        for i, out in enumerate(config.conv_channels):
            kernel = (config.conv_kernel_size, config.conv_kernel_size)
            shapes[f"{name}_conv_{i}"] = (out, channels, *kernel)
            channels = out
    features = _num_features(config, obs_shape)
    for i, out in enumerate(config.hidden_sizes):
        shapes[f"{name}_dense_{i}"] = (out, features)
        features = out
    return shapes


def _num_features(config: PPOConfig, obs_shape: tuple[int, ...]) -> int:
    """Numbers that enter the first dense layer: the observation's, or the last convolution's."""
    if not is_convolutional(config, obs_shape):
        return math.prod(obs_shape)
    height, width = obs_shape[:2]
    for _ in config.conv_channels:
        height, width = conv_size(config, height), conv_size(config, width)
    return height * width * config.conv_channels[-1]


def _init_layer(
    generator: torch.Generator, shape: tuple[int, ...], initializer: str, gain: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [out, in, ...] and bias [out] of one layer.

    orthogonal: the weight, as a matrix of `out` rows, has orthogonal rows or columns, whichever are
    fewer, of length `gain`; the bias is 0.
    default: both uniform on [-1, 1] / sqrt(fan_in), as torch.nn.Linear and Conv2d begin; fan_in is
    the number of inputs that one output sees.

    Source: Saxe et al. (2014), "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks"; the default: LeCun et al. (1998), "Efficient backprop".
    """
    weight, bias = torch.zeros(shape), torch.zeros(shape[0])
    if initializer == "orthogonal":
        return torch.nn.init.orthogonal_(weight, gain, generator=generator), bias
    bound = 1.0 / math.sqrt(math.prod(shape[1:]))
    weight.uniform_(-bound, bound, generator=generator)
    bias.uniform_(-bound, bound, generator=generator)
    return weight, bias
