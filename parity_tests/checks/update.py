"""One whole PPO update: epochs, minibatches, KL stop; parameters, moments and every metric."""

from dataclasses import dataclass
from typing import Any

import jax

import jax_ppo
import torch_ref
from jax_ppo.adapters.torch_params import flat_params, to_torch_names
from parity_tests import oracle_update, weights
from parity_tests.checks.check import Check
from parity_tests.checks.optimizer import jax_outcome
from parity_tests.checks.tiny import BASE, Architecture
from parity_tests.compare import Tolerance

FAST = BASE.replace(learning_rate=0.05, max_grad_norm=0.3)
"""Steps so long that the policy moves visibly within one update."""

ARCHITECTURES = (
    Architecture("minibatch normalization", FAST),
    Architecture(
        "batch normalization, AdamW",
        FAST.replace(
            advantage_normalization="batch",
            optimizer="adamw",
            weight_decay=0.1,
            shared_trunk=True,
            max_grad_norm=None,
        ),
    ),
    Architecture(
        "no normalization, value clipping, Gaussian",
        FAST.replace(advantage_normalization="none", value_clip_eps=0.2, shared_trunk=True),
        discrete=False,
    ),
    Architecture("KL penalty", FAST.replace(kl_coef=0.4, shared_trunk=True)),
    Architecture("KL stop at the first step", FAST.replace(target_kl=1e-6, shared_trunk=True)),
    Architecture("KL stop in the middle", FAST.replace(target_kl=0.02, shared_trunk=True)),
    Architecture("KL stop that never fires", FAST.replace(target_kl=50.0, shared_trunk=True)),
)


def sizes(params: Any, *_: Any) -> dict[str, Any]:
    """Sizes of the terms that nearly cancel in some of the results.

    A gradient is a mean of terms of order 1, of which a moment takes a tenth. A parameter moves by
    learning_rate m / sqrt(v): where its gradient is small because its terms cancel, their rounding
    is divided by it, and one learning rate of 0.05 over gradients of 0.05 makes it 1.
    """
    names = weights.rename_to_torch(params)
    return {
        "metrics": {
            **dict.fromkeys(("policy_loss", "loss", "kl"), 1.0),
            **dict.fromkeys(("approx_kl", "approx_kl_max"), 0.2),
        },
        "mu": dict.fromkeys(names, 0.1),
        "params": dict.fromkeys(names, 1.0),
    }


@dataclass(frozen=True)
class Updates:
    """The update of one architecture, on both sides and by the oracle."""

    architecture: Architecture
    """Network and coefficients."""
    torch_loss: Any = torch_ref.ppo_loss
    """The PyTorch side's loss, or a mutant of it."""

    def on_jax(self, params: Any, batch: Any, permutations: Any) -> dict[str, Any]:
        """The JAX side; as in training, the coefficients are traced."""
        return jax.jit(self._on_jax)(self.architecture.config, params, batch, permutations)

    def _on_jax(self, config: Any, params: Any, batch: Any, permutations: Any) -> dict[str, Any]:
        parts = {"network": self.architecture.jax_network()}
        learner, metrics = self._update(jax_ppo, config, params, batch, permutations, **parts)
        return {**jax_outcome(learner.params, learner.opt_state), "metrics": metrics}

    def on_torch(self, params: Any, batch: Any, permutations: Any) -> dict[str, Any]:
        """The PyTorch side."""
        config, params = self.architecture.config, weights.rename_to_torch(params)
        parts = {"network": self.architecture.torch_network(), "loss_fn": self.torch_loss}
        learner, metrics = self._update(torch_ref, config, params, batch, permutations, **parts)
        return {"params": learner.params, **learner.opt_state._asdict(), "metrics": metrics}

    def by_oracle(self, params: Any, batch: Any, permutations: Any) -> dict[str, Any]:
        """The independent oracle."""
        setting = self.architecture.setting()
        start = oracle_update.Steps(flat_params(params), (), ())
        updated = oracle_update.update_policy(start, batch, permutations, setting)
        return oracle_outcome(updated)

    def _update(
        self, package: Any, config: Any, params: Any, batch: Any, permutations: Any, **parts: Any
    ) -> Any:
        """Learner and metrics of one of the packages."""
        opt_state = package.make_optimizer(config, config.learning_rate).init(params)
        coefficients = config.learning_rate, config.clip_eps, config.kl_coef
        return package.update_policy(
            package.Learner.start(params, opt_state),
            self.architecture.batch(package, batch),
            permutations,
            config,
            coefficients=package.UpdateCoefficients(*coefficients),
            **parts,
        )


def update_check(architecture: Architecture, torch_loss: Any = torch_ref.ppo_loss) -> Check:
    """One update of one architecture."""
    samples = architecture.samples(architecture.config.batch_size)
    return whole_check("update", Updates(architecture, torch_loss), {"batch": samples}, sizes)


def whole_check(what: str, updates: Any, samples: dict[str, Any], terms: Any) -> Check:
    """A check of `Updates`, or of anything else that has an architecture and the same methods."""
    architecture = updates.architecture
    return Check(
        level=5,
        name=f"{what}: {architecture.name}",
        jax_fn=updates.on_jax,
        torch_fn=updates.on_torch,
        inputs={
            "params": architecture.params(),
            **samples,
            "permutations": architecture.permutations(),
        },
        oracle=updates.by_oracle,
        gradients=False,
        samples=1,
        terms=terms,
        tolerance=Tolerance(8, 0, oracle_value=80),
    )


def oracle_outcome(updated: oracle_update.Updated) -> dict[str, Any]:
    """The oracle's parameters, moments and metrics, under PyTorch's names."""
    moments = {
        name: to_torch_names(value) if isinstance(value, dict) else value
        for name, value in updated.moments.items()
    }
    params = to_torch_names(updated.params)
    return {"params": params, **moments, "metrics": updated.metrics}


CHECKS = tuple(update_check(architecture) for architecture in ARCHITECTURES)
