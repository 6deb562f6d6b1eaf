"""Log-probability, entropy and divergence of both action distributions, and their samples."""

import dataclasses
from functools import partial
from typing import Any

from parity_tests import oracles
from parity_tests.checks.check import Check, written_once
from parity_tests.compare import Tolerance
from parity_tests.inputs import integers, normal

LOGITS = {"far apart": 30.0, "nearly equal": 1e-4}
"""Factors on logits: probabilities down to e^-100, and all but uniform ones."""

ACTIONS = normal("batch_size", 3, scale=2.0, extremes={"far out": 1e3, "at zero": 0.0})
MEANS = normal("batch_size", 3, extremes={"huge": 1e3})
LOG_STDS = normal("batch_size", 3, scale=0.5, extremes={"extreme": 8.0, "one": 0.0})

SIZES = {"batch_size": 2}


def _split(package: Any, name: str, arrays: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The distribution of the first arrays, as many as it has parameters, and the others."""
    kind = getattr(package, name)
    count = len(dataclasses.fields(kind))
    return kind(*arrays[:count]), arrays[count:]


def measured(name: str, method: str, package: Any, *arrays: Any) -> Any:
    """Entropies, or log-probabilities of actions, under a distribution."""
    distribution, others = _split(package, name, arrays)
    return getattr(distribution, method)(*others)


def divergences(name: str, package: Any, *arrays: Any) -> Any:
    """Divergences from the first distribution to the second."""
    distribution, others = _split(package, name, arrays)
    return distribution.kl(_split(package, name, others)[0])


def choices(name: str, package: Any, *arrays: Any) -> Any:
    """Samples and modes."""
    distribution, noise = _split(package, name, arrays)
    return distribution.sample(*noise), distribution.mode()


def _check(name: str, method: str, inputs: dict[str, Any], tolerance: Tolerance) -> Check:
    """A method of a distribution, with the oracle of the same name."""
    functions = {"kl": partial(divergences, name), "choices": partial(choices, name)}
    prefix = {"Categorical": "categorical", "DiagGaussian": "gaussian"}[name]
    return Check(
        level=2,
        name=f"{name}.{'sample and mode' if method == 'choices' else method}",
        **written_once(functions.get(method, partial(measured, name, method))),
        inputs=inputs,
        oracle=getattr(oracles, f"{prefix}_{method}"),
        terms=getattr(oracles, f"{prefix}_{method}_terms", None),
        sizes=SIZES,
        tolerance=tolerance,
    )


LOGIT = normal("batch_size", 3, extremes=LOGITS)
LOGIT_NOISE = {"logits": LOGIT, "noise": normal("batch_size", 3)}
GAUSSIAN = {"mean": MEANS, "log_std": LOG_STDS}
TWO_GAUSSIANS = {**GAUSSIAN, "other_mean": MEANS, "other_log_std": LOG_STDS}

CHECKS = (
    _check(
        "Categorical",
        "log_prob",
        {"logits": LOGIT, "action": integers("batch_size", high=3)},
        Tolerance(1.5, 1.5),
    ),
    _check("Categorical", "entropy", {"logits": LOGIT}, Tolerance(1.5, 2, slope=1.0)),
    _check("Categorical", "kl", {"logits": LOGIT, "other_logits": LOGIT}, Tolerance(0.5, 6)),
    _check("Categorical", "choices", LOGIT_NOISE, Tolerance(0, 0)).replace(
        level=1, sizes={"batch_size": 32}, gradients=False
    ),
    _check("DiagGaussian", "log_prob", {**GAUSSIAN, "action": ACTIONS}, Tolerance(0.5, 3)),
    _check("DiagGaussian", "entropy", GAUSSIAN, Tolerance(1, 1)),
    # exp(2 (log_std - other)) with an exponent of up to 24, which is itself rounded to half an ulp:
    # 12 of the result. Both sides round alike, so they stay closer to each other.
    _check("DiagGaussian", "kl", TWO_GAUSSIANS, Tolerance(1, 4, oracle_gradient=12)),
    _check(
        "DiagGaussian",
        "choices",
        {**GAUSSIAN, "noise": normal("batch_size", 3)},
        Tolerance(1, 1),
    ),
)
