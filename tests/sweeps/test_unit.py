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
    assert unit.state_bytes(tiny, dataset) == sum(x.nbytes for x in jax.tree.leaves(state))


def test_cost_of_an_iteration(tiny):
    """That of the matrix products, which are most of it in wide networks."""
    widths = {"generator.widths": (512,), "discriminator.widths": (512, 512), "z_dim": 512}
    c = config.replace(tiny, widths | {"batch_size": 512})
    flops, accessed = unit.cost(c, data.load("digits"))
    # Multiplications of an example: of D's two layers and G's two.
    d1, d2, g1, g2 = 64 * 512, 512 * 512, 512 * 512, 512 * 64
    # D's update: G; D on real and generated examples, gradients by parameters and hidden units.
    d_step = g1 + g2 + 2 * (d1 + d2 + d1 + d2 + d2)
    # G's update: both; gradients by D's inputs, by G's hidden units and by its parameters.
    g_step = g1 + g2 + d1 + d2 + d2 + d1 + g2 + g1 + g2
    assert flops == pytest.approx(2 * 512 * (d_step + g_step), rel=0.05)
    assert accessed > 3 * 512 * 64 * 4  # images are drawn, and read by D


@pytest.mark.slow
def test_seconds_scale_with_the_work(tiny):
    digits = data.load("digits", "train", 0)
    short, long = (
        unit.estimate_seconds([config.replace(tiny, {"num_steps": n})] * members, digits)
        for n, members in ((1000, 1), (10_000, 10))
    )
    assert 0 < 20 * short < long  # 100 times the work, on a machine that does other things
