"""Tests of gan_jax.evaluation.metrics.conditional."""

import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import conditional, frechet

RNG = np.random.default_rng(0)


def test_agreement_by_hand():
    score = conditional.agreement([0, 1, 2, 2], [0, 1, 2, 0])
    assert score.value == 0.75
    assert 0.2 < score.low < 0.5
    assert score.high < 1


def test_transfer_by_hand():
    fake, requested = [[0.0], [10.0], [20.0]], [7, 8, 7]
    real, labels = [[1.0], [9.0], [18.0], [11.0]], [7, 8, 8, 7]
    assert conditional.transfer(fake, requested, real, labels).value == 0.5


def test_by_class_by_hand():
    real, labels = RNG.normal(size=(90, 3)), np.repeat([0, 1, 2], 30)
    fake, requested = RNG.normal(size=(63, 3)) / 2, np.repeat([0, 1, 2], (30, 30, 3))
    found = conditional.by_class(fake, requested, real, labels, 0, splits=0)
    expected = {
        c: frechet.frechet(fake[requested == c], real[labels == c], 0, 0).value for c in (0, 1)
    }
    assert found.fids == expected  # the third class has too few samples
    assert found.fid.value == pytest.approx(np.mean(list(expected.values())))

    def spread(x):
        return np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))

    ratios = [spread(fake[requested == c]) / spread(real[labels == c]) for c in (0, 1)]
    assert found.diversity.value == pytest.approx(np.mean(ratios))
    assert found.diversity.low < 0.25 < found.diversity.high < 0.5


def test_collapse_inside_classes():
    real, labels = RNG.normal(size=(60, 3)), np.repeat([0, 1], 30)
    one_each = np.repeat(real[[0, 30]], 30, axis=0)
    found = conditional.by_class(one_each, labels, real, labels, 0)
    assert found.diversity.value == pytest.approx(0, abs=1e-9)
    assert found.fid.low > conditional.by_class(real, labels, real, labels, 0).fid.high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: conditional.agreement([0, 1], [0]), "2 integers"),
        (lambda: conditional.agreement([0.5], [0]), "1 integers, not float64"),
        (lambda: conditional.transfer([[1.0]], [1], [[1.0, 2.0]], [1]), "1 columns"),
        (lambda: conditional.by_class([[1.0]], [0], [[1.0]], [0], 0), "a class with 4 samples"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()
