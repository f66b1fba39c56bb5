import math

import numpy as np
import pytest

from gan_jax.data.mixtures import HIGH_QUALITY, MIXTURES, draw


def test_ring_has_eight_equidistant_modes():
    means = MIXTURES["ring"].means
    assert MIXTURES["ring"].sigma == 0.01
    assert means.shape == (8, 2)
    np.testing.assert_allclose(np.hypot(*means.T), 1)
    apart = np.linalg.norm(means[:, None] - means, axis=-1)
    apart.sort(axis=1)  # itself, then its two neighbours
    np.testing.assert_allclose(apart[:, 1:3], 2 * math.sin(math.pi / 8))


def test_grid_has_25_modes():
    line = (-4, -2, 0, 2, 4)
    assert sorted(map(tuple, MIXTURES["grid"].means)) == [(x, y) for x in line for y in line]
    assert MIXTURES["grid"].sigma == 0.05


@pytest.mark.parametrize("name", MIXTURES)
def test_draws_have_the_moments_of_the_mixture(name):
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
    assert np.array_equal(points, draw(mixture, 100_000, 0)[0])
