"""What the metrics share: samples checked, and an interval around every value.

The bootstrap (Efron 1979) draws n of the n samples with replacement, computes the metric again,
and takes how the replicates vary as how the metric would vary with other samples.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError


class Score(NamedTuple):
    """A metric's value with its 95 % interval."""

    value: float
    low: float
    high: float


def matrix(
    name: str, x: npt.ArrayLike, rows: int = 1, columns: int | None = None, dtype: Any = np.float64
) -> np.ndarray:
    """Samples as a host array, checked.

    Args:
      name: what the message calls them.
      x: numbers, shape (n, d), whoever made them.
      rows: the least n.
      columns: the d it must have, any by default.
      dtype: of the result.

    Returns:
      The same numbers, shape (n, d).

    Raises:
      InputError: another shape, too few samples, or a value that is not finite.
    """
    try:
        array = np.asarray(x, dtype)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of numbers of shape (n, d)") from None
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"{name} must have the shape (n, d), not {array.shape}")
    if columns is not None and array.shape[1] != columns:
        raise InputError(f"{name} must have {columns} columns, not {array.shape[1]}")
    if len(array) < rows:
        raise InputError(f"{name} must hold at least {rows} samples, not {len(array)}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite")
    return array


def interval(value: float, replicates: npt.ArrayLike) -> Score:
    """The 95 % interval of a value from its bootstrap replicates, shape (resamples,).

    Without any replicates both of its ends are NaN.

    It runs from the 2.5th to the 97.5th percentile of the replicates' deviations from their own
    mean, added to the value. Not the percentiles themselves: the replicates of a biased
    statistic, such as the FID, are biased once more, so that these may well exclude the value.
    The interval therefore states how the value varies at this number of samples, not its bias.
    """
    deviations = np.asarray(replicates, np.float64)
    if deviations.size == 0:
        return Score(float(value), np.nan, np.nan)
    low, high = np.percentile(deviations - deviations.mean(), [2.5, 97.5])
    # Of samples all alike the percentiles are 0 up to rounding, to either side.
    return Score(float(value), float(value + min(low, 0)), float(value + max(high, 0)))


def means(values: npt.ArrayLike, seed: int, resamples: int = 1000) -> np.ndarray:
    """Bootstrap replicates of the mean of per-sample values, (n,) or (n, k).

    Returns:
      Shape (resamples,) or (resamples, k).
    """
    array, rng = np.asarray(values, np.float64), np.random.default_rng(seed)
    n = len(array)
    counts = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples))
    return np.stack([count @ array for count in counts]) / n


def mean(values: npt.ArrayLike, seed: int, resamples: int = 1000) -> Score:
    """The mean of per-sample values, shape (n,), with its interval.

    Raises:
      InputError: no values, not one number per sample, or a value that is not finite.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise InputError(f"values must have the shape (n,), not {array.shape}")
    array = matrix("values", array[:, None])[:, 0]
    # A mean is unbiased: the percentiles themselves, which keep to the range of the values.
    low, high = np.percentile(means(array, seed, resamples), [2.5, 97.5])
    return Score(float(array.mean()), float(low), float(high))
