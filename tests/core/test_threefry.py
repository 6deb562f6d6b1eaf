"""The written-out generator gives JAX's numbers, and the paper's."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_ppo.kernels.threefry import threefry, unrolled

pytestmark = pytest.mark.usefixtures("full_optimization")

DRAWS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "split": lambda key: jax.random.key_data(jax.random.split(key, (3, 4))),
    "fold_in": lambda key: jax.random.key_data(jax.random.fold_in(key, 12345)),
    "8 bits": lambda key: jax.random.bits(key, (5,), jnp.uint8),
    "16 bits": lambda key: jax.random.bits(key, (5,), jnp.uint16),
    "32 bits": lambda key: jax.random.bits(key, (2, 5)),
    "one number": lambda key: jax.random.uniform(key),
    "normal": lambda key: jax.random.normal(key, (7, 3)),
    "randint": lambda key: jax.random.randint(key, (9,), 0, 5),
    "permutation": lambda key: jax.random.permutation(key, 9),
    "under vmap": lambda key: jax.vmap(jax.random.uniform)(jax.random.split(key, 5)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_numbers_are_those_of_jax(draw: Callable, seed: int) -> None:
    key = jax.random.key(np.uint32(seed))
    np.testing.assert_array_equal(draw(unrolled(key)), draw(key))


def test_64_bits() -> None:
    with jax.enable_x64(True):
        key = jax.random.key(7)
        drawn = jax.random.bits(unrolled(key), (50,), jnp.uint64)
        np.testing.assert_array_equal(drawn, jax.random.bits(key, (50,), jnp.uint64))
        assert drawn.max() > 2**32


@pytest.mark.parametrize(
    ("key", "block", "hashed"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(key: tuple, block: tuple, hashed: tuple) -> None:
    """The vectors that the authors of Threefry publish with Random123, 20 rounds."""
    words = threefry(tuple(map(jnp.uint32, key)), tuple(map(jnp.uint32, block)))
    assert tuple(map(int, words)) == hashed


def test_keys_of_another_kind_stay_what_they_are() -> None:
    key = jax.random.key(0, impl="rbg")
    assert unrolled(key) is key
    once = unrolled(jax.random.key(0))
    assert unrolled(once) is once
