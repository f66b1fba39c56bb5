"""Tests of gan_jax.metrics.kernel: against loops, an expectation in closed form, and coverage."""

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.metrics import kernel as kernel_lib
from gan_jax.metrics.kernel import kernel


def gaussian(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def loop(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased MMD^2, pair by pair."""

    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    xx = [k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    yy = [k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    return np.mean(xx) + np.mean(yy) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_by_hand():
    # d = 1, k(a, b) = (a b + 1)^3: k(0, 1) = 1, k(2, 3) = 343; k(0, .) = 1, k(1, 2) = 27,
    # k(1, 3) = 64
    score = kernel([[0.0], [1.0]], [[2.0], [3.0]], seed=0)
    np.testing.assert_allclose(score.value, 1 + 343 - 2 * (1 + 1 + 27 + 64) / 4, rtol=1e-12)


@pytest.mark.parametrize("block", [3, 512])
def test_is_the_mean_over_pairs_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(kernel_lib, "_BLOCK", block)
    x, y = gaussian(0, 11, 3), gaussian(1, 7, 3) + 0.3
    score = kernel(x, y, seed=0, resamples=20)
    np.testing.assert_allclose(score.value, loop(x, y), rtol=1e-10)
    np.testing.assert_allclose(kernel(x[::-1], y, 0, 20).value, score.value, rtol=1e-10)
    assert score == kernel(x, y, seed=0, resamples=20)
    monkeypatch.setattr(kernel_lib, "_BLOCK", 4)
    np.testing.assert_allclose(kernel(x, y, seed=0, resamples=20), score, rtol=1e-10)


def test_a_replicate_is_the_statistic_of_the_samples_drawn_without_pairs_of_copies():
    x, y = gaussian(0, 6, 2), gaussian(1, 5, 2) + 0.3
    rng = np.random.default_rng(0)
    v, w = ([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(3)] for n in (6, 5))

    def k(a, b):
        return (a @ b.T / 2 + 1) ** 3

    def replicate(v, w):
        off_x, off_y = (np.outer(c, c) * (1 - np.eye(len(c))) for c in (v, w))
        return (
            np.sum(off_x * k(x, x)) / off_x.sum()
            + np.sum(off_y * k(y, y)) / off_y.sum()
            - 2 * v @ k(x, y) @ w / 30
        )

    replicates = [replicate(*c) for c in zip(v, w, strict=True)]
    expected = np.percentile(replicates - np.mean(replicates), [2.5, 97.5]) + loop(x, y)
    np.testing.assert_allclose(kernel(x, y, 0, resamples=3)[1:], expected, rtol=1e-9)


@pytest.mark.parametrize(("shift", "least", "most"), [(0.5, 0.87, 0.99), (0.0, 0.92, 1.0)])
def test_is_unbiased_and_its_interval_covers_the_truth(shift, least, most):
    # d = 1, x ~ N(0, 1/4), y ~ N(s, 1/4): with k = 1 + 3 x y + 3 x^2 y^2 + x^3 y^3 the MMD^2 is
    # 3 a^2 + 3 b^2 + c^2, with the differences a, b, c of the first three moments. Equal sets are
    # covered more often: there the statistic is degenerate and its bootstrap too wide.
    a, b, c = shift, shift**2, shift**3 + 3 * shift / 4
    truth = 3 * a**2 + 3 * b**2 + c**2
    scores = [
        kernel(gaussian(2 * i, 150, 1) / 2, gaussian(2 * i + 1, 150, 1) / 2 + shift, i, 80)
        for i in range(100)
    ]
    values = np.array([s.value for s in scores])
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(len(values))
    assert least < np.mean([s.low <= truth <= s.high for s in scores]) <= most


def test_large_samples_of_the_same_gaussian_have_none_and_a_noisy_sampler_has():
    x, y = gaussian(0, 2000, 4), gaussian(1, 2000, 4)
    same = kernel(jnp.asarray(x), jnp.asarray(y), seed=0, resamples=50)
    assert same.low < 0 < same.high < 0.05
    noisy = x + np.random.default_rng(2).normal(size=x.shape)
    assert kernel(noisy, y, seed=0, resamples=50).low > 10 * same.high
    collapsed = np.tile(x[:1], (2000, 1))
    assert kernel(collapsed, y, seed=0, resamples=50).low > 10 * same.high


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((1, 2)), np.zeros((5, 2)), "KID's x .* at least 2"),
        (np.zeros((5, 2)), np.zeros((1, 2)), "KID's y .* at least 2"),
        (np.zeros((5, 2)), np.zeros((5, 3)), "KID's y must have 2 columns"),
        (np.zeros((5, 2)), np.full((5, 2), np.inf), "KID's y must be finite"),
    ],
)
def test_bad_samples(x, y, message):
    with pytest.raises(InputError, match=message):
        kernel(x, y, 0)
