"""Metrics of classifier probabilities: the Inception Score's formula, and class balance."""

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.intervals import Score, matrix, normal


def _probabilities(name: str, x: npt.ArrayLike) -> np.ndarray:
    p = matrix(name, x)
    # 1e-3: float32 softmax, or probabilities that were printed and read back
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise InputError(f"{name} must be probabilities: rows of numbers >= 0 that sum to 1")
    return p / p.sum(axis=1, keepdims=True)


def _log(p: np.ndarray) -> np.ndarray:
    """Log p, with 0 for p = 0, so that 0 log 0 = 0."""
    return np.log(np.where(p > 0, p, 1))


def classifier_score(probabilities: npt.ArrayLike) -> Score:
    """exp(E KL(p(y|x) || p(y))), the formula of the Inception Score, over all samples at once.

    Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 4. Ranges from 1, if the
    classifier predicts the same for every sample, to the number of classes, if every prediction is
    certain and classes are equally frequent. Values depend on the classifier and are not comparable
    with Inception Scores. The interval is normal, by the delta method.

    Args:
      probabilities: p(y|x) of each sample, shape (n, classes), rows that sum to 1.

    Raises:
      InputError: no samples, or rows that are not probabilities.
    """
    p = _probabilities("classifier_score's probabilities", probabilities)
    # E KL(p(y|x) || p(y)) = E sum_y p(y|x) (log p(y|x) - log p(y)); the terms are also the
    # influence of each sample, as the derivative with respect to p(y) vanishes.
    divergences = np.sum(p * (_log(p) - _log(p.mean(axis=0))), axis=1)
    value = np.exp(divergences.mean())
    error = value * divergences.std() / len(p) ** 0.5
    return normal(value, error, lower=1, upper=p.shape[1])


def histogram(probabilities: npt.ArrayLike) -> np.ndarray:
    """Number of samples per most probable class: (n, classes) to int64 (classes,)."""
    p = _probabilities("histogram's probabilities", probabilities)
    return np.bincount(p.argmax(axis=1), minlength=p.shape[1])


def modes(counts: npt.ArrayLike) -> int:
    """Number of classes with at least one sample, from a histogram, shape (classes,)."""
    return int(np.count_nonzero(_counts("modes' counts", counts)))


def _counts(name: str, x: npt.ArrayLike) -> np.ndarray:
    counts = np.asarray(x, np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any():
        raise InputError(f"{name} must be a histogram: numbers >= 0, shape (classes,)")
    return counts


def class_kl(counts: npt.ArrayLike, data_counts: npt.ArrayLike) -> Score:
    """KL(histogram of the samples' classes || histogram of the data's), in nats; 0 log 0 = 0.

    0 only for equal histograms. A class without samples costs nothing by itself; the excess of the
    others does. If samples have a class that the data lack, value and interval are infinite.

    Biased upwards by (classes - 1) (1 / n + 1 / m) / 2. See `kl` for the interval.

    Args:
      counts: the samples' histogram, shape (classes,).
      data_counts: the data's histogram, shape (classes,).

    Raises:
      InputError: not two non-empty histograms over the same classes.
    """
    p, q = _counts("class_kl's counts", counts), _counts("class_kl's data_counts", data_counts)
    if p.shape != q.shape or p.sum() == 0 or q.sum() == 0:
        raise InputError("class_kl's counts and data_counts must count samples of the same classes")
    return kl(p, q / q.sum(), q.sum())


def kl(counts: np.ndarray, q: np.ndarray, m: float = np.inf) -> Score:
    """KL(counts / n || q), where q are frequencies of m samples, or exact if m is infinite.

    The interval is normal. Its variance is that of the delta method, without what sampling noise
    adds to it, but at least that of the chi-squared limit for equal distributions.
    """
    n = counts.sum()
    p = counts / n
    if np.any((p > 0) & (q == 0)):
        return Score(np.inf, np.inf, np.inf)
    ratio = np.log(np.where(p > 0, p, 1) / np.where(q > 0, q, 1))
    value = float(np.sum(p * ratio))
    chi_squared = (np.count_nonzero(p) - 1) / 2 * (1 / n + 1 / m) ** 2
    from_q = np.sum(np.where(q > 0, p**2 / np.where(q > 0, q, 1), 0)) - 1
    variance = float((np.sum(p * ratio**2) - value**2) / n + from_q / m - chi_squared)
    return normal(value, max(variance, chi_squared) ** 0.5, lower=0)
