import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.evaluation.metrics import kernel as kernel_lib
from gan_jax.evaluation.metrics.kernel import kernel


def gaussian(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def loop(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased MMD^2, pair by pair."""

    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    xx = [k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    yy = [k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    return np.mean(xx) + np.mean(yy) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_kid_by_hand():
    # d = 1, k(a, b) = (a b + 1)^3: k(0, 1) = 1, k(2, 3) = 343; k(0, .) = 1, k(1, 2) = 27,
    # k(1, 3) = 64
    score = kernel([[0.0], [1.0]], [[2.0], [3.0]])
    np.testing.assert_allclose(score.value, 1 + 343 - 2 * (1 + 1 + 27 + 64) / 4, rtol=1e-12)


@pytest.mark.parametrize("block", [3, 512])
def test_kid_agrees_with_loops(monkeypatch, block):
    monkeypatch.setattr(kernel_lib, "_BLOCK", block)
    x, y = gaussian(0, 11, 3), gaussian(1, 7, 3) + 0.3
    score = kernel(x, jnp.asarray(y))
    np.testing.assert_allclose(score.value, loop(x, y), rtol=1e-6)  # y is float32
    np.testing.assert_allclose(kernel(x[::-1], y), kernel(x, y), rtol=1e-9)


@pytest.mark.parametrize(("shift", "inflation"), [(0.5, 1.0), (0.0, 1.3)])
def test_kid_is_unbiased_with_its_standard_error(shift, inflation):
    # d = 1, x ~ N(0, 1/4), y ~ N(s, 1/4): with k = 1 + 3 x y + 3 x^2 y^2 + x^3 y^3 the MMD^2 is
    # 3 a^2 + 3 b^2 + c^2, with the differences a, b, c of the first three moments. For equal
    # distributions, where only the second-order part is left, the lower bound adds to the width.
    a, b, c = shift, shift**2, shift**3 + 3 * shift / 4
    truth = 3 * a**2 + 3 * b**2 + c**2
    scores = [
        kernel(gaussian(2 * i, 150, 1) / 2, gaussian(2 * i + 1, 90, 1) / 2 + shift)
        for i in range(400)
    ]
    values = np.array([s.value for s in scores])
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(len(values))
    implied = np.mean([(s.high - s.low) ** 2 for s in scores]) ** 0.5 / (2 * 1.959964)
    assert implied / values.std() == pytest.approx(inflation, abs=0.1)
