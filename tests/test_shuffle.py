"""Tests of gan_jax.shuffle: bijections, exact epochs and uniform orders."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gan_jax import shuffle

KEY = jax.random.key(0)
NUM_KEYS = {1: 2, 2: 8, 3: 20, 4: 24_000, 7: 50, 1797: 20, 60000: 2}  # by size of the data set


@functools.cache
def orders(n: int) -> np.ndarray:
    """Permutations of [0, n), one per key and row."""
    shape = NUM_KEYS[n], shuffle._ROUNDS
    keys = np.random.default_rng(n).integers(0, 2**32, shape, np.uint32)
    permute = jax.vmap(functools.partial(shuffle.permute, n=n), in_axes=(0, None))
    return np.asarray(jax.jit(permute)(keys, np.arange(n, dtype=np.uint32)))


@functools.cache
def indices(batch_size: int, n: int):
    """shuffle.indices as a jitted function of the key and the minibatch's number."""
    return jax.jit(functools.partial(shuffle.indices, batch_size=batch_size, n=n))


def stream(batch_size: int, n: int, num: int) -> np.ndarray:
    """The first `num` examples, drawn in minibatches."""
    batches = [indices(batch_size, n)(KEY, b) for b in range(-(-num // batch_size))]
    assert all(b.shape == (batch_size,) and b.dtype == jnp.int32 for b in batches)
    return np.concatenate(batches)[:num]


@pytest.mark.parametrize("n", NUM_KEYS)
def test_permute_is_bijective(n):
    expected = np.broadcast_to(np.arange(n, dtype=np.uint32), (NUM_KEYS[n], n))
    np.testing.assert_array_equal(np.sort(orders(n)), expected, strict=True)


def test_orders_of_four_are_uniform():
    """A chi-square test at one in a million; with fixed keys, it passes always or never."""
    _, counts = np.unique(orders(4), axis=0, return_counts=True)
    assert counts.size == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize(("batch_size", "n"), [(1, 1), (4, 10), (10, 10), (2, 101)])
def test_epochs_are_permutations(batch_size, n):
    # Minibatches that do not divide the data set straddle epochs.
    for epoch in stream(batch_size, n, 5 * n).reshape(5, n):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(n))


def test_stream_ignores_batch_size():
    np.testing.assert_array_equal(stream(4, 10, 50), stream(10, 10, 50))


def test_epochs_and_keys_differ():
    seen = {tuple(epoch) for epoch in stream(10, 10, 200).reshape(20, 10)}
    seen |= {tuple(indices(10, 10)(jax.random.key(s), 0).tolist()) for s in range(1, 21)}
    assert len(seen) == 40


def test_positions_up_to_2_to_the_32():
    last = 2**32 // 10 - 1  # the last whole epoch before positions wrap
    late = [indices(10, 10)(KEY, last - i) for i in range(2)]
    for epoch in late:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert not np.array_equal(*late)
    assert not np.array_equal(late[0], indices(10, 10)(KEY, 0))
    for batch_size in (4, 10):  # and wrapped positions still give indices in range
        for batch in (2**32 // 4 - 1, 2**32 // 4, 2**32 // 10, 2**31 - 1):
            wrapped = indices(batch_size, 10)(KEY, jnp.uint32(batch))
            assert 0 <= wrapped.min() <= wrapped.max() < 10


def test_golden_indices():
    # Checkpoints of earlier versions resume with these.
    expected = [[9, 7, 1, 9], [9, 6, 4, 7]]  # the first across two epochs
    keys = jax.random.split(KEY, 2)
    found = [indices(4, 10)(key, batch) for key, batch in zip(keys, (2, 10**6), strict=True)]
    np.testing.assert_array_equal(found, expected)
