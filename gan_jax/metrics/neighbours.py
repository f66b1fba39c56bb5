"""Metrics of nearest neighbours: manifolds of features, and training images copied."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.metrics.bootstrap import Score, interval, matrix, mean

K, K_DENSITY = 3, 5  # neighbours that make a ball: of precision and recall, of the other two
_BLOCK = 512  # rows of a distance matrix that exist at a time


def _squared(point: jax.Array, points: jax.Array) -> jax.Array:
    """Squared distances of one point (d,) to many (n, d); a matrix product once vmapped."""
    return jnp.sum(point**2) + jnp.sum(points**2, axis=1) - 2 * points @ point


@functools.partial(jax.jit, static_argnames=("ks", "block"))
def _radii(x: jax.Array, ks: tuple[int, ...], block: int) -> jax.Array:
    """Squared distance of each x to its k-th nearest other one, for each k: (len(ks), n).

    By distinct distances from the least on, each with how many are no larger: copies of a sample
    are neighbours like any. (`jax.lax.top_k` takes ten times as long on a CPU.)
    """

    def row(i: jax.Array) -> jax.Array:
        squared = jnp.where(jnp.arange(x.shape[0]) == i, jnp.inf, _squared(x[i], x))
        value = jnp.full((), -jnp.inf)
        radii = [jnp.full((), jnp.inf)] * len(ks)
        for _ in range(max(ks)):
            value = jnp.min(jnp.where(squared > value, squared, jnp.inf))
            number = jnp.sum(squared <= value)
            radii = [
                jnp.minimum(r, jnp.where(number >= k, value, jnp.inf))
                for r, k in zip(radii, ks, strict=True)
            ]
        return jnp.stack(radii)

    return jax.lax.map(row, jnp.arange(x.shape[0]), batch_size=block).T


@functools.partial(jax.jit, static_argnames="block")
def _balls(
    x: jax.Array, centres: jax.Array, radii: jax.Array, block: int
) -> tuple[jax.Array, jax.Array]:
    """How many balls hold each x, for each row of squared radii (r, m); nearest centre, squared.

    Returns:
      Shapes (n, r) and (n,).
    """

    def row(point: jax.Array) -> tuple[jax.Array, jax.Array]:
        squared = _squared(point, centres)
        return jnp.sum(squared <= radii, axis=1), jnp.min(squared)

    return jax.lax.map(row, x, batch_size=block)


def manifold(
    *, real: npt.ArrayLike, fake: npt.ArrayLike, seed: int, k: int = K, k_density: int = K_DENSITY
) -> dict[str, Score]:
    """Improved precision and recall, density and coverage.

    A set's manifold is the union of the balls around its samples that reach to the k-th nearest
    other sample of the set, edge included.

    - precision: share of fakes in the real manifold; recall: share of real samples in the fake
      manifold. Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, equations 1 to 3.
    - density: mean over fakes of the number of real balls around them, divided by k; coverage:
      share of real balls with a fake in them. Naeem et al. 2020,
      https://arxiv.org/abs/2002.09797, equations 5 and 6.

    Args:
      real: features of data, shape (n, d), n > k and k_density.
      fake: features of generated samples, shape (m, d), m > k.
      seed: of the bootstrap.
      k: neighbours that make a ball of precision and recall.
      k_density: neighbours that make a ball of density and coverage.

    Returns:
      "precision", "recall", "density" and "coverage". Each is a mean over one of the sets, and
      its interval is the bootstrap of that mean, with all balls as they are.

    Raises:
      InputError: too few samples, unequal widths, or a value that is not finite.
    """
    x = matrix("manifold's real", real, rows=max(k, k_density) + 1)
    y = matrix("manifold's fake", fake, rows=k + 1, columns=x.shape[1])
    centre = x.mean(axis=0)  # small numbers, small rounding in |x|^2 + |y|^2 - 2 x . y
    x, y = x - centre, y - centre
    # Samples at equal distances stay so: a copy's distance rounds to this at most.
    slack = 1e-12 * max(np.max(np.sum(a**2, axis=1)) for a in (x, y))
    with jax.enable_x64(True):
        real_radii = _radii(x, (k, k_density), _BLOCK) + slack
        fake_radii = _radii(y, (k,), _BLOCK) + slack
        around_fake, _ = map(np.asarray, _balls(y, x, real_radii, _BLOCK))
        around_real, nearest_fake = map(np.asarray, _balls(x, y, fake_radii, _BLOCK))
        covered = nearest_fake <= np.asarray(real_radii)[1]
    return {
        "precision": mean(around_fake[:, 0] > 0, seed),
        "recall": mean(around_real[:, 0] > 0, seed),
        "density": mean(around_fake[:, 1] / k_density, seed),
        "coverage": mean(covered, seed),
    }


@functools.partial(jax.jit, static_argnames="block")
def _nearest(queries: jax.Array, points: jax.Array, block: int) -> jax.Array:
    half = jnp.sum(points**2, axis=1) / 2

    def row(query: jax.Array) -> jax.Array:
        # HIGHEST: a GPU's default would round the factors to about ten bits.
        product = jnp.dot(points, query, precision=jax.lax.Precision.HIGHEST)
        return jnp.argmin(half - product)

    return jax.lax.map(row, queries, batch_size=block)


def nearest(queries: npt.ArrayLike, points: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point of each query, found in float32, the distance then computed in float64.

    Args:
      queries: shape (n, d).
      points: shape (m, d).

    Returns:
      Indices of points, int32 (n,), and Euclidean distances, float64 (n,).

    Raises:
      InputError: no samples, unequal widths, or a value that is not finite.
    """
    queries = matrix("nearest's queries", queries, dtype=np.float32)
    points = matrix("nearest's points", points, columns=queries.shape[1], dtype=np.float32)
    index = np.asarray(_nearest(queries, points, _BLOCK))
    starts = range(0, len(queries), _BLOCK)
    pairs = ((queries[i : i + _BLOCK], points[index[i : i + _BLOCK]]) for i in starts)
    distances = [np.linalg.norm(np.subtract(q, p, dtype=np.float64), axis=1) for q, p in pairs]
    return index, np.concatenate(distances)


class Memorisation(NamedTuple):
    """How close generated samples are to the training set, against how close test images are."""

    score: Score
    neighbour: np.ndarray  # (n,), index of each generated sample's nearest training image
    distance: np.ndarray  # (n,), to it
    test_distance: np.ndarray  # (m,), of each test image to its nearest training image


def _less(a: np.ndarray, b: np.ndarray, v: np.ndarray, w: np.ndarray) -> float:
    """P(a < b) + P(a = b) / 2 for a drawn with weights v from (n,), b with w from sorted (m,)."""
    total = np.concatenate([[0], np.cumsum(w)])
    left, right = (total[np.searchsorted(b, a, side)] for side in ("left", "right"))
    return float(1 - v @ (left + right) / 2 / (v.sum() * w.sum()))


def memorisation(
    fake: npt.ArrayLike,
    train: npt.ArrayLike,
    test: npt.ArrayLike,
    seed: int,
    resamples: int = 1000,
) -> Memorisation:
    """The chance that a generated sample is nearer to the training set than a test image is.

    P(d(fake) < d(test)) + P(d(fake) = d(test)) / 2, where d is the Euclidean distance to the
    nearest training image: Mann and Whitney's statistic, in the three-sample comparison of
    Meehan et al. 2020, https://arxiv.org/abs/2004.05675, without their partition into cells.
    0.5 for samples as far from the training set as new data are, 1 for copies of it; below 0.5
    for samples farther from it than data, such as noise.

    Args:
      fake: generated samples, shape (n, d).
      train: the training set, shape (t, d).
      test: data not in it, shape (m, d).
      seed: of the bootstrap.
      resamples: replicates of the bootstrap, over fake and test; the training set is given.

    Returns:
      The score with its interval, and the neighbours.

    Raises:
      InputError: no samples, unequal widths, or a value that is not finite.
    """
    train = matrix("memorisation's train", train, dtype=np.float32)
    fake, test = (
        matrix(f"memorisation's {name}", x, columns=train.shape[1], dtype=np.float32)
        for name, x in (("fake", fake), ("test", test))
    )
    (index, distance), (_, test_distance) = nearest(fake, train), nearest(test, train)
    rng = np.random.default_rng(seed)
    sorted_test = np.sort(test_distance)

    def draw(n: int) -> np.ndarray:
        return np.bincount(rng.integers(0, n, n), minlength=n)

    value = _less(distance, sorted_test, np.ones(len(fake)), np.ones(len(test)))
    replicates = [
        _less(distance, sorted_test, draw(len(fake)), draw(len(test))) for _ in range(resamples)
    ]
    return Memorisation(interval(value, replicates), index, distance, test_distance)
