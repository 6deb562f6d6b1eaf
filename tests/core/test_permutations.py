"""Permutations: true ones, and as random as shuffled ones by every statistic that matters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from jax_ppo import draw_permutations, permutations

pytestmark = pytest.mark.usefixtures("full_optimization")

SIZES = (64, 100)
"""A power of two, and a number that is none."""

LEAST_P = 1e-4
"""About 20 tests are made of the true thing; all of them pass with probability 0.998."""


@given(st.integers(1, 700), st.integers(1, 4), st.integers(0, 2**31))
@example(2**16, 1, 0)
@example(100_000, 1, 0)
def test_every_number_once(size: int, count: int, seed: int) -> None:
    drawn = draw_permutations(jax.random.key(seed), count, size)
    assert drawn.shape == (count, size)
    assert drawn.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.tile(np.arange(size), (count, 1)))


def test_keys_and_rows_give_different_orders() -> None:
    one, other = draw_permutations(jax.random.key(0), 2, 100)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, draw_permutations(jax.random.key(1), 2, 100)[0])
    np.testing.assert_array_equal(one, draw_permutations(jax.random.key(0), 2, 100)[0])


def test_under_vmap_each_key_gives_what_it_gives_alone() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(lambda key: draw_permutations(key, 2, 100))(keys)
    for key, drawn in zip(keys, together, strict=True):
        np.testing.assert_array_equal(drawn, draw_permutations(key, 2, 100))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_orders_of_few_are_equally_likely(size: int) -> None:
    drawn = np.asarray(draw_permutations(jax.random.key(0), 6000, size))
    orders, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(orders) == np.prod(range(1, size + 1))
    assert size == 1 or stats.chisquare(counts).pvalue > LEAST_P


@pytest.mark.parametrize("size", SIZES)
def test_as_random_as_a_shuffle(size: int) -> None:
    assert min(p_values(sample(size), size).values()) > LEAST_P


@pytest.mark.parametrize("size", SIZES)
def test_these_statistics_tell_too_few_rounds(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutations, "NUM_ROUNDS", 2)
    assert min(p_values(sample(size), size).values()) < 1e-6


def sample(size: int) -> np.ndarray:
    """20,000 permutations [20000, size]."""
    return np.asarray(draw_permutations(jax.random.key(3), 20_000, size))


def p_values(drawn: np.ndarray, size: int) -> dict[str, float]:
    """How likely a sample of true shuffles would look stranger than this one, in many ways.

    Where a sample comes first, in which minibatch (of 4) it comes, how far from its neighbours, how
    often it stays where it is, and in how many pairs neighbours share a minibatch; the last is
    compared with NumPy's shuffles.
    """
    shuffled = np.random.default_rng(0).permuted(np.tile(np.arange(size), (len(drawn), 1)), axis=1)
    found = {}
    for position in (0, 1, size // 2, size - 1):
        counts = np.bincount(drawn[:, position], minlength=size)
        found[f"at {position}"] = stats.chisquare(counts).pvalue
    for step in (1, 2, size // 2):
        gaps = (drawn[:, step] - drawn[:, 0]) % size
        found[f"gap {step}"] = stats.chisquare(np.bincount(gaps, minlength=size)[1:]).pvalue
    for name, statistic in (("fixed", fixed_points), ("pairs", neighbours_together)):
        found[name] = stats.ks_2samp(statistic(drawn), statistic(shuffled)).pvalue
        spreads = [np.var(statistic(numbers)) for numbers in (drawn, shuffled)]
        found[f"{name} spread"] = variance_ratio_p(spreads[0] / spreads[1], len(drawn))
    return found


def fixed_points(drawn: np.ndarray) -> np.ndarray:
    """Samples that keep their place, for each permutation."""
    return (drawn == np.arange(drawn.shape[1])).sum(axis=1)


def neighbours_together(drawn: np.ndarray) -> np.ndarray:
    """Pairs (i, i + 1) that fall into the same of four minibatches, for each permutation."""
    minibatch = np.argsort(drawn, axis=1) * 4 // drawn.shape[1]
    return (minibatch[:, 1:] == minibatch[:, :-1]).sum(axis=1)


def variance_ratio_p(ratio: float, count: int) -> float:
    """Two-sided, by the normal approximation; its tails may be half as heavy again."""
    z = np.log(ratio) / np.sqrt(1.5 * 4 / count)
    return float(2 * stats.norm.sf(abs(z)))
