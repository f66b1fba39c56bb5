"""Metrics of samples that were generated for given labels."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import frechet
from gan_jax.evaluation.metrics.intervals import Score, Z, matrix, normal, proportion
from gan_jax.evaluation.metrics.neighbours import nearest


def _labels(name: str, labels: npt.ArrayLike, num: int) -> np.ndarray:
    array = np.asarray(labels)
    if array.shape != (num,) or array.dtype.kind not in "iu":
        raise InputError(f"{name} must be {num} integers, not {array.dtype} {array.shape}")
    return array


def agreement(predicted: npt.ArrayLike, requested: npt.ArrayLike) -> Score:
    """Fraction of samples classified as the label they were generated for; Wilson's interval.

    Args:
      predicted: labels by a classifier, shape (n,).
      requested: requested labels, shape (n,).

    Raises:
      InputError: labels are not integers, or differ in shape.
    """
    n = np.size(predicted)
    right = _labels("agreement's predicted", predicted, n) == _labels(
        "agreement's requested", requested, n
    )
    share = float(right.mean())
    return proportion(share, (share * (1 - share) / n) ** 0.5, n)


def cluster_labels(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> np.ndarray:
    """A label for each cluster, int (clusters,): that of its most probable example.

    Makhzani et al. 2015, https://arxiv.org/abs/1511.05644, section 6.

    Args:
      probabilities: of the clusters, for each example, (n, clusters).
      labels: of the examples, int (n,).
    """
    return np.asarray(labels)[np.argmax(probabilities, axis=0)]


def transfer(
    fake: npt.ArrayLike, requested: npt.ArrayLike, real: npt.ArrayLike, real_labels: npt.ArrayLike
) -> Score:
    """Accuracy on real examples of the label of the nearest generated example (1-NN).

    Radford et al. 2016, https://arxiv.org/abs/1511.06434, section 6.4. Wilson's interval over
    the real examples.

    Args:
      fake: generated examples, flattened, (n, d).
      requested: their labels, (n,).
      real: real examples, (m, d).
      real_labels: their labels, (m,).

    Raises:
      InputError: no samples, or shapes that do not match.
    """
    fake = matrix("transfer's fake", fake, dtype=np.float32)
    real = matrix("transfer's real", real, columns=fake.shape[1], dtype=np.float32)
    index, _ = nearest(real, fake)
    return agreement(_labels("transfer's requested", requested, len(fake))[index], real_labels)


CANDIDATES = 100  # captions, of which one was requested


def mismatched(
    first: np.ndarray, groups: np.ndarray, requested: np.ndarray, seed: int
) -> np.ndarray:
    """Random captions of other groups, int (n, 99), as numbers.

    Args:
      first: int (groups + 1,): group g has the captions first[g] to first[g + 1] - 1.
      groups: to choose from, at least 2, sorted.
      requested: group of each requested caption, (n,), one of `groups`.
      seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, len(groups), (len(requested), CANDIDATES - 1))
    other = groups[(np.searchsorted(groups, requested)[:, None] + steps) % len(groups)]
    return rng.integers(first[other], first[other + 1])


def r_precision(images: np.ndarray, requested: np.ndarray, others: np.ndarray) -> Score:
    """Fraction of samples closer to the requested caption than to any other.

    Xu et al. 2018, https://arxiv.org/abs/1711.10485, section 4, with R = 1: by the cosine of their
    vectors in a joint embedding. Ties do not count. Wilson's interval.

    Args:
      images: vectors of the samples, of length 1, (n, d).
      requested: of their captions, of equal lengths, (n, d).
      others: of other captions, (n, candidates - 1, d).
    """
    best = np.einsum("nd,ncd->nc", images, others).max(axis=1)
    share = float(np.mean(np.einsum("nd,nd->n", images, requested) > best))
    return proportion(share, (share * (1 - share) / len(images)) ** 0.5, len(images))


class ByClass(NamedTuple):
    """Intra-class metrics, averaged over classes with at least four samples on both sides."""

    fid: Score
    diversity: Score
    fids: dict[int, float]  # by class


def by_class(
    features: npt.ArrayLike,
    requested: npt.ArrayLike,
    real: npt.ArrayLike,
    real_labels: npt.ArrayLike,
    seed: int,
    splits: int = 20,
) -> ByClass:
    """Intra-class FID and diversity.

    Intra-FID: Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637. Diversity is the mean
    squared distance of features to their class's mean, relative to that of real examples: 1 for
    real data, 0 for a single image per class. Intervals are normal and treat classes as
    independent; that of diversity is by the delta method.

    Args:
      features: features of samples, (n, d).
      requested: their labels, (n,).
      real: features of real examples, (m, d).
      real_labels: their labels, (m,).
      seed: seed of FID's random splits.
      splits: see `frechet.frechet`.

    Raises:
      InputError: shapes that do not match, or no class with enough samples.
    """
    features = matrix("by_class's features", features)
    real = matrix("by_class's real", real, columns=features.shape[1])
    requested = _labels("by_class's requested", requested, len(features))
    real_labels = _labels("by_class's real_labels", real_labels, len(real))
    fids: dict[int, Score] = {}
    ratios, variances = [], []
    for label in np.unique(real_labels).tolist():
        own = features[requested == label], real[real_labels == label]
        if min(map(len, own)) < frechet.MIN_SAMPLES:
            continue
        fids[label] = frechet.frechet(*own, seed, splits)
        squares = [np.sum((x - x.mean(axis=0)) ** 2, axis=1) for x in own]
        means = [max(float(x.mean()), 1e-30) for x in squares]
        ratios.append(means[0] / means[1])
        errors = (x.var() / len(x) / m**2 for x, m in zip(squares, means, strict=True))
        variances.append(ratios[-1] ** 2 * sum(errors))
    if not fids:
        raise InputError(f"by_class needs a class with {frechet.MIN_SAMPLES} samples on both sides")
    half_widths = np.array([(score.high - score.low) / (2 * Z) for score in fids.values()])
    error = float(np.sqrt(np.sum(half_widths**2)) / len(fids))
    return ByClass(
        normal(float(np.mean([score.value for score in fids.values()])), error, lower=0),
        normal(float(np.mean(ratios)), sum(variances) ** 0.5 / len(ratios), lower=0),
        {label: score.value for label, score in fids.items()},
    )
