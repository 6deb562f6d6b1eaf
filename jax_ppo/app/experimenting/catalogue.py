"""Named experiments: a sweep each, with what to look for and what should come out.

A claim is a comparison that the experiment is expected to show. It is a finding, not a law: another
environment or budget may show something else, and the page then says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jax_ppo.ancestors import a2c, reinforce, reinforce_with_baseline
from jax_ppo.app.history import History
from jax_ppo.app.sweeping.search import ADVANTAGES, Trial
from jax_ppo.app.sweeping.sweeps import Ranked
from jax_ppo.config import PPOConfig, changed_fields
from jax_ppo.presets import preset


class Results(NamedTuple):
    """What the trials of an experiment came to, by the trial's name."""

    ranked: Mapping[str, Ranked]
    histories: Mapping[str, History]

    def iqm(self, name: str) -> float:
        """Interquartile mean over the agents of their evaluation returns."""
        return self.ranked[name].summary.iqm

    def level(self, name: str, metric: str) -> float:
        """Mean of a diagnostic over the agents and the middle half of training."""
        values = self.histories[name].metrics[metric]
        quarter = len(values) // 4
        return float(np.nanmean(values[quarter : len(values) - quarter]))

    def training_return(self, name: str) -> float:
        """Mean return of all episodes of training: how soon it learns, and how much."""
        metrics = self.histories[name].metrics
        episodes = metrics["num_episodes"]
        returns = np.where(episodes > 0, metrics["episode_return"], 0.0)
        return float((returns * episodes).sum() / episodes.sum())


class Claim(NamedTuple):
    """Something that an experiment is expected to show."""

    text: str
    measure: Callable[[Results], tuple[float, float]]
    """The two numbers that are compared; the first should be greater."""


def _better(text: str, better: str, worse: str) -> Claim:
    """The claim that one trial trains better than another."""
    return Claim(text, lambda r: (r.training_return(better), r.training_return(worse)))


def _more(text: str, metric: str, more: str, less: str) -> Claim:
    """The claim that a diagnostic is higher in one trial than in another."""
    return Claim(text, lambda r: (r.level(more, metric), r.level(less, metric)))


def verdict(text: str, greater: float, smaller: float) -> str:
    """A claim with its two numbers, and whether the first is the greater one here."""
    seen = "seen" if greater > smaller else "NOT seen"
    return f"{seen}: {text} ({greater:.4g} against {smaller:.4g})"


@dataclass(frozen=True)
class Experiment:
    """A question, the trials that answer it, and what should come out."""

    question: str
    text: str
    """What to look for."""
    base: PPOConfig
    trials: Mapping[str, Trial]
    """By name."""
    claims: tuple[Claim, ...]
    metrics: tuple[str, ...] = ("approx_kl", "clip_fraction", "entropy")
    """The diagnostics to draw."""
    num_seeds: int = 8


CARTPOLE = preset("CartPole-v1").replace(total_steps=100_000)
PENDULUM = preset("Pendulum-v1")
HASTY = CARTPOLE.replace(learning_rate=3e-3)
"""CartPole with steps so large that clipping has something to do."""
RAW_PENDULUM = PPOConfig(
    env_id="Pendulum-v1",
    total_steps=300_000,
    num_envs=8,
    num_steps=256,
    num_minibatches=32,
    learning_rate=3e-4,
)
"""Pendulum with a discount of 0.99 and rewards as they are: returns are in the hundreds."""

CLIP = Experiment(
    "What does clipping do?",
    "Without the clip (a band so wide that nothing reaches it) the same learning rate moves the "
    "policy much further per update. Look at the KL divergence first, then at the spread of the "
    "agents: the best one hardly suffers, the worst one does.",
    HASTY,
    {"clip_eps 0.2": {"clip_eps": 0.2}, "no clipping": {"clip_eps": 100.0}},
    (
        _more(
            "updates are larger without clipping (KL divergence)",
            "approx_kl",
            "no clipping",
            "clip_eps 0.2",
        ),
        _better(
            "training is better with clipping (mean training return)", "clip_eps 0.2", "no clipping"
        ),
    ),
)

ENTROPY = Experiment(
    "What does the entropy bonus do?",
    "The bonus keeps the policy from growing certain. Look at the entropy curves: they part early "
    "and stay apart. On an environment as easy as this the return need not change.",
    CARTPOLE,
    {f"ent_coef {value:g}": {"ent_coef": value} for value in (0.0, 0.01, 0.1)},
    (
        _more(
            "entropy is higher with a bonus of 0.1 than with 0.01",
            "entropy",
            "ent_coef 0.1",
            "ent_coef 0.01",
        ),
        _more(
            "entropy is higher with a bonus of 0.1 than without",
            "entropy",
            "ent_coef 0.1",
            "ent_coef 0",
        ),
    ),
)

VALUE_CLIPPING = Experiment(
    "What does value clipping do?",
    "value_clip_eps is in units of value, and CartPole's values are near 100: a range of 0.2 holds "
    "the critic back and training with it. Where clipping the value helps, its range fits the "
    "returns.",
    CARTPOLE,
    {"no value clipping": {"value_clip_eps": None}, "value_clip_eps 0.2": {"value_clip_eps": 0.2}},
    (
        _better(
            "training is better without clipping the value",
            "no value clipping",
            "value_clip_eps 0.2",
        ),
    ),
    metrics=("explained_variance", "approx_kl", "entropy"),
)

ADVANTAGE_NORMALIZATION = Experiment(
    "What does advantage normalization do?",
    "Pendulum's advantages are of size 10 to 100. Not normalized, they make the policy's part of "
    "the gradient that much longer than it is meant to be next to the entropy bonus. Adam and the "
    "clipped norm hide most of that: the steps stay as long as they were.",
    RAW_PENDULUM,
    {name: {"advantage_normalization": name} for name in ("minibatch", "batch", "none")},
    (
        Claim(
            "minibatch and batch come to the same, within 150 of return",
            lambda r: (150.0, abs(r.iqm("minibatch") - r.iqm("batch"))),
        ),
    ),
    metrics=("approx_kl", "clip_fraction", "explained_variance"),
)

GAE_LAMBDA = Experiment(
    "How far should GAE look?",
    "At lambda 0 the advantage trusts the critic after one step, which early in training knows "
    "nothing: little spread, much bias. At lambda 1 it trusts the rewards alone. The best is in "
    "between, nearer to 1.",
    CARTPOLE,
    {f"gae_lambda {value:g}": {"gae_lambda": value} for value in (0.0, 0.5, 0.9, 0.95, 1.0)},
    (_better("training is better at lambda 0.95 than at 0", "gae_lambda 0.95", "gae_lambda 0"),),
    metrics=("explained_variance", "approx_kl", "entropy"),
)

RATE_BY_EPOCHS = Experiment(
    "How do the learning rate and the number of epochs go together?",
    "Both decide how far an update goes. Look for like KL divergence along the diagonal: a third "
    "of the learning rate with four times the epochs.",
    CARTPOLE,
    {
        f"rate {rate:g}, epochs {epochs}": {"learning_rate": rate, "update_epochs": epochs}
        for rate in (3e-4, 1e-3, 3e-3)
        for epochs in (1, 4, 16)
    },
    (
        _more(
            "16 epochs move the policy further than one (KL divergence, rate 0.001)",
            "approx_kl",
            "rate 0.001, epochs 16",
            "rate 0.001, epochs 1",
        ),
        _better(
            "one epoch at rate 0.0003 learns less than 16",
            "rate 0.0003, epochs 16",
            "rate 0.0003, epochs 1",
        ),
    ),
)

MINIBATCHES = Experiment(
    "How large should minibatches be?",
    "Smaller minibatches mean more steps per epoch, each in a noisier direction: updates grow.",
    CARTPOLE,
    {f"{count} minibatches": {"num_minibatches": count} for count in (1, 4, 16)},
    (
        _more(
            "16 minibatches move the policy further than one (KL divergence)",
            "approx_kl",
            "16 minibatches",
            "1 minibatches",
        ),
        _better("one minibatch learns less than four", "4 minibatches", "1 minibatches"),
    ),
)

REWARD_SCALING = Experiment(
    "What does reward normalization do?",
    "With rewards divided by the spread of the discounted return, values are of size 1 and the "
    "critic fits them soon: explained variance rises early. With returns in the hundreds it takes "
    "most of training only to get there.",
    RAW_PENDULUM,
    {
        "rewards as they are": {"normalize_rewards": False},
        "normalized": {"normalize_rewards": True},
    },
    (
        _more(
            "the critic explains more with normalized rewards",
            "explained_variance",
            "normalized",
            "rewards as they are",
        ),
        Claim(
            "the return is higher with normalized rewards",
            lambda r: (r.iqm("normalized"), r.iqm("rewards as they are")),
        ),
    ),
    metrics=("explained_variance", "approx_kl", "entropy"),
)

OBSERVATION_NORMALIZATION = Experiment(
    "What does observation normalization do?",
    "MountainCarContinuous observes a velocity that never exceeds 0.07 beside a position of size "
    "1: to a fresh network it is always zero. Normalized, both count alike.",
    preset("MountainCarContinuous-v0"),
    {
        "as they are": {"normalize_observations": False},
        "normalized": {"normalize_observations": True},
    },
    (_better("training is better with normalized observations", "normalized", "as they are"),),
    metrics=("explained_variance", "approx_kl", "entropy"),
)

TRUNK = Experiment(
    "Should policy and value share their hidden layers?",
    "Where returns are large the value loss drowns the policy's gradient in a shared trunk. Reward "
    "normalization or a smaller vf_coef is the remedy.",
    CARTPOLE,
    {
        "separate": {"shared_trunk": False},
        "shared": {"shared_trunk": True},
        "shared, vf_coef 0.01": {"shared_trunk": True, "vf_coef": 0.01},
    },
    (
        _better(
            "training is better with separate trunks than with a shared one", "separate", "shared"
        ),
    ),
)

TRUNCATION = Experiment(
    "What if a time limit counts as an end?",
    "Pendulum never terminates: every episode is cut after 200 steps. An agent that takes the cut "
    "for an end is told that the future is worth nothing from there on, at moments that it cannot "
    "see coming. The critic's targets contradict one another, and explained variance shows it.",
    RAW_PENDULUM.replace(normalize_rewards=True),
    {
        "bootstrapped": {ADVANTAGES: "gae"},
        "truncation as termination": {ADVANTAGES: "truncation_as_termination"},
    },
    (
        _more(
            "the critic explains more where truncated episodes are bootstrapped",
            "explained_variance",
            "bootstrapped",
            "truncation as termination",
        ),
    ),
    metrics=("explained_variance", "approx_kl", "entropy"),
)

LATE_TRUNCATION = Experiment(
    "What if a time limit counts as an end, and hardly ever comes?",
    "MountainCarContinuous is cut after 999 steps, but an agent that has learned it is at the goal "
    "long before. The cut then matters only while it still fails: look at the beginning of the "
    "curves, and compare with Pendulum, where every episode is cut.",
    preset("MountainCarContinuous-v0"),
    TRUNCATION.trials,
    (
        Claim(
            "both come to the same in the end, within 5 of return",
            lambda r: (
                5.0,
                abs(r.iqm("bootstrapped") - r.iqm("truncation as termination")),
            ),
        ),
    ),
    metrics=("explained_variance", "approx_kl", "entropy"),
)

KL_STOP = Experiment(
    "How often does the KL stop fire, and what does it do to the curve?",
    "target_kl ends an update's gradient steps once the policy has moved that far. Look at the "
    "share of updates that it cut short: near 1 it does the work of a smaller learning rate, near "
    "0 it does nothing.",
    HASTY,
    {
        "no KL stop": {"target_kl": None},
        **{f"target_kl {value:g}": {"target_kl": value} for value in (0.003, 0.01, 0.03, 0.1)},
    },
    (
        _more(
            "it fires more often at 0.003 than at 0.03",
            "kl_stop",
            "target_kl 0.003",
            "target_kl 0.03",
        ),
        _more(
            "updates are smaller at 0.003 than without",
            "approx_kl",
            "no KL stop",
            "target_kl 0.003",
        ),
    ),
    metrics=("kl_stop", "approx_kl", "clip_fraction"),
)

KL_PENALTY = Experiment(
    "Penalty or clip?",
    "The paper's other proposal charges for KL divergence in place of clipping, at a price that "
    "is doubled and halved to keep each update near kl_target.",
    HASTY,
    {
        "clip": {"clip_eps": 0.2},
        "adaptive penalty": {"clip_eps": 100.0, "kl_coef": 1.0},
        "fixed penalty": {"clip_eps": 100.0, "kl_coef": 1.0, "adaptive_kl": False},
        "neither": {"clip_eps": 100.0},
    },
    (
        _more(
            "updates are smaller with the adaptive penalty than with neither",
            "approx_kl",
            "neither",
            "adaptive penalty",
        ),
    ),
)

ORIGINS = Experiment(
    "Where did PPO come from?",
    "Each step of the history on the same samples: REINFORCE credits actions with what followed; a "
    "baseline takes out what the state alone explains; A2C lets the critic also stand for what was "
    "not seen yet; PPO takes many steps on each rollout, and the clip keeps them from going too "
    "far. All but PPO use each sample once, so they learn far less from the same number of steps.",
    CARTPOLE,
    {
        "REINFORCE": {
            **changed_fields(CARTPOLE, reinforce(CARTPOLE)),
            ADVANTAGES: "monte_carlo",
            "learning_rate": 1e-2,
        },
        "REINFORCE with baseline": {
            **changed_fields(CARTPOLE, reinforce_with_baseline(CARTPOLE)),
            ADVANTAGES: "baseline",
            "learning_rate": 1e-2,
        },
        "A2C": {**changed_fields(CARTPOLE, a2c(CARTPOLE)), "learning_rate": 1e-2},
        "PPO": {},
    },
    (
        _better("PPO learns more than A2C from the same steps", "PPO", "A2C"),
        _better("A2C learns more than REINFORCE from the same steps", "A2C", "REINFORCE"),
    ),
    metrics=("approx_kl", "entropy", "explained_variance"),
)

EXPERIMENTS: dict[str, Experiment] = {
    "clip": CLIP,
    "entropy": ENTROPY,
    "value-clipping": VALUE_CLIPPING,
    "advantage-normalization": ADVANTAGE_NORMALIZATION,
    "gae-lambda": GAE_LAMBDA,
    "rate-by-epochs": RATE_BY_EPOCHS,
    "minibatches": MINIBATCHES,
    "reward-scaling": REWARD_SCALING,
    "observation-normalization": OBSERVATION_NORMALIZATION,
    "trunk": TRUNK,
    "truncation": TRUNCATION,
    "late-truncation": LATE_TRUNCATION,
    "kl-stop": KL_STOP,
    "kl-penalty": KL_PENALTY,
    "origins": ORIGINS,
}
"""Experiments by the name that the command line has for them."""
