"""The checks of a whole update cover what they are meant to."""

import numpy as np
import pytest

from parity_tests import precision_of, weights
from parity_tests.checks.update import ARCHITECTURES, Updates, update_check


@pytest.mark.parametrize(
    ("name", "steps", "stopped"),
    [
        ("KL stop at the first step", 0, 1),
        ("KL stop in the middle", 2, 1),
        ("KL stop that never fires", 4, 0),
    ],
)
def test_the_stop_fires_where_it_is_meant_to(name: str, steps: int, stopped: int) -> None:
    """Of four gradient steps none, two and all are taken, and parameters move only by those."""
    architecture = next(a for a in ARCHITECTURES if a.name == name)
    inputs = update_check(architecture).inputs
    outcome = Updates(architecture).by_oracle(**inputs)
    assert outcome["metrics"]["gradient_steps"] == steps
    assert outcome["metrics"]["kl_stop"] == stopped
    before = weights.rename_to_torch(inputs["params"])
    moved = any(np.any(outcome["params"][name] != before[name]) for name in before)
    assert moved == (steps > 0)


def test_the_oracle_needs_no_autodiff_and_clips_some_samples() -> None:
    """Its results are in the widest type, whatever the precision of the sides."""
    with precision_of("float32"):
        outcome = Updates(ARCHITECTURES[0]).by_oracle(**update_check(ARCHITECTURES[0]).inputs)
    assert {value.dtype for value in outcome["params"].values()} == {np.dtype(np.longdouble)}
    assert 0 < outcome["metrics"]["clip_fraction"] < 1, "or the checks would not cover clipping"
