"""Tests of gan_jax.scores: every metric by its name, the baselines, the samplers to be caught."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from gan_jax import config as config_lib
from gan_jax import data
from gan_jax.evaluation import classifier as evaluator
from gan_jax.evaluation import registry as scores
from gan_jax.data import Dataset
from gan_jax.errors import InputError
from gan_jax.evaluation.classifier import Evaluator
from gan_jax.evaluation.metrics import classifier, frechet, kernel, neighbours, parzen
from gan_jax.evaluation.registry import METRICS, Reference
from tests.conftest import tiny_config

PIXELS = ["memorisation", "parzen"]  # what needs no labels
MIXTURE = {name for name, metric in METRICS.items() if metric.by_mixture}
GENERAL = [name for name in METRICS if name not in MIXTURE]  # what data of any kind can have
_INIT = evaluator.init  # which tests replace
CENTRES = np.array([[1.5, 1.5], [1.5, 5.5], [5.5, 3.5]])  # of each class


def spots(n: int, seed: int = 0) -> Dataset:
    """Images of a bright spot, whose place is the class, but for its jitter; 8x8 pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype(np.int32)
    y, x = (CENTRES[labels] + rng.normal(0, 0.6, (n, 2))).T[..., None, None, None]
    width, light = rng.uniform(1, 2, (n, 1, 1, 1)), rng.uniform(150, 250, (n, 1, 1, 1))
    i, j = np.indices((8, 8))[..., None]
    images = light * np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * width**2))
    return data._dataset(images.astype(np.uint8), labels)


def write(path: pathlib.Path, dataset: Dataset, labelled: bool = True) -> str:
    """Writes a data set and returns its name."""
    labels = {"labels": dataset.labels} if labelled else {}
    np.savez(path, images=dataset.images, **labels)
    return f"npz:{path}"


def configured(name: str):
    """A config of 500 examples: 300 train, 100 validation, 100 test."""
    settings = [f"--config.dataset={name}", "--config.split=train[:300]"]
    settings += ["--config.validation_split=train[300:400]", "--config.test_split=train[400:500]"]
    return config_lib.override(tiny_config(), settings)


def random_params(key, shape: tuple[int, ...], classes: int) -> evaluator.Params:
    """Like evaluator.init, but drawn by NumPy: to compile the draws takes longer than a test."""
    shapes = jax.eval_shape(lambda key: _INIT(key, shape, classes), key)
    rng = np.random.default_rng(0)

    def draw(x) -> jax.Array:
        scale = (2 / np.prod(x.shape[:-1])) ** 0.5 if len(x.shape) > 1 else 0
        return jax.numpy.asarray(rng.normal(0, scale, x.shape), np.float32)

    return jax.tree.map(draw, shapes)


def quick(monkeypatch) -> None:
    """Training of an evaluator, shortened to what a spot's place needs.

    Only for data sets of a test's own: the cache of the test run is shared, and names no steps.
    """
    monkeypatch.setattr(evaluator, "_EPOCHS", 0)
    monkeypatch.setattr(evaluator, "_MIN_STEPS", 60)
    monkeypatch.setattr(evaluator, "_BATCH", 32)
    monkeypatch.setattr(evaluator, "init", random_params)


def reference(config, names=tuple(GENERAL), num=1280) -> Reference:
    train = data.load(config.dataset, config.split)
    return scores.reference(config, train, config.test_split, names, num)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Reference:
    """A trained evaluator's view of spots."""
    name = write(tmp_path_factory.mktemp("scores") / "x.npz", spots(500))
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        return reference(configured(name))


def untrained(train: Dataset | None = None) -> Reference:
    """A reference without training: features of random weights."""
    params = random_params(jax.random.key(0), (8, 8, 1), 3)
    own = Evaluator("untrained", params, (8, 8, 1), np.arange(3), 0.0)
    held, test = spots(100, 1).images, spots(100, 2).images
    return Reference(train or spots(300), held, test, own, *evaluator.outputs(own, test))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def values(entries) -> dict[str, float]:
    return {name: entry["value"] for name, entry in entries.items()}


# Metrics


def test_every_metric_is_what_its_function_gives(labelled, monkeypatch):
    for module, name in ((frechet, "frechet"), (frechet, "extrapolated"), (kernel, "kernel")):
        few = functools.partial(getattr(module, name), resamples=4)
        monkeypatch.setattr(module, name, few)
    new = spots(1280, 3).images
    entries = scores.score(new, labelled, GENERAL, seed=5)
    assert list(entries) == GENERAL
    assert json.loads(json.dumps(entries)) == entries
    for name, entry in entries.items():
        assert entry["low"] <= entry["value"] <= entry["high"], name
    features, probabilities = evaluator.outputs(labelled.evaluator, new)
    counts = classifier.histogram(labelled.probabilities)
    flat = [
        x.reshape(len(x), -1) / np.float32(255) for x in (new, labelled[0].images, labelled.test)
    ]
    memorisation = neighbours.memorisation(*flat, 5)
    window = parzen.parzen(new, labelled.validation, labelled.test, 5)
    expected = {
        "fid": frechet.frechet(features, labelled.features, 5),
        "fid_infinity": frechet.extrapolated(features, labelled.features, 5),
        "kid": kernel.kernel(features, labelled.features, 5),
        **neighbours.manifold(real=labelled.features, fake=features, seed=5),
        "classifier_score": classifier.classifier_score(probabilities, 5),
        "class_kl": classifier.class_kl(probabilities, counts, 5),
        "memorisation": memorisation.score,
        "parzen": window.score,
    }
    for name, score in expected.items():
        found = tuple(entries[name][field] for field in ("value", "low", "high"))
        assert found == pytest.approx(tuple(score), rel=1e-6), name
    assert entries["modes"] == {"value": 3, "low": 3, "high": 3}
    assert entries["class_kl"]["histogram"] == classifier.histogram(probabilities).tolist()
    assert entries["class_kl"]["data_histogram"] == counts.tolist()
    assert entries["memorisation"]["median_distance"] == np.median(memorisation.distance)
    assert entries["memorisation"]["test_median_distance"] == np.median(memorisation.test_distance)
    assert entries["parzen"]["sigma"] == window.sigma
    assert entries["parzen"]["standard_error"] == window.error


def test_only_what_is_asked_for_is_given_and_computed(monkeypatch):
    ref, new = untrained(), spots(1280, 3).images
    monkeypatch.setattr(kernel, "kernel", None)
    monkeypatch.setattr(frechet, "frechet", None)
    assert scores.score(new, ref, ["recall", "modes"]).keys() == {"recall", "modes"}
    monkeypatch.setattr(evaluator, "outputs", None)
    assert scores.score(new, ref, ["parzen"]).keys() == {"parzen"}


def test_without_intervals_the_values_are_the_same():
    ref, new = untrained(), spots(1280, 3).images
    names = [name for name in GENERAL if name != "fid_infinity"]
    entries = scores.score(new, ref, names, intervals=False)
    assert values(entries) == pytest.approx(values(scores.score(new, ref, names)), rel=1e-6)
    for name, entry in entries.items():
        assert np.isnan([entry["low"], entry["high"]]).all() == (name in ("fid", "kid")), name


def test_bytes_and_floats_score_the_same():
    ref, new = untrained(), spots(1280, 3).images
    names = [name for name in GENERAL if name != "fid_infinity"]
    expected = scores.score(new, ref, names)
    nearly = new / 255 + np.random.default_rng(0).uniform(-0.4, 0.4, new.shape) / 255
    for same in (new / np.float32(255), nearly):  # which the evaluator sees rounded
        found = scores.score(same, ref, names)
        for name in names:
            if METRICS[name].by_evaluator:
                assert found[name] == expected[name], name
    exact = scores.score(new / np.float32(255), ref, PIXELS)
    for name in PIXELS:
        assert exact[name] == pytest.approx(expected[name], rel=1e-5)


def test_cost_turns_what_should_be_high_and_nothing_else():
    assert scores.cost("fid", 2.0) == 2
    assert scores.cost("parzen", 2.0) == -2
    assert scores.cost("recall", 0.25) == -0.25
    assert scores.cost("memorisation", 0.25) == scores.cost("memorisation", 0.75) == 0.25
    assert scores.cost("density", 1.25) == 0.25
    assert scores.cost("d_loss", 1.5) == 1.5


def test_the_best_of_values():
    values = np.array([[np.nan, 2.0], [-3.0, 0.75]])
    assert scores.best("fid", values) == -3
    assert scores.best("parzen", values) == 2
    assert scores.best("density", values) == 0.75
    assert np.isnan(scores.best("fid", np.full(3, np.nan)))


def test_what_a_data_set_allows(tiny):
    images, labels, _ = spots(20)
    config = config_lib.replace(tiny, {"split": "train[:10]"})
    dataset = data._dataset(images, labels)
    absent = functools.partial(scores.absent, config, dataset, num=1280)
    assert absent("train[10:]").keys() == absent("test").keys() == MIXTURE
    assert absent("train[9:]").keys() == absent("train").keys() == {"memorisation", *MIXTURE}
    for dataset, reason in (
        (data._dataset(images, None), "no labels"),
        (data._dataset(images, np.zeros(20, np.int32)), "a single class"),
        (data._dataset(np.zeros((20, 2), np.float32), None), "points"),
    ):
        absent = scores.absent(config, dataset, "test", 1280)
        assert absent.keys() == METRICS.keys() - set(PIXELS)
        for name, why in absent.items():
            assert ("none of the mixtures" if name in MIXTURE else reason) in why


def test_a_reference_is_of_the_splits_asked_for(labelled):
    whole = spots(500)
    np.testing.assert_array_equal(labelled.train.images, whole.images[:300])
    np.testing.assert_array_equal(labelled.validation, whole.images[300:400])
    np.testing.assert_array_equal(labelled.test, whole.images[400:])
    assert labelled.features.shape == (100, evaluator.FEATURES)
    assert labelled.probabilities.shape == (100, 3)
    # Of the whole split, so that a run on a part of it is scored by the same evaluator.
    assert labelled.evaluator.name == evaluator.load("npz:", whole).name
    assert labelled.evaluator.accuracy > 0.9


def test_data_without_labels_have_the_metrics_of_pixels_alone(tmp_path):
    config = configured(write(tmp_path / "x.npz", spots(500), labelled=False))
    with pytest.raises(InputError, match="has no labels"):
        reference(config)
    ref = reference(config, PIXELS)
    assert ref.evaluator is None
    assert scores.score(spots(1280, 3).images, ref, PIXELS).keys() == set(PIXELS)
    with pytest.raises(InputError, match="no evaluator"):
        scores.score(spots(1280, 3).images, ref, ["fid"])
    config.test_split = "test"
    with pytest.raises(InputError, match="test"):
        reference(config, PIXELS)


def test_parzens_width_is_chosen_by_validation_not_by_test():
    ref = untrained()
    ref = ref._replace(validation=255 - ref.test)  # far from every sample: a wide one is best
    new = spots(1280, 3).images
    sigma = scores.score(new, ref, ["parzen"])["parzen"]["sigma"]
    assert sigma == parzen.parzen(new, ref.validation, ref.test, 0).sigma
    assert sigma != parzen.parzen(new, ref.test, ref.test, 0).sigma


@pytest.mark.parametrize(
    "images",
    [np.full((9, 8, 8, 1), np.nan, np.float32), np.zeros((9, 8, 8, 1), np.int64)],
    ids=["nan", "int64"],
)
def test_samples_that_are_no_images_are_refused(images):
    with pytest.raises(InputError, match="samples must be uint8, or finite floats"):
        scores.score(images, untrained(), ["parzen", "modes"])


def test_points_are_scored(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    np.savez(tmp_path / "x.npz", points)
    ref = reference(configured(f"npz:{tmp_path}/x.npz"), PIXELS)
    copies = scores.score(ref.train.images[:50], ref, PIXELS)
    far = scores.score(ref.train.images[:50] + 9, ref, PIXELS)
    assert copies["memorisation"]["value"] > 0.95 > 0.05 > far["memorisation"]["value"]
    assert copies["parzen"]["value"] > far["parzen"]["value"]


def test_too_few_or_other_samples_are_refused():
    ref = untrained()
    new = spots(1280, 3).images
    for images, names, words in (
        (new[:1], ["fid"], "at least 2"),
        (new[:3], ["recall"], "at least 4"),
        (new[1:], ["fid_infinity"], "at least 1280"),
        (new[:, :7], ["modes"], r"\(n, 8, 8, 1\)"),
        (new[:, :7], ["parzen"], "must have 56 columns, not 64"),
    ):
        with pytest.raises(InputError, match=words):
            scores.score(images, ref, names)


def test_bad_samplers_are_caught_by_the_metric_meant_for_it(labelled):
    new = spots(1280, 3).images
    names = ["fid", "precision", "recall", "coverage", "class_kl", "modes", "memorisation"]
    good, collapsed, copied, noisy = (
        values(scores.score(images, labelled, names))
        for images in (
            new,
            new[np.argmax(evaluator.outputs(labelled.evaluator, new)[1][:, 0])][None].repeat(
                1280, 0
            ),
            np.resize(labelled.train.images, new.shape),
            np.random.default_rng(0).integers(0, 256, new.shape).astype(np.uint8),
        )
    )
    assert good["precision"] > 0.8
    assert good["recall"] > 0.8
    assert good["class_kl"] < 0.1
    assert 0.3 < good["memorisation"] < 0.7
    assert collapsed["recall"] < 0.1
    assert collapsed["coverage"] < 0.2
    assert collapsed["modes"] == 1 < good["modes"] == 3
    assert collapsed["class_kl"] > 0.7
    assert copied["memorisation"] > 0.95
    assert copied["precision"] > 0.8  # by features alone, copies are good samples
    assert noisy["precision"] < 0.1
    assert noisy["memorisation"] < 0.1
    assert noisy["fid"] > 5 * good["fid"]


# Baselines


def test_real_data_are_distinct_training_examples():
    train = spots(60)
    drawn = scores.real(train, 40)
    rows = {x.tobytes() for x in train.images}
    assert len(rows) == 60
    assert len({x.tobytes() for x in drawn}) == len(drawn) == 40
    assert {x.tobytes() for x in drawn} < rows
    assert not np.array_equal(drawn, train.images[:40])  # which may be sorted by class
    assert len(scores.real(train, 100)) == 60


@pytest.mark.parametrize("labelled", [True, False])
def test_gaussians_have_the_moments_of_each_class(labelled):
    rng, n = np.random.default_rng(0), 6000
    labels = np.where(np.arange(n) < n / 3, 4, 7).astype(np.int32)  # one third, two thirds
    factor = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [0, 0, 0]])  # singular too
    x = np.where(
        (labels == 4)[:, None], rng.normal(size=(n, 3)) @ factor.T, 30 + rng.normal(size=(n, 3))
    )
    train = data._dataset(x.astype(np.float32), labels if labelled else None)
    drawn = scores.gaussians(train, n)
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


def test_gaussians_of_images_are_images():
    train = spots(40)
    drawn = scores.gaussians(train._replace(labels=np.arange(40, dtype=np.int32)), 30)
    assert drawn.shape == (30, 8, 8, 1)
    rows = {x.tobytes() for x in train.images}  # a class of one example has no variance
    assert {x.tobytes() for x in np.round(drawn * 255).astype(np.uint8)} <= rows
    drawn = scores.gaussians(train, 30)
    assert drawn.min() == 0  # clipped: a background without variance stays above by rounding only
    assert drawn.max() <= 1


def test_centroids_are_the_means_of_their_clusters():
    train = spots(60)
    x = train.images.reshape(60, -1) / np.float32(255)
    centroids = scores.kmeans(train, 5)
    assert centroids.shape == (5, 8, 8, 1)
    assert centroids.dtype == np.float32
    flat = centroids.reshape(5, -1)
    nearest = np.linalg.norm(x[:, None] - flat, axis=-1).argmin(axis=1)
    for k in range(5):
        np.testing.assert_allclose(flat[k], x[nearest == k].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(("n", "num", "k"), [(60, 100, 12), (60, 7, 7), (4, 100, 1)])
def test_a_centroid_stands_for_five_examples_at_the_least(n, num, k):
    assert len(scores.kmeans(spots(n), num)) == k


def test_baselines_are_measured_once(cache, monkeypatch):
    ref = untrained()
    first = scores.baselines(ref, 300, ["modes", "parzen"])
    assert list(first) == ["real data", "Gaussians", "k-means"]
    for name, make in scores.BASELINES.items():
        images = make(ref.train, 300)
        expected = scores.score(images, ref, ["modes", "parzen"])
        assert first[name] == {n: e | {"samples": len(images)} for n, e in expected.items()}
    (file,) = (cache / "baselines").iterdir()
    for name in scores.BASELINES:
        monkeypatch.setitem(scores.BASELINES, name, None)
    assert scores.baselines(ref, 300, ["modes", "parzen"]) == first
    assert scores.baselines(ref, 300, ["parzen"])["k-means"].keys() == {"parzen"}
    assert [*(cache / "baselines").iterdir()] == [file]


def test_a_metric_is_added_to_those_in_the_cache(cache, monkeypatch):
    ref = untrained()
    first = scores.baselines(ref, 300, ["parzen"])
    monkeypatch.setattr(parzen, "parzen", None)
    second = scores.baselines(ref, 300, ["parzen", "memorisation"])
    assert {name: row["parzen"] for name, row in second.items()} == {
        name: row["parzen"] for name, row in first.items()
    }
    assert second["real data"]["memorisation"]["value"] > 0.9
    monkeypatch.setattr(neighbours, "memorisation", None)
    assert scores.baselines(ref, 300, ["parzen", "memorisation"]) == second


def test_what_was_measured_of_something_else_does_not_count(cache, monkeypatch):
    ref = untrained()
    others = [
        (ref, 299),
        (ref._replace(train=spots(300, 9)), 300),
        (ref._replace(validation=255 - ref.validation), 300),
        (ref._replace(test=255 - ref.test), 300),
        (ref._replace(evaluator=ref.evaluator._replace(name="another")), 300),
    ]
    monkeypatch.setattr(scores, "BASELINES", {"real data": scores.real})
    for number, (other, num) in enumerate([(ref, 300), *others], 1):
        scores.baselines(other, num, ["parzen"])
        assert len([*(cache / "baselines").iterdir()]) == number
    monkeypatch.setattr(scores, "VERSION", scores.VERSION + 1)
    scores.baselines(ref, 300, ["parzen"])
    assert len([*(cache / "baselines").iterdir()]) == len(others) + 2


def test_a_damaged_cache_is_measured_again_with_a_warning(cache, caplog, monkeypatch):
    ref = untrained()
    monkeypatch.setattr(scores, "BASELINES", {"real data": scores.real})
    first = scores.baselines(ref, 300, ["parzen"])
    (file,) = (cache / "baselines").iterdir()
    content = file.read_bytes()
    odd = json.dumps({"real data": ["parzen"]}).encode()
    other = (b"[]", b'{"another": {}}', odd, 200_000 * b"[")
    for damaged in (b"", content[:-9], b"\xff" + content, *other):
        file.write_bytes(damaged)
        assert scores.baselines(ref, 300, ["parzen"]) == first
        assert "measuring the baselines again" in caplog.text
        assert str(file) in caplog.text
        assert file.read_bytes() == content
        caplog.clear()
    assert scores.baselines(ref, 300, ["parzen"]) == first
    assert not caplog.text


def test_a_cache_that_cannot_be_written_only_warns(tmp_path, caplog, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "file"))
    assert scores.baselines(untrained(), 300, ["parzen"])["k-means"]["parzen"]
    assert "not kept in the cache" in caplog.text


def test_too_few_centroids_for_a_metric_are_none(cache, monkeypatch):
    ref = untrained(spots(15))  # 3 centroids, but 4 make a manifold
    monkeypatch.setattr(scores, "BASELINES", {"k-means": scores.kmeans})
    found = scores.baselines(ref, 300, ["precision", "modes"])
    assert found["k-means"]["precision"] is None
    assert 1 <= found["k-means"]["modes"]["value"] <= 3
    monkeypatch.setitem(scores.BASELINES, "k-means", None)  # it is not tried again
    assert scores.baselines(ref, 300, ["precision", "modes"]) == found
