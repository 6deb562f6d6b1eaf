"""The KL stop, what metrics average over, and that nothing given is changed."""

from typing import Any

import pytest
import torch

from jax_ppo.config import ConfigError, PPOConfig
from torch_ref import (
    Batch,
    Categorical,
    Learner,
    Metrics,
    Network,
    UpdateCoefficients,
    gradient_step,
    make_optimizer,
    update_policy,
)

# V(s) = s . theta and loss = mean(V): the gradient of theta is the mean observation. What the
# minibatch's approx_kl is stands in the batch's old values, so that a test decides when to stop.

NETWORK = Network(
    init=lambda generator: {"theta": torch.tensor([1.0, -2.0]), "unused": torch.tensor([7.0])},
    apply=lambda params, obs: (Categorical(torch.zeros(len(obs), 2)), obs @ params["theta"]),
)
CONFIG = PPOConfig(
    num_envs=2,
    num_steps=4,
    num_minibatches=4,
    update_epochs=2,
    total_steps=8,
    advantage_normalization="none",
    max_grad_norm=None,
)
ORDER = torch.arange(8).expand(2, 8)
COEFFICIENTS = UpdateCoefficients(0.1, 0.2, None)


def mean_value(_: Any, values: torch.Tensor, batch: Batch, *__: Any, **___: Any) -> Any:
    """The loss."""
    return torch.mean(values), Metrics(approx_kl=torch.mean(batch.old_value))


def samples(approx_kl: list[float]) -> Batch:
    """Eight samples in four pairs of the given divergence."""
    generator = torch.Generator().manual_seed(0)
    return Batch(
        obs=torch.randn(8, 2, generator=generator),
        action=torch.zeros(8, dtype=torch.int64),
        old_distribution=None,
        old_log_prob=torch.zeros(8),
        old_value=torch.tensor(approx_kl).repeat_interleave(2),
        advantages=torch.arange(8.0),
        returns=torch.arange(8.0),
    )


PARTS = {"coefficients": COEFFICIENTS, "loss_fn": mean_value}


def start(config: PPOConfig = CONFIG) -> Learner:
    """The initial parameters, before any gradient step."""
    params = NETWORK.init(torch.Generator())
    return Learner.start(params, make_optimizer(config, 1.0).init(params))


def run(config: PPOConfig, batch: Batch, learner: Learner | None = None) -> Any:
    """update_policy from the initial parameters: parameters, optimizer state and metrics."""
    learner, metrics = update_policy(
        learner or start(config), batch, ORDER, config, network=NETWORK, **PARTS
    )
    return learner.params, learner.opt_state, metrics


def test_without_a_target_every_step_is_taken() -> None:
    _, opt_state, metrics = run(CONFIG, samples([0.1, 0.2, 0.3, 99.0]))
    assert metrics.gradient_steps == opt_state.count == 8
    assert metrics.kl_stop == 0
    torch.testing.assert_close(metrics.approx_kl, torch.tensor(99.6 / 4))


def test_no_step_is_taken_from_the_first_violation_on() -> None:
    batch = samples([0.1, 0.3, 0.9, 0.0])
    params, opt_state, metrics = run(CONFIG.replace(target_kl=0.5), batch)
    learner, norms = start(), []
    for rows in ([0, 1], [2, 3]):
        pair = Batch(**{n: v if v is None else v[rows] for n, v in vars(batch).items()})
        learner, one = gradient_step(learner, pair, CONFIG, NETWORK, **PARTS)
        norms.append(one.grad_norm)
    assert torch.equal(params["theta"], learner.params["theta"])
    assert metrics.gradient_steps == opt_state.count == 2
    assert metrics.kl_stop == 1
    # The averages are over the two steps that were taken.
    torch.testing.assert_close(metrics.approx_kl, torch.tensor(0.2))
    torch.testing.assert_close(metrics.grad_norm, torch.stack(norms).mean())


def test_a_stop_at_the_first_minibatch_reports_that_one() -> None:
    params, opt_state, metrics = run(CONFIG.replace(target_kl=0.5), samples([0.8, 0.1, 0.2, 0.3]))
    assert torch.equal(params["theta"], torch.tensor([1.0, -2.0]))
    assert metrics.gradient_steps == opt_state.count == 0
    assert metrics.kl_stop == 1
    torch.testing.assert_close(metrics.approx_kl, torch.tensor(0.8))


def test_a_divergence_equal_to_the_target_does_not_stop() -> None:
    _, _, metrics = run(CONFIG.replace(target_kl=0.5), samples([0.5] * 4))
    assert metrics.kl_stop == 0


def test_a_stopped_learner_stays_stopped() -> None:
    learner = start()._replace(stopped=torch.tensor(True))
    config = CONFIG.replace(target_kl=0.5)
    after, _ = gradient_step(learner, samples([0.0] * 4), config, NETWORK, **PARTS)
    assert after.stopped
    assert after.opt_state.count == 0
    assert torch.equal(after.params["theta"], learner.params["theta"])


def test_a_parameter_that_the_loss_ignores_stays() -> None:
    params, opt_state, _ = run(CONFIG, samples([0.0] * 4))
    assert params["unused"] == 7
    assert opt_state.mu["unused"] == 0


def test_the_results_hold_no_graph() -> None:
    params, opt_state, metrics = run(CONFIG, samples([0.0] * 4))
    for tree in (params, opt_state.mu, opt_state.nu, metrics.as_dict()):
        assert not any(leaf.requires_grad for leaf in tree.values())


def test_a_metric_of_the_loss_is_a_scalar() -> None:
    def loss_fn(_: Any, values: torch.Tensor, *__: Any, **___: Any) -> Any:
        return torch.mean(values), Metrics(extra={"values": values})

    with pytest.raises(ConfigError, match=r"loss_fn: the metric values has shape \[8\]"):
        gradient_step(
            start(), samples([0.0] * 4), CONFIG, NETWORK, coefficients=COEFFICIENTS, loss_fn=loss_fn
        )


@pytest.mark.parametrize("normalization", ["minibatch", "batch", "none"])
def test_no_argument_is_changed(normalization: Any) -> None:
    config = CONFIG.replace(advantage_normalization=normalization)
    params, opt_state, _ = learner = start(config)
    batch = samples([0.0] * 4)
    given = (params, opt_state.mu, opt_state.nu, vars(batch))
    copies = [{n: v if v is None else v.clone() for n, v in tree.items()} for tree in given]
    run(config, batch, learner)
    assert opt_state.count == 0
    assert not params["theta"].requires_grad
    for tree, copy in zip(given, copies, strict=True):
        assert all(v is None or torch.equal(v, tree[name]) for name, v in copy.items())
