"""Adaptive search: Optuna proposes the next trials from the results of those before."""

from collections.abc import Mapping
from typing import Any

from jax_ppo.app.sweeps.search_space import Range, Trial
from jax_ppo.app.sweeps.sweep import Sweep, outcomes_of, rank


def propose_trials(sweep: Sweep, ranges: Mapping[str, Range], count: int) -> list[Trial]:
    """The next trials of a sweep, by a tree-structured Parzen estimator.

    The study is built anew from the results of the trials so far each time, so that nothing else
    has to be kept for a sweep to be continued.

    Source: Bergstra et al. (2011), "Algorithms for hyper-parameter optimization", section 4.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    done = len(sweep.trials)
    sampler = optuna.samplers.TPESampler(
        seed=sweep.settings.seed + done, n_startup_trials=sweep.batch_size, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {name: _distribution(range_) for name, range_ in ranges.items()}
    for entry in rank(outcomes_of(sweep)):
        sound = entry.diverged == 0
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if sound else optuna.trial.TrialState.FAIL,
                params=_as_params(sweep.trials[entry.trial], ranges),
                distributions=distributions,
                value=entry.summary.score if sound else None,
            )
        )
    asked = [study.ask(distributions).params for _ in range(count)]
    return [_as_trial(params, ranges) for params in asked]


def _distribution(range_: Range) -> Any:
    """A range as Optuna's distribution; choices by index, since they may be of any type."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if range_.kind == "choice":
        return CategoricalDistribution(tuple(range(len(range_.values))))
    kind = IntDistribution if range_.whole else FloatDistribution
    low, high = range_.values
    return kind(low, high, log=range_.kind == "log")


def _as_params(trial: Trial, ranges: Mapping[str, Range]) -> dict[str, Any]:
    """A trial as Optuna's parameters."""
    params = {}
    for name, range_ in ranges.items():
        value = tuple(trial[name]) if isinstance(trial[name], list) else trial[name]
        params[name] = range_.values.index(value) if range_.kind == "choice" else value
    return params


def _as_trial(params: dict[str, Any], ranges: Mapping[str, Range]) -> Trial:
    """The inverse of `_as_params`."""
    return {
        name: range_.values[params[name]] if range_.kind == "choice" else params[name]
        for name, range_ in ranges.items()
    }
