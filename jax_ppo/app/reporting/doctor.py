"""Why is it not learning? Rules that read the metrics of a run and say what looks wrong.

A rule is a function of a `Case` that returns what it saw, in words with numbers, or None. Each
stands in RULES with what to try and where that advice comes from.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jax_ppo.app.checkpoints import Arrays, read_agents
from jax_ppo.app.history import History, read_history
from jax_ppo.app.reporting.probe import Probe, probe_environment
from jax_ppo.app.runs import Run
from jax_ppo.config import PPOConfig
from jax_ppo.envs import make_env

MIN_UPDATES = 20
"""Fewer say nothing about a trend."""


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
    """What the environment is like; None where it cannot be tried."""

    def metric(self, name: str) -> np.ndarray:
        """The median agent [num_updates], NaN where no agent has a number."""
        values = self.history.metrics[name]
        seen = np.isfinite(values).any(axis=1)
        median = np.full(len(values), np.nan)
        median[seen] = np.nanmedian(values[seen], axis=1)
        return median

    @property
    def returns(self) -> tuple[float, float] | None:
        """Mean return at the beginning of training and in its last quarter, if both are known."""
        returns = self.metric("episode_return")
        first, last = _first(returns), _last(returns)
        if not np.isfinite(first).any() or not np.isfinite(last).any():
            return None
        return float(np.nanmean(first)), float(np.nanmean(last))

    @property
    def improved(self) -> bool:
        """Whether episodes are better in the last quarter of training than at its beginning."""
        if self.returns is None:
            return False
        gain = self.returns[1] - self.returns[0]
        return bool(gain > 2.0 * np.nanstd(_last(self.metric("episode_return"))) and gain > 0)

    def level(self, name: str, start: float = 0.25, end: float = 0.75) -> float:
        """Median of a metric between two points of training, given as shares of it."""
        values = self.metric(name)
        part = values[int(start * len(values)) : max(1, math.ceil(end * len(values)))]
        return float(np.nanmedian(part)) if np.isfinite(part).any() else math.nan


class Rule(NamedTuple):
    """A fault, how to see it, and what to do about it."""

    name: str
    check: Callable[[Case], str | None]
    advice: str
    source: str


class Finding(NamedTuple):
    """A rule that applies."""

    rule: Rule
    evidence: str

    def __str__(self) -> str:
        """What is wrong, and what shows it."""
        return f"{self.rule.name}: {self.evidence}"


def examine_run(run: Run, history: History | None = None) -> list[Finding]:
    """Apply every rule to a run, and try its environment with random actions.

    Args:
        run: A run of either framework with metrics and a checkpoint.
        history: Its metrics, if they are read already.

    Raises:
        AppError: It has no metrics or no checkpoint yet.
    """
    arrays, _, _ = read_agents(run.checkpoints)
    history = read_history(run) if history is None else history
    probe = probe_environment(make_env(run.config)) if run.framework == "jax" else None
    return examine(run.config, history, arrays, probe)


def examine(
    config: PPOConfig, history: History, arrays: Arrays, probe: Probe | None = None
) -> list[Finding]:
    """Apply every rule.

    Args:
        config: What was trained.
        history: Its metrics so far.
        arrays: A checkpoint of it, which shows the kind of actions.
        probe: What the environment is like; None leaves the rules about it out.
    """
    bias = next(name for name in sorted(arrays) if name.endswith("policy_head.bias"))
    continuous = any(name.endswith("log_std") for name in arrays)
    case = Case(config, history, arrays[bias].shape[-1], continuous, probe)
    rules: list[Rule] = []
    if len(history.updates) >= MIN_UPDATES:
        rules += METRIC_RULES
    if probe is not None:
        rules += ENVIRONMENT_RULES
    found = ((rule, rule.check(case)) for rule in rules)
    return [Finding(rule, evidence) for rule, evidence in found if evidence is not None]


def no_episode_ended(case: Case) -> str | None:
    """Nothing is known of returns if no episode ends."""
    if np.nansum(case.history.metrics["num_episodes"]) > 0:
        return None
    return f"no episode ended in {case.history.steps[-1]:,} steps of each agent"


def entropy_collapsed(case: Case) -> str | None:
    """Certain of its actions within the first quarter of training."""
    entropy = case.metric("entropy")
    early = entropy[: max(1, len(entropy) // 4)]
    if case.continuous:
        lost = (entropy[0] - np.nanmin(early)) / case.num_outputs
        if lost < math.log(20.0):
            return None
        return (
            f"within the first quarter of training, action noise shrank {math.exp(lost):.0f}-fold"
        )
    share = float(np.nanmin(early)) / math.log(case.num_outputs)
    if share > 0.05:
        return None
    return (
        f"within the first quarter of training, entropy fell to {share:.1%} of the uniform policy's"
    )


def clip_never_acts(case: Case) -> str | None:
    """The policy never gets to the clip band, although it moves."""
    fraction, kl = case.level("clip_fraction"), case.level("approx_kl")
    if fraction > 0.001 or kl < TIMID_KL:
        return None
    return (
        f"only {fraction:.2%} of samples are clipped with clip_eps = {case.level('clip_eps'):g}, "
        f"at an approximate KL divergence of {kl:.2g}"
    )


def clip_always_acts(case: Case) -> str | None:
    """Half of the samples say nothing."""
    fraction = case.level("clip_fraction")
    return f"{fraction:.0%} of samples are clipped" if fraction > 0.4 else None


def kl_explodes(case: Case) -> str | None:
    """Updates that leave the policy far behind."""
    typical, largest = case.level("approx_kl"), float(np.nanmax(case.metric("approx_kl")))
    if typical < 0.1 and largest < 1.0:
        return None
    return (
        f"an update moves the policy by a KL divergence of typically {typical:.2g} and up to "
        f"{largest:.2g}"
    )


def critic_explains_nothing(case: Case) -> str | None:
    """Explained variance at or below zero, in an agent that has not learned its task already."""
    explained = case.level("explained_variance", 0.5, 1.0)
    if case.improved or not explained <= 0.02:
        return None
    return f"explained variance is {explained:.2f} in the second half of training"


def value_loss_dominates(case: Case) -> str | None:
    """The critic's gradient drowns the policy's in the trunk that they share."""
    if not case.config.shared_trunk:
        return None
    value_part = float(case.config.vf_coef) * case.level("value_loss")
    if value_part < 20.0:
        return None
    return (
        f"vf_coef * value_loss is {value_part:.3g} in a trunk that the policy, whose normalized "
        "advantages are of size 1, shares"
    )


def gradient_always_clipped(case: Case) -> str | None:
    """Far longer gradients than max_grad_norm all along."""
    if case.config.max_grad_norm is None:
        return None
    norm, limit = case.metric("grad_norm"), float(case.config.max_grad_norm)
    if case.improved or not np.nanmin(norm) > 50.0 * limit:
        return None
    return (
        f"gradients of norm {np.nanmedian(norm):.3g}, never below {np.nanmin(norm):.3g}, are all "
        f"scaled down to max_grad_norm = {limit:g}"
    )


def flat_while_entropy_falls(case: Case) -> str | None:
    """More and more certain, and no better."""
    entropy = case.metric("entropy")
    lost = np.nanmean(_first(entropy)) - np.nanmean(_last(entropy))
    enough = case.num_outputs if case.continuous else 0.5 * np.nanmean(_first(entropy))
    if lost < enough or case.returns is None or case.improved:
        return None
    first, last = case.returns
    return (
        f"entropy fell by {lost:.2f} nats while the episode return went from "
        f"{first:.4g} to {last:.4g}"
    )


def nothing_was_learned(case: Case) -> str | None:
    """Episodes are as they were at the beginning."""
    if case.returns is None or case.improved:
        return None
    first, last = case.returns
    return f"the episode return went from {first:.4g} to {last:.4g}"


def learning_rate_too_large(case: Case) -> str | None:
    """What was learned is lost again, in large steps."""
    curve = _smoothed(case.metric("episode_return"))
    if len(curve) < 5:
        return None
    gain = np.max(curve) - curve[0]
    lost = np.max(np.maximum.accumulate(curve) - curve)
    kl = float(np.nanmax(case.metric("approx_kl")))
    if case.improved or kl < 0.1 or lost < 0.5 * gain or lost == 0:
        return None
    return (
        f"the episode return fell by {lost:.4g} after it had risen by {gain:.4g}, "
        f"with updates of up to {kl:.2g} in KL divergence"
    )


def learning_rate_too_small(case: Case) -> str | None:
    """The policy hardly moves, although it is not certain of its actions yet."""
    kl, entropy = case.level("approx_kl"), case.level("entropy")
    uncertain = case.continuous or entropy > 0.1 * math.log(case.num_outputs)
    if kl > TIMID_KL or not uncertain:
        return None
    return f"an update moves the policy by a KL divergence of only {kl:.1g}"


def advantages_vanish(case: Case) -> str | None:
    """Nothing tells good actions from bad ones, in an agent that has not learned the best."""
    if not case.metric("reward_mean").any():
        return f"every reward was 0 in {case.history.steps[-1]:,} steps of each agent"
    spread = case.level("advantage_std", 0.75, 1.0)
    value = abs(case.level("value_mean", 0.75, 1.0))
    if case.improved or spread > 1e-4 * max(1.0, value):
        return None
    return f"the standard deviation of advantages is {spread:.2g}"


def observations_of_many_scales(case: Case) -> str | None:
    """Entries of the observation that differ by orders of magnitude, and are not normalized."""
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
    """Returns far larger than a fresh network's values, and not normalized."""
    assert case.probe is not None
    scale = case.probe.discounted_return_scale(float(case.config.gamma))
    if case.config.normalize_rewards or scale < 1_000.0:
        return None
    return f"the discounted return of random actions is of size {scale:.3g}"


def truncation_mishandled(case: Case) -> str | None:
    """The last observation of a truncated episode is the first of the next."""
    assert case.probe is not None
    probe, steps = case.probe, case.probe.steps
    watched = len(steps.reward)
    if not probe.num_episodes:
        if probe.time_limit is None or watched <= probe.time_limit:
            return None
        return f"no episode ended in {watched} steps, although the limit is {probe.time_limit}"
    cut = steps.truncated & ~steps.terminated
    if not cut.any() or not steps.moves.any() or not steps.ends_where_it_starts[cut].all():
        return None
    return "the final observation of truncated episodes is that of the reset"


WITHIN_A_QUARTER = "within the first quarter of training"

TIMID_KL = 2e-5
"""KL divergence per update, in nats, below which a policy can be said to stand still."""

DETAILS = (
    "Huang et al. (2022), The 37 implementation details of proximal policy optimization, "
    "https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/"
)
WHAT_MATTERS = (
    "Andrychowicz et al. (2021), What matters for on-policy deep actor-critic methods?, "
    "https://arxiv.org/abs/2006.05990"
)
NUTS_AND_BOLTS = (
    "Schulman (2016), The nuts and bolts of deep RL research, "
    "http://joschu.net/docs/nuts-and-bolts.pdf"
)
PPO = (
    "Schulman et al. (2017), Proximal policy optimization algorithms, "
    "https://arxiv.org/abs/1707.06347"
)
TIME_LIMITS = (
    "Pardo et al. (2018), Time limits in reinforcement learning, https://arxiv.org/abs/1712.00378"
)
ENTROPY = (
    "Ahmed et al. (2019), Understanding the impact of entropy on policy optimization, "
    "https://arxiv.org/abs/1811.11214"
)

METRIC_RULES = (
    Rule(
        "no episode ended",
        no_episode_ended,
        "a time limit (--env-params max_steps_in_episode N), or more --total-steps; check that the "
        "environment reports its ends.",
        TIME_LIMITS,
    ),
    Rule(
        "entropy collapsed early",
        entropy_collapsed,
        "a larger --ent-coef (0.01 to 0.05), a smaller --learning-rate, or fewer --update-epochs.",
        ENTROPY,
    ),
    Rule(
        "the clip never acts",
        clip_never_acts,
        "--clip-eps 0.1 to 0.3; if it is there already, more --update-epochs or a larger "
        "--learning-rate would make more of each rollout.",
        PPO,
    ),
    Rule(
        "the clip acts nearly always",
        clip_always_acts,
        "a smaller --learning-rate, fewer --update-epochs, or larger minibatches.",
        DETAILS,
    ),
    Rule(
        "the KL divergence explodes",
        kl_explodes,
        "a smaller --learning-rate, fewer --update-epochs, or --target-kl 0.02.",
        NUTS_AND_BOLTS,
    ),
    Rule(
        "the critic explains nothing",
        critic_explains_nothing,
        "a larger --learning-rate or --vf-coef, --normalize-rewards, a smaller --gamma; or the "
        "observation does not hold what the return depends on.",
        NUTS_AND_BOLTS,
    ),
    Rule(
        "the value loss dominates the shared trunk",
        value_loss_dominates,
        "--no-shared-trunk, --normalize-rewards, or a smaller --vf-coef.",
        WHAT_MATTERS,
    ),
    Rule(
        "the gradient norm is always at the clip",
        gradient_always_clipped,
        "--normalize-rewards to make the value loss smaller, or a larger --max-grad-norm.",
        WHAT_MATTERS,
    ),
    Rule(
        "returns are flat while entropy falls",
        flat_while_entropy_falls,
        "a larger --ent-coef and a smaller --learning-rate; then look at the rewards: an agent "
        "that grows certain of the wrong thing is often paid for it.",
        ENTROPY,
    ),
    Rule(
        "the return has not improved",
        nothing_was_learned,
        "if more is possible: the other findings first, then more --total-steps, a larger "
        "--ent-coef to find rewards, --normalize-observations and --normalize-rewards; and "
        "`jax-ppo play`, to see what the agent does.",
        NUTS_AND_BOLTS,
    ),
    Rule(
        "the learning rate is too large",
        learning_rate_too_large,
        "a --learning-rate three to ten times smaller, with --learning-rate-schedule linear.",
        NUTS_AND_BOLTS,
    ),
    Rule(
        "the learning rate is too small",
        learning_rate_too_small,
        "a --learning-rate ten times larger, and more --update-epochs.",
        NUTS_AND_BOLTS,
    ),
    Rule(
        "advantages vanish",
        advantages_vanish,
        "rewards that differ between actions: a reward that is always the same, or is never found, "
        "cannot be learned from; try a larger --ent-coef, longer rollouts, or a shaped reward.",
        NUTS_AND_BOLTS,
    ),
)
"""Rules that need nothing but the metrics."""

ENVIRONMENT_RULES = (
    Rule(
        "observations of wildly different scale",
        observations_of_many_scales,
        "--normalize-observations.",
        WHAT_MATTERS,
    ),
    Rule(
        "rewards of huge scale",
        rewards_of_huge_scale,
        "--normalize-rewards, or a smaller --gamma.",
        DETAILS,
    ),
    Rule(
        "truncation is mishandled by the environment",
        truncation_mishandled,
        "let step_env return the observation that the step led to, and leave resets and time "
        "limits to the trainer: values are bootstrapped from that observation.",
        TIME_LIMITS,
    ),
)
"""Rules that need the environment tried out."""


def _first(values: np.ndarray) -> np.ndarray:
    """The first twentieth."""
    return values[: max(1, len(values) // 20)]


def _last(values: np.ndarray) -> np.ndarray:
    """The last quarter."""
    return values[-max(1, len(values) // 4) :]


def _smoothed(values: np.ndarray, num_parts: int = 10) -> np.ndarray:
    """Means of equal parts, without those in which no episode ended."""
    parts = [part[np.isfinite(part)] for part in np.array_split(values, num_parts)]
    return np.array([part.mean() for part in parts if len(part)])
