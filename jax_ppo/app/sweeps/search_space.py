"""Search spaces: the options of `jax-ppo sweep` as configs to train.

A trial is a mapping from names of config fields to values; `env_params.NAME` names a parameter of
the environment, `algorithm` an algorithm and `advantages` one of the ESTIMATORS.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np

from jax_ppo.app.algorithms import find_algorithm
from jax_ppo.app.command_line import UsageError
from jax_ppo.config import COEFFICIENTS, PPOConfig, unknown_name
from jax_ppo.ppo import AlgorithmFn

Trial = dict[str, Any]
"""Values by name of a field."""

ENV_PARAM = "env_params."
"""What stands before the name of an environment's parameter."""

ALGORITHM, ADVANTAGES = "algorithm", "advantages"
"""Names of the algorithm and of the advantage estimator, which are not fields of the config."""


class Range(NamedTuple):
    """Values to sample from."""

    kind: Literal["uniform", "log", "choice"]
    """Uniform between two numbers, uniform in their logarithm, or one of several values."""
    values: tuple[Any, ...]
    """The two ends, or the values to choose from."""
    whole: bool = False
    """Whether only whole numbers count."""

    def draw(self, generator: np.random.Generator) -> Any:
        """One value."""
        if self.kind == "choice":
            return self.values[generator.integers(len(self.values))]
        low, high = self.values
        if self.kind == "log":
            value = math.exp(generator.uniform(math.log(low), math.log(high)))
        else:
            value = generator.uniform(low, high)
        return round(value) if self.whole else float(value)


@dataclass(frozen=True)
class Search:
    """What to try."""

    grid: Mapping[str, tuple[Any, ...]]
    """Values of each field; every combination is tried."""
    ranges: Mapping[str, Range]
    """Fields that are sampled."""
    num_samples: int
    """How many samples are tried, each with every combination of the grid."""


def parse_search(grid: Sequence[str], sample: Sequence[str], num_samples: int) -> Search:
    """Read the options --grid, --sample and --trials.

    Texts are like "learning_rate=1e-4,1e-3" in a grid, and "learning_rate=log:1e-5,1e-2",
    "gamma=uniform:0.9,0.999" or "activation=choice:tanh,relu" in a sample.

    Raises:
        UsageError: A text cannot be parsed, or a field is named twice.
    """
    if not grid and not sample:
        raise UsageError("give what to vary, such as --grid learning_rate=1e-4,3e-4,1e-3")
    if num_samples < 1:
        raise UsageError(f"--trials must be at least 1, got {num_samples}")
    names = [text.partition("=")[0] for text in (*grid, *sample)]
    if len(set(names)) < len(names):
        raise UsageError(f"{max(names, key=names.count)} is given twice")
    return Search(
        dict(map(_parse_values, grid)),
        dict(map(_parse_range, sample)),
        num_samples if sample else 1,
    )


def draw_trials(search: Search, seed: int) -> list[Trial]:
    """Every trial of a search, without repetition; `seed` is that of the samples."""
    generator = np.random.default_rng(seed)
    samples = [
        {name: range_.draw(generator) for name, range_ in search.ranges.items()}
        for _ in range(search.num_samples)
    ]
    points = [
        dict(zip(search.grid, values, strict=True))
        for values in itertools.product(*search.grid.values())
    ]
    trials = [{**point, **sample} for sample in samples for point in points]
    return list({str(trial): trial for trial in trials}.values())


def apply_trial(base: PPOConfig, trial: Trial) -> PPOConfig:
    """The config of a trial.

    Raises:
        ConfigError: A value is outside its field's range.
    """
    fields: dict[str, Any] = {"env_params": dict(base.env_params)}
    for name, value in trial.items():
        if name.startswith(ENV_PARAM):
            fields["env_params"][name.removeprefix(ENV_PARAM)] = value
        elif name not in (ALGORITHM, ADVANTAGES):
            fields[name] = value
    return base.replace(**fields)


def algorithm_of(trial: Trial, base: str = "ppo") -> AlgorithmFn:
    """The algorithm that trains a trial; `base` names that of trials that do not name one."""
    return find_algorithm(trial.get(ALGORITHM, base), trial.get(ADVANTAGES))


def group_by_program(
    configs: Sequence[PPOConfig], algorithms: Sequence[AlgorithmFn]
) -> list[list[int]]:
    """Indices of trials that one program can train together, since only coefficients differ."""
    groups: dict[Any, list[int]] = {}
    for i, (config, algorithm_fn) in enumerate(zip(configs, algorithms, strict=True)):
        program = (jax.tree.structure(config), algorithm_fn)
        groups.setdefault(program, []).append(i)
    return list(groups.values())


def stack_configs(configs: Sequence[PPOConfig]) -> PPOConfig:
    """Configs of one shape as one, whose coefficients are arrays [num_configs]."""
    return jax.tree.map(lambda *leaves: jnp.asarray(leaves, float), *configs)


def _parse_values(text: str) -> tuple[str, tuple[Any, ...]]:
    """A field and its values, from text like "clip_eps=0.1,0.2"."""
    name, separator, values = text.partition("=")
    if not separator or not values:
        raise UsageError(f"--grid takes NAME=VALUE,VALUE,..., not {text!r}")
    return name, tuple(parse_value(name, value) for value in values.split(","))


def _parse_range(text: str) -> tuple[str, Range]:
    """A field and its range, from text like "learning_rate=log:1e-5,1e-2"."""
    name, _, description = text.partition("=")
    kind, _, values = description.partition(":")
    if kind not in ("uniform", "log", "choice") or not values:
        raise UsageError(
            f"--sample takes NAME=uniform:LOW,HIGH or NAME=log:LOW,HIGH or NAME=choice:A,B,..., "
            f"not {text!r}"
        )
    parsed = tuple(parse_value(name, value) for value in values.split(","))
    if kind == "choice":
        return name, Range("choice", parsed)
    numbers = len(parsed) == 2 and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in parsed
    )
    if not numbers or not parsed[0] < parsed[1] or (kind == "log" and parsed[0] <= 0):
        positive = "positive " if kind == "log" else ""
        raise UsageError(f"{name}={kind}: takes two {positive}numbers, the smaller first: {text!r}")
    return name, Range(kind, parsed, whole=isinstance(parsed[0], int))  # type: ignore[arg-type]


def parse_value(name: str, text: str) -> Any:
    """A value of a field, from its text."""
    if name.startswith(ENV_PARAM):
        return _number(name, text, float)
    if name in (ALGORITHM, ADVANTAGES):
        algorithm_of({name: text})
        return text
    kinds = {spec.name: spec.type for spec in dataclasses.fields(PPOConfig)}
    if name not in kinds or name in ("env_params", "env_kwargs"):
        raise UsageError(unknown_name("field", name, (*kinds, ALGORITHM, ADVANTAGES)))
    kind = kinds[name]
    if name in COEFFICIENTS:
        optional = type(None) in get_args(kind)
        return None if optional and text.lower() == "none" else _number(name, text, float)
    if kind is int:
        return _number(name, text, int)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{name} is true or false, not {text!r}")
        return text.lower() == "true"
    if get_origin(kind) is tuple:
        return tuple(_number(name, size, int) for size in text.split("x") if size)
    return text


def _number(name: str, text: str, kind: type) -> Any:
    """A number; UsageError if the text is not one."""
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"{name} takes {what}, not {text!r}") from None
