import functools
import json

import numpy as np
import pytest

from gan_jax import config as config_lib
from gan_jax import data
from gan_jax.errors import InputError
from gan_jax.evaluation import classifier as evaluators
from gan_jax.evaluation import registry
from gan_jax.evaluation.metrics import classifier, frechet, kernel, neighbours, parzen
from gan_jax.evaluation.registry import METRICS
from tests.evaluation.conftest import (
    GENERAL,
    MIXTURE,
    PIXELS,
    configured,
    make_reference,
    spots,
    untrained,
    write,
)


@pytest.fixture(scope="module")
def new() -> np.ndarray:
    return spots(1280, 3).images


@pytest.fixture
def few_splits(monkeypatch):
    for module, name in (
        (frechet, "frechet"),
        (frechet, "extrapolated"),
        (neighbours, "manifold"),
        (parzen, "parzen"),
    ):
        monkeypatch.setattr(module, name, functools.partial(getattr(module, name), splits=3))


def values(entries) -> dict[str, float]:
    return {name: entry["value"] for name, entry in entries.items()}


def test_every_metric_is_its_function(labelled, new, few_splits):
    entries = registry.score(new, labelled, GENERAL, seed=5)
    assert list(entries) == GENERAL
    assert json.loads(json.dumps(entries)) == entries
    for name, entry in entries.items():
        assert entry["low"] <= entry["value"] <= entry["high"], name
    features, probabilities = evaluators.outputs(labelled.evaluator, new)
    counts, real = (classifier.histogram(p) for p in (probabilities, labelled.probabilities))
    memorisation = neighbours.memorisation(
        *(
            x.reshape(len(x), -1) / np.float32(255)
            for x in (new, labelled.train.images, labelled.test)
        )
    )
    window = parzen.parzen(new, labelled.validation, labelled.test, 5)
    expected = {
        "fid": frechet.frechet(features, labelled.features, 5),
        "fid_infinity": frechet.extrapolated(features, labelled.features, 5),
        "kid": kernel.kernel(features, labelled.features),
        **neighbours.manifold(real=labelled.features, fake=features, seed=5),
        "classifier_score": classifier.classifier_score(probabilities),
        "class_kl": classifier.class_kl(counts, real),
        "memorisation": memorisation.score,
        "parzen": window.score,
    }
    for name, score in expected.items():
        found = tuple(entries[name][field] for field in ("value", "low", "high"))
        assert found == pytest.approx(tuple(score), rel=1e-6), name
    assert entries["modes"] == {"value": 3, "low": 3, "high": 3}
    assert entries["class_kl"]["histogram"] == counts.tolist()
    assert entries["class_kl"]["data_histogram"] == real.tolist()
    assert entries["memorisation"]["median_distance"] == np.median(memorisation.distance)
    assert entries["memorisation"]["test_median_distance"] == np.median(memorisation.test_distance)
    assert entries["parzen"]["sigma"] == window.sigma
    assert entries["parzen"]["standard_error"] == window.error


def test_only_requested_metrics_are_computed(monkeypatch, new, few_splits):
    ref = untrained()
    monkeypatch.setattr(kernel, "kernel", None)
    monkeypatch.setattr(frechet, "frechet", None)
    assert registry.score(new, ref, ["recall", "modes"]).keys() == {"recall", "modes"}
    monkeypatch.setattr(evaluators, "outputs", None)
    assert registry.score(new, ref, ["parzen"]).keys() == {"parzen"}


def test_values_are_the_same_without_intervals(new, few_splits):
    ref = untrained()
    names = [name for name in GENERAL if name != "fid_infinity"]
    entries = registry.score(new, ref, names, intervals=False)
    assert values(entries) == pytest.approx(values(registry.score(new, ref, names)), rel=1e-6)
    skipped = {name for name, entry in entries.items() if np.isnan([entry["low"]]).all()}
    assert skipped == {"fid", "precision", "recall", "density", "coverage", "parzen"}


def test_uint8_and_floats_score_the_same(new, few_splits):
    ref = untrained()
    names = [name for name in GENERAL if name != "fid_infinity"]
    expected = registry.score(new, ref, names)
    nearly = new / 255 + np.random.default_rng(0).uniform(-0.4, 0.4, new.shape) / 255
    for same in (new / np.float32(255), nearly):  # the evaluator sees them rounded
        found = registry.score(same, ref, names)
        for name in names:
            if METRICS[name].needs == "evaluator":
                assert found[name] == expected[name], name
    exact = registry.score(new / np.float32(255), ref, PIXELS)
    for name in PIXELS:
        assert exact[name] == pytest.approx(expected[name], rel=1e-5)


def test_lower_is_better():
    assert registry.lower_is_better("fid", 2.0) == 2
    assert registry.lower_is_better("parzen", 2.0) == -2
    assert registry.lower_is_better("recall", 0.25) == -0.25
    assert registry.lower_is_better("memorisation", 0.25) == 0.25
    assert registry.lower_is_better("memorisation", 0.75) == 0.25
    assert registry.lower_is_better("density", 1.25) == 0.25
    assert registry.lower_is_better("d_loss", 1.5) == 1.5


def test_best_value():
    values = np.array([[np.nan, 2.0], [-3.0, 0.75]])
    assert registry.best("fid", values) == -3
    assert registry.best("parzen", values) == 2
    assert registry.best("density", values) == 0.75
    assert np.isnan(registry.best("fid", np.full(3, np.nan)))


# What is available


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (spots(30).images, None, "no labels"),
        (spots(30).images, np.zeros(30, np.int32), "a single class"),
        (np.zeros((30, 8, 8, 1), np.uint8), np.arange(30) % 2, "all images of the data set are eq"),
        (np.zeros((30, 2), np.float32), np.arange(30) % 2, "points"),
    ],
)
def test_data_without_classes_have_pixel_metrics(tiny, images, labels, reason):
    dataset = data.from_arrays(images, labels)
    unavailable = registry.unavailable_metrics(tiny, dataset, dataset, 1280)
    assert unavailable.keys() == METRICS.keys() - set(PIXELS)
    for name, why in unavailable.items():
        assert ("not one of the mixtures" if name in MIXTURE else reason) in why


def test_mixtures_have_mixture_metrics(tiny):
    config = config_lib.replace(tiny, {"dataset": "ring"})
    points = data.from_arrays(np.zeros((30, 2), np.float32), np.arange(30) % 2)
    assert not MIXTURE & registry.unavailable_metrics(config, points, points, 9).keys()
    config.dataset = "gaussian1d"
    assert registry.unavailable_metrics(config, points, points, 9).keys() >= MIXTURE


def test_memorisation_needs_unseen_examples(tiny):
    config = config_lib.replace(tiny, {"split": "train[:10]", "test_split": "train[9:]"})
    unavailable = functools.partial(
        registry.unavailable_metrics, config, spots(30), spots(30), num=1280
    )
    assert unavailable().keys() == {"memorisation", *MIXTURE}
    assert unavailable(test_split="train").keys() == {"memorisation", *MIXTURE}
    assert unavailable(test_split="train[10:]").keys() == MIXTURE
    assert unavailable(test_split="test").keys() == MIXTURE


@pytest.mark.parametrize("name", GENERAL)
def test_minimum_sizes_are_exact(tiny, monkeypatch, name):
    """A metric is available exactly where it can be computed, in samples and in examples."""
    ref, metric = untrained(), METRICS[name]
    samples, test = (np.resize(spots(40).images, (n, 8, 8, 1)) for n in (1280, 100))

    def can(num: int, examples: int) -> bool:
        subset = data.from_arrays(test[:examples], np.arange(examples))
        known = name not in registry.unavailable_metrics(tiny, spots(30), subset, num)
        small = ref._replace(
            test=test[:examples],
            features=ref.features[:examples],
            probabilities=ref.probabilities[:examples],
        )
        try:
            (entry,) = registry.score(samples[:num], small, [name]).values()
        except InputError as e:
            assert "at least" in str(e)
            assert not known
            return False
        assert np.isfinite([entry[key] for key in ("value", "low", "high")]).all()
        assert known
        return True

    assert can(metric.least, metric.least_test)
    for num, examples in ((metric.least - 1, 100), (metric.least, metric.least_test - 1)):
        if min(num, examples) > 0:
            assert not can(num, examples)


def test_small_test_split_gives_reason(tiny):
    unavailable = registry.unavailable_metrics(tiny, spots(30), spots(5), 1280, "train[7:]")
    assert unavailable.keys() >= {"precision", "recall", "density", "coverage"}
    assert unavailable["recall"] == "it needs 24 examples to compare with; train[7:] has 5"
    unavailable = registry.unavailable_metrics(tiny, spots(30), spots(30), 3)
    assert unavailable["fid"] == "it needs 4 samples, not 3"


@pytest.mark.parametrize("names", [["parzen", "fid"], ["coverage"]])
def test_unavailable_metrics_are_refused(tmp_path, names):
    name = write(tmp_path / "x.npz", spots(303))
    config = configured(name, test_split="train[300:303]", validation_split="train[:9]")
    with pytest.raises(InputError, match=f"{names[-1]} cannot be measured: it needs .* has 3"):
        make_reference(config, names)
    assert make_reference(config, ["parzen"]).evaluator is None


# References


def test_reference_has_the_requested_splits(labelled):
    whole = spots(500)
    np.testing.assert_array_equal(labelled.train.images, whole.images[:300])
    np.testing.assert_array_equal(labelled.validation, whole.images[300:400])
    np.testing.assert_array_equal(labelled.test, whole.images[400:])
    assert labelled.features.shape == (100, evaluators.FEATURES)
    assert labelled.probabilities.shape == (100, 3)
    # Of the whole split, so that runs on parts of it are comparable.
    assert labelled.evaluator.name == evaluators.load("npz:", whole).name
    assert labelled.evaluator.accuracy > 0.9


def test_unlabelled_data_need_no_evaluator(tmp_path, new):
    config = configured(write(tmp_path / "x.npz", spots(500), labelled=False))
    with pytest.raises(InputError, match="has no labels"):
        make_reference(config)
    ref = make_reference(config, PIXELS)
    assert ref.evaluator is None
    assert registry.score(new, ref, PIXELS).keys() == set(PIXELS)
    with pytest.raises(InputError, match="no evaluator"):
        registry.score(new, ref, ["fid"])
    config.test_split = "test"
    with pytest.raises(InputError, match="config.test_split.*test"):
        make_reference(config, PIXELS)


def test_parzen_width_is_chosen_on_validation(new):
    ref = untrained()
    ref = ref._replace(validation=255 - ref.test)  # far from every sample: wide is best
    sigma = registry.score(new, ref, ["parzen"], intervals=False)["parzen"]["sigma"]
    assert sigma == parzen.parzen(new, ref.validation, ref.test, 0).sigma
    assert sigma != parzen.parzen(new, ref.test, ref.test, 0).sigma


@pytest.mark.parametrize(
    "images",
    [np.full((9, 8, 8, 1), np.nan, np.float32), np.zeros((9, 8, 8, 1), np.int64)],
    ids=["nan", "int64"],
)
def test_invalid_samples_are_refused(images):
    with pytest.raises(InputError, match="samples must be uint8, or finite floats"):
        registry.score(images, untrained(), ["parzen", "modes"])


def test_samples_of_another_shape_are_refused(new):
    for name, words in (("modes", r"\(n, 8, 8, 1\)"), ("parzen", "must have 56 columns, not 64")):
        with pytest.raises(InputError, match=words):
            registry.score(new[:, :7], untrained(), [name])


def test_points_are_scored(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    np.savez(tmp_path / "x.npz", points)
    ref = make_reference(configured(f"npz:{tmp_path}/x.npz"), PIXELS)
    copies = registry.score(ref.train.images[:50], ref, PIXELS)
    far = registry.score(ref.train.images[:50] + 9, ref, PIXELS)
    assert copies["memorisation"]["value"] > 0.95 > 0.05 > far["memorisation"]["value"]
    assert copies["parzen"]["value"] > far["parzen"]["value"]


def test_bad_samplers_are_caught_by_their_metric(labelled, new):
    names = ["fid", "precision", "recall", "coverage", "class_kl", "modes", "memorisation"]
    first = np.argmax(evaluators.outputs(labelled.evaluator, new)[1][:, 0])
    good, collapsed, copied, noisy = (
        values(registry.score(images, labelled, names, intervals=False))
        for images in (
            new,
            new[first][None].repeat(1280, 0),
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
