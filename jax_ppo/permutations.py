"""Random permutations of the samples of an update."""

import jax
import jax.numpy as jnp

NUM_ROUNDS = 8
"""Rounds of mixing; from 6 on, no statistic in the tests tells the result from a shuffle."""


def draw_permutations(key: jax.Array, num_permutations: int, size: int) -> jax.Array:
    """Random orders of the numbers 0, 1, ..., size - 1.

    Nothing is sorted. A round is a bijection of the numbers below 2^b, the next power of two:
    x -> (a x + c) mod 2^b with a random odd a and a random c, then x -> x xor floor(x / 2^h), h the
    upper half of b. Numbers that end at `size` or above go through the rounds again until all are
    below it, which leaves a bijection of those below.

    Args:
        key: Random key.
        num_permutations: How many.
        size: Of what.

    Returns:
        [num_permutations, size], int32.

    Source: the round is that of O'Neill's (2014) PCG generators, a linear congruence and an
    xorshift; cycle walking (the repetition): Black and Rogaway (2002), "Ciphers with arbitrary
    finite domains", method 2.
    """
    words = jax.random.bits(key, (2, NUM_ROUNDS, num_permutations, 1), jnp.uint32)
    start = jnp.broadcast_to(jnp.arange(size, dtype=jnp.uint32), (num_permutations, size))
    mixed = _mix(start, words, size)
    if size & (size - 1):
        mixed = jax.lax.while_loop(
            lambda x: jnp.any(x >= size),
            lambda x: jnp.where(x >= size, _mix(x, words, size), x),
            mixed,
        )
    return mixed.astype(jnp.int32)


def _mix(x: jax.Array, words: jax.Array, size: int) -> jax.Array:
    """All rounds, on numbers below the power of two that `size` is at most."""
    bits = (size - 1).bit_length()
    mask, half = jnp.uint32(2**bits - 1), jnp.uint32((bits + 1) // 2)
    for factor, offset in zip(words[0] | 1, words[1], strict=True):
        x = (x * factor + offset) & mask
        x = x ^ (x >> half)
    return x
