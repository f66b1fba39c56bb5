"""Tests of gan_jax.minibatch: bijections, exact epochs, and statistics of the shuffling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gan_jax import minibatch

KEY = jax.random.key(0)
# By n: from how many keys the statistics are taken.
NUM_KEYS = {4: 24_000, 10: 20_000, 100: 100, 1797: 20, 60000: 2}


def round_keys(seed: int, *shape: int) -> jax.Array:
    return jax.random.bits(jax.random.key(seed), (*shape, minibatch._ROUNDS))


@functools.cache
def orders(n: int) -> np.ndarray:
    """Permutations of [0, n) under many keys, one a row."""
    get = jax.vmap(functools.partial(minibatch.permute, n=n), in_axes=(0, None))
    return np.asarray(jax.jit(get)(round_keys(n, NUM_KEYS[n]), jnp.arange(n, dtype=jnp.uint32)))


@functools.cache
def compiled(batch_size: int, n: int):
    """`indices` as a function of the key and the minibatch's number."""
    return jax.jit(functools.partial(minibatch.indices, batch_size=batch_size, n=n))


def stream(batch_size: int, n: int, num: int) -> np.ndarray:
    """The first positions of the stream, in minibatches."""
    batches = [compiled(batch_size, n)(KEY, b) for b in range(-(-num // batch_size))]
    assert all(b.shape == (batch_size,) and b.dtype == jnp.int32 for b in batches)
    return np.concatenate(batches)[:num]


def assert_uniform(cells: np.ndarray, num_cells: int) -> None:
    """Chi-square at one in a million; the keys are fixed, so a test passes always or never."""
    counts = np.bincount(cells.ravel(), minlength=num_cells)
    assert counts.size == num_cells
    assert scipy.stats.chisquare(counts).pvalue > 1e-6


@given(n=st.integers(1, 40), seed=st.integers(0, 2**31 - 1), rounds=st.sampled_from([1, 3, 8]))
@example(n=1, seed=0, rounds=8)
@example(n=2, seed=0, rounds=8)
@example(n=3, seed=0, rounds=8)
@example(n=7, seed=0, rounds=8)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_permute_is_a_bijection_for_any_small_n_key_and_number_of_rounds(n, seed, rounds):
    x = np.arange(40, dtype=np.uint32) % n  # one shape, and no jit: another n compiles nothing
    keys = np.random.default_rng(seed).integers(2**32, size=rounds, dtype=np.uint32)
    with jax.disable_jit():
        image = minibatch.permute(jnp.asarray(keys), jnp.asarray(x), n)
    np.testing.assert_array_equal(np.sort(image[:n]), np.arange(n))
    np.testing.assert_array_equal(image, np.asarray(image)[x])


@pytest.mark.parametrize("n", NUM_KEYS)
def test_permute_is_a_bijection(n):
    assert orders(n).dtype == np.uint32
    expected = np.broadcast_to(np.arange(n), (NUM_KEYS[n], n))
    np.testing.assert_array_equal(np.sort(orders(n)), expected)


def test_where_a_position_goes_is_uniform():
    for position in range(10):
        assert_uniform(orders(10)[:, position], 10)
    assert_uniform(orders(100), 100)


@pytest.mark.parametrize(("i", "j"), [(0, 1), (4, 5), (8, 9), (0, 9), (0, 4)])
def test_pairs_of_positions_go_to_all_pairs_alike(i, j):
    first, second = orders(10)[:, i], orders(10)[:, j]
    # numbers the 90 ordered pairs of different images
    assert_uniform(first * 9 + second - (second > first), 90)


def test_whole_orders_of_four_are_all_alike():
    _, cells = np.unique(orders(4), axis=0, return_inverse=True)
    assert_uniform(cells, 24)


def test_keys_give_different_orders_that_agree_no_more_than_by_chance():
    assert len(np.unique(orders(100), axis=0)) == 100
    # Two random orders agree at one place on average, 1 % of them; five standard errors.
    agree = np.mean([orders(100)[i] == orders(100)[j] for i in range(100) for j in range(i)])
    np.testing.assert_allclose(agree, 0.01, atol=5 * 0.01 / np.sqrt(4950))


def test_a_shuffled_order_is_not_the_order_of_the_file():
    # Fixed points are 1 on average with standard deviation 1, in each of 20 orders.
    fixed_points = (orders(1797) == np.arange(1797)).sum(axis=1)
    assert abs(fixed_points.mean() - 1) < 5 / np.sqrt(20)


@pytest.mark.parametrize("n", [1797, 60000])
@pytest.mark.parametrize("lag", [1, 2, 42, 245])  # the grids have 42 and 245 columns
def test_positions_near_each_other_are_uncorrelated(n, lag):
    for order in orders(n):
        correlation = np.corrcoef(order[:-lag], order[lag:])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(n)


@pytest.mark.parametrize(("batch_size", "n"), [(1, 1), (3, 7), (4, 10), (10, 10), (2, 101)])
def test_the_stream_is_exactly_one_epoch_after_another(batch_size, n):
    # Minibatches that do not divide the data set straddle the epochs' ends.
    for epoch in stream(batch_size, n, 5 * n).reshape(5, n):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(n))


def test_batch_size_cuts_the_stream_and_does_not_change_it():
    np.testing.assert_array_equal(stream(4, 10, 50), stream(10, 10, 50))


def test_epochs_and_keys_have_orders_of_their_own():
    seen = {tuple(epoch) for epoch in stream(10, 10, 200).reshape(20, 10)}
    seen |= {tuple(compiled(10, 10)(jax.random.key(s), 0).tolist()) for s in range(1, 21)}
    assert len(seen) == 40


def test_an_epoch_says_nothing_about_the_next():
    get = jax.vmap(lambda key: jnp.stack([minibatch.indices(key, e, 7, 7) for e in range(2)]))
    first, second = np.moveaxis(jax.jit(get)(jax.random.split(KEY, 20_000)), 1, 0)
    assert_uniform(first[:, 0] * 7 + second[:, 0], 49)
    assert_uniform(first[:, 6] * 7 + second[:, 0], 49)  # neighbours in the stream


def test_positions_just_below_2_to_the_32_still_make_exact_epochs():
    last = 2**32 // 10 - 1  # the last epoch that is whole before positions wrap
    late = [compiled(10, 10)(KEY, last - i) for i in range(2)]
    for epoch in late:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert not np.array_equal(*late)
    assert not np.array_equal(late[0], compiled(10, 10)(KEY, 0))


def test_indices_stay_in_range_where_positions_wrap():
    for batch in (2**32 // 4 - 1, 2**32 // 4, 2**32 // 10, 2**31 - 1):
        for batch_size in (4, 10):
            seen = compiled(batch_size, 10)(KEY, jnp.uint32(batch))
            assert seen.min() >= 0, (batch, batch_size)
            assert seen.max() < 10, (batch, batch_size)


def test_indices_are_the_same_eagerly_jitted_and_vmapped():
    keys, batches = jax.random.split(KEY, 2), jnp.array([2, 10**6])
    jitted = [compiled(4, 10)(key, b) for key, b in zip(keys, batches, strict=True)]
    np.testing.assert_array_equal(minibatch.indices(keys[1], 10**6, 4, 10), jitted[1])
    np.testing.assert_array_equal(jax.vmap(compiled(4, 10))(keys, batches), jitted)
