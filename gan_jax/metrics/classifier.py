"""Metrics of a classifier's probabilities: the Inception Score's formula, and class balance."""

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError
from gan_jax.metrics.bootstrap import Score, interval, matrix, means


def _probabilities(name: str, x: npt.ArrayLike) -> np.ndarray:
    p = matrix(name, x)
    # 1e-3: softmax in float32, or probabilities that were printed and read
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise InputError(f"{name} must be probabilities: rows of numbers >= 0 whose sum is 1")
    return p / p.sum(axis=1, keepdims=True)


def _entropy(p: np.ndarray) -> np.ndarray:
    """-sum p log p over the last axis, in nats, with 0 log 0 = 0."""
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)


def classifier_score(probabilities: npt.ArrayLike, seed: int) -> Score:
    """exp(E KL(p(y|x) || p(y))), the formula of the Inception Score, over all samples at once.

    Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 4. From 1, where the classifier
    says the same of every sample, to the number of classes, where it is sure of each and all
    are equally frequent. It is a score by this project's classifier of digits, so it compares
    with no Inception Score ever published.

    Args:
      probabilities: p(y|x) of each generated sample, shape (n, classes), rows of sum 1.
      seed: of the bootstrap.

    Raises:
      InputError: no samples, or rows that are no probabilities.
    """
    p = _probabilities("classifier_score's probabilities", probabilities)

    def score(mean: np.ndarray) -> np.ndarray:
        # E KL(p(y|x) || p(y)) = H(p(y)) - E H(p(y|x)): a function of means, cheap to replicate
        return np.exp(_entropy(mean[..., :-1]) - mean[..., -1])

    values = np.column_stack([p, _entropy(p)])
    return interval(float(score(values.mean(axis=0))), score(means(values, seed)))


def histogram(probabilities: npt.ArrayLike) -> np.ndarray:
    """How many samples have each class as their likeliest: (n, classes) to int64 (classes,)."""
    p = _probabilities("histogram's probabilities", probabilities)
    return np.bincount(p.argmax(axis=1), minlength=p.shape[1])


def modes(counts: npt.ArrayLike) -> int:
    """The number of classes with at least one sample, from a histogram, shape (classes,)."""
    return int(np.count_nonzero(_counts("modes' counts", counts)))


def _counts(name: str, x: npt.ArrayLike) -> np.ndarray:
    counts = np.asarray(x, np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any():
        raise InputError(f"{name} must be a histogram: numbers >= 0, shape (classes,)")
    return counts


def class_kl(
    probabilities: npt.ArrayLike, data_counts: npt.ArrayLike, seed: int, resamples: int = 1000
) -> Score:
    """KL(histogram of the samples' classes || histogram of the data's), in nats; 0 log 0 = 0.

    0 only for equal histograms. A class that no sample has costs nothing by itself, the excess of
    the others does; a class that samples have and the data have not makes it infinite, with an
    interval that is infinite at both ends.

    Args:
      probabilities: p(y|x) of each generated sample, shape (n, classes).
      data_counts: the data's histogram, shape (classes,): of its labels, or by `histogram`.
      seed: of the bootstrap.
      resamples: replicates of the bootstrap, over the samples; the data's histogram is given.

    Raises:
      InputError: no samples, rows that are no probabilities, or a histogram that is none.
    """
    counts, data = histogram(probabilities), _counts("class_kl's data_counts", data_counts)
    if data.shape != counts.shape or data.sum() == 0:
        raise InputError(f"class_kl's data_counts must count samples of {len(counts)} classes")
    if np.any((counts > 0) & (data == 0)):
        return Score(np.inf, np.inf, np.inf)
    n = counts.sum()

    def kl(counts: np.ndarray) -> np.ndarray:
        p, q = counts / n, data / data.sum()
        return np.sum(p * np.log(np.where(p > 0, p, 1) / np.where(q > 0, q, 1)), axis=-1)

    drawn = np.random.default_rng(seed).multinomial(n, counts / n, resamples)
    return interval(float(kl(counts)), kl(drawn))
