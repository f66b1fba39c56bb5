"""Tests of gan_jax.prng: published test vectors and bitwise equality with jax.random."""

import jax
import numpy as np
import pytest

from gan_jax import prng

DRAWS = {
    "uniform": lambda key: jax.random.uniform(key, (7, 5), minval=-1, maxval=1),
    "permutation": lambda key: jax.random.permutation(key, 50),
    "bytes": lambda key: jax.random.bits(key, (9,), "uint8"),
    "scalar": jax.random.bits,
    "empty": lambda key: jax.random.uniform(key, (0, 3)),
    "split": lambda key: jax.random.uniform(jax.random.split(key, (2, 3))[1, 2]),
    "fold_in": lambda key: jax.random.bits(jax.random.fold_in(key, 2**32 - 1), (4,)),
    "mapped": lambda key: jax.vmap(jax.random.normal)(jax.random.split(key, 4)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_bits_match_jax(name):
    draw = jax.jit(DRAWS[name])
    for seed in (0, 2**32 - 1):
        keys = (jax.random.key(seed, impl=impl) for impl in (prng.IMPL, "threefry2x32"))
        np.testing.assert_array_equal(*map(draw, keys), strict=True)


def test_64_bits_match_jax():
    with jax.enable_x64(True):
        keys = (jax.random.key(3, impl=impl) for impl in (prng.IMPL, "threefry2x32"))
        ours, theirs = (jax.random.bits(key, (5,), "uint64") for key in keys)
    np.testing.assert_array_equal(ours, theirs, strict=True)
