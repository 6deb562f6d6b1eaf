"""JAX's default random numbers with the rounds of their hash unrolled.

On a CPU, JAX computes the 20 rounds in a loop, which compiles fast but is slow where few numbers
are drawn at a time, as an environment does in each of its steps. Unrolled, the rounds are fused
into the surrounding code; see docs/speed.md. The numbers are the same.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import random as extend_random

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)

Words = tuple[jax.Array, jax.Array]
"""Two arrays of uint32: the halves of each 64-bit block."""


def unrolled(keys: jax.Array) -> jax.Array:
    """The same keys, whose random numbers are drawn with the rounds unrolled.

    Args:
        keys: Random keys [...]; keys that are not of JAX's default kind are returned unchanged.
    """
    if str(jax.random.key_impl(keys)) != "threefry2x32":
        return keys
    return jax.random.wrap_key_data(jax.random.key_data(keys), impl=_UNROLLED)


def threefry(key: Words, block: Words) -> Words:
    """Threefry-2x32 with 20 rounds: a random function of the block for each key.

    Args:
        key: The key.
        block: What to hash.

    Source: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    left, right = block[0] + schedule[0], block[1] + schedule[1]
    for i in range(5):
        for distance in ROTATIONS[i % 2]:
            left = left + right
            rotated = (right << np.uint32(distance)) | (right >> np.uint32(32 - distance))
            right = rotated ^ left
        left = left + schedule[(i + 1) % 3]
        right = right + schedule[(i + 2) % 3] + np.uint32(i + 1)
    return left, right


def _hash_counts(key: jax.Array, shape: tuple[int, ...]) -> Words:
    """The hash of 0, 1, 2, ... in an array of the given shape."""
    counts = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return threefry((key[0], key[1]), (jnp.zeros_like(counts), counts))


def _seed(seed: jax.Array | int) -> jax.Array:
    """The key of a 32-bit seed."""
    word = jnp.asarray(seed).astype(jnp.uint32)
    return jnp.stack([jnp.zeros_like(word), word])


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """New keys in an array of the given shape."""
    return jnp.stack(_hash_counts(key, shape), axis=-1)


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    """Random whole numbers of 8, 16, 32 or 64 bits."""
    left, right = _hash_counts(key, shape)
    if bit_width == 64:
        return (left.astype(jnp.uint64) << np.uint64(32)) | right.astype(jnp.uint64)
    return (left ^ right).astype(f"uint{bit_width}")


def _fold_in(key: jax.Array, data: jax.Array | int) -> jax.Array:
    """A new key for the number `data`."""
    block = _seed(data)
    return jnp.stack(threefry((key[0], key[1]), (block[0], block[1])))


_UNROLLED = extend_random.define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32_unrolled",
    tag="fryu",
)
