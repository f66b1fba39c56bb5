import math

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.evaluation.metrics.mixture import mixture

ANGLES = 2 * np.pi * np.arange(8) / 8
RING = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def ring(seed: int, n: int, modes=8, sigma=0.01) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return RING[rng.integers(0, modes, n)] + sigma * rng.normal(size=(n, 2))


def test_mixture_by_hand():
    # sigma 1: within 3 of (0, 0) lie two, one of them on the edge; of (10, 0) one; of (0, 10) none
    points = [[0.0, 0], [0, 3], [12, 1], [0, 3.1], [5, 5]]
    scores = mixture(points, [[0, 0], [10, 0], [0, 10]], 1)
    assert scores["modes_covered"].value == 2
    np.testing.assert_allclose(scores["high_quality"].value, 3 / 5)
    divergence = 2 / 3 * math.log(2) + 1 / 3 * math.log(1)  # (2/3, 1/3, 0) from 1/3 each
    np.testing.assert_allclose(scores["reverse_kl"].value, divergence, rtol=1e-12)
    assert scores == mixture(jnp.array(points[::-1]), [[0, 0], [10, 0], [0, 10]], 1)


def test_mixture_itself_scores_best():
    scores = mixture(ring(0, 20_000), RING, 0.01)
    assert scores["modes_covered"] == (8, 8, 8)
    assert scores["high_quality"].low < 1 - math.exp(-4.5) < scores["high_quality"].high
    assert scores["high_quality"].high - scores["high_quality"].low < 0.005
    assert 0 < scores["reverse_kl"].value < 0.002


def test_no_high_quality_sample_is_the_worst():
    scores = mixture(np.zeros((10, 2)), RING, 0.01)
    assert scores["modes_covered"] == (0, 0, 0)
    assert scores["high_quality"].value == 0
    assert scores["high_quality"].high == pytest.approx(0.2775, abs=1e-3)  # Wilson, 0 of 10
    np.testing.assert_allclose(scores["reverse_kl"], math.log(8), rtol=1e-12)
