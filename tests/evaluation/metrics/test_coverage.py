"""How often the 95 % intervals cover a metric's expected value, by simulation.

The expected value is the mean over the replications, whose samples and data are all drawn anew.
"""

import numpy as np
import pytest

from gan_jax.evaluation.metrics import (
    classifier,
    conditional,
    frechet,
    kernel,
    mixture,
    neighbours,
    parzen,
)
from gan_jax.evaluation.metrics.intervals import Score

MODES = 3 * np.eye(8, 2) + np.arange(8)[:, None]
TRAIN = np.random.default_rng(99).normal(size=(200, 2))


def relu(rng, n: int, d: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return np.maximum(rng.normal(shift, 1.4 * scale, (n, d)), 0)


def _classes(rng, concentration):
    p, q = rng.dirichlet(concentration, 400), rng.dirichlet([0.2, 0.2, 0.2], 600)
    counts = [classifier.histogram(x) for x in (p, q)]
    score = classifier.classifier_score(p)
    return {"classifier_score": score, "class_kl": classifier.class_kl(*counts)}


def _mixture(rng, shares, width):
    points = MODES[rng.choice(8, 400, p=shares)] + width * rng.normal(size=(400, 2))
    scores = mixture.mixture(points, MODES, 0.01)
    return {name: scores[name] for name in ("high_quality", "reverse_kl")}


def _memorisation(rng, scale):
    fake, test = rng.normal(0, scale, (100, 2)), rng.normal(size=(150, 2))
    return {"memorisation": neighbours.memorisation(fake, TRAIN, test).score}


def _parzen(rng, d):
    samples, validation, test = (rng.normal(0, s, (200, d)) for s in (0.36, 0.3, 0.3))
    return {"parzen": parzen.parzen(samples, validation, test, 0, splits=20).score}


def _kid(rng, shift):
    return {"kid": kernel.kernel(relu(rng, 400, 16, 1, shift), relu(rng, 500, 16))}


def _fid(rng, scale):
    return {"fid": frechet.frechet(relu(rng, 300, 8, scale), relu(rng, 400, 8), 0)}


def _fid_infinity(rng, scale):
    x, y = relu(rng, 800, 8, scale), relu(rng, 800, 8)
    return {"fid_infinity": frechet.extrapolated(x, y, 0)}


def _manifold(rng, n, scale, shift):
    real, fake = relu(rng, n, 16), relu(rng, n, 16, scale, shift)
    return neighbours.manifold(real=real, fake=fake, seed=0)


def _by_class(rng):
    (fake, real), labels = rng.normal(size=(2, 200, 4)), np.repeat([0, 1], 100)
    found = conditional.by_class(1.2 * fake, labels, real, labels, 0)
    return {"class_fid": found.fid, "class_diversity": found.diversity}


def coverage(simulate, replications: int, *arguments) -> dict[str, float]:
    scores: dict[str, list[Score]] = {}
    for i in range(replications):
        for name, score in simulate(np.random.default_rng([i, 7]), *arguments).items():
            scores.setdefault(name, []).append(score)
    found = {}
    for name, rows in scores.items():
        value, low, high = np.transpose(rows)
        expected = value.mean()
        found[name] = float(np.mean((low <= expected) & (expected <= high)))
        ratio = np.mean(high - low) / (2 * 1.96 * value.std())
        print(f"{name:17} {found[name]:.3f}  width {ratio:.2f}  mean {expected:.4g}", arguments)
    return found


SKEWED = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.09, 0.01])


@pytest.mark.parametrize(
    ("simulate", "replications", "arguments"),
    [
        (_classes, 1500, ([0.5, 0.2, 0.1],)),
        (_mixture, 1500, (SKEWED, 0.015)),
        (_memorisation, 1000, (1.3,)),
        pytest.param(_parzen, 600, (3,), marks=pytest.mark.slow),
        pytest.param(_parzen, 600, (64,), marks=pytest.mark.slow),
        pytest.param(_kid, 800, (0.3,), marks=pytest.mark.slow),
        pytest.param(_fid, 600, (1.2,), marks=pytest.mark.slow),
        pytest.param(_fid_infinity, 400, (1.2,), marks=pytest.mark.slow),
        pytest.param(_manifold, 400, (400, 1.1, 0.1), marks=pytest.mark.slow),
        pytest.param(_manifold, 400, (400, 0.7, 0.0), marks=pytest.mark.slow),
    ],
)
def test_intervals_cover_93_to_97_percent(simulate, replications, arguments):
    for name, covered in coverage(simulate, replications, *arguments).items():
        assert 0.93 <= covered <= 0.97, name


@pytest.mark.parametrize(
    ("simulate", "replications", "arguments"),
    [
        (_classes, 500, ([0.2, 0.2, 0.2],)),
        (_mixture, 500, (np.full(8, 1 / 8), 0.01)),
        (_kid, 300, (0.0,)),
        (_by_class, 150, ()),
        pytest.param(_fid, 60, (1.0,), marks=pytest.mark.slow),
        pytest.param(_fid_infinity, 100, (1.0,), marks=pytest.mark.slow),
        pytest.param(_manifold, 60, (100, 1.1, 0.1), marks=pytest.mark.slow),
    ],
)
def test_intervals_near_best_value_are_not_narrow(simulate, replications, arguments):
    for name, covered in coverage(simulate, replications, *arguments).items():
        assert covered >= 0.9, name
