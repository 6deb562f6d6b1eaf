"""Metrics on their way from the trainer to the run folder: rows, checked as they pass."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jax_ppo.app.checkpoints import list_checkpoints
from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import Run

Row = dict[str, Any]
"""Metrics of one update of one agent: `update`, `steps`, `seed`, and each metric by name."""

EPISODE_MEANS = ("episode_return", "episode_length")
"""The metrics that are not a number where no episode ended."""

MAY_OVERFLOW = ("approx_kl_max",)
"""The metrics that may be infinite while nothing is wrong: the KL stop kept the step from harm."""


class NonFiniteError(AppError):
    """A metric of training is infinite or not a number."""


def metric_rows(metrics: Mapping[str, Any], update: int, count: int, run: Run) -> Iterator[Row]:
    """One row per update and seed.

    Args:
        metrics: Name to values [at least count, num_seeds].
        update: Updates done before the first of these.
        count: Updates to make rows of.
        run: Gives the seeds and the steps of an update.
    """
    columns = {name: _numbers(np.asarray(values)[:count]) for name, values in metrics.items()}
    for i in range(count):
        steps = (update + i + 1) * run.config.batch_size
        for j, seed in enumerate(run.settings.seeds):
            row = {name: column[i][j] for name, column in columns.items()}
            yield {"update": update + i + 1, "steps": steps, "seed": seed, **row}


def check_finite(rows: list[Row], run: Run) -> None:
    """Raise NonFiniteError for the first metric that is no finite number and should be one."""
    for row in rows:
        for name, value in row.items():
            no_episode = name in EPISODE_MEANS and row["num_episodes"] == 0
            if not np.isfinite(value) and not no_episode and name not in MAY_OVERFLOW:
                newest = list_checkpoints(run.checkpoints)[-1]
                raise NonFiniteError(
                    f"{name} became {value} at update {row['update']} (seed {row['seed']}); "
                    f"training stopped, and the checkpoint of update {newest.update} is kept "
                    f"in {run.path}. Try a smaller --learning-rate, or --normalize-observations."
                )


def _numbers(values: np.ndarray) -> list[Any]:
    """An array as Python numbers; a float32 as the shortest decimal that stands for it."""
    return (values.astype(str).astype(float) if values.dtype.kind == "f" else values).tolist()
