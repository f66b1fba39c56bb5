"""Tests of configs/: reproduced settings match their sources."""

import math

import numpy as np

from gan_jax import config, schedules
from gan_jax.optimizers import OptimizerHParams, transformation


def test_mnist_is_the_tutorial():
    """Two MLPs of 128 ReLU, Adam with its defaults, 20,000 iterations; the schema's defaults."""
    c = config.load("mnist")
    assert config.differences(config.default(), c) == {}
    assert (c.dataset, c.split, c.image_size) == ("mnist", "train", 0)
    assert (c.loss, c.k, c.num_steps, c.batch_size) == ("non_saturating", 1, 20_000, 128)
    assert (c.z_dim, c.prior.to_dict()) == (100, {"name": "uniform", "low": -1.0, "high": 1.0})
    for player in (c.generator, c.discriminator):
        assert (player.widths, player.activation) == ((128,), "relu")
        assert (player.initializer, player.init_scale) == ("he_normal", 1.0)
    assert c.generator.output == "sigmoid"
    for optimizer in (c.d_optimizer, c.g_optimizer):
        assert optimizer.name == "adam"
        rates = optimizer.learning_rate, optimizer.b1, optimizer.b2, optimizer.eps
        assert rates == (1e-3, 0.9, 0.999, 1e-8)
    assert (c.log_every, c.sample_every, c.sample_grid) == (2_000, 2_000, (4, 4))


def test_ring_and_grid_follow_pacgan():
    c = config.load("ring")
    assert config.differences(c, config.load("grid")) == {"dataset": "'ring' -> 'grid'"}
    assert (c.dataset, c.num_steps, c.batch_size) == ("ring", 400_000, 100)
    assert (c.loss, c["update"]) == ("non_saturating", "simultaneous")
    assert (c.z_dim, c.prior.name) == (2, "normal")
    g, d = c.generator, c.discriminator
    assert (g.widths, g.activation, g.batch_norm) == ((400,) * 4, "relu", True)
    assert (g.output, d.widths) == ("linear", (200,) * 3)
    assert (d.activation, d.pieces) == ("linear", 5)
    for player in (g, d):
        assert (player.initializer, player.init_scale) == ("normal", 0.02)
    for optimizer in (c.d_optimizer, c.g_optimizer):
        assert optimizer.name == "adam"
        assert (optimizer.learning_rate, optimizer.b1, optimizer.b2) == (1e-4, 0.8, 0.999)
    assert (c.eval_num, c.eval_metrics[0]) == (2_500, "reverse_kl")


def test_goodfellow2014_is_the_papers_code():
    c = config.load("goodfellow2014")  # test_load compares its fields with a stored copy
    np.testing.assert_allclose((c.prior.low, c.prior.high), (-math.sqrt(3), math.sqrt(3)))
    epoch = 50_000 // 100
    # The paper's code halves D's loss; we halve its learning rate instead.
    for player, half in (("d_optimizer", 0.5), ("g_optimizer", 1.0)):
        spec = config.spec(c, (28, 28, 1))
        assert c[player].name == "momentum"
        for step in (0, 1, 10 * epoch, 250 * epoch, 5000 * epoch, 10**7):
            rate = max(0.1 / 1.000004**step, 1e-6)
            momentum = 0.5 + 0.2 * min(step / (249 * epoch), 1)
            hparams = schedules.at(spec.schedules, config.hparams(c), step)[player]
            opt = transformation("momentum", OptimizerHParams(**hparams))
            first, state = opt.update(1.0, opt.init(0.0))
            second, _ = opt.update(0.0, state)
            np.testing.assert_allclose(first, -half * rate, rtol=1e-5)
            np.testing.assert_allclose(second / first, momentum, rtol=1e-5)
