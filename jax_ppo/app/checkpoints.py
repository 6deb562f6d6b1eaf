"""Checkpoints: one safetensors file each, written atomically and checked when read.

A file holds arrays and nothing else, so that loading one never runs code.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import Run, sync, written_atomically

HEADER = "checkpoint"
"""Name of the entry of a file's metadata that says what the file is."""
Tree = TypeVar("Tree")
Arrays = dict[str, np.ndarray]


class CorruptCheckpointError(AppError):
    """A checkpoint file is truncated or its contents were changed."""


class CheckpointMismatchError(AppError):
    """A checkpoint is sound but belongs to another network or another set of options."""


class Checkpoint(NamedTuple):
    """A checkpoint on disk."""

    update: int
    """Updates done when it was written."""
    path: Path


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The finished checkpoints in a folder, oldest first; none if there is no folder."""
    if not folder.is_dir():
        return []
    named = (
        (re.fullmatch(r"update_(\d+)\.safetensors", file.name), file) for file in folder.iterdir()
    )
    return sorted(Checkpoint(int(match[1]), file) for match, file in named if match)


def set_aside_later(folder: Path, update: int) -> None:
    """Rename the checkpoints of updates after `update`, so that new ones can take their place.

    Where training continues from `update`, the later ones are damaged. Under their old names they
    would count as the newest, and every new checkpoint would be deleted for being older.
    """
    for checkpoint in list_checkpoints(folder):
        if checkpoint.update > update:
            checkpoint.path.replace(checkpoint.path.with_suffix(".damaged"))


def write_checkpoint(run: Run, update: int, arrays: Arrays) -> Path:
    """Write a checkpoint of a run atomically, then delete all but the newest.

    Args:
        run: The run; gives how many checkpoints to keep.
        update: Updates done so far; becomes part of the name.
        arrays: What to write, by name.
    """
    run.checkpoints.mkdir(exist_ok=True)
    path = run.checkpoints / f"update_{update:09d}.safetensors"
    header = {"run": run.id, "update": update}
    header["sha256"] = _digest(arrays, header)
    # One entry: safetensors does not keep the order of several.
    metadata = {HEADER: json.dumps(header)}
    with written_atomically(path) as unfinished, unfinished.open("wb") as file:
        file.write(save(arrays, metadata=metadata))
        sync(file)
    for old in list_checkpoints(run.checkpoints)[: -run.settings.keep_checkpoints]:
        old.path.unlink()
    return path


def read_checkpoint(run: Run, checkpoint: Checkpoint) -> Arrays:
    """All arrays of a checkpoint, after comparing them with the checksum in the file.

    Raises:
        CorruptCheckpointError: The file cannot be read, its checksum is wrong, or it is of another
            run or of another update than its name says.
    """
    path = checkpoint.path
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = _header_of(file.metadata() or {})
    except (SafetensorError, ValueError) as error:
        raise CorruptCheckpointError(f"{path.name} is damaged ({error})") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise CorruptCheckpointError(f"{path.name} cannot be read ({reason})") from error
    if header.pop("sha256", None) != _digest(arrays, header):
        raise CorruptCheckpointError(f"{path.name} is damaged (its checksum does not match)")
    if run.id and header.get("run", run.id) != run.id:
        raise CorruptCheckpointError(f"{path.name} is a checkpoint of another run")
    updates = {header.get("update", checkpoint.update)} | set(_updates(arrays))
    if updates != {checkpoint.update}:
        raise CorruptCheckpointError(f"{path.name} holds update {max(updates)}")
    return arrays


def _header_of(metadata: dict[str, str]) -> dict[str, Any]:
    """What a checkpoint says of itself: run, update, sha256; in older versions the last alone."""
    header = json.loads(metadata[HEADER]) if HEADER in metadata else metadata
    return header if isinstance(header, dict) else {}


def _updates(arrays: Arrays) -> list[int]:
    """The updates that each agent has done, where the arrays are whole states."""
    return np.atleast_1d(arrays["update"]).tolist() if "update" in arrays else []


def read_newest(run: Run) -> tuple[Arrays | None, int, list[str]]:
    """Read the newest checkpoint of a run that is sound.

    Returns:
        Its arrays (None if there is no sound checkpoint), the updates done when it was written, and
        a message for each newer checkpoint that is damaged.
    """
    problems: list[str] = []
    for checkpoint in reversed(list_checkpoints(run.checkpoints)):
        try:
            return read_checkpoint(run, checkpoint), checkpoint.update, problems
        except CorruptCheckpointError as error:
            problems.append(str(error))
    return None, 0, problems


def read_agents(run: Run) -> tuple[Arrays, int, list[str]]:
    """As `read_newest`, but AppError if there is no sound checkpoint."""
    arrays, update, problems = read_newest(run)
    if arrays is None:
        raise AppError("; ".join([f"{run.path} has no checkpoint that can be read", *problems]))
    return arrays, update, problems


def to_arrays(tree: Any) -> Arrays:
    """Every leaf of a pytree by its path, such as `params.params.value_head.bias`.

    Random keys become the integers that they are made of.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        _name(path): np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order="C")
        for path, leaf in leaves
    }


def from_arrays(arrays: Arrays, template: Tree, *, ignore_others: bool = False) -> Tree:
    """The inverse of `to_arrays`.

    Args:
        arrays: The arrays of a checkpoint.
        template: A pytree of arrays, or of their shapes and dtypes as `jax.eval_shape` gives them.
        ignore_others: Whether arrays that the template does not contain are no error.

    Raises:
        CheckpointMismatchError: They are other arrays than the template's.
    """
    expected, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [_name(path) for path, _ in expected]
    arrays = {**_missing_remainders(names, arrays), **arrays}
    missing = sorted(set(names) - set(arrays))
    others = [] if ignore_others else sorted(set(arrays) - set(names))
    if missing or others:
        name, place = (missing[0], "config") if missing else (others[0], "checkpoint")
        raise CheckpointMismatchError(
            f"the checkpoint does not fit the run's config: {name} is only in the {place}"
        )
    wanted = zip(names, expected, strict=True)
    leaves = [_restore(name, arrays[name], leaf) for name, (_, leaf) in wanted]
    return jax.tree.unflatten(structure, leaves)


def _missing_remainders(names: list[str], arrays: Arrays) -> Arrays:
    """The remainders of running statistics, which older versions did not have, as zeros."""
    sums = {name: name.removesuffix("_rest") for name in names if name.endswith("_rest")}
    return {name: np.zeros_like(arrays[of]) for name, of in sums.items() if of in arrays}


def _restore(name: str, array: np.ndarray, like: Any) -> jax.Array:
    """One leaf as a JAX array, if it has the shape and type of the template's."""
    wanted = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
    if array.shape != wanted.shape or array.dtype != wanted.dtype:
        raise CheckpointMismatchError(
            f"the checkpoint does not fit the run's config: {name} is "
            f"{array.dtype}{list(array.shape)}, "
            f"but the config asks for {wanted.dtype}{list(wanted.shape)}{_flag_of(array, like)}"
        )
    restored = jax.numpy.asarray(array)
    return jax.random.wrap_key_data(restored, impl=_key_impl(like)) if _is_key(like) else restored


def _name(path: Any) -> str:
    """A leaf's place in its tree, with dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _is_key(leaf: Any) -> bool:
    """Whether a leaf is a random key rather than numbers."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _flag_of(array: np.ndarray, like: Any) -> str:
    """The flag of JAX that an array of another form was probably made with."""
    if _is_key(like):
        return "; was JAX_DEFAULT_PRNG_IMPL set in training? starts.jsonl says so"
    if array.dtype.kind == like.dtype.kind and array.dtype.itemsize != like.dtype.itemsize:
        return "; was JAX_ENABLE_X64 set in training? starts.jsonl says so"
    return ""


def _key_impl(like: Any) -> Any:
    """The implementation of a random key, or of its shape and type."""
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return found[0]


def _digest(arrays: Arrays, header: Mapping[str, Any]) -> str:
    """SHA-256 of the header, and of names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(header):
        digest.update(f"{name} {header[name]}\n".encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
