"""Fréchet distance between feature sets (FID), and its extrapolation to infinitely many samples.

Heusel et al. 2017, "GANs trained by a two time-scale update rule", https://arxiv.org/abs/1706.08500.
Values depend on the features and are not comparable with FIDs of other features.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.evaluation.metrics.intervals import Score, matrix, normal, parts, split_error

MIN_SAMPLES = 4  # samples of either set: two in each half
_PARTS = 10  # FID_infinity is fitted to n / 1, n / 2, ..., n / _PARTS samples


class Moments(NamedTuple):
    """Mean and covariance of a feature set."""

    mean: Any  # array (d,)
    cov: Any  # array (d, d), symmetric, possibly singular


def _moments(x: Any) -> Moments:
    """Of NumPy or JAX features, (n, d)."""
    mean = x.mean(axis=0)
    return Moments(mean, (x - mean).T @ (x - mean) / (x.shape[0] - 1))


def _root(cov: jax.Array) -> jax.Array:
    """R with R^T R = cov.

    Eigenvalues at rounding level (1e-16 of the largest) are zeroed: their roots of 1e-8 would show
    in the distance.
    """
    values, vectors = jnp.linalg.eigh(cov)
    threshold = cov.shape[0] * jnp.finfo(cov.dtype).eps * values[-1]
    return jnp.sqrt(jnp.where(values > threshold, values, 0))[:, None] * vectors.T


def _distance(a: Moments, b: Moments) -> jax.Array:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017, equation 6)."""
    # With A = R^T R and B = S^T S, tr (A B)^(1/2) is the sum of the singular values of R S^T. The
    # eigenvalues of A^(1/2) B A^(1/2) are their squares, at half the significant digits.
    cross = jnp.linalg.svdvals(_root(a.cov) @ _root(b.cov).T)
    means = jnp.sum((a.mean - b.mean) ** 2)
    return jnp.maximum(means + jnp.trace(a.cov) + jnp.trace(b.cov) - 2 * jnp.sum(cross), 0)


_compiled_distance = jax.jit(_distance)


def _fid(x: np.ndarray, y: np.ndarray) -> jax.Array:
    # Moments by NumPy: one compilation serves sets of any size, such as those of each class.
    return _compiled_distance(_moments(x), _moments(y))


@functools.partial(jax.jit, static_argnames="parts")
def _intercept(x: jax.Array, y: jax.Array, parts: int = _PARTS) -> jax.Array:
    """Intercept of the line through (k / n, mean FID of k disjoint k-ths of x), k = 1 ... parts."""
    ks = range(1, parts + 1)
    split = [jax.vmap(_moments)(x[: x.shape[0] // k * k].reshape(k, -1, x.shape[1])) for k in ks]
    every = jax.tree.map(lambda *a: jnp.concatenate(a), *split)
    fids = jax.vmap(_distance, (0, None))(every, _moments(y))
    points = jnp.stack([jnp.mean(fids[k * (k - 1) // 2 :][:k]) for k in ks])
    return jnp.polyfit(jnp.array([1 / (x.shape[0] // k) for k in ks]), points, 1)[1]


def _pair(name: str, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x = matrix(f"{name}'s x", x, rows=MIN_SAMPLES)
    return x, matrix(f"{name}'s y", y, rows=MIN_SAMPLES, columns=x.shape[1])


def _split(
    statistic: Callable[[np.ndarray, np.ndarray], Any],
    x: np.ndarray,
    y: np.ndarray,
    splits: int,
    rng: np.random.Generator,
) -> float:
    """Standard error of a statistic of two sets, by random halves of both.

    In random order, as `_intercept` takes its subsets from consecutive samples.
    """
    x, y = (rng.permutation(a)[: len(a) // 2 * 2] for a in (x, y))  # equal halves compile once
    pairs = zip(*(parts(len(a), 2, splits, rng) for a in (x, y)), strict=True)
    return split_error([[float(statistic(x[i == h], y[j == h])) for h in (0, 1)] for i, j in pairs])


def frechet(x: npt.ArrayLike, y: npt.ArrayLike, seed: int, splits: int = 100) -> Score:
    """FID of two feature sets.

    Biased upwards by an amount that falls as 1 / n and depends on the features: compare values at
    equal sample sizes only, or use `extrapolated`. The interval comes from random halves of both
    sets (see `split_error`); where the FID is close to that bias it is up to 1.4 times too wide.

    Args:
      x: features, shape (n, d), n >= 4.
      y: features, shape (m, d), m >= 4.
      seed: seed of the splits.
      splits: number of random splits; 0 for no interval.

    Raises:
      InputError: too few samples, different d, or non-finite values.
    """
    x, y = _pair("FID", x, y)
    with jax.enable_x64(True):
        error = _split(_fid, x, y, splits, np.random.default_rng(seed))
        return normal(float(_fid(x, y)), error, lower=0)


def min_samples(d: int) -> int:
    """Minimum number of samples of d features for `extrapolated`."""
    return 2 * _PARTS * d


def extrapolated(x: npt.ArrayLike, y: npt.ArrayLike, seed: int, splits: int = 25) -> Score:
    """FID_infinity: FID for infinitely many x, by a line through FID against 1 / sample size.

    After Chong and Forsyth 2020, "Effectively unbiased FID and Inception Score",
    https://arxiv.org/abs/1911.07023, section 3. For each of the sizes n, n / 2, ..., n / 10, the
    FID against all of y is averaged over disjoint random subsets of x of that size; the value is
    the line's intercept, which may be negative. As in the paper, the bias from the size of y
    remains, so y should be large (all of the data).

    The interval comes from random halves of both sets (see `split_error`), the whole procedure
    applied to each. Close to 0 it is up to 1.4 times too wide; for few samples of few and skewed
    features (200 of 4) it covers about 92 %.

    Args:
      x: features of generated samples, shape (n, d), n >= 20 d: 1 / n extrapolates only from
        subsets of clearly more samples than features.
      y: features of data, shape (m, d), m >= 4.
      seed: seed of the subsets and splits.
      splits: number of random splits; 0 for no interval.

    Raises:
      InputError: too few samples, different d, or non-finite values.
    """
    x, y = _pair("FID_infinity", x, y)
    x = matrix("FID_infinity's x", x, rows=min_samples(x.shape[1]))
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        value = float(_intercept(rng.permutation(x), y))
        return normal(value, _split(_intercept, x, y, splits, rng))
