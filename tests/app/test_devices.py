"""Runs on several devices and in several processes, as a user starts them."""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from jax_ppo import ConfigError, PPOConfig
from jax_ppo.app.runs import RunSettings

TRAIN = [
    *("train", "--num-envs", "32", "--num-steps", "32", "--num-minibatches", "1"),
    *("--update-epochs", "2", "--hidden-sizes", "8", "--total-steps", "3072"),
    *("--normalize-observations", "--normalize-rewards", "--eval-episodes", "2"),
]
"""Three updates; minibatches of 1024, which are worth four devices."""


def start(words: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """jax-ppo in a process of its own, on the CPU."""
    return subprocess.Popen(
        [sys.executable, "-m", "jax_ppo", *words],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_cluster(words: list[str], num_processes: int) -> list[subprocess.Popen[str]]:
    """The same command in processes that find each other through a free port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    cluster = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(num_processes)}
    return [start(words, {**cluster, "JAX_PROCESS_ID": str(i)}) for i in range(num_processes)]


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """What a process has written, once it has ended as expected."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def metrics(folder: Path) -> np.ndarray:
    """Every metric of every update."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([list(row.values()) for row in rows], float)


def last_start(folder: Path) -> list[str]:
    """The devices that a run was last started on."""
    return json.loads((folder / "starts.jsonl").read_text().splitlines()[-1])["devices"]


def test_two_processes_train_the_agent_that_one_trains(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    finish(start([*TRAIN, "--devices", "1", "--out", str(one)]))
    leader, follower = start_cluster([*TRAIN, "--devices", "1", "--out", str(two)], 2)
    assert f"written to {two}" in finish(leader)
    assert "written" not in finish(follower)
    assert len(last_start(one)) == 1
    assert len(last_start(two)) == 2
    np.testing.assert_allclose(metrics(two), metrics(one), rtol=2e-4, atol=2e-5)
    assert np.any(metrics(two) != metrics(one)), "sums over devices are rounded differently"


def test_a_cluster_that_is_too_large(tmp_path: Path) -> None:
    words = [*TRAIN, "--num-minibatches", "4", "--devices", "1", "--out", str(tmp_path / "r")]
    for process in start_cluster(words, 2):
        output = finish(process, status=2)
        assert "can use 1 of 2 devices, and so only 1 of 2 processes" in output


def test_a_cluster_of_unknown_size() -> None:
    output = finish(start(TRAIN, {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1"}), status=2)
    assert "cannot join the cluster at 127.0.0.1:1" in output
    assert "JAX_NUM_PROCESSES and JAX_PROCESS_ID give" in output


def test_every_core_is_used_and_a_stopped_run_goes_on_the_same(tmp_path: Path) -> None:
    """Three agents on two devices, in one go and by two starts."""
    words = [*TRAIN, "--devices", "2", "--num-agents", "3", "--checkpoint-seconds", "0"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    output = finish(start([*words, "--out", str(whole)], {"JAX_LOG_COMPILES": "1"}))
    assert output.count("Compiling jit(_train_updates)") == 1
    finish(start([*words, "--out", str(resumed)]))
    assert len(last_start(whole)) == 2
    newest = sorted((resumed / "checkpoints").glob("*.safetensors"))[-1]
    expected = newest.read_bytes()
    newest.unlink()
    assert "before, now on" not in finish(start(["resume", str(resumed)]))
    assert newest.read_bytes() == expected
    assert (resumed / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("platform", "advice"),
    [("cuda", r"pip install 'jax-ppo\[cuda\]'"), ("banana", "choose another, such as cpu")],
)
def test_a_platform_that_is_not_there(platform: str, advice: str) -> None:
    if platform == "cuda" and importlib.util.find_spec("jax_cuda12_plugin"):
        pytest.skip("it is there")
    output = finish(start(["train"], {"JAX_PLATFORMS": platform}), status=2)
    assert re.search(f"^error: JAX cannot use JAX_PLATFORMS={platform}.*{advice}", output)
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("devices", [0, -2])
def test_a_number_of_devices_that_makes_no_sense(devices: int) -> None:
    with pytest.raises(ConfigError, match="devices must be at least 1"):
        RunSettings(devices=devices)


def test_torch_ref_says_that_it_has_one_device() -> None:
    from torch_ref.app.cli import check_devices

    check_devices(PPOConfig(), RunSettings(devices=1))
    with pytest.raises(ConfigError, match="trains on one core"):
        check_devices(PPOConfig(), RunSettings(devices=2))
