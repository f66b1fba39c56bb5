import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.evaluation.metrics import intervals, neighbours


def gaussian(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def values(scores) -> dict[str, float]:
    return {name: score.value for name, score in scores.items()}


def loop(real: np.ndarray, fake: np.ndarray, k: int, k_density: int) -> dict[str, float]:
    """The definitions, pair by pair."""

    def radius(x, i, k):
        return sorted(np.linalg.norm(x[i] - y) for j, y in enumerate(x) if j != i)[k - 1]

    def within(a, b, r):
        return np.linalg.norm(a - b) <= r + 1e-9

    r, s = ([radius(real, i, k) for i in range(len(real))] for k in (k, k_density))
    t = [radius(fake, j, k) for j in range(len(fake))]
    return {
        "precision": np.mean([any(map(within, real, [y] * len(real), r)) for y in fake]),
        "recall": np.mean([any(map(within, fake, [x] * len(fake), t)) for x in real]),
        "density": np.mean([sum(map(within, real, [y] * len(real), s)) / k_density for y in fake]),
        "coverage": np.mean(
            [any(within(x, y, q) for y in fake) for x, q in zip(real, s, strict=True)]
        ),
    }


def test_manifold_by_hand():
    # Real radii with k = 1: 1, 1, 2, so the balls [-1, 1], [0, 2], [1, 5]; with k = 2: 3, 2, 3,
    # so [-3, 3], [-1, 3], [0, 6]. Fake radii with k = 1: 0.5, 0.5, 6.5.
    real, fake = [[0.0], [1.0], [3.0]], [[-2.0], [-1.5], [5.0]]
    scores = neighbours.manifold(real=real, fake=fake, seed=0, k=1, k_density=2, splits=0)
    # precision: only 5 is in a ball, on its edge; recall: [-1.5, 11.5] holds all.
    # density: -2 and -1.5 are in one of the balls of k = 2, 5 in one; coverage: [-1, 3] is empty.
    expected = {"precision": 1 / 3, "recall": 1, "density": 3 / 3 / 2, "coverage": 2 / 3}
    assert values(scores) == pytest.approx(expected)


@pytest.mark.parametrize("block", [2, 512])
def test_manifold_agrees_with_loops(monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    real, fake = gaussian(0, 25, 2), 0.6 * gaussian(1, 19, 2) + 0.5
    fake[5:8] = fake[4]  # copies are neighbours at distance 0
    scores = neighbours.manifold(real=real, fake=fake, seed=0, splits=4)
    assert values(scores) == pytest.approx(loop(real, fake, 3, 5))
    assert 0 < scores["recall"].value < scores["precision"].value < 1  # nothing trivial
    shuffled = neighbours.manifold(
        real=jnp.asarray(real[::-1]), fake=jnp.asarray(fake[::-1]), seed=0, splits=0
    )
    assert values(shuffled) == pytest.approx(values(scores))
    assert scores == neighbours.manifold(real=real, fake=fake, seed=0, splits=4)
    assert scores != neighbours.manifold(real=real, fake=fake, seed=1, splits=4)


def test_copies_score_best_at_any_offset():
    real = gaussian(0, 60, 16) + 1000
    scores = values(neighbours.manifold(real=real, fake=real[::-1], seed=0))
    # Around a copy: the ball of its original and, edge included, of all that have it in their 5.
    assert scores == pytest.approx({"precision": 1, "recall": 1, "density": 6 / 5, "coverage": 1})


def test_each_metric_detects_its_failure():
    real, good, k = gaussian(0, 400, 3), gaussian(1, 400, 3), {"seed": 0}
    right = neighbours.manifold(real=real, fake=good, **k)
    assert right["precision"].low > 0.8
    assert right["recall"].low > 0.8
    assert right["coverage"].low > 0.9
    assert abs(right["density"].value - 1) < 0.1  # its expectation for equal distributions
    one_mode = neighbours.manifold(real=real, fake=0.1 * good, **k)
    assert one_mode["precision"].low > 0.95
    assert one_mode["recall"].high < 0.05
    assert one_mode["coverage"].high < 0.3
    noisy = neighbours.manifold(real=real, fake=4 * good, **k)
    assert noisy["precision"].high < 0.5
    assert noisy["density"].high < 0.4
    assert noisy["recall"].value > 0.9
    point = neighbours.manifold(real=real, fake=np.tile(good[:1], (400, 1)), **k)
    assert point["recall"].value == 0


def test_parts_have_their_own_balls_and_members():
    """Counts of the whole, of halves and of quarters are those of each set alone."""
    x, y = gaussian(0, 300, 2), gaussian(1, 200, 2)  # more than the neighbours that are kept
    rng = np.random.default_rng(2)
    in_x, in_y = (
        np.stack([0 * q, q // 2, q], axis=1)
        for q in (rng.permutation(np.arange(n) % 4) for n in (300, 200))
    )
    ((inside, around),) = neighbours._members(x, y, (3,), in_x, in_y)
    for split, count in enumerate([1, 2, 4]):
        for group in range(count):
            i, j = in_x[:, split] == group, in_y[:, split] == group
            apart = np.linalg.norm(x[i][:, None] - x[i], axis=2)
            radii = np.sort(apart, axis=1)[:, 3]  # of 3 others, after itself
            held = np.linalg.norm(x[i][:, None] - y[j], axis=2) <= radii[:, None]
            np.testing.assert_array_equal(inside[i, split], held.sum(axis=1))
            np.testing.assert_array_equal(around[j, split], held.sum(axis=0))


@pytest.mark.parametrize("block", [3, 512])
def test_nearest_agrees_with_a_direct_search(monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    queries, points = gaussian(0, 7, 5) + 3, gaussian(1, 40, 5) + 3
    queries[2] = points[9]
    index, distance = neighbours.nearest(queries, points)
    every = np.linalg.norm(queries[:, None] - points, axis=2)
    np.testing.assert_array_equal(index, every.argmin(axis=1))
    np.testing.assert_allclose(distance, every.min(axis=1), atol=1e-6)  # float32 in
    assert distance[2] == 0  # which |x|^2 + |y|^2 - 2 x . y would not give
    assert distance.dtype == np.float64


def test_nearest_of_uint8_pixels_is_exact():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 784), np.uint8)
    index, distance = neighbours.nearest(pixels[:3] ^ 1, pixels)
    np.testing.assert_array_equal(index, [0, 1, 2])
    np.testing.assert_array_equal(distance, [28, 28, 28])  # 784 differences of 1


@pytest.mark.parametrize("cached", [1, 100, 2**21])  # rows per block: 1, 5 and all
def test_k_nearest_agrees_with_sorting(monkeypatch, cached):
    monkeypatch.setattr(neighbours, "_CACHED", cached)
    monkeypatch.setattr(neighbours, "_BLOCK", 3)
    query, points = (np.float32(gaussian(seed, n, 5)) for seed, n in ((0, 1), (1, 41)))
    points[[7, 30]] = points[20]  # equal distances
    every = np.linalg.norm(np.float64(query) - points, axis=1)
    for k in (1, 17, 41):
        index, distance = neighbours.k_nearest(query[0], points, k)
        np.testing.assert_array_equal(index, every.argsort(kind="stable")[:k])
        np.testing.assert_array_equal(distance, np.sort(every)[:k])
    assert neighbours.k_nearest(points[30], points, 2)[0].tolist() == [7, 20]


def test_k_nearest_beyond_float32():
    points = gaussian(1, 500, 64)
    points = np.float32(points / np.linalg.norm(points, axis=1, keepdims=True))
    query = np.zeros(64, np.float32)
    every = np.linalg.norm(np.float64(points), axis=1)  # 1, but for the rounding of points
    index, distance = neighbours.k_nearest(query, points, 10)
    np.testing.assert_array_equal(index, every.argsort(kind="stable")[:10])
    np.testing.assert_array_equal(distance, np.sort(every)[:10])
    assert not np.array_equal(index, np.einsum("nd,nd->n", points, points).argsort()[:10])


def test_memorisation_by_hand():
    # Distances to training points 0 and 10: fakes 0, 1, 2; tests 1, 3. Of 6 pairs the fake is
    # nearer in 0 < 1, 0 < 3, 1 < 3, 2 < 3 and equal in 1 = 1.
    result = neighbours.memorisation([[0.0], [9], [12]], [[0.0], [10]], [[13.0], [-1]])
    np.testing.assert_allclose(result.score.value, 4.5 / 6)
    np.testing.assert_array_equal(result.neighbour, [0, 1, 1])
    np.testing.assert_array_equal(result.distance, [0, 1, 2])
    np.testing.assert_array_equal(result.test_distance, [3, 1])


def test_memorisation_standard_error_by_hand():
    # Share of tests that are farther, ties as a half: 1, 3/4, 1/2, 0, with variance 35/256; of
    # fakes that are closer: 3/8, 3/4, with variance 9/256.
    fake, test = [[0.0], [1], [2], [4]], [[1.0], [3]]
    score = neighbours.memorisation(fake, [[0.0]], test).score
    error = (35 / 256 / 4 + 9 / 256 / 2) ** 0.5
    np.testing.assert_allclose(score, intervals.proportion(9 / 16, error, 2))
