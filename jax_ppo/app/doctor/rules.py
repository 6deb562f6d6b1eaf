"""Rules that look for faults in the metrics of a run, with what to try and sources.

A rule is a function of a `Case` that returns its evidence, in words with numbers, or None. Its
name, what to try and the source of that are in rules.toml. Most thresholds are conventions, not
results of a paper: the docstring says where each number comes from.
"""

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jax_ppo.app.algorithms import make_algorithm
from jax_ppo.app.checkpoints import Arrays, read_agents
from jax_ppo.app.doctor.probe import Probe, probe_environment
from jax_ppo.app.history import History
from jax_ppo.app.runs import Run
from jax_ppo.config import PPOConfig
from jax_ppo.variants.policy_gradient import NO_CLIPPING

MIN_UPDATES = 20
"""Fewer updates show no trend: the first twentieth of training has to be an update at least."""
NO_MOVEMENT = 2e-5
"""KL divergence per update, in nats, below which the policy counts as unchanged: a five-hundredth
of the 0.01 that OpenAI's Spinning Up (2018) stops updates at."""


@dataclass(frozen=True)
class Case:
    """What the rules look at."""

    config: PPOConfig
    history: History
    num_outputs: int
    """Number of actions, or of an action's dimensions."""
    continuous: bool
    """Whether actions are continuous."""
    probe: Probe | None
    """What the environment is like; None where it was not tried."""

    def metric(self, name: str) -> np.ndarray:
        """The median agent [num_updates], NaN where no agent has a number."""
        values = self.history.metrics[name]
        seen = np.isfinite(values).any(axis=1)
        median = np.full(len(values), np.nan)
        median[seen] = np.nanmedian(values[seen], axis=1)
        return median

    def level(self, name: str, start: float = 0.25, end: float = 0.75) -> float:
        """Median of a metric between two points of training, given as shares of it."""
        values = self.metric(name)
        part = values[int(start * len(values)) : max(1, math.ceil(end * len(values)))]
        return float(np.nanmedian(part)) if np.isfinite(part).any() else math.nan

    @property
    def returns(self) -> tuple[float, float] | None:
        """Mean return at the beginning of training and in its last quarter, if both are known."""
        first, last = _first(self.metric("episode_return")), _last(self.metric("episode_return"))
        if not np.isfinite(first).any() or not np.isfinite(last).any():
            return None
        return float(np.nanmean(first)), float(np.nanmean(last))

    @property
    def improved(self) -> bool:
        """Whether the return has risen by more than twice its spread in the last quarter.

        Or it cannot rise: every episode of the last quarter has the highest return that was seen,
        and some before had a lower one.
        """
        if self.returns is None:
            return False
        values = self.metric("episode_return")
        if np.nanmin(_last(values)) == np.nanmax(values) > np.nanmin(values):
            return True
        gain = self.returns[1] - self.returns[0]
        return bool(gain > 2.0 * np.nanstd(_last(self.metric("episode_return"))) and gain > 0)

    @property
    def one_step(self) -> bool:
        """Whether updates have one gradient step, for which every probability ratio is 1."""
        return "gradient_steps" in self.history.metrics and self.level("gradient_steps") <= 1


class Rule(NamedTuple):
    """A fault, how to see it, and what to do about it."""

    name: str
    check: Callable[[Case], str | None]
    """Gives the evidence."""
    needs: frozenset[str]
    """Metrics without which it is not applied, or "probe"."""
    advice: str
    source: str


class Finding(NamedTuple):
    """A rule that applies."""

    rule: Rule
    evidence: str

    def __str__(self) -> str:
        """What is wrong, and what shows it."""
        return f"{self.rule.name}: {self.evidence}"


class Examination(NamedTuple):
    """The result of all rules."""

    findings: list[Finding]
    failures: list[str]
    """A line for each rule that raised an exception."""


def examine_run(run: Run, history: History) -> Examination:
    """Apply every rule to a run of either framework, and try its environment with random actions.

    Raises:
        AppError: It has no checkpoint yet.
    """
    arrays, _, _ = read_agents(run)
    if run.framework != "jax":
        return examine(run.config, history, arrays)
    probe = probe_environment(make_algorithm(run.config, run.algorithm).env)
    return examine(run.config, history, arrays, probe)


def examine(
    config: PPOConfig, history: History, arrays: Arrays, probe: Probe | None = None
) -> Examination:
    """Apply every rule; a rule that raises an exception becomes a line of text.

    Args:
        config: What was trained.
        history: Its metrics so far.
        arrays: A checkpoint of it, which shows the kind of actions.
        probe: What the environment is like; None leaves the rules about it out.
    """
    measured = set(history.metrics) if history.num_updates >= MIN_UPDATES else set()
    measured |= set() if probe is None else {"probe"}
    outputs = [array.shape[-1] for name, array in arrays.items() if "policy_head.bias" in name]
    continuous = any(name.endswith("log_std") for name in arrays)
    case = Case(config, history, outputs[0] if outputs else 0, continuous, probe)
    examination = Examination([], [])
    for rule in RULES:
        if not rule.needs <= measured:
            continue
        try:
            evidence = rule.check(case)
        except Exception as error:
            failure = f"the rule {rule.name!r} failed: {type(error).__name__}: {error}"
            examination.failures.append(failure.replace("\n", " "))
            continue
        if evidence is not None:
            examination.findings.append(Finding(rule, evidence))
    return examination


def no_episode_ended(case: Case) -> str | None:
    """Nothing is known of returns if no episode ends."""
    ended = np.nansum(case.history.metrics["num_episodes"]) > 0
    return None if ended else f"no episode ended in {case.history.steps[-1]:,} steps of each agent"


def entropy_collapsed(case: Case) -> str | None:
    """Entropy falls to a twentieth of its start within the first quarter of training.

    A convention: with so little left, exploration ends before most experience is collected.
    """
    entropy, when = case.metric("entropy"), "within the first quarter of training"
    lowest = float(np.nanmin(entropy[: max(1, len(entropy) // 4)]))
    if case.continuous:
        factor = math.exp(min((entropy[0] - lowest) / case.num_outputs, 700.0))
        return f"{when}, action noise shrank {factor:.0f}-fold" if factor >= 20 else None
    if case.num_outputs < 2:  # one action: there is nothing to explore
        return None
    share = lowest / math.log(case.num_outputs)
    return f"{when}, entropy fell to {share:.1%} of the uniform policy's" if share <= 0.05 else None


def clip_never_acts(case: Case) -> str | None:
    """Ratios never leave the clip range, although the policy changes.

    One sample in a thousand is a convention: less than one per minibatch of common sizes.
    """
    fraction, kl, eps = map(case.level, ("clip_fraction", "approx_kl", "clip_eps"))
    if case.one_step or eps >= NO_CLIPPING or fraction > 0.001 or kl < NO_MOVEMENT:
        return None
    return (
        f"only {fraction:.2%} of samples are clipped with clip_eps = {eps:g}, "
        f"at an approximate KL divergence of {kl:.2g}"
    )


def clip_always_acts(case: Case) -> str | None:
    """Many samples leave the clip range.

    A convention: with nearly half of them clipped, each gradient step uses the other half only.
    """
    fraction = case.level("clip_fraction")
    return f"{fraction:.0%} of samples are clipped" if fraction > 0.4 else None


def kl_explodes(case: Case) -> str | None:
    """Updates that move the policy far.

    OpenAI's Spinning Up (2018) documents 0.01 or 0.05 as usual for target_kl: the threshold is
    twice the larger, and twenty times it for a single update.
    """
    typical, largest = case.level("approx_kl"), float(np.nanmax(case.metric("approx_kl")))
    if typical < 0.1 and largest < 1.0:
        return None
    what = "an update moves the policy by a KL divergence of"
    return f"{what} typically {typical:.2g} and up to {largest:.2g}"


def critic_explains_nothing(case: Case) -> str | None:
    """Explained variance near or below zero, in an agent that has not improved.

    A critic that predicts the same value everywhere has 0; the margin of 0.02 is for noise.
    """
    explained = case.level("explained_variance", 0.5, 1.0)
    if case.improved or not explained <= 0.02:
        return None
    return f"explained variance is {explained:.2f} in the second half of training"


def value_loss_dominates(case: Case) -> str | None:
    """The value loss is much larger than the policy's in the trunk that they share.

    A convention: the policy loss is at most about 1 with normalized advantages.
    """
    value_part = float(case.config.vf_coef) * case.level("value_loss")
    if not case.config.shared_trunk or value_part < 20.0:
        return None
    return (
        f"vf_coef * value_loss is {value_part:.3g} in a trunk that is shared with the policy, "
        "whose normalized advantages are of size 1"
    )


def gradient_always_clipped(case: Case) -> str | None:
    """Far longer gradients than max_grad_norm throughout.

    A convention: clipping now and then is its purpose; fifty times the limit in every update means
    that the limit alone sets the length of the steps.
    """
    norm, limit = case.metric("grad_norm"), case.config.max_grad_norm
    if limit is None or case.improved or not np.nanmin(norm) > 50.0 * float(limit):
        return None
    return (
        f"gradients of norm {np.nanmedian(norm):.3g}, never below {np.nanmin(norm):.3g}, are all "
        f"scaled down to max_grad_norm = {float(limit):g}"
    )


def flat_while_entropy_falls(case: Case) -> str | None:
    """Entropy falls by half (by 1 nat per dimension), and the return does not rise.

    A convention: an agent that explores half as much as at the start should have found something.
    """
    first, last = (float(np.nanmean(part(case.metric("entropy")))) for part in (_first, _last))
    enough = case.num_outputs if case.continuous else 0.5 * first
    unchanged = nothing_was_learned(case)
    if first - last < enough or first == last or unchanged is None:
        return None
    return f"entropy fell by {first - last:.2f} nats while {unchanged}"


def nothing_was_learned(case: Case) -> str | None:
    """Episodes are as they were at the beginning, by twice the spread of the last quarter."""
    if case.returns is None or case.improved:
        return None
    return "the episode return went from {:.4g} to {:.4g}".format(*case.returns)


def learning_rate_too_large(case: Case) -> str | None:
    """Half of what was gained is lost again, in large updates (those of `kl_explodes`)."""
    parts = [part[np.isfinite(part)] for part in np.array_split(case.metric("episode_return"), 10)]
    curve = np.array([part.mean() for part in parts if len(part)])
    if len(curve) < 5:
        return None
    gain, lost = np.max(curve) - curve[0], np.max(np.maximum.accumulate(curve) - curve)
    kl = float(np.nanmax(case.metric("approx_kl")))
    if case.improved or kl < 0.1 or lost < 0.5 * gain or lost == 0:
        return None
    return (
        f"the episode return fell by {lost:.4g} after it had risen by {gain:.4g}, "
        f"with updates of up to {kl:.2g} in KL divergence"
    )


def learning_rate_too_small(case: Case) -> str | None:
    """The policy hardly changes, although its entropy is above a tenth of the uniform policy's.

    A convention: a policy with less entropy than that may simply have converged.
    """
    kl, entropy = case.level("approx_kl"), case.level("entropy")
    uncertain = case.continuous or entropy > 0.1 * math.log(case.num_outputs)
    if case.one_step or kl > NO_MOVEMENT or not uncertain:
        return None
    return f"an update moves the policy by a KL divergence of only {kl:.1g}"


def advantages_vanish(case: Case) -> str | None:
    """Advantages are all alike, in an agent that has not improved.

    A convention: 1e-4 of the value, about a thousand times the rounding of single precision.
    """
    if not case.metric("reward_mean").any():
        return f"every reward was 0 in {case.history.steps[-1]:,} steps of each agent"
    spread, value = (case.level(name, 0.75, 1.0) for name in ("advantage_std", "value_mean"))
    if case.improved or spread > 1e-4 * max(1.0, abs(value)):
        return None
    return f"the standard deviation of advantages is {spread:.2g}"


def observations_of_many_scales(case: Case) -> str | None:
    """Entries of the observation that differ by a factor of 100, or exceed 100, not normalized.

    A convention: the initial weights of a network suit inputs of size 1.
    """
    assert case.probe is not None
    scales, largest = case.probe.obs_scales, case.probe.largest_obs
    if case.config.normalize_observations or not len(scales):
        return None
    if scales.max() < 100.0 * scales.min() and largest < 100.0:
        return None
    return (
        f"entries of the observation vary by {scales.min():.2g} to {scales.max():.2g} "
        f"(standard deviations), and reach {largest:.3g}"
    )


def rewards_of_huge_scale(case: Case) -> str | None:
    """Returns a thousand times as large as the values of a new network, and not normalized.

    A convention: ten times the discounted return of a solved CartPole with gamma 0.99, which is
    100 and is learned without normalization.
    """
    assert case.probe is not None
    scale = case.probe.discounted_return_scale(float(case.config.gamma))
    if case.config.normalize_rewards or scale < 1_000.0:
        return None
    return f"the discounted return of random actions is of size {scale:.3g}"


def truncation_mishandled(case: Case) -> str | None:
    """Truncated episodes end in the first observation of the next; or the limit terminates them.

    It does if all episodes of random actions are terminated at the limit, and none before.
    """
    assert case.probe is not None
    probe, steps = case.probe, case.probe.steps
    watched, limit = len(steps.reward), probe.time_limit or 0
    at_limit = 1 < limit <= watched and bool(steps.terminated[limit - 1].all())
    if at_limit and not steps.terminated[: limit - 1].any():
        return (
            f"every episode is terminated after {limit} steps, which is the time limit: the value "
            "of what would come next counts as 0, which is right only if agents can see the time"
        )
    if not probe.num_episodes:
        if probe.time_limit is None or watched <= probe.time_limit:
            return None
        return f"no episode ended in {watched} steps, although the limit is {probe.time_limit}"
    cut = steps.truncated & ~steps.terminated
    if not cut.any() or not steps.moves.any() or not steps.ends_where_it_starts[cut].all():
        return None
    return "the final observation of truncated episodes is that of the reset"


def _first(values: np.ndarray) -> np.ndarray:
    """The first twentieth."""
    return values[: max(1, len(values) // 20)]


def _last(values: np.ndarray) -> np.ndarray:
    """The last quarter."""
    return values[-max(1, len(values) // 4) :]


def _read_rules() -> tuple[Rule, ...]:
    """The rules of rules.toml, each with its function."""
    content = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return tuple(
        Rule(
            rule["name"],
            globals()[function],
            frozenset(rule["needs"]),
            rule["advice"],
            content["sources"][rule["source"]],
        )
        for function, rule in content["rules"].items()
    )


RULES = _read_rules()
"""Every rule."""
