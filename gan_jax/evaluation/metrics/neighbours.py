"""Nearest-neighbour metrics: manifolds of features, and memorised training examples."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.evaluation.metrics.intervals import (
    Score,
    matrix,
    normal,
    parts,
    proportion,
    split_error,
)

K, K_DENSITY = 3, 5  # neighbour that sets a ball's radius: precision, recall; density, coverage
_BLOCK = 512  # rows of the distance matrix in memory
_CACHED = 2**21  # bytes of a block of `k_nearest`
_KEPT = 64  # nearest neighbours kept: almost surely, 5 of them are in any quarter


def min_samples(k: int) -> int:
    """Minimum number of samples of which every quarter has k-th neighbours."""
    return 4 * (k + 1)


def _squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances of x (n, d) to y (m, d), shape (n, m)."""
    return (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T


def _radii(
    squared: np.ndarray, start: int, ks: tuple[int, ...], groups: np.ndarray
) -> list[np.ndarray]:
    """Squared distances to the k-th nearest other sample of the same group, by k and split.

    Args:
      squared: squared distances of samples `start`, `start` + 1, ... to all samples, (block, n).
      start: index of the first of these samples.
      ks: which neighbours.
      groups: group of each sample in each split, (n, splits).

    Returns:
      For each k, shape (block, splits).
    """
    rows = np.arange(len(squared))
    squared[rows, start + rows] = np.inf  # not its own neighbour
    kept = min(_KEPT, squared.shape[1] - 1)
    near = np.argpartition(squared, kept - 1, axis=1)[:, :kept]
    near = np.take_along_axis(near, squared[rows[:, None], near].argsort(axis=1), axis=1)
    ordered = np.take_along_axis(squared, near, axis=1)
    number = np.cumsum(groups[near] == groups[start + rows, None], axis=1, dtype=np.int8)
    return [ordered[rows[:, None], np.minimum((number < k).sum(axis=1), kept - 1)] for k in ks]


def _members(
    centres: np.ndarray,
    points: np.ndarray,
    ks: tuple[int, ...],
    groups: np.ndarray,
    point_groups: np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Counts ball members, where a ball reaches to its centre's k-th nearest other centre.

    The groups of a split are separate: neighbours and members come from the same group.

    Args:
      centres: (n, d).
      points: (m, d).
      ks: which neighbours.
      groups: group of each centre in each split, (n, splits).
      point_groups: group of each point, (m, splits).

    Returns:
      For each k, the number of points in each ball, (n, splits), and of balls around each point,
      (m, splits).
    """
    n, m, splits = len(centres), len(points), groups.shape[1]
    found = [(np.zeros((n, splits), int), np.zeros((m, splits), int)) for _ in ks]
    # Preserves ties: rounding changes the distance of a copy by at most this.
    slack = 1e-12 * max(np.max(np.sum(a**2, axis=1)) for a in (centres, points))
    for start in range(0, n, _BLOCK):
        block = slice(start, start + _BLOCK)
        radii = _radii(_squared(centres[block], centres), start, ks, groups)
        squared = _squared(centres[block], points)
        for (inside, around), radius in zip(found, radii, strict=True):
            # Few pairs are this close in any split.
            i, j = np.nonzero(squared <= radius.max(axis=1, keepdims=True) + slack)
            near = squared[i, j] - slack
            for s in range(splits):
                held = near <= radius[i, s]
                held &= groups[start + i, s] == point_groups[j, s]
                inside[block, s] = np.bincount(i[held], minlength=len(radius))
                around[:, s] += np.bincount(j[held], minlength=m)
    return found


def _means(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Means of values (n, splits) over the members of each group, (splits, count)."""
    members = [groups == group for group in range(count)]
    return np.stack([(values * own).sum(axis=0) / own.sum(axis=0) for own in members], axis=1)


def manifold(
    *,
    real: npt.ArrayLike,
    fake: npt.ArrayLike,
    seed: int,
    k: int = K,
    k_density: int = K_DENSITY,
    splits: int = 100,
) -> dict[str, Score]:
    """Improved precision and recall, density and coverage.

    The manifold of a set is the union of balls around its samples, each reaching to the k-th
    nearest other sample of the set, boundary included.

    - precision: fraction of fakes in the real manifold; recall: fraction of real samples in the
      fake manifold. Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, equations 1 to 3.
    - density: mean number of real balls around a fake, divided by k; coverage: fraction of real
      balls with a fake inside. Naeem et al. 2020, https://arxiv.org/abs/2002.09797, equations 5, 6.

    All depend on the sample sizes. The intervals come from random halves and quarters of both sets,
    each with its own balls (see `split_error`): the variance falls clearly more slowly than 1 / n.

    Args:
      real: features of data, shape (n, d).
      fake: features of generated samples, shape (m, d).
      seed: seed of the splits.
      k: neighbour that bounds a ball, for precision and recall.
      k_density: the same for density and coverage.
      splits: number of random splits; 0 for no intervals.

    Returns:
      "precision", "recall", "density" and "coverage".

    Raises:
      InputError: too few samples, different d, or non-finite values.
    """
    need = min_samples if splits else (lambda k: k + 1)
    x = matrix("manifold's real", real, rows=need(max(k, k_density)))
    y = matrix("manifold's fake", fake, rows=need(k), columns=x.shape[1])
    centre = x.mean(axis=0)  # reduces rounding in |x|^2 + |y|^2 - 2 x . y
    x, y = x - centre, y - centre
    rng = np.random.default_rng(seed)
    quarters = [parts(n, 4, splits, rng).T.astype(np.int8) for n in (len(x), len(y))]
    # The whole sets, all halves, all quarters.
    in_x, in_y = (np.hstack([np.zeros_like(q, shape=(len(q), 1)), q // 2, q]) for q in quarters)
    (_, real_balls), (covered, dense) = _members(x, y, (k, k_density), in_x, in_y)
    ((_, fake_balls),) = _members(y, x, (k,), in_y, in_x)
    scores = {}
    for name, values, groups in (
        ("precision", real_balls > 0, in_y),
        ("recall", fake_balls > 0, in_x),
        ("density", dense / k_density, in_y),
        ("coverage", covered > 0, in_x),
    ):
        value = float(values[:, 0].mean())
        half, quarter = np.split(np.arange(1, 1 + 2 * splits), 2)
        error = split_error(
            _means(values[:, half], groups[:, half], 2),
            _means(values[:, quarter], groups[:, quarter], 4),
        )
        if name == "density":
            scores[name] = normal(value, error, lower=0)
        else:
            scores[name] = proportion(value, error, len(values))
    return scores


@functools.partial(jax.jit, static_argnames="block")
def _nearest(queries: jax.Array, points: jax.Array, block: int) -> jax.Array:
    half = jnp.sum(points**2, axis=1) / 2

    def row(query: jax.Array) -> jax.Array:
        # HIGHEST: a GPU's default would round the factors to about ten bits.
        product = jnp.dot(points, query, precision=jax.lax.Precision.HIGHEST)
        return jnp.argmin(half - product)

    return jax.lax.map(row, queries, batch_size=block)


def nearest(queries: npt.ArrayLike, points: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point of each query: found in float32, its distance in float64.

    Args:
      queries: shape (n, d).
      points: shape (m, d).

    Returns:
      Indices of points, int32 (n,), and Euclidean distances, float64 (n,).

    Raises:
      InputError: no samples, different d, or non-finite values.
    """
    queries = matrix("nearest's queries", queries, dtype=np.float32)
    points = matrix("nearest's points", points, columns=queries.shape[1], dtype=np.float32)
    index = np.asarray(_nearest(queries, points, _BLOCK))
    starts = range(0, len(queries), _BLOCK)
    pairs = ((queries[i : i + _BLOCK], points[index[i : i + _BLOCK]]) for i in starts)
    distances = [np.linalg.norm(np.subtract(q, p, dtype=np.float64), axis=1) for q, p in pairs]
    return index, np.concatenate(distances)


def k_nearest(query: np.ndarray, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k points nearest to a query, found exactly: as if all distances were in float64.

    Reads the points once, on all cores, in blocks that fit a core's cache: they may be
    memory-mapped.

    Args:
      query: finite float32 (d,).
      points: finite float32 (m, d).
      k: from 1 to m.

    Returns:
      Indices of points and Euclidean distances, float64, each (k,), in ascending order; ties by
      index.
    """
    squared = np.empty(len(points), np.float32)
    rows = max(1, _CACHED // query.nbytes)

    def measure(start: int) -> None:
        difference = points[start : start + rows] - query
        np.einsum("nd,nd->n", difference, difference, out=squared[start : start + rows])

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy releases the GIL
        list(pool.map(measure, range(0, len(points), rows)))
    # A sum of d rounded squares of rounded differences is within this fraction of the exact one.
    rounding = (len(query) + 2) * np.finfo(np.float32).eps / 2
    near = np.flatnonzero(squared <= np.partition(squared, k - 1)[k - 1] * (1 + 3 * rounding))
    blocks = (near[i : i + _BLOCK] for i in range(0, len(near), _BLOCK))
    differences = (np.subtract(points[block], query, dtype=np.float64) for block in blocks)
    distance = np.concatenate([np.linalg.norm(x, axis=1) for x in differences])
    order = distance.argsort(kind="stable")[:k]
    return near[order], distance[order]


class Memorisation(NamedTuple):
    """How close generated samples are to the training set, compared with test examples."""

    score: Score
    neighbour: np.ndarray  # (n,): index of each generated sample's nearest training example
    distance: np.ndarray  # (n,): to it
    test_distance: np.ndarray  # (m,): of each test example to its nearest training example


def _less(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """P(a_i < b) + P(a_i = b) / 2 for each a_i and b drawn from (m,)."""
    left, right = (np.searchsorted(np.sort(b), a, side) for side in ("left", "right"))
    return 1 - (left + right) / (2 * len(b))


def memorisation(fake: npt.ArrayLike, train: npt.ArrayLike, test: npt.ArrayLike) -> Memorisation:
    """Probability that a generated sample is closer to the training set than a test example.

    P(d(fake) < d(test)) + P(d(fake) = d(test)) / 2, where d is the Euclidean distance to the
    nearest training example: Mann and Whitney's statistic, in the three-sample comparison of
    Meehan et al. 2020, https://arxiv.org/abs/2004.05675, without their partition into cells. 0.5
    for samples as far from the training set as new data, 1 for copies of it; below 0.5 for samples
    farther away than data, such as noise. The training set is fixed; the standard error is that of
    DeLong et al. 1988, https://doi.org/10.2307/2531595.

    Args:
      fake: generated samples, shape (n, d).
      train: the training set, shape (t, d).
      test: data that are not in it, shape (m, d).

    Raises:
      InputError: no samples, different d, or non-finite values.
    """
    train = matrix("memorisation's train", train, dtype=np.float32)
    fake, test = (
        matrix(f"memorisation's {name}", x, columns=train.shape[1], dtype=np.float32)
        for name, x in (("fake", fake), ("test", test))
    )
    (index, distance), (_, test_distance) = nearest(fake, train), nearest(test, train)
    closer, farther = _less(distance, test_distance), _less(test_distance, distance)
    error = (closer.var() / len(fake) + farther.var() / len(test)) ** 0.5
    score = proportion(float(closer.mean()), error, min(len(fake), len(test)))
    return Memorisation(score, index, distance, test_distance)
