"""An independent oracle of the whole: network, loss and one PPO update, in NumPy, without autodiff.

Convolutions are sums over windows, gradients are central differences, moments are explicit sums.
Everything keeps the type of its arguments. Parameters are flax's, by dotted name: `layer.kernel`
and `layer.bias`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from parity_tests import oracles
from parity_tests.derivatives import central_differences
from parity_tests.measure import wide

Array = oracles.Array
Params = oracles.Arrays


@dataclass(frozen=True)
class Setting:
    """The settings of the network and of the update."""

    discrete: bool
    """Whether actions are discrete."""
    activation: str = "tanh"
    """tanh, relu or swish."""
    conv_stride: int = 1
    """Stride of every convolution."""
    clip_eps: Any = 0.2
    """Half width of the clip band."""
    value_clip_eps: Any = None
    """The same for values; None for none."""
    vf_coef: Any = 0.5
    """Weight of the value loss."""
    ent_coef: Any = 0.0
    """Weight of the entropy."""
    kl_coef: Any = None
    """Weight of the KL penalty; None for none."""
    target_kl: Any = None
    """Where an update stops; None for nowhere."""
    advantage_normalization: str = "minibatch"
    """minibatch, batch or none."""
    num_minibatches: int = 1
    """Parts of each epoch."""
    optimizer: str = "adam"
    """A name of `oracles.OPTIMIZERS`."""
    learning_rate: Any = 1e-3
    """Step size."""
    adam_eps: Any = 1e-5
    """Added to the root."""
    adam_eps_root: Any = 0.0
    """Added under it."""
    weight_decay: Any = 0.0
    """Decoupled decay."""
    max_grad_norm: Any = None
    """Largest gradient norm; None for none."""


def actor_critic(params: Params, obs: Array, setting: Setting) -> tuple[Array, Array]:
    """(logits or means [batch_size, n], values [batch_size]), of a shared trunk or two."""
    shared = any(name.startswith("trunk_") for name in params)
    trunks = ("trunk", "trunk") if shared else ("policy_trunk", "value_trunk")
    policy_features, value_features = (_trunk(params, name, obs, setting) for name in trunks)
    policy = _dense(params, "policy_head", policy_features)
    return policy, _dense(params, "value_head", value_features)[:, 0]


def _trunk(params: Params, name: str, obs: Array, setting: Setting) -> Array:
    x, i = (obs[..., None] if obs.ndim == 3 else obs), 0
    while f"{name}_conv_{i}.kernel" in params:
        x = _activate(_conv(params, f"{name}_conv_{i}", x, setting.conv_stride), setting)
        i += 1
    x, i = x.reshape(len(x), -1), 0
    while f"{name}_dense_{i}.kernel" in params:
        x, i = _activate(_dense(params, f"{name}_dense_{i}", x), setting), i + 1
    return x


def _dense(params: Params, name: str, x: Array) -> Array:
    """out_j = sum_i in_i kernel_ij + bias_j."""
    return (x[:, :, None] * params[f"{name}.kernel"][None]).sum(axis=1) + params[f"{name}.bias"]


def _conv(params: Params, name: str, x: Array, stride: int) -> Array:
    """Each output is the sum of its window times the kernel [height, width, in, out], plus bias."""
    kernel, bias = params[f"{name}.kernel"], params[f"{name}.bias"]
    size = kernel.shape[0]
    rows, columns = ((n - size) // stride + 1 for n in x.shape[1:3])
    out = np.zeros((len(x), rows, columns, len(bias)), x.dtype)
    for row, column in np.ndindex(rows, columns):
        top, left = row * stride, column * stride
        window = x[:, top : top + size, left : left + size, :, None]
        out[:, row, column] = (window * kernel[None]).sum(axis=(1, 2, 3)) + bias
    return out


def _activate(x: Array, setting: Setting) -> Array:
    if setting.activation == "relu":
        return x * (x > 0)
    return np.tanh(x) if setting.activation == "tanh" else x / (1 + np.exp(-x))


def ppo_loss(
    policy: Array, log_std: Any, values: Array, batch: Params, setting: Setting
) -> dict[str, Any]:
    """The loss and its parts, from the formulas; the loss itself under "loss".

    Args:
        policy: Logits or means [batch_size, n].
        log_std: [n] of continuous actions, else None.
        values: [batch_size].
        batch: action, old_log_prob, old_value, advantages, returns, and, for a KL penalty, policy
            and log_std of the old distribution as old_policy and old_log_std.
        setting: The coefficients.

    Source: Schulman et al. (2017), equation 9 (negated) and equation 8.
    """
    log_prob, entropy = log_prob_and_entropy(policy, log_std, batch["action"], setting)
    log_ratio = log_prob - batch["old_log_prob"]
    ratio = np.exp(log_ratio)
    parts = {
        "policy_loss": oracles.clipped_surrogate_loss(
            log_prob, batch["old_log_prob"], batch["advantages"], setting.clip_eps
        ),
        "value_loss": oracles.value_loss(
            values, batch["old_value"], batch["returns"], setting.value_clip_eps
        ),
        "entropy": entropy,
        "approx_kl": (ratio - 1 - log_ratio).mean(),
        "clip_fraction": oracles.clip_fraction(ratio, setting.clip_eps),
    }
    loss = parts["policy_loss"] + setting.vf_coef * parts["value_loss"]
    loss = loss - setting.ent_coef * entropy
    if setting.kl_coef is not None:
        old = batch["old_policy"], batch.get("old_log_std")
        parts["kl"] = _divergence(*old, policy, log_std, setting)
        loss = loss + setting.kl_coef * parts["kl"]
    return {"loss": loss, **parts}


def log_prob_and_entropy(
    policy: Array, log_std: Any, action: Array, setting: Setting
) -> tuple[Array, Any]:
    """Log-probability of each action, and the mean entropy."""
    if setting.discrete:
        p = _probabilities(policy)
        chosen = np.array([row[int(a)] for row, a in zip(p, action, strict=True)])
        return np.log(chosen), -(p * np.log(p)).sum(axis=1).mean()
    std, tau = np.exp(log_std), 2 * oracles.PI
    log_density = -(((action - policy) / std) ** 2) / 2 - np.log(std * np.sqrt(tau))
    return log_density.sum(axis=1), np.log(std * np.sqrt(tau * np.exp(wide(1)))).sum()


def _divergence(old: Array, old_log_std: Any, new: Array, log_std: Any, setting: Setting) -> Any:
    """Mean KL(old || new)."""
    if setting.discrete:
        p, q = _probabilities(old), _probabilities(new)
        return (p * np.log(p / q)).sum(axis=1).mean()
    variance, new_variance = np.exp(old_log_std) ** 2, np.exp(log_std) ** 2
    quotient = (variance + (old - new) ** 2) / new_variance
    return ((quotient - 1 - np.log(variance / new_variance)) / 2).sum(axis=1).mean()


def _probabilities(logits: Array) -> Array:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


class Steps(NamedTuple):
    """Gradient steps, from the first of the training on; parameters and moments are sums of all."""

    start: Params
    """The parameters before them."""
    gradients: tuple[Params, ...]
    """Clipped."""
    rates: tuple[Any, ...]
    """Learning rates."""


@dataclass(frozen=True)
class Updated:
    """The results of an update."""

    params: Params
    moments: dict[str, Any]
    """As `oracles.OPTIMIZERS` give them."""
    metrics: dict[str, Any]
    steps: Steps
    """Those of the update, behind those before it."""


def update_policy(steps: Steps, batch: Params, permutations: Array, setting: Setting) -> Updated:
    """Every epoch's minibatches in turn, until the KL stop fires.

    Args:
        steps: The gradient steps before the update.
        batch: As `ppo_loss` takes it, with obs.
        permutations: [update_epochs, batch_size].
        setting: The coefficients.

    Source: Schulman et al. (2017), algorithm 1, with the stop of Achiam (2018), "Spinning up".
    """
    if setting.advantage_normalization == "batch":
        batch = {**batch, "advantages": oracles.normalized_advantages(batch["advantages"])}
    params, moments = _optimized(steps, setting)
    history: list[dict[str, Any]] = []
    divergences: list[Any] = []
    taken, stop = 0, False
    for indices in np.split(permutations.ravel(), len(permutations) * setting.num_minibatches):
        part = {name: value[indices] for name, value in batch.items() if name != "old_log_std"}
        part.update({name: batch[name] for name in ("old_log_std",) if name in batch})
        if setting.advantage_normalization == "minibatch":
            part["advantages"] = oracles.normalized_advantages(part["advantages"])
        metrics, gradient = _loss_and_gradient(params, part, setting)
        clipped, metrics["grad_norm"] = oracles.clipped_by_norm(gradient, setting.max_grad_norm)
        divergences.append(metrics["approx_kl"])
        stop = setting.target_kl is not None and metrics["approx_kl"] > setting.target_kl
        if not stop or not history:
            history.append(metrics)
        if stop:
            break
        gradients, rates = (*steps.gradients, clipped), (*steps.rates, setting.learning_rate)
        steps, taken = Steps(steps.start, gradients, rates), taken + 1
        params, moments = _optimized(steps, setting)
    means = {name: np.mean([metrics[name] for metrics in history]) for name in history[0]}
    means["approx_kl_max"] = max(divergences)
    means["kl_stop"], means["gradient_steps"] = wide(stop), wide(taken)
    return Updated(params, moments, means, steps)


def _optimized(steps: Steps, setting: Setting) -> tuple[Params, dict[str, Any]]:
    """Parameters and moments after some gradient steps."""
    return oracles.OPTIMIZERS[setting.optimizer](
        *steps,
        eps=setting.adam_eps,
        eps_root=setting.adam_eps_root,
        weight_decay=setting.weight_decay,
    )


def _loss_and_gradient(
    params: Params, batch: Params, setting: Setting
) -> tuple[dict[str, Any], Params]:
    """The loss's parts, and central differences of the loss in every parameter."""
    gradient: Params = {}
    for name, value in params.items():
        along = partial(_loss_along, params, name, batch, setting)
        slopes = [slope.value for slope in central_differences(along, value)]
        gradient[name] = np.array(slopes, wide).reshape(value.shape)
    return loss_of(params, batch, setting), gradient


def _loss_along(params: Params, name: str, batch: Params, setting: Setting, value: Array) -> Array:
    """The loss as a function of one of the parameters."""
    return np.asarray(loss_of({**params, name: value}, batch, setting)["loss"])


def loss_of(params: Params, batch: Params, setting: Setting) -> dict[str, Any]:
    """The loss and its parts, from the parameters."""
    policy, values = actor_critic(params, batch["obs"], setting)
    return ppo_loss(policy, params.get("log_std"), values, batch, setting)
