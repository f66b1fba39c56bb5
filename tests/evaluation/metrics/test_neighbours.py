"""Tests of gan_jax.metrics.neighbours: by hand, against loops, and the samplers to be caught."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import neighbours


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
    scores = neighbours.manifold(real=real, fake=fake, seed=0, k=1, k_density=2)
    # precision: only 5 is in a ball, on its edge; recall: [-1.5, 11.5] holds all.
    # density: -2 and -1.5 are in one of the balls of k = 2, 5 in one; coverage: [-1, 3] is empty.
    expected = {"precision": 1 / 3, "recall": 1, "density": 3 / 3 / 2, "coverage": 2 / 3}
    assert values(scores) == pytest.approx(expected)


@pytest.mark.parametrize("block", [2, 512])
def test_manifold_agrees_with_loops_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    real, fake = gaussian(0, 25, 2), 0.6 * gaussian(1, 19, 2) + 0.5
    fake[5:8] = fake[4]  # copies are neighbours at distance 0
    scores = neighbours.manifold(real=real, fake=fake, seed=0)
    assert values(scores) == pytest.approx(loop(real, fake, 3, 5))
    assert 0 < scores["recall"].value < scores["precision"].value < 1  # nothing trivial
    shuffled = neighbours.manifold(
        real=jnp.asarray(real[::-1]), fake=jnp.asarray(fake[::-1]), seed=0
    )
    assert values(shuffled) == pytest.approx(values(scores))
    assert scores == neighbours.manifold(real=real, fake=fake, seed=0)


def test_copies_of_the_data_have_everything_at_any_offset():
    real = gaussian(0, 60, 16) + 1000
    scores = values(neighbours.manifold(real=real, fake=real[::-1], seed=0))
    # Around a copy: the ball of its original and, edge included, of all that have it in their 5.
    assert scores == pytest.approx({"precision": 1, "recall": 1, "density": 6 / 5, "coverage": 1})


def test_each_kind_of_failure_has_its_metric():
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
    assert noisy["recall"].low > 0.8
    point = neighbours.manifold(real=real, fake=np.tile(good[:1], (400, 1)), **k)
    assert point["recall"].value == 0


def test_intervals_of_precision_cover_its_expectation_in_about_95_of_100_experiments():
    real = gaussian(0, 100, 2)
    scores = [
        neighbours.manifold(real=real, fake=2 * gaussian(i, 100, 2), seed=i)["precision"]
        for i in range(1, 41)
    ]
    expectation = np.mean([s.value for s in scores])
    assert 0.82 < np.mean([s.low <= expectation <= s.high for s in scores]) < 1


@pytest.mark.parametrize("block", [3, 512])
def test_nearest_is_that_of_a_direct_search_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    queries, points = gaussian(0, 7, 5) + 3, gaussian(1, 40, 5) + 3
    queries[2] = points[9]
    index, distance = neighbours.nearest(queries, points)
    every = np.linalg.norm(queries[:, None] - points, axis=2)
    np.testing.assert_array_equal(index, every.argmin(axis=1))
    np.testing.assert_allclose(distance, every.min(axis=1), atol=1e-6)  # float32 in
    assert distance[2] == 0  # a copy is seen as one, which |x|^2 + |y|^2 - 2 x . y would not give
    assert distance.dtype == np.float64


def test_nearest_of_uint8_pixels_is_exact():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 784), np.uint8)
    index, distance = neighbours.nearest(pixels[:3] ^ 1, pixels)
    np.testing.assert_array_equal(index, [0, 1, 2])
    np.testing.assert_array_equal(distance, [28, 28, 28])  # 784 differences of 1


def test_memorisation_by_hand():
    # Distances to training points 0 and 10: fakes 0, 1, 2; tests 1, 3. Of 6 pairs the fake is
    # nearer in 0 < 1, 0 < 3, 1 < 3, 2 < 3 and equal in 1 = 1.
    result = neighbours.memorisation([[0.0], [9], [12]], [[0.0], [10]], [[13.0], [-1]], seed=0)
    np.testing.assert_allclose(result.score.value, 4.5 / 6)
    np.testing.assert_array_equal(result.neighbour, [0, 1, 1])
    np.testing.assert_array_equal(result.distance, [0, 1, 2])
    np.testing.assert_array_equal(result.test_distance, [3, 1])


def test_memorisation_tells_new_samples_from_copies_and_from_noise():
    train, test, new = (gaussian(i, 300, 4) for i in range(3))
    score = neighbours.memorisation(new, train, test, seed=0).score
    assert score.low < 0.5 < score.high
    assert score.high - score.low < 0.15
    assert score == neighbours.memorisation(new, train, test, seed=0).score
    assert neighbours.memorisation(train[:200], train, test, seed=0).score == (1, 1, 1)
    half = np.concatenate([train[:150], new[:150]])
    assert neighbours.memorisation(half, train, test, seed=0).score.low > 0.65
    assert neighbours.memorisation(4 * new, train, test, seed=0).score.high < 0.2


def test_intervals_of_memorisation_cover_one_half_in_about_95_of_100_experiments():
    train = gaussian(0, 100, 2)
    scores = [
        neighbours.memorisation(
            gaussian(2 * i + 1, 60, 2), train, gaussian(2 * i + 2, 90, 2), i, 100
        ).score
        for i in range(100)
    ]
    assert 0.87 < np.mean([s.low <= 0.5 <= s.high for s in scores]) < 1


@pytest.mark.parametrize(
    ("metric", "sets", "message"),
    [
        ("manifold", [(5, 2), (9, 2)], "manifold's real must hold at least 6 samples, not 5"),
        ("manifold", [(9, 2), (3, 2)], "manifold's fake must hold at least 4 samples, not 3"),
        ("manifold", [(9, 2), (9, 3)], "manifold's fake must have 2 columns"),
        ("nearest", [(9, 2), (0, 2)], "nearest's points must hold at least 1"),
        ("nearest", [(9, 2), (9, 3)], "nearest's points must have 2 columns"),
        ("nearest", [(9,), (9, 3)], "nearest's queries must have the shape"),
        ("memorisation", [(9, 2), (9, 3), (9, 3)], "memorisation's fake must have 3 columns"),
        ("memorisation", [(9, 3), (9, 3), (0, 3)], "memorisation's test must hold at least 1"),
    ],
)
def test_bad_samples(metric, sets, message):
    call = {
        "manifold": lambda real, fake: neighbours.manifold(real=real, fake=fake, seed=0),
        "nearest": neighbours.nearest,
        "memorisation": functools.partial(neighbours.memorisation, seed=0),
    }[metric]
    with pytest.raises(InputError, match=message):
        call(*map(np.zeros, sets))


def test_values_that_are_not_finite():
    bad, good = np.full((9, 2), np.nan), np.zeros((9, 2))
    with pytest.raises(InputError, match="manifold's fake must be finite"):
        neighbours.manifold(real=good, fake=bad, seed=0)
    with pytest.raises(InputError, match="memorisation's train must be finite"):
        neighbours.memorisation(good, bad, good, seed=0)
