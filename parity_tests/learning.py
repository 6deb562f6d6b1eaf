"""Independent trainings on both sides, and a test of equivalence of their outcomes.

Each side trains many seeds on its own environments with its own random numbers. Two questions are
asked of each environment: how good the agent is in the end, and how many steps it took to become
good. They are answered with a test of equivalence, which needs evidence that the two means are
close; a test that merely finds no difference would be passed by any experiment that is too small.
"""

from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from scipy import stats

import jax_ppo
import torch_ref
from jax_ppo import PPOConfig, preset

EVALUATION_EPISODES = 64
"""Episodes that each trained agent is evaluated on, with the most probable actions."""

WINDOW = 10
"""Updates over which the training's episode returns are averaged."""


@dataclass(frozen=True)
class Experiment:
    """An environment, and what counts as the same there. The margins were set beforehand."""

    config: PPOConfig
    num_seeds: int
    threshold: float
    """Episode return in training that counts as having learned."""
    return_margin: float
    """Final returns are equivalent if their means differ by less."""
    steps_margin: float
    """Steps to the threshold are equivalent if their means differ by less than this share."""


EXPERIMENTS = {
    # From a random policy's return to a solved task is 480 in CartPole and about 1,050 in Pendulum:
    # the margins are a twentieth of that.
    "CartPole-v1": Experiment(preset("CartPole-v1"), 32, 400.0, 24.0, 0.25),
    "Pendulum-v1": Experiment(preset("Pendulum-v1"), 16, -400.0, 50.0, 0.25),
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
    equivalent: bool
    """Whether the interval lies within the margin, which is p_value < 0.05."""


def steps_to_threshold(metrics: dict[str, Any], config: PPOConfig, threshold: float) -> float:
    """Environment steps after which the last WINDOW updates first averaged the threshold.

    Args:
        metrics: Of a training; episode_return and num_episodes [num_updates].
        config: Gives the steps of an update.
        threshold: Episode return to reach.

    Returns:
        The steps, or total_steps if the threshold was never reached.
    """
    counts = np.asarray(metrics["num_episodes"], float)
    sums = np.where(counts > 0, np.asarray(metrics["episode_return"], float), 0.0) * counts
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
        generator,
        state.params,
        state.rollout.obs_stats,
        config,
        num_episodes=EVALUATION_EPISODES,
    )
    steps = steps_to_threshold(metrics, config, experiment.threshold)
    return Outcome(float(results.episode_return.mean()), steps)


def outcomes(experiment: Experiment, num_processes: int) -> dict[str, list[Outcome]]:
    """All trainings of an experiment, several at a time.

    Args:
        experiment: What to train.
        num_processes: Trainings at a time.

    Returns:
        The outcome of every seed, under "jax" and "torch".
    """
    work = [(seed, experiment) for seed in range(experiment.num_seeds)]
    with get_context("spawn").Pool(num_processes) as pool:
        return {
            "jax": pool.starmap(jax_outcome, work),
            "torch": pool.starmap(torch_outcome, work, chunksize=1),
        }


def equivalence(jax_values: np.ndarray, torch_values: np.ndarray, margin: float) -> Equivalence:
    """Two one-sided Welch t-tests of the difference of two means.

    Args:
        jax_values: A sample.
        torch_values: Another, independent one.
        margin: Differences below this do not matter; in the samples' unit.

    Source: Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power
    approach for assessing the equivalence of average bioavailability".
    """
    difference = float(np.mean(torch_values) - np.mean(jax_values))
    if np.ptp(jax_values) == 0 and np.ptp(torch_values) == 0:
        low = high = difference
        p_value = 0.0 if abs(difference) < margin else 1.0
    else:
        welch = {"equal_var": False}
        above = stats.ttest_ind(torch_values, jax_values - margin, alternative="greater", **welch)
        below = stats.ttest_ind(torch_values, jax_values + margin, alternative="less", **welch)
        p_value = float(max(above.pvalue, below.pvalue))
        interval = stats.ttest_ind(torch_values, jax_values, **welch).confidence_interval(0.9)
        low, high = float(interval.low), float(interval.high)
    return Equivalence(
        jax_mean=float(np.mean(jax_values)),
        torch_mean=float(np.mean(torch_values)),
        difference=difference,
        ci_low=low,
        ci_high=high,
        margin=margin,
        p_value=p_value,
        equivalent=p_value < 0.05,
    )


def compare_outcomes(results: dict[str, list[Outcome]], experiment: Experiment) -> dict[str, Any]:
    """Both questions of an experiment, with the outcome of every seed.

    Args:
        results: As `outcomes` gives them.
        experiment: Gives the margins.
    """
    final = {side: np.array([o.final_return for o in results[side]]) for side in results}
    steps = {side: np.array([o.steps_to_threshold for o in results[side]]) for side in results}
    steps_margin = experiment.steps_margin * float(np.mean(steps["jax"]))
    return {
        "num_seeds": experiment.num_seeds,
        "threshold": experiment.threshold,
        "final_return": asdict(equivalence(final["jax"], final["torch"], experiment.return_margin)),
        "steps_to_threshold": asdict(equivalence(steps["jax"], steps["torch"], steps_margin)),
        "seeds": {
            side: {"final_return": final[side].tolist(), "steps_to_threshold": steps[side].tolist()}
            for side in results
        },
    }


_jax_train = jax.jit(jax_ppo.train)


def _evaluate(
    key: jax.Array, params: Any, obs_stats: Any, config: PPOConfig, max_steps: int
) -> jax_ppo.EpisodeResults:
    return jax_ppo.evaluate_policy(
        key, params, obs_stats, config, num_episodes=EVALUATION_EPISODES, max_steps=max_steps
    )


_jax_evaluate = jax.jit(_evaluate, static_argnames="max_steps")
