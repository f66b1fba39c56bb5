import math

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.evaluation.metrics import classifier


def one_hot(classes, num: int) -> np.ndarray:
    return np.eye(num)[np.asarray(classes)]


def test_classifier_score_by_hand():
    # p(y) = (1/2, 1/2); KL((3/4, 1/4) || p(y)) = log 2 - H(1/4) for both samples.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    score = classifier.classifier_score([[0.75, 0.25], [0.25, 0.75]])
    np.testing.assert_allclose(score, math.exp(math.log(2) - entropy), rtol=1e-12)


def test_classifier_score_of_extremes():
    best = classifier.classifier_score(one_hot(np.arange(1000) % 10, 10))
    np.testing.assert_allclose(best, 10, rtol=1e-12)
    collapsed = classifier.classifier_score(jnp.asarray(one_hot([3] * 50, 10)))
    np.testing.assert_allclose(collapsed, 1, rtol=1e-12)
    unsure = classifier.classifier_score(np.full((50, 10), 0.1))
    np.testing.assert_allclose(unsure, 1, rtol=1e-12)


def test_histogram_and_modes():
    counts = classifier.histogram([[0.1, 0.2, 0.7, 0], [0.6, 0.2, 0.2, 0], [0, 0.1, 0.9, 0]])
    np.testing.assert_array_equal(counts, [1, 0, 2, 0])
    assert counts.dtype == np.int64
    assert classifier.modes(counts) == 2
    assert type(classifier.modes(jnp.array([0, 1]))) is int
    assert classifier.modes([0, 0]) == 0


def test_class_kl_by_hand():
    # (3/4, 1/4, 0) from (1/2, 1/4, 1/4): 3/4 log(3/2); an empty class costs nothing by itself.
    # Variance: (3/4 log(3/2)^2 - KL^2) / 400 + ((9/16) / (1/2) + (1/16) / (1/4) - 1) / 800, less
    # the chi-squared part (2 - 1) / 2 (1/400 + 1/800)^2.
    value = 0.75 * math.log(1.5)
    variance = (0.75 * math.log(1.5) ** 2 - value**2) / 400 + (1.125 + 0.25 - 1) / 800
    width = 1.959964 * (variance - (3 / 800) ** 2 / 2) ** 0.5
    score = classifier.class_kl([300, 100, 0], np.array([400.0, 200, 200]))
    assert score == pytest.approx((value, value - width, value + width))


def test_class_kl_of_equal_classes_and_of_collapse():
    good = classifier.class_kl(np.full(10, 100), np.full(10, 5000))
    chi_squared = (9 / 2) ** 0.5 * (1 / 1000 + 1 / 50_000)
    assert good == pytest.approx((0, 0, 1.959964 * chi_squared), abs=1e-12)
    collapsed = classifier.class_kl([0] * 9 + [1000], np.full(10, 5000))
    assert collapsed.value == pytest.approx(math.log(10))
    assert collapsed.low > 2.2


def test_class_kl_where_the_data_lack_a_class():
    assert classifier.class_kl([1, 1, 0], [1, 0, 1]) == (math.inf,) * 3
    assert classifier.class_kl([1, 0, 1], [1, 0, 1]).value == 0  # samples lack it too
