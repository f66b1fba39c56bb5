"""Stateless shuffling: the examples of a minibatch as a pure function of (key, position).

The stream of examples is a sequence of epochs, each a fresh permutation of the data set. Instead of
sorting n numbers per epoch (in a vmapped population, at every step), each position is mapped on its
own through a small keyed permutation: a Feistel network (Luby and Rackoff 1988) on a grid that just
covers n, iterated until it lands below n (cycle walking: Black and Rogaway 2002, "Ciphers with
arbitrary finite domains", method 2).
"""

import math

import jax
import jax.numpy as jnp

_ROUNDS = 8  # statistical tests cannot tell 4 from uniform; 8 cost little


def _mix(x: jax.Array) -> jax.Array:
    """The 32-bit finaliser of MurmurHash3: each input bit flips half the output bits on average."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def permute(keys: jax.Array, x: jax.Array, n: int) -> jax.Array:
    """Maps each x in [0, n) to its image under a keyed permutation of [0, n).

    Args:
      keys: uint32 round keys, shape (rounds, ...), broadcast against x.
      x: uint32 positions, any shape.
      n: size of the permuted set, static.

    Returns:
      uint32 images, the shape of x.
    """
    rows = math.isqrt(n - 1) + 1  # the rows * columns grid covers n with less than a row to spare
    columns = -(-n // rows)

    def once(x: jax.Array) -> jax.Array:
        row, column = x // columns, x % columns
        for i, key in enumerate(keys):
            if i % 2:
                row = (row + _mix(column ^ key) % rows) % rows
            else:
                column = (column + _mix(row ^ key) % columns) % columns
        return row * columns + column

    return jax.lax.while_loop(
        lambda y: jnp.any(y >= n), lambda y: jnp.where(y >= n, once(y), y), once(x)
    )


def indices(key: jax.Array, batch: jax.Array | int, batch_size: int, n: int) -> jax.Array:
    """The data set indices of one minibatch.

    Args:
      key: PRNG key of the data order, the same for all minibatches.
      batch: number of the minibatch, from 0.
      batch_size: examples in a minibatch, at most n, static.
      n: examples in the data set, static.

    Returns:
      int32 indices in [0, n), shape (batch_size,). Each epoch, the n positions from a multiple of n
      on, visits every example once. Positions wrap at 2^32.
    """
    position = jnp.uint32(batch) * batch_size + jnp.arange(batch_size, dtype=jnp.uint32)
    first = position[0] // n  # as batch_size <= n, a minibatch spans at most two epochs
    keys = jnp.stack(
        [
            jax.random.bits(jax.random.fold_in(key, first + e), (_ROUNDS,), jnp.uint32)
            for e in range(2)
        ],
        axis=1,
    )
    return permute(keys[:, position // n - first], position % n, n).astype(jnp.int32)
