"""Independent trainings on both sides, and a test of equivalence of their outcomes.

Each side trains many seeds on its own environments with its own random numbers. Two quantities
are compared in each environment: how good the agent is in the end, and how many steps it took to
become good. A test of equivalence needs evidence that the two means are close; a test that merely
finds no difference would be passed by any experiment that is too small.
"""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from scipy import stats

import jax_ppo
import torch_ref
from jax_ppo import PPOConfig, preset

EVALUATION_EPISODES = 512
"""Episodes that each trained agent is evaluated on, with the most probable actions."""

WINDOW = 10
"""Updates over which the training's episode returns are averaged."""


@dataclass(frozen=True)
class Experiment:
    """An environment, and what counts as the same there. The margins were set beforehand."""

    config: PPOConfig
    num_agents: int
    threshold: float
    """Episode return in training that counts as having learned."""
    return_margin: float
    """Final returns are equivalent if their means differ by less."""
    steps_margin: float
    """Steps to the threshold are equivalent if their means differ by less than this share."""


EXPERIMENTS = {
    # From a random policy's return to a solved task is 480 in CartPole and about 1,050 in Pendulum:
    # the margins are a twentieth of that.
    "CartPole-v1": Experiment(preset("CartPole-v1"), 48, 400.0, 24.0, 0.25),
    "Pendulum-v1": Experiment(preset("Pendulum-v1"), 24, -400.0, 50.0, 0.25),
}
"""What the committed report compares."""


class Outcome(NamedTuple):
    """What came of one training."""

    final_return: float
    """Mean return of the evaluation episodes."""
    steps_to_threshold: float
    """Environment steps until training first averaged the threshold; all steps if it never did."""


@dataclass(frozen=True)
class Equivalence:
    """Two samples compared by two one-sided Welch t-tests."""

    jax_mean: float
    torch_mean: float
    difference: float
    """torch_mean - jax_mean."""
    ci_low: float
    """Lower end of the 90% interval of the difference."""
    ci_high: float
    """Upper end."""
    margin: float
    p_value: float
    """Probability of such samples if the means differed by the margin or more."""
    ks_p_value: float
    """Of the two-sample Kolmogorov-Smirnov test, which compares the whole distributions."""
    equivalent: bool
    """Whether the interval lies within the margin, which is p_value < 0.05."""


def steps_to_threshold(metrics: Any, config: PPOConfig, threshold: float) -> float:
    """Environment steps after which the last WINDOW updates first averaged the threshold.

    Args:
        metrics: Of a training; episode_return and num_episodes [num_updates].
        config: Gives the steps of an update.
        threshold: Episode return to reach.

    Returns:
        The steps, or total_steps if the threshold was never reached.
    """
    counts = np.asarray(metrics.num_episodes, float)
    sums = np.where(counts > 0, np.asarray(metrics.episode_return, float), 0.0) * counts
    window = np.ones(WINDOW)
    episodes = np.convolve(counts, window)[: len(counts)]
    returns = np.convolve(sums, window)[: len(counts)] / np.maximum(episodes, 1)
    reached = np.flatnonzero((episodes > 0) & (returns >= threshold))
    update = reached[0] + 1 if len(reached) else config.num_updates
    return float(update * config.batch_size)


def jax_outcome(seed: int, experiment: Experiment) -> Outcome:
    """Train and evaluate one agent with JAX on gymnax."""
    config = experiment.config
    limit = jax_ppo.make_env(config).max_episode_steps
    state, metrics = _jax_train(jax.random.key(seed), config)
    results = _jax_evaluate(
        jax.random.key(seed), state.params, state.rollout.obs_stats, config, limit
    )
    steps = steps_to_threshold(metrics, config, experiment.threshold)
    return Outcome(float(results.episode_return.mean()), steps)


def torch_outcome(seed: int, experiment: Experiment) -> Outcome:
    """Train and evaluate one agent with PyTorch on Gymnasium."""
    torch.set_num_threads(1)
    config = experiment.config
    generator = torch.Generator().manual_seed(seed)
    state, metrics = torch_ref.train(generator, config)
    results = torch_ref.evaluate_policy(
        generator, state.params, state.rollout.obs_stats, config, num_episodes=EVALUATION_EPISODES
    )
    steps = steps_to_threshold(metrics, config, experiment.threshold)
    return Outcome(float(results.episode_return.mean()), steps)


def run_experiment(experiment: Experiment, num_processes: int) -> "Comparison":
    """All trainings of an experiment, so many processes at a time."""
    work = [(seed, experiment) for seed in range(experiment.num_agents)]
    with get_context("spawn").Pool(num_processes) as pool:
        return Comparison(
            experiment,
            jax=tuple(pool.starmap(jax_outcome, work)),
            torch=tuple(pool.starmap(torch_outcome, work, chunksize=1)),
        )


def equivalence(jax_values: np.ndarray, torch_values: np.ndarray, margin: float) -> Equivalence:
    """Two one-sided Welch t-tests of the difference d of two means.

    p = P(T > (margin - |d|) / s), s^2 = v_1 / n_1 + v_2 / n_2, where T has Student's distribution
    with s^4 / (v_1^2 / n_1^2 / (n_1 - 1) + v_2^2 / n_2^2 / (n_2 - 1)) degrees of freedom.

    Args:
        jax_values: A sample, of variance v_1 and size n_1 > 1.
        torch_values: Another, independent one.
        margin: Differences below this do not matter; in the samples' unit.

    Source: Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power
    approach for assessing the equivalence of average bioavailability"; Welch (1947).
    """
    samples = jax_values, torch_values
    jax_mean, torch_mean = (float(np.mean(x)) for x in samples)
    difference = torch_mean - jax_mean
    parts = [float(np.var(x, ddof=1)) / len(x) for x in samples]
    error = math.sqrt(sum(parts))
    if error == 0:
        half_width, p_value = 0.0, float(abs(difference) >= margin)
    else:
        weights = (part**2 / (len(x) - 1) for part, x in zip(parts, samples, strict=True))
        student = stats.t(error**4 / sum(weights))
        half_width = float(student.ppf(0.95)) * error
        p_value = float(student.sf((margin - abs(difference)) / error))
    return Equivalence(
        jax_mean=jax_mean,
        torch_mean=torch_mean,
        difference=difference,
        ci_low=difference - half_width,
        ci_high=difference + half_width,
        margin=margin,
        p_value=p_value,
        ks_p_value=float(stats.ks_2samp(*samples).pvalue),
        equivalent=p_value < 0.05,
    )


@dataclass(frozen=True)
class Comparison:
    """The outcomes of all seeds of both sides, and the tests of equivalence."""

    experiment: Experiment
    jax: tuple[Outcome, ...]
    torch: tuple[Outcome, ...]

    @cached_property
    def final_return(self) -> Equivalence:
        """Whether the trained agents are equally good."""
        return self._equivalence("final_return", self.experiment.return_margin)

    @cached_property
    def steps_to_threshold(self) -> Equivalence:
        """Whether they learned equally fast."""
        mean = float(np.mean(self.values("steps_to_threshold", "jax")))
        return self._equivalence("steps_to_threshold", self.experiment.steps_margin * mean)

    @property
    def ok(self) -> bool:
        """Whether both quantities are equivalent."""
        return self.final_return.equivalent and self.steps_to_threshold.equivalent

    def values(self, quantity: str, side: str) -> np.ndarray:
        """A field of Outcome, of the side "jax" or "torch": one number per seed [num_agents]."""
        return np.array([getattr(outcome, quantity) for outcome in getattr(self, side)])

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {
            "env_id": self.experiment.config.env_id,
            "num_agents": self.experiment.num_agents,
            "total_steps": self.experiment.config.total_steps,
            "threshold": self.experiment.threshold,
            "final_return": asdict(self.final_return),
            "steps_to_threshold": asdict(self.steps_to_threshold),
            "jax": [outcome._asdict() for outcome in self.jax],
            "torch": [outcome._asdict() for outcome in self.torch],
        }

    def _equivalence(self, quantity: str, margin: float) -> Equivalence:
        return equivalence(self.values(quantity, "jax"), self.values(quantity, "torch"), margin)


_jax_train = jax.jit(jax_ppo.train)


def _evaluate(
    key: jax.Array, params: Any, obs_stats: Any, config: PPOConfig, max_steps: int
) -> jax_ppo.EpisodeResults:
    return jax_ppo.evaluate_policy(
        key, params, obs_stats, config, num_episodes=EVALUATION_EPISODES, max_steps=max_steps
    )


_jax_evaluate = jax.jit(_evaluate, static_argnames="max_steps")
