"""Actor-critics small enough to differentiate without autodiff, in every architecture."""

from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np

import jax_ppo
import torch_ref
from jax_ppo.adapters.torch_params import flat_params
from parity_tests import oracle_update, weights

NUM_OUTPUTS = 2


@dataclass(frozen=True)
class Architecture:
    """A network on both sides, and samples for it."""

    name: str
    """What the reports call it."""
    config: jax_ppo.PPOConfig
    """Architecture and coefficients."""
    obs_shape: tuple[int, ...] = (2,)
    """Shape of one observation."""
    discrete: bool = True
    """Whether actions are discrete."""

    def jax_network(self) -> Any:
        """The JAX side."""
        return self._network(jax_ppo)

    def torch_network(self) -> Any:
        """The PyTorch side."""
        return self._network(torch_ref)

    def _network(self, package: Any) -> Any:
        """The network of one of the packages."""
        space, actions = package.ArraySpace(self.obs_shape), self.action_space(package)
        env = package.Environment(_unused, _unused, space, actions, None)
        return package.make_network(self.config, env)

    def action_space(self, package: Any) -> Any:
        """NUM_OUTPUTS actions, or as many dimensions between -1 and 1, of one of the packages."""
        if self.discrete:
            return package.DiscreteActions(NUM_OUTPUTS)
        ones = np.ones(NUM_OUTPUTS)
        bound = weights.to_tensor(ones) if package is torch_ref else jax.numpy.asarray(ones)
        return package.ContinuousActions(-bound, bound, (NUM_OUTPUTS,))

    def setting(self, **changes: Any) -> oracle_update.Setting:
        """The settings of the oracle: those of the config, by the same names."""
        names = {field.name for field in fields(oracle_update.Setting)} - {"discrete", *changes}
        same = {name: getattr(self.config, name) for name in names}
        return oracle_update.Setting(discrete=self.discrete, **same, **changes)

    def params(self, seed: int = 0) -> dict[str, Any]:
        """Parameters of order one in flax's layout, float64: biases and log_std too are random."""
        shapes = jax.eval_shape(self.jax_network().init, jax.random.key(0))
        rng = np.random.default_rng(seed)
        return jax.tree.map(lambda leaf: rng.normal(0.0, 0.5, leaf.shape), shapes)

    def samples(self, batch_size: int, seed: int = 1) -> dict[str, Any]:
        """A batch whose policy has moved: ratios around one, some outside the clip band."""
        rng = np.random.default_rng(seed)
        obs = rng.normal(size=(batch_size, *self.obs_shape))
        shape = (batch_size,) if self.discrete else (batch_size, NUM_OUTPUTS)
        action = rng.integers(0, NUM_OUTPUTS, shape) if self.discrete else rng.normal(size=shape)
        params = flat_params(self.params())
        policy, values = oracle_update.actor_critic(params, obs, self.setting())
        old_policy = policy + rng.normal(0.0, 0.1, policy.shape)
        old_log_std = params["log_std"] + 0.1 if not self.discrete else None
        log_prob, _ = oracle_update.log_prob_and_entropy(
            old_policy, old_log_std, action, self.setting()
        )
        advantages = rng.normal(size=batch_size)
        old_value = values + rng.normal(0.0, 0.3, batch_size)
        batch: dict[str, Any] = {
            "obs": obs,
            "action": action,
            "old_policy": old_policy,
            "old_log_prob": np.asarray(log_prob, np.float64) + rng.normal(0.0, 0.25, batch_size),
            "old_value": old_value,
            "advantages": advantages,
            "returns": advantages + old_value,
        }
        return batch if self.discrete else {**batch, "old_log_std": old_log_std}

    def permutations(self) -> np.ndarray:
        """The order of the samples in each epoch [update_epochs, batch_size]."""
        rng = np.random.default_rng(2)
        epochs = range(self.config.update_epochs)
        return np.stack([rng.permutation(self.config.batch_size) for _ in epochs])

    def old_distribution(self, package: Any, batch: dict[str, Any]) -> Any:
        """The policy that collected the samples; None without a KL penalty."""
        if self.config.kl_coef is None:
            return None
        if self.discrete:
            return package.Categorical(batch["old_policy"])
        log_std = batch["old_log_std"][None].repeat(*_rows(package, batch))
        return package.DiagGaussian(batch["old_policy"], log_std)

    def batch(self, package: Any, batch: dict[str, Any]) -> Any:
        """Samples as one of the packages takes them."""
        names = ("obs", "action", "old_log_prob", "old_value", "advantages", "returns")
        old_distribution = self.old_distribution(package, batch)
        return package.Batch(old_distribution=old_distribution, **{n: batch[n] for n in names})


def _rows(package: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
    """Arguments that make `repeat` copy the first axis, in either framework."""
    size = len(batch["old_policy"])
    return (size, 1) if package is torch_ref else (size, 0)


def _unused(*_: Any) -> Any:
    raise AssertionError("no environment is stepped here")


BASE = jax_ppo.PPOConfig(
    num_envs=2,
    num_steps=4,
    update_epochs=2,
    num_minibatches=2,
    total_steps=8,
    hidden_sizes=(3,),
    vf_coef=0.7,
    ent_coef=0.03,
)
"""Eight samples, four gradient steps, every term of the loss with a weight of its own."""

IMAGES: dict[str, Any] = {
    "network": "cnn",
    "conv_channels": (2,),
    "conv_kernel_size": 2,
    "hidden_sizes": (2,),
    "activation": "swish",
}

ARCHITECTURES = (
    Architecture("MLP", BASE),
    Architecture("MLP, shared trunk", BASE.replace(shared_trunk=True, value_clip_eps=0.2)),
    Architecture("MLP, Gaussian", BASE, discrete=False),
    Architecture(
        "MLP, Gaussian, KL penalty", BASE.replace(shared_trunk=True, kl_coef=0.4), discrete=False
    ),
    Architecture("MLP, KL penalty", BASE.replace(hidden_sizes=(2, 2), kl_coef=0.4)),
    Architecture("CNN", BASE.replace(**IMAGES, shared_trunk=True), obs_shape=(4, 3, 2)),
    Architecture(
        "CNN, stride 2, no channels",
        BASE.replace(**IMAGES, conv_stride=2, shared_trunk=True),
        obs_shape=(5, 4),
        discrete=False,
    ),
)
