"""The actor-critic: an MLP or a CNN, with separate trunks for policy and value or a shared one."""

import math
from functools import partial
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_ppo.config import PPOConfig, check_image_size, is_convolutional
from jax_ppo.distributions import Distribution
from jax_ppo.envs import Environment
from jax_ppo.kernels.orthogonal import orthogonal_kernel
from jax_ppo.kernels.products import convolution, dense_product
from jax_ppo.shapes import check_observations
from jax_ppo.spaces import ActionSpace, zero_observations
from jax_ppo.types import Params

ACTIVATIONS = {"tanh": jnp.tanh, "relu": nn.relu, "swish": nn.swish}


class InitFn(Protocol):
    """Makes parameters."""

    def __call__(self, key: jax.Array) -> Params:
        """Random key -> parameters."""


class ApplyFn(Protocol):
    """Evaluates policy and value function."""

    def __call__(self, params: Params, obs: jax.Array) -> tuple[Distribution, jax.Array]:
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
        ConfigError: network = cnn, but observations are no images, or too small for it.
    """
    obs_shape = env.observation_space.shape
    convolutional = is_convolutional(config, obs_shape)
    if convolutional:
        check_image_size(config, obs_shape)
    module = ActorCritic(env.action_space, config, convolutional)
    sample_obs = zero_observations(env.observation_space, 1)
    return Network(
        init=lambda key: module.init(key, sample_obs),
        apply=partial(_apply, module, obs_shape),
    )


def _apply(
    module: nn.Module, obs_shape: tuple[int, ...], params: Params, obs: jax.Array
) -> tuple[Distribution, jax.Array]:
    """The module on a batch of observations."""
    check_observations(obs, obs_shape)
    result: tuple[Distribution, jax.Array] = module.apply(params, obs)  # type: ignore[assignment]
    return result


class ActorCritic(nn.Module):
    """Maps observations to a policy and to values."""

    action_space: ActionSpace
    """Gives the size of the policy's output and the distribution made of it."""
    config: PPOConfig
    """Gives layer sizes, activation, initializer and log_std_init."""
    convolutional: bool
    """Whether convolutions come before the dense layers."""

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[Distribution, jax.Array]:
        """(policy, values [batch_size]) for obs [batch_size, *obs_shape]."""
        if self.config.shared_trunk:
            policy_features = value_features = self._trunk("trunk", obs)
        else:
            policy_features = self._trunk("policy_trunk", obs)
            value_features = self._trunk("value_trunk", obs)
        size = self.action_space.output_size
        policy_out = self._dense("policy_head", size, gain=0.01)(policy_features)
        values = self._dense("value_head", 1, gain=1.0)(value_features)[..., 0]
        log_std = None
        if self.action_space.has_log_std:
            init = nn.initializers.constant(self.config.log_std_init)
            log_std = self.param("log_std", init, (size,), policy_out.dtype)
        return self.action_space.distribution(policy_out, log_std), values

    def _trunk(self, name: str, obs: jax.Array) -> jax.Array:
        """Hidden layers: convolutions over [batch, height, width, channels], then dense ones."""
        activation = ACTIVATIONS[self.config.activation]
        x = obs
        if self.convolutional:
            x = x if x.ndim == 4 else x[..., None]
            for i, channels in enumerate(self.config.conv_channels):
                x = activation(self._conv(f"{name}_conv_{i}", channels)(x))
        x = x.reshape(x.shape[0], -1)
        for i, size in enumerate(self.config.hidden_sizes):
            x = activation(self._dense(f"{name}_dense_{i}", size, gain=math.sqrt(2.0))(x))
        return x

    def _dense(self, name: str, features: int, gain: float) -> nn.Dense:
        return nn.Dense(
            features, name=name, dot_general=_rows_by_columns, **self._layer_options(gain)
        )

    def _conv(self, name: str, features: int) -> nn.Conv:
        return nn.Conv(
            features,
            kernel_size=(self.config.conv_kernel_size,) * 2,
            strides=self.config.conv_stride,
            padding="VALID",
            name=name,
            conv_general_dilated=partial(_patches_by_kernel, stride=self.config.conv_stride),
            **self._layer_options(math.sqrt(2.0)),
        )

    def _layer_options(self, gain: float) -> dict[str, Any]:
        """Floating-point type, and the initializer if it is not the framework's own."""
        options: dict[str, Any] = {"param_dtype": jnp.result_type(float)}
        if not self.is_initializing():
            # Flax calls the initializer for the shape of a kernel each time that the network is
            # applied, so the cheapest initializer is used.
            options["kernel_init"] = nn.initializers.zeros
        elif self.config.initializer == "orthogonal":
            options["kernel_init"] = partial(orthogonal_kernel, gain=gain)
        return options


def _rows_by_columns(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """`dense_product` in the place that flax has for `jax.lax.dot_general`."""
    return dense_product(x, kernel)


def _patches_by_kernel(
    x: jax.Array, kernel: jax.Array, *_: Any, stride: int, **__: Any
) -> jax.Array:
    """`convolution` in the place that flax has for `jax.lax.conv_general_dilated`."""
    return convolution(x, kernel, stride)
