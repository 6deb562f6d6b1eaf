"""`learn` as a whole, from a rollout to the next state: schedules, warm-up, and own parts."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import torch

import jax_ppo
import torch_ref
from jax_ppo.adapters.torch_params import flat_params
from jax_ppo.ppo import learn as jax_learn
from parity_tests import oracle_training, oracle_update, weights
from parity_tests.checks.check import Check
from parity_tests.checks.optimizer import MOMENTUM, USUAL, Own, jax_outcome
from parity_tests.checks.tiny import BASE, Architecture
from parity_tests.checks.update import oracle_outcome, sizes, whole_check
from torch_ref.ppo import learn as torch_learn

NUM_UPDATES, UPDATE = 10, 3
"""Length of the training, and the number of the update that is compared."""

CONFIG = BASE.replace(
    total_steps=NUM_UPDATES * BASE.batch_size,
    shared_trunk=True,
    learning_rate=5e-3,
    clip_eps_schedule="cosine",
    kl_coef=0.4,
)

RMSPROP = Architecture(
    "RMSProp, cosine, warm-up",
    CONFIG.replace(optimizer="rmsprop", learning_rate_schedule="cosine", learning_rate_warmup=0.5),
)
OWN_PARTS = Architecture(
    "a user's own optimizer and schedule, Gaussian",
    CONFIG.replace(learning_rate=0.05, max_grad_norm=0.3),
    discrete=False,
)


@dataclass(frozen=True)
class Learning:
    """One update of a training, on both sides and by the oracle."""

    architecture: Architecture
    """Network and coefficients."""
    own: Own = USUAL
    """Parts of a user's own."""
    torch_learn: Any = torch_learn
    """The PyTorch side's `learn`, or a mutant of it."""

    def on_jax(self, params: Any, transitions: Any, permutations: Any) -> dict[str, Any]:
        """The JAX side; as in training, the coefficients are traced."""
        return jax.jit(self._on_jax)(self.architecture.config, params, transitions, permutations)

    def _on_jax(self, config: Any, params: Any, transitions: Any, orders: Any) -> dict[str, Any]:
        network = self.architecture.jax_network()
        state, metrics = self._learned(jax_ppo, config, network, params, transitions, orders)
        return {**jax_outcome(state.params, state.opt_state), **_rest(state, metrics)}

    def on_torch(self, params: Any, transitions: Any, permutations: Any) -> dict[str, Any]:
        """The PyTorch side."""
        config, network = self.architecture.config, self.architecture.torch_network()
        params = weights.rename_to_torch(params)
        state, metrics = self._learned(
            torch_ref, config, network, params, transitions, permutations
        )
        return {"params": state.params, **state.opt_state._asdict(), **_rest(state, metrics)}

    def _learned(
        self, package: Any, config: Any, network: Any, params: Any, transitions: Any, orders: Any
    ) -> Any:
        """State and metrics after the update of one of the packages."""
        learn, optimizer_fn = self.torch_learn, self.own.torch_optimizer
        if package is jax_ppo:
            learn, optimizer_fn = jax_learn, self.own.jax_optimizer
        return learn(
            _state(package, params, package.make_optimizer(config, 1.0, optimizer_fn), config),
            package.Rollout(package.Transition(**transitions), orders, package.Metrics()),
            config,
            network,
            optimizer_fn=optimizer_fn,
            learning_rate_schedule=self.own.schedule,
        )

    def by_oracle(self, params: Any, transitions: Any, permutations: Any) -> dict[str, Any]:
        """The independent oracle."""
        config, flat = self.architecture.config, flat_params(params)
        setting = self.architecture.setting(
            optimizer=self.own.optimizer_name(config),
            learning_rate=self.own.learning_rate(config, UPDATE),
            clip_eps=oracle_training.clip_eps_at(config, UPDATE),
        )
        updated, next_coef = oracle_training.learn(
            oracle_update.Steps(flat, (), ()),
            flat,
            transitions,
            permutations,
            config=config,
            setting=setting,
        )
        outcome = oracle_outcome(updated)
        return {**outcome, "update": np.asarray(UPDATE + 1), "kl_coef": next_coef}


def _state(package: Any, params: Any, optimizer: Any, config: Any) -> Any:
    """A training state in the middle of training, without what `learn` does not use."""
    update: Any = jax.numpy.asarray(UPDATE, jax.numpy.int32)
    own = {"key": None, "update": update, "kl_coef": config.kl_coef}
    if package is torch_ref:
        update, kl_coef = torch.tensor(UPDATE, dtype=torch.int32), torch.as_tensor(config.kl_coef)
        own = {"generator": None, "update": update, "kl_coef": kl_coef}
    return package.TrainState(params=params, opt_state=optimizer.init(params), rollout=None, **own)


def _rest(state: Any, metrics: Any) -> dict[str, Any]:
    """What an update changes beside parameters and moments, and the metrics."""
    return {"metrics": metrics, "update": state.update, "kl_coef": state.kl_coef}


def _transitions(architecture: Architecture) -> dict[str, Any]:
    """A rollout [num_steps, num_envs, ...] with an episode that terminates and one that is cut."""
    config = architecture.config
    shape = (config.num_steps, config.num_envs)
    samples = architecture.samples(config.batch_size)
    rng = np.random.default_rng(3)
    flags = np.zeros((2, *shape), bool)
    flags[0, 1, 0] = flags[1, 2, 1] = True
    return {
        "obs": samples["obs"].reshape(*shape, -1),
        "action": samples["action"].reshape(*shape, *samples["action"].shape[1:]),
        "reward": rng.normal(size=shape),
        "terminated": flags[0],
        "truncated": flags[1],
        "next_obs": rng.normal(size=(*shape, *architecture.obs_shape)),
    }


def _sizes(params: Any, *_: Any) -> dict[str, Any]:
    """As in the check of an update; a sum of gradients is of order 1."""
    common = sizes(params)
    return {
        **common,
        "nu": dict.fromkeys(common["params"], 0.1),
        "trace": dict.fromkeys(common["params"], 1.0),
        "metrics": {**common["metrics"], "kl_after_update": 1.0, "explained_variance": 1.0},
    }


def learn_check(learning: Learning) -> Check:
    """One update of a training, from its rollout."""
    transitions = _transitions(learning.architecture)
    return whole_check("learn", learning, {"transitions": transitions}, _sizes)


RMSPROP_LEARNING = Learning(RMSPROP)
OWN_LEARNING = Learning(OWN_PARTS, MOMENTUM)

CHECKS = tuple(map(learn_check, (RMSPROP_LEARNING, OWN_LEARNING)))
