"""Tests of gan_jax.sweeps.unit; see also test_runner."""

import jax
import numpy as np
import pytest

from gan_jax import algorithms, config, data
from gan_jax.draws import Batch
from gan_jax.sweeps import unit


def test_size_of_a_state(tiny):
    spec, images = config.spec(tiny, (8, 8, 1)), jax.numpy.zeros((1, 8, 8, 1))
    state = algorithms.init(spec, config.hparams(tiny), 0, Batch(images))
    dataset = data.from_arrays(np.zeros((1, 8, 8, 1), np.uint8))
    assert unit.size(tiny, dataset) == sum(x.nbytes for x in jax.tree.leaves(state))


@pytest.mark.slow
def test_seconds_scale_with_the_work(tiny):
    digits = data.load("digits", "train", 0)
    short, long = (
        unit.seconds([config.replace(tiny, {"num_steps": n})] * members, digits)
        for n, members in ((1000, 1), (10_000, 10))
    )
    assert 0 < 20 * short < long  # 100 times the work, on a machine that does other things
