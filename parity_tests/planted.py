"""Mistakes planted on both sides alike, which no comparison of the two can see.

Each replaces a function of a chapter in jax_ppo and in torch_ref at once; the oracle of a whole
training, or the tests of randomness, must find it on either side.
"""

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jax_ppo import PPOConfig
from parity_tests.checks.tiny import Architecture
from parity_tests.training import EVERYTHING, STOPPING

Function = Callable[..., Any]
PACKAGES = ("jax_ppo", "torch_ref")


@dataclass(frozen=True)
class Planted:
    """A mistake that both sides make alike."""

    name: str
    """What is wrong."""
    place: str
    """chapter.function that is replaced, by the name under which the chapter calls it."""
    wrong: Callable[[Function], Function]
    """Makes the wrong function of the right one."""
    training: Architecture = EVERYTHING
    """The training that shows it."""

    @contextmanager
    def on_both_sides(self) -> Iterator[None]:
        """Plant it, and take it out again."""
        chapter, name = self.place.split(".")
        modules = [importlib.import_module(f"{package}.{chapter}") for package in PACKAGES]
        originals = [getattr(module, name) for module in modules]
        for module, original in zip(modules, originals, strict=True):
            setattr(module, name, self.wrong(original))
        try:
            yield
        finally:
            for module, original in zip(modules, originals, strict=True):
                setattr(module, name, original)
            jax.clear_caches()


def _with_config(**changes: Any) -> Callable[[Function], Function]:
    """The function is given another config, by values or functions of its own; None stays None."""

    def changed(value: Any) -> Any:
        if not isinstance(value, PPOConfig):
            return value
        fields = {name: (getattr(value, name), change) for name, change in changes.items()}
        return value.replace(
            **{
                name: change(own) if callable(change) else change
                for name, (own, change) in fields.items()
                if own is not None
            }
        )

    return _with_arguments(changed)


def _with_arguments(change: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """The function is given changed arguments."""

    def wrong(right: Function) -> Function:
        def function(*args: Any, **kwargs: Any) -> Any:
            named = {name: change(value) for name, value in kwargs.items()}
            return right(*map(change, args), **named)

        return function

    return wrong


def _with_keywords(change: Callable[..., Mapping[str, Any]]) -> Callable[[Function], Function]:
    """The function is given some other keyword arguments, made of the right ones."""

    def wrong(right: Function) -> Function:
        return lambda *args, **kwargs: right(*args, **{**kwargs, **change(*args, **kwargs)})

    return wrong


def _unscheduled(field: str) -> Callable[[Function], Function]:
    """One coefficient of the update stays at its initial value, whatever is logged."""

    def change(*args: Any, coefficients: Any, **_: Any) -> Mapping[str, Any]:
        config = next(arg for arg in args if isinstance(arg, PPOConfig))
        return {"coefficients": coefficients._replace(**{field: getattr(config, field)})}

    return _with_keywords(change)


def _no_penalty(*_: Any, coefficients: Any, **__: Any) -> Mapping[str, Any]:
    kl_coef = coefficients.kl_coef
    return {
        "coefficients": coefficients._replace(kl_coef=None if kl_coef is None else 0.0 * kl_coef)
    }


def _result(change: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """What the function gives is changed."""
    return lambda right: lambda *args, **kwargs: change(right(*args, **kwargs))


def _scheduled(shift: int = 0, longer: int = 0) -> Callable[[Function], Function]:
    """A schedule that counts from another update, or to another end."""
    return lambda right: (
        lambda initial, schedule, update, num_updates: right(
            initial, schedule, update + shift, num_updates + longer
        )
    )


def _permutations(change: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """The update is given other orders of the samples."""
    return lambda right: (
        lambda learner, batch, orders, config, **others: right(
            learner, batch, change(orders), config, **others
        )
    )


def _same_order(orders: Any) -> Any:
    return 0 * orders + orders[:1]


def _never_truncated(right: Function) -> Function:
    """Sums of rewards that go on where a time limit ended the episode."""

    def function(state: Any, env_step: Any, discounted_return: Any) -> Any:
        return right(state, env_step._replace(truncated=env_step.terminated), discounted_return)

    return function


def _truncation_terminates(right: Function) -> Function:
    """The value after a time limit counts as 0."""

    def function(params: Any, transitions: Any, *args: Any, **kwargs: Any) -> Any:
        done = transitions.terminated | transitions.truncated
        return right(params, dataclasses.replace(transitions, terminated=done), *args, **kwargs)

    return function


def _twice(right: Function) -> Function:
    """Every batch of samples counts twice."""
    return lambda stats, samples: right(right(stats, samples), samples)


def _of_the_next_minibatch(right: Function) -> Function:
    """The advantages of one minibatch go with the samples of another."""

    def function(*args: Any) -> Any:
        arranged = right(*args)
        return arranged[np.roll(np.arange(len(arranged)), 1)]

    return function


def _identity(_: Function) -> Function:
    """Nothing happens to the first argument but one; used for `scale`, which divides rewards."""
    return lambda _, values, *__: values


APPLIED = (
    Planted("clip range scheduled, not applied", "ppo.update_policy", _unscheduled("clip_eps")),
    Planted(
        "learning rate scheduled, not applied", "ppo.update_policy", _unscheduled("learning_rate")
    ),
    Planted("schedules one update ahead", "ppo.scheduled", _scheduled(shift=1)),
    Planted("schedules end one update late", "ppo.scheduled", _scheduled(longer=1)),
    Planted("warm-up ignored", "ppo.warmup", lambda _: lambda *args: 1.0),
    Planted(
        "warm-up one update late",
        "ppo.warmup",
        lambda right: lambda share, update, n: right(share, update - 1, n),
    ),
    Planted("KL penalty logged, not in the loss", "ppo.update_policy", _with_keywords(_no_penalty)),
    Planted(
        "KL coefficient never adapted", "ppo.adapt_kl_coef", lambda _: lambda kl_coef, *__: kl_coef
    ),
    Planted(
        "KL coefficient adapted to twice the target",
        "ppo.next_kl_coef",
        _with_config(kl_target=lambda target: 2.0 * target),
    ),
    Planted("weight of the entropy ignored", "update.loss_gradient", _with_config(ent_coef=0.0)),
    Planted("weight of the value loss fixed", "update.loss_gradient", _with_config(vf_coef=0.5)),
    Planted(
        "clip range of values ignored", "update.loss_gradient", _with_config(value_clip_eps=None)
    ),
    Planted(
        "clip range of values doubled",
        "update.loss_gradient",
        _with_config(value_clip_eps=lambda eps: 2.0 * eps),
    ),
    Planted("gamma fixed", "ppo.make_batch", _with_config(gamma=0.99)),
    Planted("lambda fixed", "ppo.make_batch", _with_config(gae_lambda=0.95)),
    Planted("gradients not clipped", "update.make_optimizer", _with_config(max_grad_norm=1e9)),
    Planted("weight decay ignored", "update.make_optimizer", _with_config(weight_decay=0.0)),
    Planted("Adam's epsilon fixed", "update.make_optimizer", _with_config(adam_eps=1e-5)),
    Planted(
        "epsilon in the root ignored", "update.make_optimizer", _with_config(adam_eps_root=0.0)
    ),
    Planted(
        "advantages not normalized",
        "update.arrange_advantages",
        lambda right: lambda advantages, rows, _: right(advantages, rows, "none"),
    ),
    Planted("advantages of another minibatch", "update.arrange_advantages", _of_the_next_minibatch),
    Planted(
        "log-ratios limited far too early",
        "losses.clipped_surrogate_loss",
        lambda right: lambda new, old, *rest: right(_limited(new, old), old, *rest),
    ),
    Planted("last epoch left out", "ppo.update_policy", _permutations(lambda orders: orders[:-1])),
    Planted(
        "every epoch in the order of the first", "ppo.update_policy", _permutations(_same_order)
    ),
    Planted("value after a time limit counts as 0", "ppo.make_batch", _truncation_terminates),
    Planted("discount of the reward scale fixed", "rollout.rollout_step", _with_config(gamma=0.99)),
    Planted(
        "normalized values not clipped",
        "rollout.rollout_step",
        _with_config(normalization_clip=1e6),
    ),
    Planted("rewards not scaled", "rollout.scale", _identity),
    Planted("statistics count everything twice", "rollout.update_stats", _twice),
    Planted("sums go on over a time limit", "rollout.advance_episodes", _never_truncated),
    Planted(
        "KL stop at one and a half times the target",
        "update.gradient_step",
        _with_config(target_kl=lambda target: 1.5 * target),
        STOPPING,
    ),
    Planted("KL stop ignored", "update.gradient_step", _with_config(target_kl=1e6), STOPPING),
    Planted(
        "batch normalized minibatch by minibatch",
        "update.arrange_advantages",
        lambda right: lambda advantages, rows, _: right(advantages, rows, "minibatch"),
        STOPPING,
    ),
    Planted(
        "RMSProp's epsilon fixed", "update.make_optimizer", _with_config(adam_eps=1e-5), STOPPING
    ),
)
"""Coefficients and options that do not act where they should, as they should, or when they should;
the oracle of the training finds each."""


def _limited(new: Any, old: Any) -> Any:
    """New log-probabilities whose ratio to the old ones is exp(0.02) at most."""
    excess = (new - old - 0.02).clip(0.0)
    return new - excess


def _in_pairs(draws: Any) -> Any:
    """The second environment of each pair acts with the noise of the first."""
    places = np.arange(draws.noise.shape[1]) // 2 * 2
    return dataclasses.replace(draws, noise=draws.noise[:, places])


def _repeated(field: str, axis: int) -> Callable[[Any], Any]:
    """Along an axis, every entry is the first one."""

    def change(draws: Any) -> Any:
        values = getattr(draws, field)
        index = (slice(None),) * axis + (np.zeros(values.shape[axis], int),)
        return dataclasses.replace(draws, **{field: values[index]})

    return change


def _one_seed(right: Function) -> Function:
    """Every agent, and every update, draws from the same seed."""

    def function(source: Any, config: Any, env: Any) -> Any:
        fixed = jax.random.key(7) if isinstance(source, jax.Array) else source.clone_state()
        if not isinstance(fixed, jax.Array):
            fixed.manual_seed(7)
        return right(fixed, config, env)

    return function


def _draws_from(wrong: Callable[[Function], Function], name: str) -> Planted:
    return Planted(name, "ppo.draw_randomness", wrong)


DRAWN = (
    _draws_from(_result(_in_pairs), "noise shared by pairs of environments"),
    _draws_from(_result(_repeated("noise", 0)), "the same noise at every step"),
    _draws_from(_result(_repeated("noise", 2)), "the same noise for every action"),
    _draws_from(_result(_repeated("env_keys", 0)), "the same environment keys at every step"),
    _draws_from(_result(_repeated("env_keys", 1)), "environments share their keys"),
    _draws_from(_result(_repeated("permutations", 0)), "the same order in every epoch"),
    _draws_from(_one_seed, "every agent has the same random numbers"),
)
"""Random numbers that are not independent; the tests of randomness find each."""
