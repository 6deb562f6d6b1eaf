"""Log-probability, entropy and divergence of both action distributions, and their samples."""

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


def categorical_log_prob(package: Any, logits: Any, action: Any) -> Any:
    """Log-probabilities of actions."""
    return package.Categorical(logits).log_prob(action)


def categorical_entropy(package: Any, logits: Any) -> Any:
    """Entropies."""
    return package.Categorical(logits).entropy()


def categorical_kl(package: Any, logits: Any, other_logits: Any) -> Any:
    """Divergences from the first to the second."""
    return package.Categorical(logits).kl(package.Categorical(other_logits))


def categorical_choices(package: Any, logits: Any, noise: Any) -> Any:
    """Samples and modes."""
    distribution = package.Categorical(logits)
    return distribution.sample(noise), distribution.mode()


def gaussian_log_prob(package: Any, mean: Any, log_std: Any, action: Any) -> Any:
    """Log-densities of actions."""
    return package.DiagGaussian(mean, log_std).log_prob(action)


def gaussian_entropy(package: Any, mean: Any, log_std: Any) -> Any:
    """Differential entropies."""
    return package.DiagGaussian(mean, log_std).entropy()


def gaussian_kl(package: Any, mean: Any, log_std: Any, other_mean: Any, other_log_std: Any) -> Any:
    """Divergences from the first to the second."""
    other = package.DiagGaussian(other_mean, other_log_std)
    return package.DiagGaussian(mean, log_std).kl(other)


def gaussian_choices(package: Any, mean: Any, log_std: Any, noise: Any) -> Any:
    """Samples and modes."""
    distribution = package.DiagGaussian(mean, log_std)
    return distribution.sample(noise), distribution.mode()


TWO_LOGITS = {
    "logits": normal("batch_size", 3, extremes=LOGITS),
    "other_logits": normal("batch_size", 3, extremes=LOGITS),
}
GAUSSIAN = {"mean": MEANS, "log_std": LOG_STDS}
SIZES = {"batch_size": 2}

CHECKS = (
    Check(
        level=2,
        name="Categorical.log_prob",
        **written_once(categorical_log_prob),
        inputs={"logits": TWO_LOGITS["logits"], "action": integers("batch_size", high=3)},
        oracle=oracles.categorical_log_prob,
        terms=oracles.categorical_log_prob_terms,
        sizes=SIZES,
        tolerance=Tolerance(1.5, 1.5),
    ),
    Check(
        level=2,
        name="Categorical.entropy",
        **written_once(categorical_entropy),
        inputs={"logits": TWO_LOGITS["logits"]},
        oracle=oracles.categorical_entropy,
        terms=oracles.categorical_entropy_terms,
        sizes=SIZES,
        tolerance=Tolerance(1.5, 2, slope=1.0),
    ),
    Check(
        level=2,
        name="Categorical.kl",
        **written_once(categorical_kl),
        inputs=TWO_LOGITS,
        oracle=oracles.categorical_kl,
        terms=oracles.categorical_kl_terms,
        sizes=SIZES,
        tolerance=Tolerance(0.5, 6),
    ),
    Check(
        level=1,
        name="Categorical.sample and mode",
        **written_once(categorical_choices),
        inputs={"logits": TWO_LOGITS["logits"], "noise": normal("batch_size", 3)},
        oracle=oracles.categorical_choices,
        sizes={"batch_size": 32},
        gradients=False,
        tolerance=Tolerance(0, 0),
    ),
    Check(
        level=2,
        name="DiagGaussian.log_prob",
        **written_once(gaussian_log_prob),
        inputs={**GAUSSIAN, "action": ACTIONS},
        oracle=oracles.gaussian_log_prob,
        terms=oracles.gaussian_log_prob_terms,
        sizes=SIZES,
        tolerance=Tolerance(0.5, 3),
    ),
    Check(
        level=2,
        name="DiagGaussian.entropy",
        **written_once(gaussian_entropy),
        inputs=GAUSSIAN,
        oracle=oracles.gaussian_entropy,
        terms=oracles.gaussian_entropy_terms,
        sizes=SIZES,
        tolerance=Tolerance(1, 1),
    ),
    Check(
        level=2,
        name="DiagGaussian.kl",
        **written_once(gaussian_kl),
        inputs={**GAUSSIAN, "other_mean": MEANS, "other_log_std": LOG_STDS},
        oracle=oracles.gaussian_kl,
        terms=oracles.gaussian_kl_terms,
        sizes=SIZES,
        # exp(2 (log_std - other)) with an exponent of up to 24, which is itself rounded to half an
        # ulp: 12 of the result. Both sides round alike, so they stay closer to each other.
        tolerance=Tolerance(1, 4, oracle_gradient=12),
    ),
    Check(
        level=2,
        name="DiagGaussian.sample and mode",
        **written_once(gaussian_choices),
        inputs={**GAUSSIAN, "noise": normal("batch_size", 3)},
        oracle=oracles.gaussian_choices,
        terms=oracles.gaussian_choices_terms,
        sizes=SIZES,
        tolerance=Tolerance(1, 1),
    ),
)
