"""Invalid input of every metric; test_intervals has what all of them share."""

import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import classifier, frechet, kernel, mixture, neighbours, parzen


def manifold(real, fake):
    return neighbours.manifold(real=real, fake=fake, seed=0)


def fid(x, y):
    return frechet.frechet(x, y, 0)


@pytest.mark.parametrize(
    ("metric", "shapes", "message"),
    [
        (fid, [(3, 2), (5, 2)], "FID's x .* at least 4"),
        (fid, [(5, 2), (3, 2)], "FID's y .* at least 4"),
        (fid, [(5, 2), (5, 3)], "FID's y must have 2 columns"),
        (lambda x, y: frechet.extrapolated(x, y, 0), [(39, 2), (5, 2)], "at least 40 samples"),
        (kernel.kernel, [(1, 2), (5, 2)], "KID's x .* at least 2"),
        (kernel.kernel, [(5, 2), (1, 2)], "KID's y .* at least 2"),
        (kernel.kernel, [(5, 2), (5, 3)], "KID's y must have 2 columns"),
        (manifold, [(23, 2), (16, 2)], "manifold's real must have at least 24 samples, not 23"),
        (manifold, [(24, 2), (15, 2)], "manifold's fake must have at least 16 samples, not 15"),
        (manifold, [(24, 2), (16, 3)], "manifold's fake must have 2 columns"),
        (neighbours.nearest, [(9, 2), (9, 3)], "nearest's points must have 2 columns"),
        (neighbours.memorisation, [(9, 2), (9, 3), (9, 3)], "fake must have 3 columns"),
        (lambda x, y: parzen.log_likelihood(x, y, 0.2), [(3, 2), (3, 4)], "2 columns"),
        (lambda x, y: mixture.mixture(x, y, 1), [(3, 3), (8, 2)], "points must have 2 columns"),
        (lambda x: mixture.mixture(x, x, 0), [(3, 2)], "sigma must be a finite number above 0"),
        (lambda x: mixture.mixture(x, x, np.nan), [(3, 2)], "sigma must be a finite number"),
        (classifier.classifier_score, [(3, 2)], "must be probabilities"),
        (lambda x: classifier.histogram(np.add(x, [1.5, -0.5])), [(3, 2)], "must be probabilities"),
    ],
)
def test_bad_samples_are_refused(metric, shapes, message):
    with pytest.raises(InputError, match=message):
        metric(*map(np.zeros, shapes))


@pytest.mark.parametrize("counts", [[1, 1, 1], [0, 0], [-1, 2], [np.nan, 1], [[1, 1]]])
def test_bad_histograms_are_refused(counts):
    for pair in (([1, 1], counts), (counts, [1, 1])):
        with pytest.raises(InputError, match="class_kl's"):
            classifier.class_kl(*pair)
