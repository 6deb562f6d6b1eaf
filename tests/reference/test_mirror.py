"""Both packages have the same names, signatures and fields, chapter by chapter.

A name that exists on one side alone must be in ONE_SIDED with its reason.
"""

import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

import jax_ppo
import torch_ref

TORCH_ONLY = ("adapters.gymnasium", "optimizers")
"""Modules of torch_ref that wrap or replace a library that JAX has another one for."""

MODULES = {path.stem for path in Path(torch_ref.__file__).parent.glob("*.py")}
CHAPTERS = ("adapters", *sorted(MODULES - {"__init__", "__main__", *TORCH_ONLY}))
"""All other modules of torch_ref, so that a new one cannot be forgotten here."""

ONE_SIDED = {
    # jax_ppo
    "from_gymnax": "wraps gymnax; its counterpart is from_gymnasium",
    "autoreset": "Gymnasium's vector environment resets by itself",
    "zero_observations": "flax makes parameters from a sample, torch_ref from shapes",
    "ActorCritic": "a Flax module; its counterparts are init_params and actor_critic",
    "check_keys": "a torch.Generator cannot be mistaken for several",
    "train_agents": "several agents in one program; in eager code any loop over train is one",
    "train_updates": "pieces of a jitted loop; in eager code any loop over Algorithm.step is one",
    "init_train_states": "several agents in one program",
    "Layout": "torch_ref runs on one device",
    "plan_layout": "torch_ref runs on one device",
    "compiler_options": "torch_ref is not compiled",
    "config_axes": "axes of jax.vmap",
    **dict.fromkeys(
        ("TrustRegion", "a2c", "reinforce", "reinforce_with_baseline", "trpo"),
        "torch_ref has PPO alone",
    ),
    # torch_ref
    "from_gymnasium": "wraps Gymnasium; its counterpart is from_gymnax",
    "draw_env_keys": "seeds for Gymnasium; JAX splits keys",
    "init_params": "half of ActorCritic",
    "actor_critic": "the other half of ActorCritic",
    "matmul_precision": "JAX has jax.default_matmul_precision",
    "map_tensors": "JAX has jax.tree.map",
    "clip_values": "jnp.clip, with its gradient at a bound",
    **dict.fromkeys(
        ("Optimizer", "AdamState", "RMSPropState", "SGDState"),
        "JAX takes its optimizers from optax",
    ),
    "clip_by_global_norm": "JAX takes it from optax",
    "clipped_steps": "JAX has optax.chain",
}


def mirrored(name: str) -> str:
    """The name that a thing has in PyTorch."""
    return {"key": "generator"}.get(name, name)


def public(package: str, chapter: str) -> dict[str, Any]:
    """The functions and classes that a chapter defines under a public name."""
    module = importlib.import_module(f"{package}.{chapter}")
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == module.__name__
    }


def signature(function: Any) -> list[tuple[str, Any, str]]:
    """Name, kind and default of every parameter."""
    return [
        (mirrored(p.name), p.kind, described(p.default))
        for p in inspect.signature(function).parameters.values()
    ]


def described(default: Any) -> str:
    """A default in words: functions by name, records by their fields, anything else as it is."""
    if inspect.isfunction(default):
        return default.__name__
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        fields = {f.name: described(getattr(default, f.name)) for f in dataclasses.fields(default)}
        return f"{type(default).__name__}({fields})"
    return repr(default)


def fields(record: Any) -> list[str] | None:
    """Names of a dataclass's or a named tuple's fields, in order; None for anything else."""
    if dataclasses.is_dataclass(record):
        return [mirrored(field.name) for field in dataclasses.fields(record)]
    return list(record._fields) if hasattr(record, "_fields") else None


def methods(record: Any) -> dict[str, Any]:
    """Signatures of methods and properties that a class itself defines; flax adds `replace`."""
    plain = {
        name: getattr(member, "fget", None) or getattr(member, "__func__", member)
        for name, member in vars(record).items()
        if (name == "__call__" or not name.startswith("_")) and name != "replace"
    }
    return {name: signature(member) for name, member in plain.items() if inspect.isfunction(member)}


COMMON = [
    (chapter, name)
    for chapter in CHAPTERS
    for name in public("jax_ppo", chapter)
    if name in public("torch_ref", chapter)
]
RECORDS = [
    (chapter, name) for chapter, name in COMMON if inspect.isclass(public("jax_ppo", chapter)[name])
]
FUNCTIONS = [pair for pair in COMMON if pair not in RECORDS]


@pytest.mark.parametrize("package", [jax_ppo, torch_ref], ids=["jax_ppo", "torch_ref"])
def test_every_exported_name_exists(package: Any) -> None:
    assert all(hasattr(package, name) for name in package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)


def test_names_are_the_same_but_for_the_exceptions() -> None:
    """Those that the packages export and those that the chapters define; no exception is idle."""
    alone = set(jax_ppo.__all__) ^ set(torch_ref.__all__)
    for chapter in CHAPTERS:
        alone |= set(public("jax_ppo", chapter)) ^ set(public("torch_ref", chapter))
    assert set(ONE_SIDED) == alone


@pytest.mark.parametrize(("chapter", "name"), FUNCTIONS)
def test_functions_have_the_same_parameters(chapter: str, name: str) -> None:
    ours, theirs = public("torch_ref", chapter)[name], public("jax_ppo", chapter)[name]
    assert signature(ours) == signature(theirs)


@pytest.mark.parametrize(("chapter", "name"), RECORDS)
def test_records_have_the_same_fields_and_methods_and_cannot_be_changed(
    chapter: str, name: str
) -> None:
    ours, theirs = public("torch_ref", chapter)[name], public("jax_ppo", chapter)[name]
    assert fields(ours) == fields(theirs)
    assert methods(ours) == methods(theirs)
    if dataclasses.is_dataclass(ours):
        assert ours.__dataclass_params__.frozen
    else:
        assert issubclass(ours, tuple) or getattr(ours, "_is_protocol", False)


@pytest.mark.parametrize("chapter", [*CHAPTERS, *TORCH_ONLY])
def test_everything_public_is_documented(chapter: str) -> None:
    for name, thing in public("torch_ref", chapter).items():
        assert thing.__doc__, name


def test_the_reference_takes_nothing_else_from_jax_ppo() -> None:
    """Only the config, the presets and the check of shapes, which need no framework."""
    allowed = {"jax_ppo.config", "jax_ppo.presets", "jax_ppo.shapes"}
    chapters = [importlib.import_module(f"torch_ref.{name}") for name in (*CHAPTERS, *TORCH_ONLY)]
    for chapter in (torch_ref, *chapters):
        for line in inspect.getsource(chapter).splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert not words[1].startswith(("jax", "flax", "optax")) or words[1] in allowed
