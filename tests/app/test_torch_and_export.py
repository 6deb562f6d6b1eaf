"""The reference as a program, and agents that are exported to the other framework."""

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import jax_ppo
import torch_ref
from jax_ppo import PPOConfig
from jax_ppo.app import reference
from jax_ppo.app.checkpoints import list_checkpoints
from jax_ppo.app.cli import main as jax_main
from jax_ppo.app.evaluation import load_agents as load_jax_agents
from jax_ppo.app.export import to_jax_layout, to_torch_layout
from jax_ppo.app.runs import Run, open_run
from tests.app.conftest import TINY
from torch_ref.app.cli import main as torch_main
from torch_ref.app.evaluation import load_agents as load_torch_agents


def test_train_writes_the_same_kind_of_run_folder(finished_run: Run) -> None:
    options = ("--num-agents", "2", "--normalize-observations", "--out", "run")
    assert torch_main(["train", "CartPole-v1", *TINY, *options]) == 0
    run = open_run(Path("run"))
    assert run.framework == "torch"
    names = {path.name for path in run.path.iterdir()}
    assert names == {p.name for p in finished_run.path.iterdir()} | {
        "learning_curve.png",
        "evaluation.json",
    }
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [(row["update"], row["seed"]) for row in rows] == [
        (u, s) for u in (1, 2, 3) for s in (0, 1)
    ]
    expected = json.loads(finished_run.metrics.read_text().splitlines()[0])
    only_with_kl = {"kl", "kl_coef", "kl_after_update"}
    assert set(rows[0]) == set(expected) - only_with_kl


def test_checkpoints_are_for_anyone_and_evaluated_the_same_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Parameters by the names of a state_dict, the agents along the first axis."""
    assert torch_main(["train", *TINY, "--out", "run"]) == 0
    config = open_run(Path("run")).config
    tensors = load_file(list_checkpoints(Path("run/checkpoints"))[-1].path)
    network = torch_ref.make_network(config, torch_ref.make_env(PPOConfig()))
    for name, tensor in network.init(torch.Generator()).items():
        assert tensors[f"params.{name}"].shape == (1, *tensor.shape)

    command = ["evaluate", "run", "--num-episodes", "3", "--sampled", "--out"]
    assert torch_main([*command, "a.json"]) == torch_main([*command, "b.json"]) == 0
    assert Path("a.json").read_text() == Path("b.json").read_text()
    assert "sampled actions" in capsys.readouterr().out
    assert jax_main(["resume", "run"]) == 2
    assert "run is a run of torch-ref, whose runs cannot be resumed" in capsys.readouterr().err

    content = json.loads(Path("run/run.json").read_text())
    content["config"]["hidden_sizes"] = [16]
    Path("run/run.json").write_text(json.dumps(content))
    assert torch_main(["evaluate", "run"]) == 2
    assert "policy_head.weight is [2, 8]" in capsys.readouterr().err


def test_torch_ref_without_pytorch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command is there; what it needs is not."""
    for name in [name for name in sys.modules if name.startswith("torch_ref")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert reference.main() == 2
    assert (
        capsys.readouterr().err == "error: torch-ref needs PyTorch: pip install 'jax-ppo[torch]'\n"
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("trian", "no command 'trian'"),
        ("resume run", "no command 'resume'"),
        ("train CartPol-v1", "did you mean CartPole-v1"),
        ("train --env-params gravity 3", "env_kwargs"),
        ("train --gamma 2", "gamma must be a number in"),
        ("evaluate nowhere", "not a run folder"),
        ("export nowhere --to jax", "not a run folder"),
        ("train --algorithm trpo", "torch-ref trains ppo only"),
    ],
)
def test_mistakes(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert torch_main(words.split()) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert complaint in said.err
    assert len(said.err.splitlines()) <= 2


def test_runs_of_the_other_side_are_told_apart(
    finished_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torch_main(["evaluate", str(finished_run.path)]) == 2
    assert "export" in capsys.readouterr().err
    assert jax_main(["export", str(finished_run.path), "--to", "jax"]) == 2
    assert "already" in capsys.readouterr().err


def test_agents_act_the_same_on_both_sides(
    finished_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """From JAX to PyTorch: same distributions and values for the same observations, and back."""
    assert jax_main(["export", str(finished_run.path), "--to", "torch", "--out", "there"]) == 0
    assert torch_main(["export", "there", "--to", "jax", "--out", "back"]) == 0
    here, _, _ = load_jax_agents(finished_run)
    there, update, _ = load_torch_agents(open_run(Path("there")))
    back, _, _ = load_jax_agents(open_run(Path("back")))
    jax.tree.map(np.testing.assert_array_equal, here, back)
    assert update == finished_run.config.num_updates
    assert jax_main(["resume", "back"]) == 2
    assert "back was exported" in capsys.readouterr().err, "it is not trained on"

    config, clip = finished_run.config, finished_run.config.normalization_clip
    network = jax_ppo.make_network(config, jax_ppo.make_env(config))
    torch_network = torch_ref.make_network(config, torch_ref.make_env(config))
    obs = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    for i, agent in enumerate(there):
        params, stats = jax.tree.map(lambda leaf, i=i: leaf[i], tuple(here))
        policy, values = network.apply(params, jax_ppo.normalize(stats, obs, clip))
        torch_obs = torch_ref.normalize(agent.obs_stats, torch.tensor(obs), clip)
        torch_policy, torch_values = torch_network.apply(agent.params, torch_obs)
        np.testing.assert_allclose(policy.logits, torch_policy.logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(values, torch_values, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(policy.mode(), torch_policy.mode())


def test_exported_agents_are_as_good(finished_run: Run) -> None:
    """The mean episode return, each on its own side, agrees within the noise of 200 episodes."""
    assert jax_main(["export", str(finished_run.path), "--to", "torch", "--out", "there"]) == 0
    for main, run in ((jax_main, str(finished_run.path)), (torch_main, "there")):
        command = ["evaluate", run, "--num-episodes", "200", "--sampled", "--out"]
        assert main([*command, f"{main.__module__}.json"]) == 0
    outcomes = [json.loads(path.read_text()) for path in Path().glob("*.json")]
    for seed in ("0", "1"):
        a, b = (outcome["per_seed"][seed] for outcome in outcomes)
        assert a["mean"] == pytest.approx(b["mean"], rel=0.25)


def test_cnn_and_gaussian_layouts_there_and_back() -> None:
    """Convolutions, log_std and biases; each array [num_agents, ...]."""
    rng = np.random.default_rng(0)
    arrays = {
        "params.params.policy_trunk_conv_0.kernel": rng.normal(size=(2, 3, 3, 4, 8)),
        "params.params.policy_trunk_conv_0.bias": rng.normal(size=(2, 8)),
        "params.params.value_head.kernel": rng.normal(size=(2, 16, 1)),
        "params.params.log_std": rng.normal(size=(2, 1)),
        "rollout.obs_stats.mean": rng.normal(size=(2, 4)),
    }
    converted = to_torch_layout(arrays | {"opt_state.1.count": np.zeros(2)})
    assert {name: array.shape for name, array in converted.items()} == {
        "params.policy_trunk_conv_0.weight": (2, 8, 4, 3, 3),
        "params.policy_trunk_conv_0.bias": (2, 8),
        "params.value_head.weight": (2, 1, 16),
        "params.log_std": (2, 1),
        "rollout.obs_stats.mean": (2, 4),
    }
    back = to_jax_layout(converted)
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_export_does_not_overwrite(finished_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished_run.path, "run")
    assert jax_main(["export", "run", "--to", "torch"]) == 0
    assert jax_main(["export", "run", "--to", "torch"]) == 2
    assert "run-torch exists already" in capsys.readouterr().err
