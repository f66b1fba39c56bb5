"""Tests of gan_jax.metrics.frechet: closed forms, singular cases, bias and its extrapolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from gan_jax.errors import InputError
from gan_jax.metrics import frechet
from gan_jax.metrics.frechet import Moments


def gaussian(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def covariance(seed: int, d: int, rank: int) -> np.ndarray:
    factor = gaussian(seed, d, rank)
    return factor @ factor.T


@pytest.mark.parametrize("offset", [0, 1e4])
def test_moments_are_the_mean_and_the_unbiased_covariance(offset):
    x = gaussian(0, 50, 3) + offset
    mean, cov = frechet.moments(jnp.asarray(x - offset) if offset == 0 else x)
    tolerance = 1e-6 if offset == 0 else 1e-9  # JAX arrays made outside are float32
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=tolerance)
    np.testing.assert_allclose(cov, np.cov(x.T), atol=tolerance)
    assert cov.dtype == np.float64
    assert jnp.zeros(1).dtype == jnp.float32  # double precision ends where the metric ends


def test_distance_of_commuting_gaussians_in_closed_form():
    # (1 - 3)^2 + (2 - 1)^2 + 0 of the means and (2 - 1)^2 + (3 - 5)^2 + (0 - 4)^2 of the deviations
    a = Moments(np.array([1.0, 2, 0]), np.diag([4.0, 9, 0]))
    b = Moments(np.array([3.0, 1, 0]), np.diag([1.0, 25, 16]))
    np.testing.assert_allclose(frechet.distance(a, b), 5 + 21, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 8])
def test_distance_of_gaussians_that_do_not_commute_agrees_with_a_matrix_square_root(d):
    a = Moments(gaussian(0, 1, d)[0], covariance(1, d, d + 2))
    b = Moments(gaussian(2, 1, d)[0], covariance(3, d, d + 2))
    root = scipy.linalg.sqrtm(a.cov @ b.cov).real
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.cov + b.cov - 2 * root)
    np.testing.assert_allclose(frechet.distance(a, b), expected, atol=1e-9)
    np.testing.assert_allclose(frechet.distance(b, a), expected, atol=1e-9)


def test_distance_of_singular_covariances_is_exact():
    # With A = F F^T and B = G G^T, tr (A B)^(1/2) is the sum of F^T G's singular values.
    f, g = gaussian(0, 60, 3), gaussian(1, 60, 60)  # of different rank
    a, b = (Moments(np.zeros(60), h @ h.T) for h in (f, g))
    cross = np.linalg.svd(f.T @ g, compute_uv=False).sum()
    expected = np.sum(f**2) + np.sum(g**2) - 2 * cross
    np.testing.assert_allclose(frechet.distance(a, b), expected, rtol=0, atol=1e-9)
    nothing = Moments(np.zeros(60), np.zeros((60, 60)))
    np.testing.assert_allclose(frechet.distance(a, nothing), np.sum(f**2), atol=1e-9)


@pytest.mark.parametrize("n", [2, 5, 100])
def test_a_set_has_distance_0_of_itself_in_any_order_even_with_fewer_samples_than_features(n):
    x = gaussian(0, n, 10) * np.logspace(0, -7, 10)  # and features of very different scales
    value = frechet.distance(frechet.moments(x), frechet.moments(x[::-1]))
    assert 0 <= value < 1e-9


def test_the_fid_of_samples_is_that_of_their_gaussians_but_for_chance_and_a_known_bias():
    # Truth: 3 * 0.5^2 of the means and 3 * (2 - 1)^2 of the deviations; bias about 0.002.
    pairs = [(gaussian(2 * i, 9000, 3), 2 * gaussian(2 * i + 1, 9000, 3) + 0.5) for i in range(12)]
    values = [frechet.frechet(x, y, seed=0, resamples=1).value for x, y in pairs]
    error = np.std(values) / np.sqrt(12)
    assert error < 0.03
    assert abs(np.mean(values) - 3.75) < 3 * error
    x, y = pairs[0]
    score = frechet.frechet(x, y, seed=0, resamples=20)
    assert 2 * np.std(values) < score.high - score.low < 6 * np.std(values)
    assert score == frechet.frechet(x, y, seed=0, resamples=20)
    np.testing.assert_allclose(frechet.frechet(x[::-1], y, 0, 1).value, score.value, rtol=1e-9)


def test_the_interval_of_the_fid_covers_its_expectation_in_about_95_of_100_experiments():
    scores = [
        frechet.frechet(gaussian(2 * i, 200, 2), gaussian(2 * i + 1, 200, 2) + 1, i, 50)
        for i in range(80)
    ]
    expectation = np.mean([s.value for s in scores])
    covered = np.mean([s.low <= expectation <= s.high for s in scores])
    assert 0.85 < covered < 1


def test_a_collapsed_and_a_shifted_sampler_have_a_fid_clearly_above_that_of_the_same_gaussian():
    x, y = gaussian(0, 1000, 4), gaussian(1, 1000, 4)
    same = frechet.frechet(x, y, 0, 20)
    assert frechet.frechet(x * [1, 1, 1, 0.2], y, 0, 20).low > same.high + 0.3
    assert frechet.frechet(x + 0.5, y, 0, 20).low > same.high + 0.3


def test_fid_infinity_has_lost_the_bias_of_the_generated_samples():
    x, y = gaussian(1, 1000, 8), gaussian(0, 20_000, 8)
    biased = frechet.frechet(x, y, 0, 12)
    score = frechet.extrapolated(x, y, 0, 12)
    assert biased.low > 0.008
    assert score.low < 0 < score.high
    assert abs(score.value) < 0.006
    assert score == frechet.extrapolated(x, y, 0, 12)
    # and a true distance stays: 8 * 0.5^2
    away = frechet.extrapolated(x + 0.5, y, 0, 12)
    assert 1.5 < away.low < 2 < away.high


def test_fid_infinity_is_the_intercept_of_a_line_through_fids_of_disjoint_parts():
    x, y = gaussian(0, 120, 2), gaussian(1, 50, 2)
    with jax.enable_x64(True):
        value = frechet._intercept(x, y, 3)
    b = frechet.moments(y)
    fids = [
        np.mean([frechet.distance(frechet.moments(part), b) for part in np.split(x, k)])
        for k in (1, 2, 3)
    ]
    np.testing.assert_allclose(value, np.polyfit([1 / 120, 2 / 120, 3 / 120], fids, 1)[1])


@pytest.mark.parametrize(
    ("metric", "x", "y", "message"),
    [
        (frechet.frechet, np.zeros((1, 2)), np.zeros((5, 2)), "FID's x .* at least 2"),
        (frechet.frechet, np.zeros((5, 2)), np.zeros((1, 2)), "FID's y .* at least 2"),
        (frechet.frechet, np.zeros((5, 2)), np.zeros((5, 3)), "FID's y must have 2 columns"),
        (frechet.frechet, np.full((5, 2), np.nan), np.zeros((5, 2)), "FID's x must be finite"),
        (frechet.extrapolated, np.zeros((39, 2)), np.zeros((5, 2)), "at least 40 samples"),
    ],
)
def test_bad_samples(metric, x, y, message):
    with pytest.raises(InputError, match=message):
        metric(x, y, 0)


def test_bad_moments():
    with pytest.raises(InputError, match="at least 2"):
        frechet.moments(np.zeros((1, 2)))
    with pytest.raises(InputError, match="FID's means must have 2 columns, not 3"):
        frechet.distance(Moments(np.zeros(2), np.eye(2)), Moments(np.zeros(3), np.eye(3)))
    with pytest.raises(InputError, match="FID's covariances must be finite"):
        frechet.distance(Moments(np.zeros(2), np.eye(2)), Moments(np.zeros(2), np.eye(2) * np.nan))
