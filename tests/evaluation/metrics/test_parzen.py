import math

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from gan_jax.evaluation.metrics import intervals, parzen
from gan_jax.evaluation.metrics.parzen import SIGMAS, log_likelihood


def points(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(n, d))


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_log_likelihood_agrees_with_scipy(sigma):
    samples, x = points(40, 3, 0), points(30, 3, 1)
    # SciPy's bandwidth multiplies the covariance of the samples: make that the identity.
    samples = np.linalg.solve(np.linalg.cholesky(np.cov(samples.T)), samples.T).T
    kde = gaussian_kde(samples.T, bw_method=sigma)
    np.testing.assert_allclose(log_likelihood(samples, x, sigma), kde.logpdf(x.T), atol=1e-4)


def test_underflow_keeps_the_logarithm_right():
    # exp(-500^2 / 0.02) is 0 in any precision that NumPy has.
    actual = log_likelihood(np.zeros((5, 1)), np.full((1, 1), 500.0), 0.1)
    expected = -(500.0**2) / 0.02 - math.log(0.1 * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_result_does_not_depend_on_blocks(monkeypatch):
    samples, x = points(40, 3, 0), points(31, 3, 1)
    whole = log_likelihood(samples, x, 0.2)
    monkeypatch.setattr(parzen, "_BLOCK", 7)
    parzen._log_likelihoods.clear_cache()
    # A sum of terms of size 10: float32 is good to 1e-6 of them.
    np.testing.assert_allclose(log_likelihood(samples, x, 0.2), whole, atol=1e-5)
    parzen._log_likelihoods.clear_cache()


def test_points_far_from_0_lose_no_precision():
    samples, x = points(40, 2, 0), points(31, 2, 1)
    shifted = log_likelihood(samples + 1024, x + 1024, 0.2)  # exact in float32
    np.testing.assert_allclose(shifted, log_likelihood(samples, x, 0.2), atol=5e-3)


def test_uint8_images_are_scaled_to_0_to_1():
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 1)).astype(np.uint8)
    np.testing.assert_array_equal(
        log_likelihood(images[:4], images, 0.2),
        log_likelihood(images[:4].astype(np.float32) / 255, images.reshape(9, 16) / 255, 0.2),
    )


def test_width_is_the_best_on_validation():
    samples, validation, test = points(200, 2, 0), points(1200, 2, 1), points(50, 2, 2) + 1
    result = parzen.parzen(samples, validation, test, seed=0)
    by_hand = {s: log_likelihood(samples, validation[:1000], s).mean() for s in SIGMAS}
    assert result.sigma == max(by_hand, key=by_hand.get)
    assert result.sigma != max(SIGMAS, key=lambda s: log_likelihood(samples, test, s).mean())
    np.testing.assert_allclose(list(result.validation.values()), list(by_hand.values()), rtol=1e-5)
    values = log_likelihood(samples, test, result.sigma)
    np.testing.assert_allclose(result.score.value, values.mean(), rtol=1e-6)
    np.testing.assert_allclose(result.error, values.std() / math.sqrt(50), rtol=1e-6)


def test_interval_compares_halves_of_samples_and_test():
    samples, validation, test = points(41, 2, 0), points(90, 2, 1), points(50, 2, 2)
    result = parzen.parzen(samples, validation, test, seed=3, splits=4)
    rng = np.random.default_rng(3)
    split = zip(*(intervals.parts(n, 2, 4, rng) for n in (41, 50)), strict=True)
    by_half = [
        [log_likelihood(samples[i == h], test[j == h], result.sigma).mean() for h in (0, 1)]
        for i, j in split
    ]
    width = result.score.high - result.score.value
    np.testing.assert_allclose(width, 1.959964 * intervals.split_error(by_half), rtol=1e-4)
    assert np.isnan(parzen.parzen(samples, validation, test, seed=3, splits=0).score.low)
