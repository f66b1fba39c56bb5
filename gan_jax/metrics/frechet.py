"""The Fréchet distance of features (FID), and its extrapolation to infinitely many samples.

Heusel et al. 2017, "GANs trained by a two time-scale update rule", https://arxiv.org/abs/1706.08500.
On this project's own features a value compares with no FID published for Inception's.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.metrics.bootstrap import Score, interval, matrix

_PARTS = 10  # the extrapolation's counts are n / 1, n / 2, ... n / _PARTS


class Moments(NamedTuple):
    """The Gaussian that stands for a set of features."""

    mean: Any  # an array, (d,)
    cov: Any  # an array, (d, d), symmetric; singular is fine


def _moments(x: jax.Array) -> Moments:
    mean = jnp.mean(x, axis=0)
    return Moments(mean, (x - mean).T @ (x - mean) / (x.shape[0] - 1))


def _root(cov: jax.Array) -> jax.Array:
    """R with R^T R = cov, exactly singular where cov is so up to rounding.

    Rounding leaves eigenvalues of about 1e-16 where there should be 0, and their roots of 1e-8
    would be seen in the distance.
    """
    values, vectors = jnp.linalg.eigh(cov)
    least = cov.shape[0] * jnp.finfo(cov.dtype).eps * values[-1]
    return jnp.sqrt(jnp.where(values > least, values, 0))[:, None] * vectors.T


def _distance(a: Moments, b: Moments) -> jax.Array:
    # With A = R^T R and B = S^T S, (A B)^(1/2) has the trace of the singular values of R S^T:
    # their squares are the eigenvalues of A^(1/2) B A^(1/2), at half the digits lost.
    cross = jnp.linalg.svdvals(_root(a.cov) @ _root(b.cov).T)
    means = jnp.sum((a.mean - b.mean) ** 2)
    return jnp.maximum(means + jnp.trace(a.cov) + jnp.trace(b.cov) - 2 * jnp.sum(cross), 0)


@jax.jit
def _fid(x: jax.Array, y: jax.Array) -> jax.Array:
    return _distance(_moments(x), _moments(y))


@functools.partial(jax.jit, static_argnames="parts")
def _intercept(x: jax.Array, y: jax.Array, parts: int) -> jax.Array:
    """The line through (k / n, mean FID of k disjoint k-ths of x), k = 1 ... parts, at 0."""
    ks = range(1, parts + 1)
    split = [jax.vmap(_moments)(x[: x.shape[0] // k * k].reshape(k, -1, x.shape[1])) for k in ks]
    every = jax.tree.map(lambda *a: jnp.concatenate(a), *split)
    fids = jax.vmap(_distance, (0, None))(every, _moments(y))
    points = jnp.stack([jnp.mean(fids[k * (k - 1) // 2 :][:k]) for k in ks])
    return jnp.polyfit(jnp.array([1 / (x.shape[0] // k) for k in ks]), points, 1)[1]


def moments(features: npt.ArrayLike) -> Moments:
    """The mean and the unbiased covariance of features, shape (n, d) with n >= 2, in float64."""
    x = matrix("FID's features", features, rows=2)
    with jax.enable_x64(True):
        return Moments(*(np.asarray(a) for a in jax.jit(_moments)(x)))


def distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), at least 0 (Heusel et al. 2017, eq. 6).

    The squared 2-Wasserstein distance of two Gaussians. Covariances may be singular.
    """
    for m in (a, b):
        columns = np.size(a.mean)
        matrix("FID's means", np.asarray(m.mean)[None], columns=columns)
        matrix("FID's covariances", m.cov, rows=columns, columns=columns)
    with jax.enable_x64(True):
        a, b = (Moments(*(jnp.asarray(v, jnp.float64) for v in m)) for m in (a, b))
        return float(jax.jit(_distance)(a, b))


def _pair(x: npt.ArrayLike, y: npt.ArrayLike, rows: int = 2) -> tuple[np.ndarray, np.ndarray]:
    x = matrix("FID's x", x, rows)
    return x, matrix("FID's y", y, rows=2, columns=x.shape[1])


def frechet(x: npt.ArrayLike, y: npt.ArrayLike, seed: int, resamples: int = 100) -> Score:
    """The FID of two sets of features, with a bootstrap over both.

    The estimate is biased upwards by an amount that falls as 1 / n and depends on the features:
    compare values at equal counts only, or see `extrapolated`.

    Args:
      x: features, shape (n, d), n >= 2.
      y: features, shape (m, d), m >= 2.
      seed: of the bootstrap.
      resamples: replicates of the bootstrap.

    Raises:
      InputError: too few samples, unequal widths, or a value that is not finite.
    """
    x, y = _pair(x, y)
    rng = np.random.default_rng(seed)

    def draw(a: np.ndarray) -> np.ndarray:
        return a[rng.integers(0, len(a), len(a))]

    with jax.enable_x64(True):
        replicates = [float(_fid(draw(x), draw(y))) for _ in range(resamples)]
        return interval(float(_fid(x, y)), replicates)


def least(d: int) -> int:
    """The fewest samples of d features that `extrapolated` takes."""
    return 2 * _PARTS * d


def extrapolated(x: npt.ArrayLike, y: npt.ArrayLike, seed: int, resamples: int = 50) -> Score:
    """FID_infinity: the FID for infinitely many x, by a line through the FID against 1 / count.

    After Chong and Forsyth 2020, "Effectively unbiased FID and Inception Score",
    https://arxiv.org/abs/1911.07023, section 3. Each of the counts n, n / 2, ... n / 10 takes the
    mean FID of as many disjoint random subsets of x as there are, against all of y; the value is
    the line's intercept, which may be negative. As in the paper only x's count is extrapolated:
    the bias of y's count stays, so y should be large (all of the data).

    The interval is a bootstrap of the whole procedure over both sets, subsets and fit included.

    Args:
      x: features of generated samples, shape (n, d), n >= 20 d: the smallest subsets need clearly
        more samples than features for the law of 1 / n to hold.
      y: features of data, shape (m, d), m >= 2.
      seed: of the subsets and the bootstrap.
      resamples: replicates of the bootstrap.

    Raises:
      InputError: too few samples, unequal widths, or a value that is not finite.
    """
    x, y = _pair(x, y)
    x = matrix("FID_infinity's x", x, rows=least(x.shape[1]))
    rng = np.random.default_rng(seed)

    def draw(a: np.ndarray) -> np.ndarray:
        return a[rng.integers(0, len(a), len(a))]

    with jax.enable_x64(True):
        value = float(_intercept(rng.permutation(x), y, _PARTS))
        replicates = [float(_intercept(draw(x), draw(y), _PARTS)) for _ in range(resamples)]
    return interval(value, replicates)
