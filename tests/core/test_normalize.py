"""Running statistics against NumPy's over everything seen at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo import RunningStats, init_stats, normalize, scale, update_stats

update = jax.jit(update_stats)


def test_nothing_seen() -> None:
    stats = init_stats((2, 3))
    np.testing.assert_array_equal(stats.mean, np.zeros((2, 3)))
    np.testing.assert_array_equal(stats.var, np.ones((2, 3)))
    assert stats.count == 0


def test_by_hand() -> None:
    stats = update(init_stats((1,)), jnp.array([[1.0], [3.0]]))
    # mean 2; deviations -1, 1; population variance 1 (the sample variance would be 2)
    np.testing.assert_allclose([stats.mean[0], stats.var[0], stats.count], [2, 1, 2], rtol=1e-6)
    stats = update(stats, jnp.array([[8.0]]))
    # 1, 3, 8: mean 4; deviations -3, -1, 4; variance 26 / 3
    np.testing.assert_allclose(
        [stats.mean[0], stats.var[0], stats.count], [4, 26 / 3, 3], rtol=1e-6
    )


def test_what_was_there_before_the_first_sample_is_forgotten() -> None:
    """The initial variance of 1 has no weight: one sample has variance 0."""
    stats = update(init_stats((1,)), jnp.array([[5.0]]))
    np.testing.assert_array_equal([stats.mean[0], stats.var[0], stats.count], [5, 0, 1])


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from([1, 2, 5]), min_size=1, max_size=6),
    st.sampled_from([0.0, 1.0, 100.0]),
)
def test_batches_of_any_size_equal_everything_at_once(
    seed: int, sizes: list[int], offset: float
) -> None:
    rng = np.random.default_rng(seed)
    batches = [(rng.normal(size=(n, 2, 2)) + offset).astype(np.float32) for n in sizes]
    stats = init_stats((2, 2))
    for batch in batches:
        stats = update(stats, jnp.asarray(batch))
    everything = np.concatenate(batches).astype(np.float64)
    assert stats.count == len(everything)
    # A value of 100 rounds at 4e-6, its deviation from the mean likewise.
    np.testing.assert_allclose(stats.mean, everything.mean(axis=0), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(stats.var, everything.var(axis=0, ddof=0), rtol=1e-4, atol=1e-5)


def test_mistakes_give_other_answers() -> None:
    samples = np.random.default_rng(0).normal(size=(6, 1)).astype(np.float32)
    samples[2:] += 1
    stats = update(update(init_stats((1,)), jnp.asarray(samples[:2])), jnp.asarray(samples[2:]))
    right = float(stats.var[0])
    np.testing.assert_allclose(right, samples.var(ddof=0), rtol=1e-5)
    assert abs(right - samples.var(ddof=1)) > 0.01
    assert abs(right - (samples[:2].var() * 2 + samples[2:].var() * 4) / 6) > 0.01, "means differ"
    assert abs(right - (1 + samples.var() * 6) / 7) > 0.001, "a prior count of 1"


def test_a_large_mean_does_not_drown_a_small_variance() -> None:
    """Mean 1000 and deviation 0.1: E[x^2] - E[x]^2 in float32 would give noise of order 0.1."""
    samples = (1000 + 0.1 * np.random.default_rng(0).normal(size=(64, 8, 1))).astype(np.float32)
    stats = init_stats((1,))
    for batch in samples:
        stats = update(stats, jnp.asarray(batch))
    np.testing.assert_allclose(stats.var, samples.astype(np.float64).var(axis=(0, 1)), rtol=0.02)


def seen(mean: float, var: float, count: float) -> RunningStats:
    """Statistics in float32."""
    return RunningStats(*(jnp.array(x, jnp.float32) for x in (mean, var, count)))


def repeated(stats: RunningStats, samples: jax.Array, times: int) -> RunningStats:
    """The same samples again and again."""
    zero = jnp.zeros((), jnp.float32)
    stats = stats.replace(mean_rest=zero, var_rest=zero, count_rest=zero)
    return jax.jit(lambda s: jax.lax.fori_loop(0, times, lambda _, s: update_stats(s, samples), s))(
        stats
    )


def test_the_count_goes_on_where_float32_stands_still() -> None:
    stats = repeated(seen(0.0, 1.0, 2**24), jnp.ones(1), 1001)
    assert float(stats.count) + float(stats.count_rest) == 2**24 + 1001
    assert np.float32(2**24) + np.float32(1) == 2**24, "the plain sum"


@jax.jit
def long_stream() -> tuple[RunningStats, jax.Array]:
    """A million samples of N(0, 1) after 2^24 others: statistics, and a variance of plain sums."""
    zero = jnp.zeros((), jnp.float32)
    start = seen(0.0, 1.0, 2**24).replace(mean_rest=zero, var_rest=zero, count_rest=zero)

    def step(i: jax.Array, carry: tuple) -> tuple:
        stats, count, var = carry
        sample = jax.random.normal(jax.random.fold_in(jax.random.key(0), i), (1,))
        var = (count * var + sample[0] ** 2 * (count / (count + 1.0))) / (count + 1.0)
        return update_stats(stats, sample), count + 1.0, var

    stats, _, var = jax.lax.fori_loop(0, 1_000_000, step, (start, start.count, start.var))
    return stats, var


def test_the_variance_of_a_long_stream_stays_what_it_is() -> None:
    stats, plain = long_stream()
    np.testing.assert_allclose([stats.mean, stats.var], [0.0, 1.0], atol=2e-3)
    assert plain > 1.02, "over a count that stands still"


def test_the_mean_of_a_long_stream_follows() -> None:
    """1.6e7 samples at 1000, then as many at 1005: each step is far below the mean's rounding."""
    stats = repeated(seen(1000.0, 1.0, 1.6e7), jnp.full(16, 1005.0), 1_000_000)
    np.testing.assert_allclose(stats.mean, 1002.5, atol=0.01)
    np.testing.assert_allclose(stats.var, 0.5 + 6.25, rtol=1e-3)
    assert np.float32(1000) + np.float32(5 * 16 / 1.6e7) == 1000, "the plain sum"


def test_a_tiny_variance_is_not_lost_in_the_initial_one() -> None:
    stats = update(init_stats((1,)), 1e-6 * jnp.array([[-1.0], [1.0]]))
    np.testing.assert_allclose(stats.var, 1e-12, rtol=1e-5)


def test_normalize_by_hand() -> None:
    stats = RunningStats(
        mean=jnp.array([1.0, -2.0]), var=jnp.array([4.0, 0.25]), count=jnp.array(9.0)
    )
    values = jnp.array([[5.0, -2.0], [1.0, -1.0], [-100.0, 100.0]])
    # (5 - 1) / 2 = 2, 0; 0, (-1 + 2) / 0.5 = 2; both clipped at 3
    np.testing.assert_allclose(normalize(stats, values, 3.0), [[2, 0], [0, 2], [-3, 3]], rtol=1e-6)


def test_scale_does_not_centre() -> None:
    stats = RunningStats(mean=jnp.array(7.0), var=jnp.array(4.0), count=jnp.array(9.0))
    # 3 / 2; -1 / 2; 100 / 2 clipped at 10; centring would give (3 - 7) / 2 = -2
    scaled = scale(stats, jnp.array([3.0, -1.0, 100.0, -100.0]), 10.0)
    np.testing.assert_allclose(scaled, [1.5, -0.5, 10, -10], rtol=1e-6)


def test_a_constant_stream_is_finite() -> None:
    stats = update(init_stats((1,)), jnp.full((4, 1), 2.0))
    np.testing.assert_array_equal(normalize(stats, jnp.array([[2.0]]), 10.0), [[0.0]])
    # divided by sqrt(0 + 1e-8) = 1e-4: 0.0005 becomes 5
    np.testing.assert_allclose(normalize(stats, jnp.array([[2.0005]]), 10.0), [[5.0]], rtol=1e-2)
    zeros = update(init_stats(()), jnp.zeros(4))
    np.testing.assert_array_equal(scale(zeros, jnp.zeros(4), 10.0), np.zeros(4))


@pytest.mark.parametrize("function", [normalize, scale])
def test_without_statistics_nothing_changes(function: object) -> None:
    values = jnp.array([[1e9, -3.0]])
    assert function(None, values, 1.0) is values  # type: ignore[operator]
