"""Where float32 and training come to an end: long streams, huge ratios, schedules."""

import numpy as np
import pytest
import torch

from torch_ref import RunningStats, clipped_surrogate_loss, compute_gae, scheduled, update_stats


def seen(mean: float, var: float, count: float) -> RunningStats:
    """Statistics of a long stream."""
    return RunningStats(torch.tensor(mean), torch.tensor(var), torch.tensor(count))


def test_the_count_goes_on_where_float32_stands_still() -> None:
    stats = seen(0.0, 1.0, float(2**24))
    for _ in range(1001):
        stats = update_stats(stats, torch.ones(1))
    assert float(stats.count) + float(stats.count_rest) == 2**24 + 1001


def test_the_moments_of_a_long_stream_follow() -> None:
    """1.6e7 samples at 1000, then 32,000 at 1005: 1000 + 5 * 32,000 / 1.6032e7 = 1000.00998."""
    stats = seen(1000.0, 1.0, 1.6e7)
    for _ in range(2000):
        stats = update_stats(stats, torch.full((16,), 1005.0))
    share = 32_000 / 1.6032e7
    np.testing.assert_allclose(float(stats.mean) + float(stats.mean_rest), 1000 + 5 * share)
    var = (1 - share) * 1.0 + share * (1 - share) * 25
    np.testing.assert_allclose(float(stats.var) + float(stats.var_rest), var, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("update", [4, 5, 10**6])
def test_after_the_end_of_a_schedule_there_is_nothing(schedule: str, update: int) -> None:
    for number in (update, torch.tensor(update)):
        np.testing.assert_allclose(float(scheduled(0.8, schedule, number, 4)), 0.0, atol=1e-7)


@pytest.mark.parametrize("log_ratio", [81.0, 89.0, 1e4, np.inf])
@pytest.mark.parametrize(("advantage", "loss"), [(1.0, -1.2), (0.0, 0.0), (-1e-30, 5.54e4)])
def test_ratios_beyond_float32(log_ratio: float, advantage: float, loss: float) -> None:
    log_prob = torch.tensor([log_ratio], requires_grad=True)
    got = clipped_surrogate_loss(log_prob, torch.zeros(1), torch.tensor([advantage]), 0.2)
    got.backward()
    np.testing.assert_allclose(got.item(), loss, rtol=1e-3)
    assert log_prob.grad is not None
    assert log_prob.grad.item() == 0


def test_flags_are_bool() -> None:
    x, flag = torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    with pytest.raises(TypeError, match="truncated must be an array of type bool"):
        compute_gae(x, x, x, terminated=flag, truncated=flag.float(), gamma=0.9, gae_lambda=0.9)
