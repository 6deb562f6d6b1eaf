"""Checkpoints: whole or absent, checked when read, and nothing but data."""

import json
import os
import re
import shutil
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

from jax_ppo import PPOConfig, init_stats
from jax_ppo.app.checkpoints import (
    Checkpoint,
    CheckpointMismatchError,
    CorruptCheckpointError,
    from_arrays,
    list_checkpoints,
    read_checkpoint,
    read_newest,
    to_arrays,
    write_checkpoint,
)
from jax_ppo.app.runs import (
    Run,
    RunSettings,
    create_run,
    only_trainer,
    unfinished_path,
    written_atomically,
)
from jax_ppo.kernels.threefry import unrolled

TREE = {
    "weights": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
    "count": jnp.array(7, jnp.int32),
    "done": jnp.array([True, False]),
    "key": jax.random.key(3),
    "keys": jax.random.split(jax.random.key(4), 2),
    "nothing": None,
}


def a_run(path: Path, keep: int = 3, name: str = "run") -> Run:
    """A new run folder."""
    return create_run(path / name, PPOConfig(), RunSettings(keep_checkpoints=keep))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with one checkpoint; not to be changed."""
    run = a_run(tmp_path_factory.mktemp("sound"))
    write_checkpoint(run, 5, to_arrays(TREE))
    return run


@pytest.fixture(scope="module")
def content(sound: Run) -> bytes:
    return list_checkpoints(sound.checkpoints)[0].path.read_bytes()


@pytest.mark.parametrize("template", [TREE, jax.eval_shape(lambda: TREE)], ids=["tree", "shapes"])
def test_round_trip_is_exact(template: Any, sound: Run) -> None:
    (checkpoint,) = list_checkpoints(sound.checkpoints)
    restored = from_arrays(read_checkpoint(sound, checkpoint), template)
    assert jax.tree.structure(restored) == jax.tree.structure(TREE)
    for name in ("weights", "count", "done"):
        np.testing.assert_array_equal(restored[name], TREE[name])
        assert restored[name].dtype == TREE[name].dtype
    np.testing.assert_array_equal(
        jax.random.normal(restored["key"], (4,)), jax.random.normal(TREE["key"], (4,))
    )


def test_the_newest_are_kept_and_other_files_left_alone(tmp_path: Path) -> None:
    run = a_run(tmp_path, keep=2)
    (run.checkpoints / "update_best.safetensors").touch()
    for update in (1, 2, 10, 9):
        write_checkpoint(run, update, to_arrays(TREE))
    assert [c.update for c in list_checkpoints(run.checkpoints)] == [9, 10]
    assert (run.checkpoints / "update_best.safetensors").exists()


def test_holds_data_only(content: bytes) -> None:
    """The file is a safetensors header, which is JSON, and the arrays' bytes: no pickle."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    assert set(header.pop("__metadata__")) == {"checkpoint"}
    assert len(header) == 5
    ends = max(entry["data_offsets"][1] for entry in header.values())
    assert len(content) == 8 + size + ends


@given(data=st.data())
def test_any_truncation_is_noticed(data: st.DataObject, sound: Run, content: bytes) -> None:
    length = data.draw(st.integers(0, len(content) - 1))
    check_damaged(sound, content[:length])


@given(data=st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject, sound: Run, content: bytes) -> None:
    position = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = bytearray(content)
    damaged[position] ^= 1 << bit
    check_damaged(sound, bytes(damaged))


def check_damaged(run: Run, damaged: bytes) -> None:
    """Reading fails as damage, never as anything else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "update_000000005.safetensors"
        path.write_bytes(damaged)
        with pytest.raises(CorruptCheckpointError, match="update_000000005"):
            read_checkpoint(run, Checkpoint(5, path))


def test_other_shape_type_or_entries() -> None:
    for changes, words in (
        ({"weights": jnp.zeros((3, 2))}, r"weights.*\[2, 3\].*\[3, 2\]"),
        ({"count": jnp.array(7.0)}, r"count.*int32.*float32"),
        ({"extra": jnp.zeros(1)}, "extra.*only in the config"),
        ({"done": None}, "done.*only in the checkpoint"),
    ):
        with pytest.raises(CheckpointMismatchError, match=words):
            from_arrays(to_arrays(TREE), {**TREE, **changes})


def test_a_flag_of_jax_that_was_set_in_training_is_named() -> None:
    arrays = to_arrays(TREE) | {"weights": np.zeros((2, 3))}
    with pytest.raises(CheckpointMismatchError, match="was JAX_ENABLE_X64 set in training"):
        from_arrays(arrays, TREE)
    arrays = to_arrays(TREE) | {"key": np.zeros(4, np.uint32)}
    with pytest.raises(CheckpointMismatchError, match="was JAX_DEFAULT_PRNG_IMPL set in training"):
        from_arrays(arrays, TREE)


def test_part_of_a_checkpoint() -> None:
    arrays = to_arrays(TREE)
    assert set(arrays) == {"weights", "count", "done", "key", "keys"}
    (count,) = from_arrays(arrays, {"count": TREE["count"]}, ignore_others=True).values()
    assert count == 7


def test_a_key_of_another_kind_is_restored_as_it_was() -> None:
    """As an environment keeps one in its state."""
    for key in (jax.random.key(5, impl="rbg"), unrolled(jax.random.split(jax.random.key(5), 3))):
        template = jax.eval_shape(lambda key=key: {"key": key})
        restored = from_arrays(to_arrays({"key": key}), template)["key"]
        assert restored.dtype == key.dtype
        draw = jax.random.normal if key.ndim == 0 else jax.vmap(jax.random.normal)
        np.testing.assert_array_equal(draw(restored), draw(key))


def test_newest_sound_one(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert read_newest(run) == (None, 0, [])
    for update in (1, 2, 3):
        write_checkpoint(run, update, {"x": np.array(update)})
    for checkpoint in list_checkpoints(run.checkpoints)[1:]:
        checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-1])
    arrays, update, problems = read_newest(run)
    assert arrays is not None
    assert (int(arrays["x"]), update, len(problems)) == (1, 1, 2)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [(a_folder, "cannot be read"), (a_dangling_link, "cannot be read.*No such file")],
)
def test_what_is_no_file_is_passed_over(damage: Any, problem: str, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for update in (1, 2):
        write_checkpoint(run, update, {"x": np.array(update)})
    damage(list_checkpoints(run.checkpoints)[-1].path)
    _, update, problems = read_newest(run)
    assert update == 1
    assert re.search(f"update_000000002.safetensors {problem}", problems[0])


def test_a_checkpoint_belongs_to_its_run_and_to_its_name(tmp_path: Path) -> None:
    """Copied in from another run; and two exchanged, of this version and of older ones."""
    run, other = a_run(tmp_path), a_run(tmp_path, name="other")
    for update in (1, 2):
        for each in (run, other):
            write_checkpoint(each, update, {"update": np.array([update, update], np.int32)})
    older, newer = (checkpoint.path for checkpoint in list_checkpoints(run.checkpoints))
    shutil.copy(list_checkpoints(other.checkpoints)[-1].path, newer)
    _, update, problems = read_newest(run)
    assert (update, problems) == (1, [f"{newer.name} is a checkpoint of another run"])
    write_checkpoint(run, 2, {"update": np.array(2, np.int32)})
    older_bytes = older.read_bytes()
    older.write_bytes(newer.read_bytes())
    newer.write_bytes(older_bytes)
    arrays, _, problems = read_newest(run)
    assert arrays is None
    assert problems == [f"{newer.name} holds update 1", f"{older.name} holds update 2"]


def test_a_missing_folder_is_made_anew(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.checkpoints.rmdir()
    assert read_newest(run) == (None, 0, [])
    write_checkpoint(run, 1, {"x": np.array(1)})
    assert read_newest(run)[1] == 1


def test_statistics_of_older_versions_have_no_remainder() -> None:
    template = {"stats": init_stats((2,))}
    arrays = to_arrays({"stats": {"mean": jnp.ones(2), "var": jnp.ones(2), "count": jnp.ones(())}})
    stats = from_arrays(arrays, template)["stats"]
    np.testing.assert_array_equal(stats.mean_rest, [0.0, 0.0])
    assert stats.count_rest == 0


def test_crash_while_writing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path, keep=1)
    write_checkpoint(run, 1, to_arrays(TREE))
    monkeypatch.setattr("os.fsync", Mock(side_effect=OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        write_checkpoint(run, 2, to_arrays(TREE))
    assert [c.update for c in list_checkpoints(run.checkpoints)] == [1]


def test_unfinished_files_have_unforeseeable_names(tmp_path: Path) -> None:
    """A link under the name that older versions used is not followed; two writers do not meet."""
    target, victim = tmp_path / "file", tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "file.tmp").symlink_to(victim)
    with written_atomically(target) as one, written_atomically(target) as other:
        assert one != other
        other.write_text("second")
        one.write_text("first")
    assert target.read_text() == "first"
    assert victim.read_text() == "kept"
    assert not list(tmp_path.glob(".*"))


def test_folders_and_files_obey_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        run = a_run(tmp_path)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (run.path, run.path / "run.json")]
    assert modes == [0o700, 0o600]


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    left = [unfinished_path(run.metrics), unfinished_path(run.checkpoints / "update_000000001.x")]
    for path in left:
        path.touch()
    theirs = unfinished_path(run.path / "report.html")
    theirs.touch()
    with only_trainer(run):
        assert not any(path.exists() for path in left)
    assert theirs.exists()
