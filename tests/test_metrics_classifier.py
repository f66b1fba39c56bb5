"""Tests of gan_jax.metrics.classifier: values by hand, extremes, and coverage."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.metrics import classifier


def one_hot(classes, num: int) -> np.ndarray:
    return np.eye(num)[np.asarray(classes)]


def test_classifier_score_by_hand():
    # p(y) = (1/2, 1/2); KL((3/4, 1/4) || p(y)) = log 2 - H(1/4) for both samples.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    score = classifier.classifier_score([[0.75, 0.25], [0.25, 0.75]], seed=0)
    np.testing.assert_allclose(score.value, math.exp(math.log(2) - entropy), rtol=1e-12)


def test_classifier_score_is_1_for_one_class_and_the_number_of_classes_at_best():
    best = classifier.classifier_score(one_hot(np.arange(1000) % 10, 10), seed=0)
    np.testing.assert_allclose(best.value, 10, rtol=1e-12)
    assert best.low < 10
    collapsed = classifier.classifier_score(jnp.asarray(one_hot([3] * 50, 10)), seed=0)
    np.testing.assert_allclose(collapsed, 1, rtol=1e-12)
    unsure = classifier.classifier_score(np.full((50, 10), 0.1), seed=0)
    np.testing.assert_allclose(unsure, 1, rtol=1e-12)


def test_classifier_score_agrees_with_the_mean_divergence_in_any_order():
    p = np.random.default_rng(0).dirichlet(np.full(4, 0.3), 200)
    expected = np.exp(np.mean([np.sum(q * np.log(q / p.mean(axis=0))) for q in p]))
    score = classifier.classifier_score(p, seed=0)
    np.testing.assert_allclose(score.value, expected, rtol=1e-10)
    np.testing.assert_allclose(classifier.classifier_score(p[::-1], seed=0).value, expected)
    assert score == classifier.classifier_score(p, seed=0)
    assert score.low < score.value < score.high


def test_the_interval_of_classifier_score_covers_in_about_95_of_100_experiments():
    rng = np.random.default_rng(0)
    alpha = [0.5, 0.2, 0.1]
    p = rng.dirichlet(alpha, 200_000)
    truth = np.exp(np.mean(np.sum(p * np.log(np.maximum(p, 1e-300) / p.mean(axis=0)), axis=1)))
    scores = [classifier.classifier_score(rng.dirichlet(alpha, 200), i) for i in range(60)]
    assert 0.83 < np.mean([s.low <= truth <= s.high for s in scores]) < 1


def test_histogram_and_modes():
    counts = classifier.histogram([[0.1, 0.2, 0.7, 0], [0.6, 0.2, 0.2, 0], [0, 0.1, 0.9, 0]])
    np.testing.assert_array_equal(counts, [1, 0, 2, 0])
    assert counts.dtype == np.int64
    assert classifier.modes(counts) == 2
    assert type(classifier.modes(jnp.array([0, 1]))) is int
    assert classifier.modes([0, 0]) == 0


def test_class_kl_by_hand():
    # (3/4, 1/4, 0) from (1/2, 1/4, 1/4): 3/4 log(3/2); no cost of its own for the class missed
    p = one_hot([0, 0, 0, 1], 3)
    score = classifier.class_kl(p, [20, 10, 10], seed=0)
    np.testing.assert_allclose(score.value, 0.75 * math.log(1.5), rtol=1e-12)
    assert score == classifier.class_kl(p[::-1], np.array([2.0, 1, 1]), seed=0)


def test_class_kl_sees_collapse_and_not_equal_classes():
    balanced, data = one_hot(np.arange(1000) % 10, 10), np.full(10, 5000)
    good = classifier.class_kl(balanced, data, seed=0)
    assert good.value == pytest.approx(0, abs=1e-12)
    collapsed = classifier.class_kl(one_hot([7] * 1000, 10), data, seed=0)
    np.testing.assert_allclose(collapsed, math.log(10), rtol=1e-12)
    assert classifier.class_kl(one_hot(np.arange(1000) % 9, 10), data, seed=0).low > good.high


def test_class_kl_where_the_data_lack_a_class():
    assert classifier.class_kl(one_hot([0, 1], 3), [1, 0, 1], seed=0) == (math.inf,) * 3
    # which is nothing if no sample has it either
    both = classifier.class_kl(one_hot([0, 2], 3), [1, 0, 1], seed=0)
    assert both.value == pytest.approx(0, abs=1e-12)
    assert np.isfinite(both).all()


def test_the_interval_of_class_kl_covers_in_about_95_of_100_experiments():
    rng, p, q = np.random.default_rng(0), np.array([0.6, 0.3, 0.1]), np.array([1, 1, 1])
    truth = np.sum(p * np.log(3 * p))
    scores = [classifier.class_kl(one_hot(rng.choice(3, 400, p=p), 3), q, i) for i in range(150)]
    assert 0.88 < np.mean([s.low <= truth <= s.high for s in scores]) < 0.99


@pytest.mark.parametrize(
    "metric",
    [
        lambda p: classifier.classifier_score(p, 0),
        classifier.histogram,
        lambda p: classifier.class_kl(p, [1, 1], 0),
    ],
)
@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([[0.5, 0.6]], "must be probabilities"),
        ([[1.5, -0.5]], "must be probabilities"),
        ([[0.5, np.nan]], "must be finite"),
        ([0.5, 0.5], "must have the shape"),
        (np.zeros((0, 2)), "at least 1"),
    ],
)
def test_bad_probabilities(metric, p, message):
    with pytest.raises(InputError, match=message):
        metric(p)


@pytest.mark.parametrize("counts", [[1, 1, 1], [0, 0], [-1, 2], [np.nan, 1], [[1, 1]]])
def test_bad_histograms(counts):
    with pytest.raises(InputError, match="class_kl's data_counts must"):
        classifier.class_kl([[0.5, 0.5]], counts, 0)
