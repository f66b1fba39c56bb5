import json
import sys
import warnings

import numpy as np
import pytest

from gan_jax import data
from gan_jax.evaluation import baselines as baselines_lib
from gan_jax.evaluation import registry
from gan_jax.evaluation.baselines import BASELINES, baselines
from gan_jax.evaluation.metrics import neighbours, parzen
from tests.evaluation.conftest import spots, untrained


def test_real_data_are_distinct_training_examples():
    train = spots(60)
    drawn = baselines_lib.real(train, 40)
    rows = {x.tobytes() for x in train.images}
    assert len(rows) == 60
    assert len({x.tobytes() for x in drawn}) == len(drawn) == 40
    assert {x.tobytes() for x in drawn} < rows
    assert not np.array_equal(drawn, train.images[:40])  # which may be sorted by class
    assert len(baselines_lib.real(train, 100)) == 60


@pytest.mark.parametrize("labelled", [True, False])
def test_gaussians_have_the_moments_of_each_class(labelled):
    rng, n = np.random.default_rng(0), 6000
    labels = np.where(np.arange(n) < n / 3, 4, 7).astype(np.int32)  # one third, two thirds
    factor = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [0, 0, 0]])  # singular too
    x = np.where(
        (labels == 4)[:, None], rng.normal(size=(n, 3)) @ factor.T, 30 + rng.normal(size=(n, 3))
    )
    train = data.from_arrays(x.astype(np.float32), labels if labelled else None)
    drawn = baselines_lib.gaussians(train, n)
    assert drawn.dtype == np.float32
    first = drawn[:, 2] < 15
    if not labelled:
        np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.7)
        np.testing.assert_allclose(np.cov(drawn.T), np.cov(x.T), rtol=0.06, atol=1)
        assert 0.1 < np.mean((drawn > 5) & (drawn < 25)) < 0.9  # between the classes
        return
    assert np.mean(first) == pytest.approx(1 / 3, abs=0.03)
    for own, source in ((drawn[first], x[labels == 4]), (drawn[~first], x[labels == 7])):
        np.testing.assert_allclose(own.mean(0), source.mean(0), atol=0.1)
        np.testing.assert_allclose(np.cov(own.T), np.cov(source.T), atol=0.1)


def test_gaussians_draw_from_all_of_sorted_classes():
    x = np.repeat(np.arange(5, dtype=np.float32), 20)[:, None]
    train = data.from_arrays(x, np.repeat(np.arange(5, dtype=np.int32), 20))
    drawn = np.round(baselines_lib.gaussians(train, 50)[:, 0])
    assert set(drawn) == {0, 1, 2, 3, 4}
    assert np.any(np.diff(drawn) < 0)


def test_gaussians_of_images_are_images():
    train = spots(40)
    one_each = train._replace(labels=np.arange(40, dtype=np.int32))
    drawn = baselines_lib.gaussians(one_each, 30)
    assert drawn.shape == (30, 8, 8, 1)
    rows = {x.tobytes() for x in train.images}  # a class of one example has no variance
    assert {x.tobytes() for x in np.round(drawn * 255).astype(np.uint8)} <= rows
    drawn = baselines_lib.gaussians(train, 30)
    assert drawn.min() == 0
    assert drawn.max() <= 1


def test_centroids_are_the_means_of_their_clusters():
    points = np.random.default_rng(0).normal(size=(60, 2)) / 9
    points += np.repeat([[0, 0], [9, 0], [0, 9], [9, 9]], 15, axis=0)
    centroids = baselines_lib.kmeans(data.from_arrays(points.astype(np.float32)), 7)
    assert centroids.shape == (7, 2)
    assert centroids.dtype == np.float32
    nearest = np.linalg.norm(points[:, None] - centroids, axis=-1).argmin(axis=1)
    assert set(nearest) == set(range(7))
    for k in range(7):
        np.testing.assert_allclose(centroids[k], points[nearest == k].mean(axis=0), atol=1e-5)


def test_an_empty_cluster_keeps_its_centroid():
    train = data.from_arrays(np.full((10, 2), 3, np.float32))
    np.testing.assert_array_equal(baselines_lib.kmeans(train, 2), np.full((2, 2), 3))
    images = baselines_lib.kmeans(spots(60), 5)
    assert images.shape == (5, 8, 8, 1)
    assert 0.1 < images.max() <= 1


@pytest.mark.parametrize(("n", "num", "k"), [(60, 100, 12), (60, 7, 7), (4, 100, 1)])
def test_a_centroid_needs_five_examples(n, num, k):
    assert len(baselines_lib.kmeans(spots(n), num)) == k


def test_baselines_need_no_count_of_physical_cores(monkeypatch):
    """scikit-learn's worker library counts them, and warns where a container hides them."""
    context = "joblib.externals.loky.backend.context"
    loky = pytest.importorskip(context)
    monkeypatch.setattr(loky, "_count_physical_cores", lambda: ("not found", OSError("hidden")))
    for name in [name for name in sys.modules if name.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in BASELINES.values():
            make(spots(60), 12)


def test_baselines_are_measured_once(cache, monkeypatch):
    ref = untrained()
    first = baselines(ref, 300, ["modes", "parzen"])
    assert list(first) == ["real data", "Gaussians", "k-means"]
    for name, make in BASELINES.items():
        images = make(ref.train, 300)
        expected = registry.score(images, ref, ["modes", "parzen"])
        assert first[name] == {n: e | {"samples": len(images)} for n, e in expected.items()}
    (file,) = (cache / "baselines").iterdir()
    for name in BASELINES:
        monkeypatch.setitem(BASELINES, name, None)
    assert baselines(ref, 300, ["modes", "parzen"]) == first
    assert baselines(ref, 300, ["parzen"])["k-means"].keys() == {"parzen"}
    assert [*(cache / "baselines").iterdir()] == [file]


def test_metrics_are_added_to_the_cache(cache, monkeypatch):
    ref = untrained()
    first = baselines(ref, 300, ["parzen"])
    monkeypatch.setattr(parzen, "parzen", None)
    second = baselines(ref, 300, ["parzen", "memorisation"])
    for name, row in second.items():
        assert row["parzen"] == first[name]["parzen"]
    assert second["real data"]["memorisation"]["value"] > 0.9
    monkeypatch.setattr(neighbours, "memorisation", None)
    assert baselines(ref, 300, ["parzen", "memorisation"]) == second


def test_cache_depends_on_all_inputs(cache, monkeypatch):
    ref = untrained()
    others = [
        (ref, 299),
        (ref._replace(train=spots(300, 9)), 300),
        (ref._replace(validation=255 - ref.validation), 300),
        (ref._replace(test=255 - ref.test), 300),
        (ref._replace(evaluator=ref.evaluator._replace(name="another")), 300),
    ]
    monkeypatch.setattr(baselines_lib, "BASELINES", {"real data": baselines_lib.real})
    for number, (other, num) in enumerate([(ref, 300), *others], 1):
        baselines(other, num, ["modes"])
        assert len([*(cache / "baselines").iterdir()]) == number
    monkeypatch.setattr(baselines_lib, "VERSION", baselines_lib.VERSION + 1)
    baselines(ref, 300, ["modes"])
    assert len([*(cache / "baselines").iterdir()]) == len(others) + 2


def test_a_damaged_cache_is_replaced_with_a_warning(cache, caplog, monkeypatch):
    ref = untrained()
    monkeypatch.setattr(baselines_lib, "BASELINES", {"real data": baselines_lib.real})
    first = baselines(ref, 300, ["modes"])
    (file,) = (cache / "baselines").iterdir()
    content = file.read_bytes()
    odd = json.dumps({"real data": ["modes"]}).encode()
    other = (b"[]", b'{"another": {}}', odd, 200_000 * b"[")
    for damaged in (b"", content[:-9], b"\xff" + content, *other):
        file.write_bytes(damaged)
        assert baselines(ref, 300, ["modes"]) == first
        assert "measuring the baselines again" in caplog.text
        assert str(file) in caplog.text
        assert file.read_bytes() == content
        caplog.clear()
    assert baselines(ref, 300, ["modes"]) == first
    assert not caplog.text


def test_too_few_samples_for_a_metric_give_none(cache, monkeypatch):
    ref = untrained(spots(70))  # 14 centroids; precision needs 16
    monkeypatch.setattr(baselines_lib, "BASELINES", {"k-means": baselines_lib.kmeans})
    found = baselines(ref, 300, ["precision", "modes"])
    assert found["k-means"]["precision"] is None
    assert 1 <= found["k-means"]["modes"]["value"] <= 3
    monkeypatch.setitem(baselines_lib.BASELINES, "k-means", None)  # not tried again
    assert baselines(ref, 300, ["precision", "modes"]) == found
