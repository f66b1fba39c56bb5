"""Threefry-2x32 with unrolled rounds: the same bits as `jax.random`, faster on CPU.

XLA:CPU compiles JAX's own Threefry as a rolled loop of 20 rounds, which does not fuse. Unrolled,
it fuses with the operations that use the bits. Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key: jax.Array, x0: jax.Array, x1: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Encrypts counters: key uint32 (2,), x0 and x1 uint32 of one shape, to two of that shape."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x0, x1 = x0 + schedule[0], x1 + schedule[1]
    for block in range(5):
        for distance in _ROTATIONS[block % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance))) ^ x0
        x0 = x0 + schedule[(block + 1) % 3]
        x1 = x1 + schedule[(block + 2) % 3] + np.uint32(block + 1)
    return x0, x1


def _counters(shape: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """High and low words of 0, 1, ..., in row-major order."""
    if math.prod(shape) > 2**32:
        raise ValueError(f"a draw of shape {tuple(shape)} has more than 2^32 numbers")
    low = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return jnp.zeros_like(low), low


def _seed(seed: jax.Array | int) -> jax.Array:
    return jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))


def _apart(words: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Derived keys, kept out of the fusions that use them: XLA may compile those for minutes."""
    return jax.lax.optimization_barrier(jnp.stack(words, axis=-1))


def _split(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    return _apart(threefry(key, *_counters(shape)))


def _random_bits(key: jax.Array, bit_width: int, shape: Sequence[int]) -> jax.Array:
    x0, x1 = threefry(key, *_counters(shape))
    if bit_width == 64:
        return (x0.astype(jnp.uint64) << np.uint64(32)) | x1.astype(jnp.uint64)
    return (x0 ^ x1).astype(jnp.dtype(f"uint{bit_width}"))


def _fold_in(key: jax.Array, data: jax.Array | int) -> jax.Array:
    return _apart(threefry(key, *_seed(data)))


IMPL = define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32_unrolled",
    tag="unr",
)
