"""The optimizers that a config names, each as two functions; the JAX side takes them from optax."""

from functools import partial
from typing import Any, NamedTuple, Protocol

import torch

from torch_ref.types import Params

BETA_1 = 0.9
"""Decay of Adam's first moment."""
BETA_2 = 0.999
"""Decay of Adam's second moment."""


class InitFn(Protocol):
    """The state of an optimizer before its first step."""

    def __call__(self, params: Params) -> Any:
        """Parameters -> state, a named tuple."""


class UpdateFn(Protocol):
    """A step of an optimizer."""

    def __call__(self, gradient: Params, state: Any, params: Params) -> tuple[Params, Any]:
        """Gradient, state and parameters -> (steps, state); params + steps are the new params."""


class Optimizer(NamedTuple):
    """An optimizer as two functions."""

    init: InitFn
    """The state before the first step."""
    update: UpdateFn
    """What to add to the parameters, and the next state."""


class AdamState(NamedTuple):
    """What Adam carries from step to step."""

    count: torch.Tensor  # type: ignore[assignment]
    """Steps taken so far [], int32."""
    mu: Params
    """First moment: running mean of the gradient, shaped like the parameters."""
    nu: Params
    """Second moment: running mean of the squared gradient, shaped like the parameters."""


class RMSPropState(NamedTuple):
    """What RMSProp carries from step to step."""

    nu: Params
    """Running mean of the squared gradient, shaped like the parameters."""


class SGDState(NamedTuple):
    """What plain gradient descent carries from step to step: nothing."""


def adam(
    learning_rate: torch.Tensor | float,
    eps: torch.Tensor | float,
    weight_decay: torch.Tensor | float = 0.0,
    *,
    eps_root: torch.Tensor | float = 0.0,
) -> Optimizer:
    """Adam, with d = m_hat / (sqrt(v_hat + eps_root) + eps).

    theta' = theta - learning_rate (d + weight_decay theta)

    Args:
        learning_rate: Step size.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled weight decay.
        eps_root: Added to the second moment under the root.

    Source: Kingma and Ba (2015), algorithm 1; weight decay: Loshchilov and Hutter (2019), algorithm
    2.
    """
    return Optimizer(
        init=init_moments,
        update=partial(
            adam_steps,
            learning_rate=learning_rate,
            eps=eps,
            eps_root=eps_root,
            weight_decay=weight_decay,
        ),
    )


def rmsprop(
    learning_rate: torch.Tensor | float, eps: torch.Tensor | float, decay: float
) -> Optimizer:
    """RMSProp: theta' = theta - learning_rate g / (sqrt(v') + eps), v' = decay v + (1 - decay) g^2.

    The second moment starts at 0 and is not corrected for that.

    Args:
        learning_rate: Step size.
        eps: Added to the root of the second moment.
        decay: Of the second moment.

    Source: Tieleman and Hinton (2012), "Neural networks for machine learning", lecture 6.5.
    """
    return Optimizer(
        init=lambda params: RMSPropState(_zeros_like(params)),
        update=partial(rmsprop_steps, learning_rate=learning_rate, eps=eps, decay=decay),
    )


def sgd(learning_rate: torch.Tensor | float) -> Optimizer:
    """Plain gradient descent: theta' = theta - learning_rate g.

    Args:
        learning_rate: Step size.
    """
    return Optimizer(
        init=lambda params: SGDState(), update=partial(sgd_steps, learning_rate=learning_rate)
    )


def init_moments(params: Params) -> AdamState:
    """Adam's state before the first step: no steps, moments of zero."""
    return AdamState(
        count=torch.zeros((), dtype=torch.int32), mu=_zeros_like(params), nu=_zeros_like(params)
    )


def adam_steps(
    gradient: Params,
    state: AdamState,
    params: Params,
    *,
    learning_rate: torch.Tensor | float,
    eps: torch.Tensor | float,
    eps_root: torch.Tensor | float,
    weight_decay: torch.Tensor | float,
) -> tuple[Params, AdamState]:
    """What `adam` adds to the parameters, and its next state.

    Args:
        gradient: Of the loss, shaped like the parameters.
        state: The moments.
        params: The parameters, for the decay.
        learning_rate: As for `adam`.
        eps: As for `adam`.
        eps_root: As for `adam`.
        weight_decay: As for `adam`.
    """
    state = update_moments(gradient, state)
    bias_1, bias_2 = 1.0 - BETA_1**state.count, 1.0 - BETA_2**state.count
    steps = {}
    for name, param in params.items():
        root = torch.sqrt(state.nu[name] / bias_2 + eps_root)
        direction = (state.mu[name] / bias_1) / (root + eps)
        steps[name] = -1.0 * learning_rate * (direction + weight_decay * param)
    return steps, state


def update_moments(gradient: Params, state: AdamState) -> AdamState:
    """Running means of the gradient and of its square, one step further.

    m' = beta_1 m + (1 - beta_1) g;  v' = beta_2 v + (1 - beta_2) g^2.

    Args:
        gradient: g.
        state: m, v and how often they were updated.

    Source: Kingma and Ba (2015), algorithm 1.
    """
    return AdamState(
        count=state.count + 1,
        mu={name: (1 - BETA_1) * g + BETA_1 * state.mu[name] for name, g in gradient.items()},
        nu={name: (1 - BETA_2) * g**2 + BETA_2 * state.nu[name] for name, g in gradient.items()},
    )


def rmsprop_steps(
    gradient: Params,
    state: RMSPropState,
    params: Params,
    *,
    learning_rate: torch.Tensor | float,
    eps: torch.Tensor | float,
    decay: float,
) -> tuple[Params, RMSPropState]:
    """What `rmsprop` adds to the parameters, and its next state.

    Args:
        gradient: Of the loss, shaped like the parameters.
        state: The second moment.
        params: Not used.
        learning_rate: As for `rmsprop`.
        eps: As for `rmsprop`.
        decay: As for `rmsprop`.
    """
    nu = {name: (1 - decay) * g**2 + decay * state.nu[name] for name, g in gradient.items()}
    steps = {
        name: -1.0 * learning_rate * (g / (torch.sqrt(nu[name]) + eps))
        for name, g in gradient.items()
    }
    return steps, RMSPropState(nu)


def sgd_steps(
    gradient: Params, state: SGDState, params: Params, *, learning_rate: torch.Tensor | float
) -> tuple[Params, SGDState]:
    """What `sgd` adds to the parameters, and its state.

    Args:
        gradient: Of the loss, shaped like the parameters.
        state: Nothing.
        params: Not used.
        learning_rate: As for `sgd`.
    """
    return {name: -1.0 * learning_rate * g for name, g in gradient.items()}, state


def _zeros_like(params: Params) -> Params:
    """Zeros shaped like the parameters."""
    return {name: torch.zeros_like(param) for name, param in params.items()}
