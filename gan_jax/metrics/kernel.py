"""The kernel distance of features (KID): an MMD, unbiased at every number of samples.

Binkowski et al. 2018, "Demystifying MMD GANs", https://arxiv.org/abs/1801.01401.
On this project's own features a value compares with no KID published for Inception's.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.metrics.bootstrap import Score, interval, matrix

_BLOCK = 512  # rows of a kernel matrix that exist at a time


@functools.partial(jax.jit, static_argnames=("same", "block"))
def _forms(
    x: jax.Array, y: jax.Array, v: jax.Array, w: jax.Array, same: bool, block: int
) -> jax.Array:
    """sum_ij v_i k(x_i, y_j) w_j for every column of v and w; without i = j if x is y.

    Args:
      x: (n, d).
      y: (m, d).
      v: (n, b).
      w: (m, b).
      same: leave out the pairs of equal index.
      block: rows at a time, static.

    Returns:
      Shape (b,).
    """

    def rows(start: jax.Array) -> jax.Array:
        index = start + jnp.arange(block)
        # Past the end, rows repeat the last one with weight 0.
        weight = jnp.where((index < x.shape[0])[:, None], v[index], 0)
        kernel = (x[index] @ y.T / x.shape[1] + 1) ** 3
        if same:
            kernel = jnp.where(index[:, None] == jnp.arange(y.shape[0]), 0, kernel)
        return jnp.sum(weight * (kernel @ w), axis=0)

    return jnp.sum(jax.lax.map(rows, jnp.arange(0, x.shape[0], block)), axis=0)


def kernel(x: npt.ArrayLike, y: npt.ArrayLike, seed: int, resamples: int = 200) -> Score:
    """The unbiased MMD^2 with the kernel (x . y / d + 1)^3 over all pairs.

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)

    Unlike Binkowski et al. (and equation 4 of theirs), who average over small subsets, all pairs
    count. The interval is a bootstrap over both sets. A pair of two copies of one sample is no
    pair of samples: replicates leave it out, or they would all lie too high.

    Args:
      x: features, shape (n, d), n >= 2.
      y: features, shape (m, d), m >= 2.
      seed: of the bootstrap.
      resamples: replicates of the bootstrap.

    Returns:
      The estimate, which may be negative, with its interval.

    Raises:
      InputError: too few samples, unequal widths, or a value that is not finite.
    """
    x = matrix("KID's x", x, rows=2)
    y = matrix("KID's y", y, rows=2, columns=x.shape[1])
    rng = np.random.default_rng(seed)

    def draw(n: int) -> np.ndarray:
        """How often each of n samples was drawn; anew where all draws are one, without a pair."""
        counts = np.bincount(rng.integers(0, n, n), minlength=n)
        return counts if counts.max() < n else draw(n)

    def weights(n: int) -> np.ndarray:
        """Column 0: every sample once; the others: the resamples."""
        return np.stack([np.ones(n), *(draw(n) for _ in range(resamples))], axis=1)

    v, w = weights(len(x)), weights(len(y))
    with jax.enable_x64(True):
        xx = np.asarray(_forms(x, x, v, v, True, _BLOCK)) / (len(x) ** 2 - (v**2).sum(axis=0))
        yy = np.asarray(_forms(y, y, w, w, True, _BLOCK)) / (len(y) ** 2 - (w**2).sum(axis=0))
        xy = np.asarray(_forms(x, y, v, w, False, _BLOCK)) / (len(x) * len(y))
    mmd = xx + yy - 2 * xy
    return interval(mmd[0], mmd[1:])
