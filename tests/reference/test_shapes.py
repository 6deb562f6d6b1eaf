"""Both sides refuse arrays that would broadcast into something that nobody asked for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jax_ppo
import torch_ref

SIDES = [(jax_ppo, jnp.asarray), (torch_ref, torch.as_tensor)]
ROW, COLUMN = np.linspace(-1.0, 1.0, 4), np.linspace(-1.0, 1.0, 4)[:, None]


@pytest.mark.parametrize(("package", "array"), SIDES)
@pytest.mark.parametrize(
    ("function", "names", "options"),
    [
        ("clipped_surrogate_loss", ("log_prob", "old_log_prob", "advantages"), (0.2,)),
        ("value_loss", ("values", "old_values", "returns"), (None,)),
        ("value_loss", ("values", "old_values", "returns"), (0.2,)),
        ("explained_variance", ("values", "returns"), ()),
    ],
)
def test_a_column_beside_rows_is_refused(
    package: Any, array: Callable[..., Any], function: str, names: tuple[str, ...], options: tuple
) -> None:
    compute = getattr(package, function)
    assert compute(*(array(ROW) for _ in names), *options).shape == ()
    for wrong in names:
        arrays = [array(COLUMN if name == wrong else ROW) for name in names]
        with pytest.raises(ValueError, match=rf"^{function}: .*\b{wrong} \[4, 1\]"):
            compute(*arrays, *options)


@pytest.mark.parametrize(("package", "array"), SIDES)
def test_a_rollout_without_its_last_step_is_refused(
    package: Any, array: Callable[..., Any]
) -> None:
    whole, flags = array(np.ones((3, 2))), array(np.zeros((3, 2), bool))
    with pytest.raises(ValueError, match=r"next_values \[2, 2\]"):
        package.compute_gae(
            whole, whole, whole[:2], terminated=flags, truncated=flags, gamma=0.9, gae_lambda=0.9
        )


def test_under_vmap_a_shape_is_that_of_one_agent() -> None:
    rows = jnp.ones((3, 4))
    losses = jax.vmap(jax_ppo.value_loss)(rows, rows, rows + 1.0)
    np.testing.assert_array_equal(losses, np.full(3, 0.5))
