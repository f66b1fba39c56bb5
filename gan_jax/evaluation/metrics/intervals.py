"""Input checks and 95 % intervals shared by all metrics.

Every interval targets the metric's expected value at the given sample sizes. It reflects the
sampling noise of the generated samples and of the data they are compared with; it does not
correct the metric's bias.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError

Z = 1.959964  # 97.5 % quantile of the standard normal distribution


class Score(NamedTuple):
    """A metric's value and its 95 % interval; the ends are NaN where none was computed."""

    value: float
    low: float
    high: float


def matrix(
    name: str, x: npt.ArrayLike, rows: int = 1, columns: int | None = None, dtype: Any = np.float64
) -> np.ndarray:
    """Converts samples to a checked host array.

    Args:
      name: for error messages.
      x: numbers, shape (n, d).
      rows: minimum n.
      columns: required d; None accepts any.
      dtype: dtype of the result.

    Raises:
      InputError: wrong shape, too few samples, or non-finite values.
    """
    try:
        array = np.asarray(x, dtype)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of numbers of shape (n, d)") from None
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"{name} must have shape (n, d), not {array.shape}")
    if columns is not None and array.shape[1] != columns:
        raise InputError(f"{name} must have {columns} columns, not {array.shape[1]}")
    if len(array) < rows:
        raise InputError(f"{name} must have at least {rows} samples, not {len(array)}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite")
    return array


def normal(value: float, error: float, lower: float = -np.inf, upper: float = np.inf) -> Score:
    """Value +- 1.96 standard errors, clipped to the metric's range [lower, upper]."""
    low, high = value - Z * error, value + Z * error
    return Score(float(value), float(max(low, lower)), float(min(high, upper)))


def proportion(value: float, error: float, n: int) -> Score:
    """Wilson's score interval of a proportion, which stays in [0, 1] and is accurate near the ends.

    Its sample size is the effective one, at which a binomial proportion has this standard error.

    Args:
      value: the proportion.
      error: its standard error.
      n: number of samples, used as the effective size at 0 and 1, where the error is unknown.
    """
    variance = value * (1 - value)
    size = variance / error**2 if variance > 0 and error > 0 else n + 0 * error
    centre = (value + Z**2 / (2 * size)) / (1 + Z**2 / size)
    width = Z / (1 + Z**2 / size) * np.sqrt(variance / size + Z**2 / (4 * size**2))
    # Rounding must not exclude the value at 0 and 1, nor exceed them.
    low, high = np.clip((min(centre - width, value), max(centre + width, value)), 0, 1)
    return Score(float(value), float(low), float(high))


def parts(n: int, count: int, splits: int, rng: np.random.Generator) -> np.ndarray:
    """Random splits of n samples into equal parts: numbers of the parts, int (splits, n)."""
    return rng.permuted(np.tile(np.arange(n) * count // n, (splits, 1)), axis=1)


def split_error(halves: npt.ArrayLike, quarters: npt.ArrayLike | None = None) -> float:
    """Standard error of a statistic, from its values on the parts of random splits.

    Parts of a split are disjoint, hence independent: their variance estimates that of the statistic
    at n / 2 samples, without bias. Unlike in a bootstrap, no sample is repeated, to which nearest
    neighbours and covariances are sensitive. The variance at n follows by extrapolation: as 1 / n,
    or, given values on quarters, by the power of n fitted to n / 4 and n / 2, clipped to [-2, 0].

    Args:
      halves: the statistic on each half, (splits, 2).
      quarters: the statistic on each quarter, (splits, 4).

    Returns:
      The standard error at n samples; NaN without splits.
    """
    halves = np.asarray(halves)
    if not halves.size:
        return np.nan
    variance = np.var(halves, axis=1, ddof=1).mean()
    fall = 2.0
    if quarters is not None and variance > 0:
        fall = float(np.clip(np.var(np.asarray(quarters), axis=1, ddof=1).mean() / variance, 1, 4))
    return float(np.sqrt(variance / fall))
