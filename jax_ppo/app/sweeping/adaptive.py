"""Adaptive search: Optuna proposes the next trials from the results of those before."""

from collections.abc import Mapping
from typing import Any

from jax_ppo.app.errors import AppError
from jax_ppo.app.sweeping.search import Range, Trial
from jax_ppo.app.sweeping.sweeps import Sweep, outcomes_of, rank

MISSING = "--adaptive needs Optuna: pip install '.[optuna]'"


def check_optuna() -> None:
    """Raise AppError if Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise AppError(MISSING) from None


def propose_trials(sweep: Sweep, ranges: Mapping[str, Range], count: int) -> list[Trial]:
    """The next trials, by a tree-structured Parzen estimator.

    The study is built anew from the sweep's own results each time, so that nothing else has to be
    kept for a sweep to go on where it stopped.

    Args:
        sweep: Its trials so far, all of them trained.
        ranges: What to sample, by name of a field.
        count: How many trials to propose.

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
        study.add_trial(
            optuna.trial.create_trial(
                params=_as_params(sweep.trials[entry.trial], ranges),
                distributions=distributions,
                value=entry.summary.iqm,
            )
        )
    asked = [study.ask(distributions).params for _ in range(count)]
    return [_as_trial(params, ranges) for params in asked]


def _distribution(range_: Range) -> Any:
    """A range in Optuna's terms; choices go by their place, since they may be of any type."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if range_.kind == "choice":
        return CategoricalDistribution(tuple(range(len(range_.values))))
    kind = IntDistribution if range_.whole else FloatDistribution
    low, high = range_.values
    return kind(low, high, log=range_.kind == "log")


def _as_params(trial: Trial, ranges: Mapping[str, Range]) -> dict[str, Any]:
    """A trial in Optuna's terms."""
    return {
        name: _place(range_, trial[name]) if range_.kind == "choice" else trial[name]
        for name, range_ in ranges.items()
    }


def _place(range_: Range, value: Any) -> int:
    """Which of the choices a value is."""
    choice = tuple(value) if isinstance(value, list) else value
    return range_.values.index(choice)


def _as_trial(params: dict[str, Any], ranges: Mapping[str, Range]) -> Trial:
    """The inverse of `_as_params`."""
    return {
        name: range_.values[params[name]] if range_.kind == "choice" else params[name]
        for name, range_ in ranges.items()
    }
