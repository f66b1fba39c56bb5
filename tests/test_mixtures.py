import math

import numpy as np
import pytest

from gan_jax import config
from gan_jax.mixtures import HIGH_QUALITY, MIXTURES, draw
from tests.conftest import ROOT


def test_the_ring_has_eight_modes_at_equal_distances():
    means = MIXTURES["ring"].means
    assert MIXTURES["ring"].sigma == 0.01
    assert means.shape == (8, 2)
    np.testing.assert_allclose(np.hypot(*means.T), 1)
    apart = np.linalg.norm(means[:, None] - means, axis=-1)
    apart.sort(axis=1)  # itself, then its two neighbours; with an end point one would be at 0
    np.testing.assert_allclose(apart[:, 1:3], 2 * math.sin(math.pi / 8))


def test_the_grid_has_a_mode_at_each_of_its_points():
    means = {(float(x), float(y)) for x, y in MIXTURES["grid"].means}
    assert means == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    assert len(MIXTURES["grid"].means) == 25
    assert MIXTURES["grid"].sigma == 0.05


@pytest.mark.parametrize("name", MIXTURES)
def test_what_is_drawn_has_the_mixtures_moments(name):
    mixture = MIXTURES[name]
    points, modes = draw(mixture, 100_000, 0)
    assert (points.dtype, modes.dtype) == (np.float32, np.int32)
    share = np.bincount(modes, minlength=len(mixture.means)) / len(modes)
    np.testing.assert_allclose(share, 1 / len(mixture.means), atol=5 * math.sqrt(0.25 / 100_000))
    away = (points - mixture.means[modes]) / mixture.sigma
    np.testing.assert_allclose(away.mean(axis=0), 0, atol=5 / math.sqrt(100_000))
    np.testing.assert_allclose(away.std(axis=0), 1, atol=0.02)
    if points.shape[1] == 2:
        near = np.mean(np.linalg.norm(away, axis=1) <= 3)
        assert near == pytest.approx(HIGH_QUALITY, abs=0.002)
    again, _ = draw(mixture, 100_000, 0)
    other, _ = draw(mixture, 100_000, 1)
    assert np.array_equal(points, again)
    assert not np.array_equal(points, other)


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_the_configs_are_pacgans_protocol(name):
    c = config.load(str(ROOT / f"configs/{name}.py"))
    assert (c.dataset, c.num_steps, c.batch_size, c["update"]) == (
        name,
        400_000,
        100,
        "simultaneous",
    )
    assert (c.z_dim, c.prior.name, c.loss) == (2, "normal", "non_saturating")
    g, d = c.generator, c.discriminator
    assert (g.widths, g.activation, g.batch_norm, g.output) == ((400,) * 4, "relu", True, "linear")
    assert (d.widths, d.pieces, d.activation) == ((200,) * 3, 5, "linear")
    for player, optimizer in ((g, c.g_optimizer), (d, c.d_optimizer)):
        assert (player.initializer, player.init_scale) == ("normal", 0.02)
        rates = optimizer.learning_rate, optimizer.b1, optimizer.b2
        assert (optimizer.name, *rates) == ("adam", 1e-4, 0.8, 0.999)
    assert (c.eval_num, c.eval_metrics[0]) == (2_500, "reverse_kl")
