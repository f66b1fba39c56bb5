import jax
import numpy as np
import pytest
import scipy.linalg

from gan_jax.evaluation.metrics import frechet
from gan_jax.evaluation.metrics.frechet import Moments


def gaussian(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def covariance(seed: int, d: int, rank: int) -> np.ndarray:
    factor = gaussian(seed, d, rank)
    return factor @ factor.T


def moments(x: np.ndarray) -> Moments:
    return Moments(x.mean(axis=0), np.cov(x.T))


def distance(a: Moments, b: Moments) -> float:
    with jax.enable_x64(True):
        return float(jax.jit(frechet._distance)(a, b))


def test_distance_of_commuting_gaussians():
    # (1 - 3)^2 + (2 - 1)^2 + 0 of the means and (2 - 1)^2 + (3 - 5)^2 + (0 - 4)^2 of the deviations
    a = Moments(np.array([1.0, 2, 0]), np.diag([4.0, 9, 0]))
    b = Moments(np.array([3.0, 1, 0]), np.diag([1.0, 25, 16]))
    np.testing.assert_allclose(distance(a, b), 5 + 21, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 8])
def test_distance_agrees_with_a_matrix_square_root(d):
    a = Moments(gaussian(0, 1, d)[0], covariance(1, d, d + 2))
    b = Moments(gaussian(2, 1, d)[0], covariance(3, d, d + 2))
    root = scipy.linalg.sqrtm(a.cov @ b.cov).real
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.cov + b.cov - 2 * root)
    np.testing.assert_allclose(distance(a, b), expected, atol=1e-9)
    np.testing.assert_allclose(distance(b, a), expected, atol=1e-9)


def test_distance_of_singular_covariances_is_exact():
    # With A = F F^T and B = G G^T, tr (A B)^(1/2) is the sum of F^T G's singular values.
    f, g = gaussian(0, 60, 3), gaussian(1, 60, 60)  # of different ranks
    a, b = (Moments(np.zeros(60), h @ h.T) for h in (f, g))
    cross = np.linalg.svd(f.T @ g, compute_uv=False).sum()
    expected = np.sum(f**2) + np.sum(g**2) - 2 * cross
    np.testing.assert_allclose(distance(a, b), expected, rtol=0, atol=1e-9)
    nothing = Moments(np.zeros(60), np.zeros((60, 60)))
    np.testing.assert_allclose(distance(a, nothing), np.sum(f**2), atol=1e-9)


@pytest.mark.parametrize("n", [4, 100])
def test_fid_of_itself_is_0_in_any_order(n):
    x = gaussian(0, n, 10) * np.logspace(0, -7, 10) + 100  # also of very different scales
    assert 0 <= frechet.frechet(x, x[::-1], 0, splits=0).value < 1e-9


def test_fid_of_samples_is_that_of_their_gaussians():
    # Truth: 3 * 0.5^2 of the means and 3 * (2 - 1)^2 of the deviations; bias about 0.002.
    pairs = [(gaussian(2 * i, 9001, 3), 2 * gaussian(2 * i + 1, 9000, 3) + 0.5) for i in range(40)]
    values = [frechet.frechet(x, y, seed=0, splits=0).value for x, y in pairs]
    error = np.std(values) / np.sqrt(40)
    assert error < 0.015
    assert abs(np.mean(values) - 3.75) < 3 * error
    x, y = pairs[0]
    score = frechet.frechet(x, y, seed=0, splits=30)
    assert (score.high - score.low) / (2 * 1.96) == pytest.approx(np.std(values), rel=0.3)
    assert score == frechet.frechet(x, y, seed=0, splits=30)
    np.testing.assert_allclose(frechet.frechet(x[::-1], y, 0, 0).value, score.value, rtol=1e-9)


def test_fid_infinity_removes_the_bias_from_x():
    x, y = gaussian(1, 1000, 8), gaussian(0, 20_000, 8)
    biased = frechet.frechet(x, y, 0, 12)
    score = frechet.extrapolated(x, y, 0, splits=0)
    assert biased.low > 0.008
    assert abs(score.value) < 0.006
    assert score.value == frechet.extrapolated(x, y, 0, splits=0).value
    # A true distance remains: 8 * 0.5^2.
    away = frechet.extrapolated(x + 0.5, y, 0, splits=0)
    assert 1.8 < away.value < 2.2


def test_fid_infinity_is_the_intercept_of_a_line():
    x, y = gaussian(0, 120, 2), gaussian(1, 50, 2)
    with jax.enable_x64(True):
        value = frechet._intercept(x, y, 3)
    b = moments(y)
    fids = [np.mean([distance(moments(part), b) for part in np.split(x, k)]) for k in (1, 2, 3)]
    np.testing.assert_allclose(value, np.polyfit([1 / 120, 2 / 120, 3 / 120], fids, 1)[1])
