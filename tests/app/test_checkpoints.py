"""Checkpoints: whole or absent, checked when read, and nothing but data."""

import json
import struct
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo.app.checkpoints import (
    CheckpointMismatchError,
    CorruptCheckpointError,
    from_arrays,
    list_checkpoints,
    read_checkpoint,
    read_newest,
    to_arrays,
    write_checkpoint,
)

TREE = {
    "weights": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
    "count": jnp.array(7, jnp.int32),
    "done": jnp.array([True, False]),
    "key": jax.random.key(3),
    "keys": jax.random.split(jax.random.key(4), 2),
    "nothing": None,
}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sound")
    return write_checkpoint(folder, 5, to_arrays(TREE), keep=1).read_bytes()


@pytest.mark.parametrize("template", [TREE, jax.eval_shape(lambda: TREE)], ids=["tree", "shapes"])
def test_round_trip_is_exact(template: Any, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 5, to_arrays(TREE), keep=1)
    restored = from_arrays(read_checkpoint(path), template)
    assert jax.tree.structure(restored) == jax.tree.structure(TREE)
    for name in ("weights", "count", "done"):
        np.testing.assert_array_equal(restored[name], TREE[name])
        assert restored[name].dtype == TREE[name].dtype
    np.testing.assert_array_equal(
        jax.random.normal(restored["key"], (4,)), jax.random.normal(TREE["key"], (4,))
    )


def test_the_newest_are_kept_and_other_files_left_alone(tmp_path: Path) -> None:
    (tmp_path / "update_best.safetensors").touch()
    for update in (1, 2, 10, 9):
        write_checkpoint(tmp_path, update, to_arrays(TREE), keep=2)
    assert [c.update for c in list_checkpoints(tmp_path)] == [9, 10]
    assert (tmp_path / "update_best.safetensors").exists()


def test_holds_data_only(content: bytes) -> None:
    """The file is a safetensors header, which is JSON, and the arrays' bytes: no pickle."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    assert set(header.pop("__metadata__")) == {"sha256"}
    assert len(header) == 5
    ends = max(entry["data_offsets"][1] for entry in header.values())
    assert len(content) == 8 + size + ends


@given(data=st.data())
def test_any_truncation_is_noticed(data: st.DataObject, content: bytes) -> None:
    length = data.draw(st.integers(0, len(content) - 1))
    check_damaged(content[:length])


@given(data=st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject, content: bytes) -> None:
    position = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = bytearray(content)
    damaged[position] ^= 1 << bit
    check_damaged(bytes(damaged))


def check_damaged(damaged: bytes) -> None:
    """Reading fails as damage, never as anything else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "update_000000001.safetensors"
        path.write_bytes(damaged)
        with pytest.raises(CorruptCheckpointError, match="update_000000001"):
            read_checkpoint(path)


def test_other_shape_type_or_entries() -> None:
    for changes, words in (
        ({"weights": jnp.zeros((3, 2))}, r"weights.*\[2, 3\].*\[3, 2\]"),
        ({"count": jnp.array(7.0)}, r"count.*int32.*float32"),
        ({"extra": jnp.zeros(1)}, "extra.*only in the config"),
        ({"done": None}, "done.*only in the checkpoint"),
    ):
        with pytest.raises(CheckpointMismatchError, match=words):
            from_arrays(to_arrays(TREE), {**TREE, **changes})


def test_part_of_a_checkpoint() -> None:
    arrays = to_arrays(TREE)
    assert set(arrays) == {"weights", "count", "done", "key", "keys"}
    (count,) = from_arrays(arrays, {"count": TREE["count"]}, ignore_others=True).values()
    assert count == 7


def test_newest_sound_one(tmp_path: Path) -> None:
    assert read_newest(tmp_path) == (None, 0, [])
    for update in (1, 2, 3):
        write_checkpoint(tmp_path, update, {"x": np.array(update)}, keep=3)
    for checkpoint in list_checkpoints(tmp_path)[1:]:
        checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-1])
    arrays, update, problems = read_newest(tmp_path)
    assert arrays is not None
    assert (int(arrays["x"]), update, len(problems)) == (1, 1, 2)


def test_crash_while_writing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, 1, to_arrays(TREE), keep=1)
    monkeypatch.setattr("os.fsync", Mock(side_effect=OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        write_checkpoint(tmp_path, 2, to_arrays(TREE), keep=1)
    assert [c.update for c in list_checkpoints(tmp_path)] == [1]
