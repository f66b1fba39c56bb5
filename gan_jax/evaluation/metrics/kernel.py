"""Kernel distance between feature sets (KID): an MMD, unbiased at every sample size.

Binkowski et al. 2018, "Demystifying MMD GANs", https://arxiv.org/abs/1801.01401. Values depend on
the features and are not comparable with KIDs of other features.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.evaluation.metrics.intervals import Score, matrix, normal

_BLOCK = 512  # rows of the kernel matrix in memory


@functools.partial(jax.jit, static_argnames=("same", "block"))
def _row_sums(x: jax.Array, y: jax.Array, same: bool, block: int) -> tuple[jax.Array, jax.Array]:
    """Sums of k(x_i, y_j) and of its square over j, each (n,); over j != i if x is y (`same`)."""

    def row(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel = (y @ x[i] / x.shape[1] + 1) ** 3
        if same:
            kernel = jnp.where(jnp.arange(y.shape[0]) == i, 0, kernel)
        return jnp.sum(kernel), jnp.sum(kernel**2)

    return jax.lax.map(row, jnp.arange(x.shape[0]), batch_size=block)


def kernel(x: npt.ArrayLike, y: npt.ArrayLike) -> Score:
    """Unbiased MMD^2 with the kernel k(a, b) = (a . b / d + 1)^3, over all pairs.

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)

    Binkowski et al. (equation 4) average this over small subsets. The interval is normal; its
    variance is that of a two-sample U-statistic, both orders of the Hoeffding decomposition
    (Sutherland and Deka 2019, https://arxiv.org/abs/1906.02104), so it also holds where x and y
    are equally distributed.

    Args:
      x: features, shape (n, d), n >= 2.
      y: features, shape (m, d), m >= 2.

    Returns:
      The estimate, which may be negative.

    Raises:
      InputError: too few samples, different d, or non-finite values.
    """
    x = matrix("KID's x", x, rows=2)
    y = matrix("KID's y", y, rows=2, columns=x.shape[1])
    n, m = len(x), len(y)
    with jax.enable_x64(True):
        (xx, xx2), (yy, yy2), (xy, xy2), (yx, _) = (
            tuple(map(np.asarray, _row_sums(a, b, a is b, _BLOCK)))
            for a, b in ((x, x), (y, y), (x, y), (y, x))
        )
    xx, yy, xy, yx = xx / (n - 1), yy / (m - 1), xy / m, yx / n  # row means
    value = xx.mean() + yy.mean() - 2 * xy.mean()

    def second(squares: np.ndarray, a: np.ndarray, b: np.ndarray, pairs: int) -> float:
        """Mean square of a doubly centred kernel, from its sum of squares and its row means."""
        return max(float(squares.sum()) / pairs - a.var() - b.var() - a.mean() ** 2, 0.0)

    pure = (
        2 * second(xx2, xx, xx, n * (n - 1)) / n**2
        + 2 * second(yy2, yy, yy, m * (m - 1)) / m**2
        + 4 * second(xy2, xy, yx, n * m) / (n * m)
    )
    # The row means' own noise adds twice the second-order part to their variance.
    variance = 4 * float(np.var(xx - xy)) / n + 4 * float(np.var(yy - yx)) / m - pure
    return normal(value, max(variance, pure) ** 0.5)
