"""What the benchmarks count, with sizes that take no time; nothing of what they measure."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import population
from gan_jax import config
from tests.conftest import ROOT, tiny_config


def test_bytes_that_an_iteration_moves():
    c = config.load(str(ROOT / "configs/mnist.py"))
    d = (784 + 1) * 128 + (128 + 1)
    g = (100 + 1) * 128 + (128 + 1) * 784
    images = jnp.zeros((2, 28, 28, 1), jnp.uint8)
    for k in (1, 3):
        c.k = k
        game, hparams = config.game(c, (28, 28, 1)), config.hparams(c)
        # Parameters and Adam's two moments, float32, read and written; a minibatch read.
        wanted = k * (2 * 3 * 4 * d + 128 * 784) + 2 * 3 * 4 * g
        assert population.moved(game, hparams, images) == wanted


def test_the_constant_bounds_every_peak_and_no_less_does():
    peaks = {1: 500.0, 8: 560.0, 128: 800.0}
    c = population.constant(peaks, state=2.5)
    assert c == pytest.approx(560 - 1.2 * 8 * 2.5)
    assert all(peak <= 1.2 * n * 2.5 + c for n, peak in peaks.items())


def test_bandwidth_is_that_of_reading_and_writing():
    assert population.bandwidth(4096, repeats=2) > 0


def test_the_gpu_part_by_a_few_members(monkeypatch, capsys):
    monkeypatch.setattr(population, "SECONDS", 0.001)
    c = tiny_config()
    images = jnp.uint8(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)))
    setup = c, config.game(c, (8, 8, 1)), config.hparams(c), images
    result = population.on_gpu(setup, (1, 2), rounds=2, whole=2, really=True, copied=4096)
    assert {name: len(rates) for name, rates in result["rates"].items()} == {"1": 2, "2": 2}
    assert result["bytes"] == population.moved(*setup[1:])
    rate = np.median(result["rates"]["2"])
    assert result["whole_estimated_s"] == pytest.approx(2 * c.num_steps / rate)
    assert result["whole_s"] > 0
    assert "whole_s, 2 trainings of 12 iterations" in capsys.readouterr().out
