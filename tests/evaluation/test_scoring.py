"""Tests of gan_jax.evaluation.scoring: scores, and when metrics are unavailable."""

import functools
import json

import numpy as np
import pytest

from gan_jax import config as config_lib
from gan_jax import data
from gan_jax.errors import InputError
from gan_jax.evaluation import evaluators, scoring
from gan_jax.evaluation.metrics import classifier, frechet, kernel, neighbours, parzen
from gan_jax.evaluation.registry import METRICS, Reference
from tests.evaluation.conftest import (
    GENERAL,
    PIXELS,
    SPECIAL,
    shorten,
    spots,
    spots_config,
    untrained_reference,
    write,
)

_MANIFOLD = ["precision", "recall", "density", "coverage"]


def reference(config, names=tuple(GENERAL), num=1280) -> Reference:
    train = data.load(config.dataset, config.split)
    return scoring.reference(config, train, config.test_split, names, num)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Reference:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        return reference(spots_config(write(tmp_path_factory.mktemp("x") / "x.npz", spots(500))))


@pytest.fixture(scope="module")
def random() -> Reference:
    return untrained_reference()


@pytest.fixture(scope="module")
def new() -> np.ndarray:
    return spots(1280, 3).images


@pytest.fixture
def few_splits(monkeypatch) -> None:
    for module, name in (
        (frechet, "frechet"),
        (frechet, "extrapolated"),
        (neighbours, "manifold"),
        (parzen, "parzen"),
    ):
        monkeypatch.setattr(module, name, functools.partial(getattr(module, name), splits=4))
    line = functools.partial(frechet._intercept, parts=2)  # compiles faster than 10
    monkeypatch.setattr(frechet, "_intercept", line)


def values(entries) -> dict[str, float]:
    return {name: entry["value"] for name, entry in entries.items()}


# Scores


def test_score_returns_what_each_metric_returns(trained, new, few_splits):
    entries = scoring.score(new, trained, GENERAL, seed=5)
    assert list(entries) == GENERAL
    plain = scoring.score(new, trained, GENERAL, seed=5, intervals=False)
    assert values(plain) == pytest.approx(values(entries), rel=1e-6)
    costly = ["fid", "fid_infinity", *_MANIFOLD, "parzen"]
    assert [name for name, entry in plain.items() if np.isnan(entry["low"])] == costly
    assert json.loads(json.dumps(entries)) == entries
    features, probabilities = evaluators.outputs(trained.evaluator, new)
    counts, real = (classifier.histogram(p) for p in (probabilities, trained.probabilities))
    flat = [
        x.reshape(len(x), -1) / np.float32(255) for x in (new, trained.train.images, trained.test)
    ]
    memorisation = neighbours.memorisation(*flat)
    window = parzen.parzen(new, trained.validation, trained.test, 5)
    expected = {
        "fid": frechet.frechet(features, trained.features, 5),
        "fid_infinity": frechet.extrapolated(features, trained.features, 5),
        "kid": kernel.kernel(features, trained.features),
        **neighbours.manifold(real=trained.features, fake=features, seed=5),
        "classifier_score": classifier.classifier_score(probabilities),
        "class_kl": classifier.class_kl(counts, real),
        "modes": (3, 3, 3),
        "memorisation": memorisation.score,
        "parzen": window.score,
    }
    for name, score in expected.items():
        found = tuple(entries[name][field] for field in ("value", "low", "high"))
        assert found == pytest.approx(tuple(score), rel=1e-6), name
    details = {name: [*entry.values()][3:] for name, entry in entries.items()}
    assert {name: found for name, found in details.items() if found} == {
        "class_kl": [counts.tolist(), real.tolist()],
        "memorisation": [np.median(memorisation.distance), np.median(memorisation.test_distance)],
        "parzen": [window.error, window.sigma],
    }


def test_mixture_metrics_need_a_known_mixture():
    config = config_lib.load("ring")
    train = data.load("ring")
    names = ["modes_covered", "high_quality", "reverse_kl"]
    assert not scoring.unavailable_metrics(config, train, train, 500).keys() & set(names)
    found = values(scoring.score(train.images[:500], reference(config, names, 500), names, seed=0))
    assert found["modes_covered"] == 8
    assert found["high_quality"] == pytest.approx(0.989, abs=0.02)
    assert found["reverse_kl"] < 0.05


def test_only_requested_metrics_are_computed(random, new, monkeypatch):
    monkeypatch.setattr(kernel, "kernel", None)
    monkeypatch.setattr(frechet, "frechet", None)
    assert scoring.score(new, random, ["modes"]).keys() == {"modes"}
    monkeypatch.setattr(evaluators, "outputs", None)
    assert scoring.score(new, random, ["parzen"]).keys() == {"parzen"}


def test_bytes_and_floats_score_alike(random, new):
    names = ["kid", "classifier_score", *PIXELS]
    expected = scoring.score(new, random, names)
    nearly = new / 255 + np.random.default_rng(0).uniform(-0.4, 0.4, new.shape) / 255
    for floats in (new / np.float32(255), nearly):  # the evaluator sees them rounded
        found = scoring.score(floats, random, names)
        assert all(found[name] == expected[name] for name in names[:2])
    found = scoring.score(new / np.float32(255), random, PIXELS)
    for name in PIXELS:
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.parametrize(
    ("images", "names", "words"),
    [
        (np.full((9, 8, 8, 1), np.nan, np.float32), ["parzen"], "uint8, or finite floats"),
        (np.zeros((9, 8, 8, 1), np.int64), ["modes"], "uint8, or finite floats"),
        (np.zeros((9, 7, 8, 1), np.uint8), ["modes"], r"\(n, 8, 8, 1\)"),
    ],
)
def test_unusable_samples_are_refused(images, names, words, random):
    with pytest.raises(InputError, match=words):
        scoring.score(images, random, names)


# References


def test_reference_holds_the_requested_splits(trained):
    whole = spots(500)
    np.testing.assert_array_equal(trained.train.images, whole.images[:300])
    np.testing.assert_array_equal(trained.validation, whole.images[300:400])
    np.testing.assert_array_equal(trained.test, whole.images[400:])
    for found, expected in zip(
        trained[4:6], evaluators.outputs(trained.evaluator, trained.test), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    # Of the whole split, so that runs on parts of it share an evaluator.
    assert trained.evaluator.name == evaluators.load("npz:", whole).name
    assert trained.evaluator.accuracy > 0.9


def test_points_are_scored_without_an_evaluator(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    np.savez(tmp_path / "x.npz", points)
    config = spots_config(f"npz:{tmp_path}/x.npz")
    ref = reference(config, PIXELS)
    assert ref.evaluator is None
    copies = values(scoring.score(ref.train.images[:50], ref, PIXELS))
    far = values(scoring.score(ref.train.images[:50] + 9, ref, PIXELS))
    assert copies["memorisation"] > 0.95 > 0.05 > far["memorisation"]
    assert copies["parzen"] > far["parzen"]
    with pytest.raises(InputError, match="no evaluator"):
        scoring.score(points, ref, ["fid"])
    with pytest.raises(InputError, match=r"fid cannot be measured: .* points, not images"):
        reference(config, ["fid"])
    config.validation_split = "validation"
    with pytest.raises(InputError, match=r"config\.validation_split: .*'validation'"):
        reference(config, PIXELS)


_BLACK = data.from_arrays(np.zeros_like(spots(20).images), spots(20).labels)
_FID = ["fid", "fid_infinity"]
_BY_EVALUATOR = [name for name in GENERAL if name not in PIXELS]


@pytest.mark.parametrize(
    ("train", "num_test", "num", "split", "missing", "reason"),
    [
        (spots(20), 24, 1280, "train[10:]", [], ""),
        (spots(20), 24, 1280, "train[9:]", ["memorisation"], "has examples of the training set"),
        (spots(20), 24, 1279, "test", ["fid_infinity"], "it needs 1280 samples, not 1279"),
        (spots(20), 23, 1280, "test", _MANIFOLD, "24 examples to compare with; test has 23"),
        (spots(20), 3, 1280, "test", _FID, "needs 4 examples to compare with; test has 3"),
        (spots(20), 25, 15, "test", _MANIFOLD, "it needs 16 samples, not 15"),
        (spots(20), 1, 1280, "test", ["kid", "parzen"], "2 examples to compare with; test has 1"),
        (spots(20)._replace(labels=None), 24, 1280, "test", _BY_EVALUATOR, "no labels"),
        (spots(20)._replace(labels=np.ones(20)), 24, 1280, "test", _BY_EVALUATOR, "single class"),
        (_BLACK, 24, 1280, "test", _BY_EVALUATOR, "all images of the data set are equal"),
    ],
)
def test_unavailable_metrics(train, num_test, num, split, missing, reason, tiny):
    config = config_lib.replace(tiny, {"split": "train[:10]"})
    found = scoring.unavailable_metrics(config, train, spots(num_test), num, split)
    assert [name for name in found if reason and reason in found[name]] == missing
    assert found.keys() >= set(SPECIAL)
    if num_test == 24:
        assert found.keys() == {*missing, *SPECIAL}
        others = {found[name].partition(" ")[0] for name in SPECIAL}
        # No labels asked for, mixture, colour or file.
        assert others == {"the", config.dataset, "EfficientNet's", "it"}


def test_metrics_at_their_minimum_samples(random, few_splits):
    """24 real images and 16 samples are enough for all but FID_infinity."""
    few = random._replace(test=random.test[:24], features=random.features[:24])
    names = [name for name in GENERAL if METRICS[name].min_samples <= 16]
    entries = scoring.score(spots(16, 4).images, few, names)
    assert len(names) == len(GENERAL) - 1
    assert not np.isnan([entry["value"] for entry in entries.values()]).any()


def test_modes_of_stacked_mnist(mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    digits = data.load("mnist", "test")
    chosen = np.random.default_rng(0).integers(0, len(digits.images), (3, 2000))
    images = np.concatenate([digits.images[i] for i in chosen], axis=-1)
    train = data.from_arrays(images, np.tensordot([100, 10, 1], digits.labels[chosen], 1))
    monkeypatch.setattr(data, "load", lambda *_, **__: train)
    config = config_lib.load("dcgan_mnist")
    config.update({"dataset": "stacked_mnist", "validation_split": "test"})
    names = ["modes_covered", "reverse_kl"]
    reference = scoring.reference(config, train, "test[:2000]", names, 1)
    found = values(scoring.score(train.images, reference, names))
    counts = np.bincount(train.labels, minlength=1000)
    assert found["modes_covered"] == pytest.approx(np.count_nonzero(counts), abs=5)
    p = counts[counts > 0] / 2000
    assert found["reverse_kl"] == pytest.approx(np.sum(p * np.log(1000 * p)), abs=0.01)
    one = np.repeat(train.images[:1], 10, axis=0)
    assert values(scoring.score(one, reference, names)) == {
        "modes_covered": 1,
        "reverse_kl": pytest.approx(np.log(1000)),
    }
    unavailable = scoring.unavailable_metrics(config, train, train, 5000)
    assert "see modes_covered" in unavailable["fid"]
    assert "not one of the mixtures" in unavailable["high_quality"]
    small = train._replace(images=train.images[:, ::2, ::2])
    assert "28x28" in scoring.unavailable_metrics(config, small, small, 5000)["reverse_kl"]
