"""The examples run as they stand, and stay short."""

import runpy
from pathlib import Path

import pytest

import jax_ppo

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = jax_ppo.PPOConfig(total_steps=1024)
    monkeypatch.setattr(jax_ppo, "PPOConfig", lambda **changes: config.replace(**changes))
    runpy.run_path(str(path), run_name="__main__")
    assert "last episode returns" in capsys.readouterr().out
    assert len(path.read_text().splitlines()) < 30
