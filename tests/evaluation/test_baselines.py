"""Tests of gan_jax.evaluation.baselines: their samples, and the cache."""

import json

import numpy as np
import pytest

from gan_jax import config, data
from gan_jax.evaluation import baselines, scoring
from gan_jax.evaluation.baselines import BASELINES
from gan_jax.evaluation.registry import METRICS
from tests.conftest import ROOT
from tests.evaluation.conftest import PIXELS, spots, untrained_reference


def test_real_data_are_shuffled_distinct_examples():
    train = spots(60)
    drawn = baselines.real(train, 40)
    rows = [x.tobytes() for x in drawn]
    assert len(set(rows)) == len(drawn) == 40
    assert set(rows) < {x.tobytes() for x in train.images}
    assert not np.array_equal(drawn, train.images[:40])  # which may be sorted by class
    assert len(baselines.real(train, 100)) == 60


def sorted_classes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of class 4, near 0, before twice as many of class 7, near 30."""
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(n) < n // 3, 4, 7).astype(np.int32)
    factor = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [0, 0, 0]])  # singular
    low, high = rng.normal(size=(n, 3)) @ factor.T, 30 + rng.normal(size=(n, 3))
    return np.where((labels == 4)[:, None], low, high).astype(np.float32), labels


@pytest.mark.parametrize("num", [600, 6000])
def test_gaussians_draw_shuffled_random_classes(num):
    drawn = baselines.gaussians(data.from_arrays(*sorted_classes(6000)), num)
    first = drawn[:, 2] < 15
    assert abs(first.sum() - num / 3) <= 4 * (num * 2 / 9) ** 0.5
    assert first.sum() != num // 3  # drawn at random, not in proportion
    changes = np.count_nonzero(first[1:] != first[:-1])  # 1 in the order of the classes
    assert changes == pytest.approx(num * 4 / 9, rel=0.15)


def test_gaussians_have_the_moments_of_each_class():
    x, labels = sorted_classes(6000)
    drawn = baselines.gaussians(data.from_arrays(x, labels), 6000)
    assert drawn.dtype == np.float32
    first = drawn[:, 2] < 15
    for own, source in ((drawn[first], x[labels == 4]), (drawn[~first], x[labels == 7])):
        np.testing.assert_allclose(own.mean(0), source.mean(0), atol=0.1)
        np.testing.assert_allclose(np.cov(own.T), np.cov(source.T), atol=0.1)


def test_gaussians_of_few_examples():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    drawn = baselines.gaussians(data.from_arrays(x), 50_000)
    np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(x.T), atol=0.06)


def test_gaussians_of_images_are_images():
    train = spots(40)
    drawn = baselines.gaussians(train._replace(labels=np.arange(40)), 30)
    assert drawn.shape == (30, 8, 8, 1)
    rows = {x.tobytes() for x in train.images}  # a class of one example has no variance
    assert {x.tobytes() for x in np.round(drawn * 255).astype(np.uint8)} <= rows
    drawn = baselines.gaussians(train, 30)
    assert (drawn.min(), drawn.max() <= 1) == (0, True)


def test_centroids_are_the_means_of_their_clusters():
    train = spots(60)
    x = train.images.reshape(60, -1) / np.float32(255)
    centroids = baselines.kmeans(train, 5)
    assert centroids.shape == (5, 8, 8, 1)
    assert centroids.dtype == np.float32
    flat = centroids.reshape(5, -1)
    nearest = np.linalg.norm(x[:, None] - flat, axis=-1).argmin(axis=1)
    for k in range(5):
        np.testing.assert_allclose(flat[k], x[nearest == k].mean(axis=0), atol=1e-5)


def test_empty_cluster_keeps_its_centroid():
    points = np.random.default_rng(0).normal(9, 1, (60, 1)).astype(np.float32)
    points[::2] = 0  # copies: all but one of their clusters are empty
    centroids = baselines.kmeans(data.from_arrays(points), 8)
    nearest = np.abs(points - centroids[:, 0]).argmin(axis=1)
    used = np.unique(nearest)
    assert 2 < len(used) < 8
    for k in range(8):
        expected = points[nearest == k].mean(axis=0) if k in used else [0]
        np.testing.assert_allclose(centroids[k], expected, atol=1e-5)


@pytest.mark.parametrize(("n", "num", "k"), [(60, 100, 12), (60, 7, 7), (4, 100, 1)])
def test_centroid_has_at_least_five_examples(n, num, k):
    assert len(baselines.kmeans(spots(n), num)) == k


def test_black_labelled_images_have_baselines(cache):
    black = data.from_arrays(np.zeros((60, 8, 8, 1), np.uint8), spots(60).labels)
    names = ["precision", *PIXELS]
    found = baselines.baselines(untrained_reference(black), 60, names)
    for row in BASELINES:
        assert found[row].keys() == set(names)
        assert found[row]["parzen"] is None or np.isfinite(found[row]["parzen"]["value"])


def test_too_few_centroids_for_a_metric_are_none(cache, monkeypatch):
    ref = untrained_reference(spots(60))  # 12 centroids, but 16 make a manifold
    found = baselines.baselines(ref, 300, ["precision", "modes"])["k-means"]
    assert found["precision"] is None
    assert found["modes"]["samples"] == 12
    monkeypatch.setitem(BASELINES, "k-means", None)  # not tried again
    assert baselines.baselines(ref, 300, ["precision", "modes"])["k-means"] == found


# The cache


def test_baselines_are_measured_once(cache, monkeypatch):
    ref = untrained_reference()
    first = baselines.baselines(ref, 300, ["parzen"])
    assert list(first) == ["real data", "Gaussians", "k-means"]
    both = baselines.baselines(ref, 300, ["modes", "parzen"])
    for name, make in BASELINES.items():
        images = make(ref.train, 300)
        expected = scoring.score(images, ref, ["modes", "parzen"])
        assert both[name] == {n: e | {"samples": len(images)} for n, e in expected.items()}
        assert both[name]["parzen"] == first[name]["parzen"]
    for name in BASELINES:
        monkeypatch.setitem(BASELINES, name, None)
    assert baselines.baselines(ref, 300, ["modes", "parzen"]) == both
    assert baselines.baselines(ref, 300, ["parzen"]) == first
    assert len([*(cache / "baselines").iterdir()]) == 1


def test_every_input_is_in_the_cache_key(cache, monkeypatch):
    ref = untrained_reference()
    monkeypatch.setattr(baselines, "BASELINES", {"real data": baselines.real})
    cases = [
        (ref, 300),
        (ref, 299),
        (ref._replace(train=spots(300, 8)), 300),
        (ref._replace(validation=ref.validation[1:]), 300),
        (ref._replace(test=ref.test[1:]), 300),
        (ref._replace(evaluator=ref.evaluator._replace(name="another")), 300),
    ]
    for number, (other, num) in enumerate(cases, 1):
        baselines.baselines(other, num, ["memorisation"])
        assert len([*(cache / "baselines").iterdir()]) == number
    monkeypatch.setattr(baselines, "VERSION", baselines.VERSION + 1)
    baselines.baselines(ref, 300, ["memorisation"])
    assert len([*(cache / "baselines").iterdir()]) == len(cases) + 1


def test_damaged_cache_is_measured_again(cache, caplog, monkeypatch):
    ref, names = untrained_reference(), ["memorisation"]
    monkeypatch.setattr(baselines, "BASELINES", {"real data": baselines.real})
    first = baselines.baselines(ref, 300, names)
    (file,) = (cache / "baselines").iterdir()
    content = file.read_bytes()
    shapes = [["memorisation"], {"memorisation": {"value": 1.0}}]
    other = [json.dumps({"real data": shape}).encode() for shape in shapes]
    pickled = b"\x80\x04N."
    for damaged in (b"", content[:-9], b"[]", b'{"a": {}}', 200_000 * b"[", pickled, *other):
        file.write_bytes(damaged)
        assert baselines.baselines(ref, 300, names) == first
        assert "measuring the baselines again" in caplog.text
        assert str(file) in caplog.text
        assert file.read_bytes() == content
        caplog.clear()
    assert baselines.baselines(ref, 300, names) == first
    assert not caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cdcgan_mnist"])
def test_packaged_baselines_are_used(name, mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    monkeypatch.setattr(baselines, "_measure", lambda *_: pytest.fail("measured"))
    c = config.load(name)
    train, test = (data.load("mnist", split) for split in (c.split, c.test_split))
    unavailable = scoring.unavailable_metrics(c, train, test, 10_000)
    names = [metric for metric in METRICS if metric not in unavailable]
    reference = scoring.reference(c, train, c.test_split, names, 10_000)
    assert baselines.baselines(reference, 10_000, names)["real data"]["fid"]["value"] < 0.08


def test_packaged_baselines_are_those_of_table1():
    """They were measured on another machine."""
    table = json.loads((ROOT / "benchmarks/results/table1.json").read_text())
    measured = table["mnist_best"]["seeds"][0]["metrics"]
    packaged = list(baselines._packaged().values())[1]
    for name, entry in measured.items():
        for row in ("real data", "Gaussians"):  # k-means amplifies differences in rounding
            found = entry["baselines"][row]["value"]
            assert found == pytest.approx(packaged[row][name]["value"], rel=1e-4)
