"""Metrics by name, and the reference data they use.

To add a metric: a function of arrays in metrics/, a `MetricFn` here that calls it, and an entry in
METRICS.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np

from gan_jax import data
from gan_jax.data import Dataset
from gan_jax.data.mixtures import HIGH_QUALITY, Mixture
from gan_jax.data.pixels import to_float, to_uint8
from gan_jax.evaluation import evaluators, text_encoder
from gan_jax.evaluation.evaluators import Evaluator
from gan_jax.evaluation.metrics import (
    classifier,
    conditional,
    frechet,
    kernel,
    mixture,
    neighbours,
    parzen,
)
from gan_jax.evaluation.metrics.intervals import Score

EXTRACTORS = {"efficientnet": "EfficientNet", "inception": "Inception"}


class Extractor(NamedTuple):
    """Feature extractor for natural images: a network trained on ImageNet."""

    name: str  # key of EXTRACTORS
    sha256: str  # hash of its weights file
    features: Callable[[np.ndarray], np.ndarray]  # (n, height, width, channels) -> (n, d)


class EncodedCaptions(NamedTuple):
    """Captions, embedded together with images."""

    captions: data.Captions
    encoder: text_encoder.TextEncoder
    embeddings: np.ndarray  # of all captions, (captions, d)


class Reference(NamedTuple):
    """What samples are compared with.

    train: the model's training set.
    validation: examples for choosing free parameters of metrics (Parzen's bandwidth), (n, ...).
    test: examples of the target distribution, (n, ...).
    evaluator: the classifier for features and class probabilities, or None.
    features: the evaluator's features of test, (n, 64); empty without an evaluator.
    probabilities: its class probabilities of test, (n, classes); empty without an evaluator.
    mixture: the data distribution, if it is one of MIXTURES.
    imagenet_features: the extractor's features of test, (n, 1280 or 2048); empty without one.
    digits: the classifier of each channel of stacked MNIST, or None.
    extractor: the feature extractor for natural images, or None.
    test_labels: labels of test, int (n,), or None.
    captions: the captions that samples may be generated for, or None.
    """

    train: Dataset
    validation: np.ndarray
    test: np.ndarray
    evaluator: Evaluator | None
    features: np.ndarray
    probabilities: np.ndarray
    mixture: Mixture | None = None
    imagenet_features: np.ndarray = np.empty((0, 0), np.float32)
    digits: Evaluator | None = None
    extractor: Extractor | None = None
    test_labels: np.ndarray | None = None
    captions: EncodedCaptions | None = None


class Conditions(NamedTuple):
    """What the samples of a conditional run were generated for."""

    labels: np.ndarray | None = None  # int (n,)
    captions: np.ndarray | None = None  # numbers of captions, int (n,)


class Sample(NamedTuple):
    """Samples, with the outputs of the evaluator and the extractor on them."""

    images: np.ndarray  # (n, ...), uint8 or floats; or points, (n, d)
    features: np.ndarray
    probabilities: np.ndarray
    imagenet_features: np.ndarray  # of Reference.extractor; empty without one
    conditions: Conditions


Entry = dict[str, Any]  # "value", "low", "high", and details of the metric
# Computes related metrics, given a seed and keyword arguments for metrics with random splits.
MetricFn = Callable[[Sample, Reference, int, dict[str, int]], dict[str, Entry]]


def _entry(score: Score, **details: Any) -> Entry:
    return {**score._asdict(), **details}


def _fid(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    return {"fid": _entry(frechet.frechet(s.features, r.features, seed, **split))}


def _fid_infinity(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    return {"fid_infinity": _entry(frechet.extrapolated(s.features, r.features, seed, **split))}


def _kid(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    return {"kid": _entry(kernel.kernel(s.features, r.features))}


def _manifold(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    found = neighbours.manifold(real=r.features, fake=s.features, seed=seed, **split)
    return {name: _entry(score) for name, score in found.items()}


def _fid_natural(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    return _fid(s, r, seed, {"splits": 5, **split})  # each takes seconds with this many features


def _by_network(
    suffix: str, compute: MetricFn, s: Sample, r: Reference, *arguments: Any
) -> dict[str, Entry]:
    """The same metrics, but of the features of an extractor."""
    s, r = s._replace(features=s.imagenet_features), r._replace(features=r.imagenet_features)
    real = {"samples_of_data": len(r.imagenet_features)}
    return {f"{name}_{suffix}": e | real for name, e in compute(s, r, *arguments).items()}


def _natural(suffix: str) -> dict[str, MetricFn]:
    fid, kid, manifold = (
        functools.partial(_by_network, suffix, compute)
        for compute in (_fid_natural, _kid, _manifold)
    )
    names = ("precision", "recall", "density", "coverage")
    return {"fid": fid, "kid": kid, **dict.fromkeys(names, manifold)}


def _classes(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    counts, real = classifier.histogram(s.probabilities), classifier.histogram(r.probabilities)
    modes = float(classifier.modes(counts))
    kl = classifier.class_kl(counts, real)
    return {
        "classifier_score": _entry(classifier.classifier_score(s.probabilities)),
        "class_kl": _entry(kl, histogram=counts.tolist(), data_histogram=real.tolist()),
        "modes": _entry(Score(modes, modes, modes)),
    }


def _memorisation(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    images, train, test = (
        to_float(x).reshape(len(x), -1) for x in (s.images, r.train.images, r.test)
    )
    found = neighbours.memorisation(images, train, test)
    return {
        "memorisation": _entry(
            found.score,
            median_distance=float(np.median(found.distance)),
            test_median_distance=float(np.median(found.test_distance)),
        )
    }


def _parzen(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    found = parzen.parzen(s.images, r.validation, r.test, seed, **split)
    return {"parzen": _entry(found.score, standard_error=found.error, sigma=found.sigma)}


def _modes(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    if r.mixture is not None:
        found = mixture.mixture(s.images, r.mixture.means, r.mixture.sigma)
    else:
        assert r.digits is not None  # see `unavailable_metrics`
        found = mixture.modes(_triples(r.digits, to_uint8(s.images)))
    return {name: _entry(score) for name, score in found.items()}


def _triples(digits: Evaluator, images: np.ndarray) -> np.ndarray:
    """Histogram of stacked MNIST images, (n, 28, 28, 3), over the 1,000 triples of digits."""
    channels = (images[..., [c]] for c in range(3))
    a, b, c = (evaluators.outputs(digits, x)[1].argmax(axis=1) for x in channels)
    return np.bincount(100 * a + 10 * b + c, minlength=1000)


def _conditional(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    labels = s.conditions.labels
    assert labels is not None  # see `unavailable_metrics`
    assert r.test_labels is not None
    assert r.evaluator is not None
    found = r.evaluator.labels[s.probabilities.argmax(axis=1)]
    inside = conditional.by_class(
        s.features, labels, r.features, r.test_labels, seed, **{"splits": 20, **split}
    )
    fake, real = (to_float(x).reshape(len(x), -1) for x in (s.images, r.test))
    transfer = conditional.transfer(fake, labels, real, r.test_labels)
    return {
        "label_accuracy": _entry(conditional.agreement(found, labels)),
        "class_fid": _entry(inside.fid, by_class=list(inside.fids.items())),
        "class_diversity": _entry(inside.diversity),
        "transfer_accuracy": _entry(transfer),
    }


def _r_precision(s: Sample, r: Reference, seed: int, split: dict[str, int]) -> dict[str, Entry]:
    requested = s.conditions.captions
    assert requested is not None  # see `unavailable_metrics`
    assert r.captions is not None
    captions, encoder, embeddings = r.captions
    images = np.asarray(text_encoder.apply_image(encoder.params, jnp.asarray(s.imagenet_features)))

    def precision(numbers: np.ndarray) -> Score:
        groups = np.searchsorted(captions.first, numbers, side="right") - 1
        others = conditional.mismatched(captions.first, np.unique(captions.groups), groups, seed)
        return conditional.r_precision(images, embeddings[numbers], embeddings[others])

    return {
        "r_precision": _entry(
            precision(requested),
            shuffled_captions=precision(np.roll(requested, 1)).value,
            chance=1 / conditional.CANDIDATES,
        )
    }


class Metric(NamedTuple):
    """A metric: how it is computed, read and printed, and what it needs."""

    label: str  # in tables and reports
    better: str | float  # "lower" or "higher", or the best value
    compute: MetricFn  # shared by related metrics
    # "evaluator", "labels", "captions", "modes", "mixture", a key of EXTRACTORS; "": any data.
    requires: str = "evaluator"
    min_samples: int = 1  # samples
    min_examples: int = 1  # examples to compare with
    interval: str = ""  # where the 95 % interval does not cover 93 to 97 %

    @property
    def direction(self) -> str:
        """Which values are better, in words."""
        better = self.better
        return f"{better} is better" if isinstance(better, str) else f"{better:g} is best"

    @property
    def title(self) -> str:
        """Of an axis or panel."""
        return f"{self.label} ({self.direction})"


_NEAR_BIAS = "too wide near its value for real data"
_NEAR_0 = "covers more than 95 % near 0"
_COUNT = "a count of these samples, without an interval"
_BALLS = (neighbours.min_samples(neighbours.K), neighbours.min_samples(neighbours.K_DENSITY))

_METRICS = {
    "fid": Metric(
        "FID",
        "lower",
        _fid,
        min_samples=frechet.MIN_SAMPLES,
        min_examples=frechet.MIN_SAMPLES,
        interval=_NEAR_BIAS,
    ),
    "fid_infinity": Metric(
        "FID∞",
        "lower",
        _fid_infinity,
        min_samples=frechet.min_samples(evaluators.FEATURES),
        min_examples=frechet.MIN_SAMPLES,
        interval=_NEAR_0,
    ),
    "kid": Metric("KID", "lower", _kid, min_samples=2, min_examples=2, interval=_NEAR_0),
    **{
        name: Metric(name, better, _manifold, min_samples=_BALLS[0], min_examples=_BALLS[1])
        for name, better in (
            ("precision", "higher"),
            ("recall", "higher"),
            ("density", 1.0),
            ("coverage", "higher"),
        )
    },
    "classifier_score": Metric("classifier score", "higher", _classes),
    "class_kl": Metric("class KL (nats)", "lower", _classes, interval=_NEAR_0),
    "modes": Metric("classes present", "higher", _classes, interval=_COUNT),
    "memorisation": Metric("memorisation", 0.5, _memorisation, requires=""),
    "parzen": Metric(
        "Parzen log-likelihood (nats)",
        "higher",
        _parzen,
        requires="",
        min_samples=2,
        min_examples=2,
    ),
    **{
        name: Metric(label, better, _modes, requires=needs, interval=interval)
        for name, label, better, needs, interval in (
            ("modes_covered", "modes covered", "higher", "modes", _COUNT),
            ("high_quality", "high-quality fraction", HIGH_QUALITY, "mixture", ""),
            ("reverse_kl", "reverse KL of modes (nats)", "lower", "modes", _NEAR_0),
        )
    },
    "r_precision": Metric(
        "R-precision of captions", "higher", _r_precision, requires="captions", min_samples=2
    ),
    **{
        name: Metric(label, better, _conditional, requires="labels", interval=interval)
        for name, label, better, interval in (
            ("label_accuracy", "label accuracy", "higher", ""),
            ("class_fid", "intra-class FID", "lower", _NEAR_BIAS),
            ("class_diversity", "intra-class diversity", 1.0, ""),
            ("transfer_accuracy", "1-NN transfer accuracy", "higher", ""),
        )
    },
}
METRICS = _METRICS | {  # of natural images
    f"{name}_{extractor}": _METRICS[name]._replace(
        label=f"{_METRICS[name].label} ({title})", requires=extractor, compute=compute
    )
    for extractor, title in EXTRACTORS.items()
    for name, compute in _natural(extractor).items()
}
CONDITIONAL = Conditions._fields  # what metrics of conditional samples require
# Those that need no file, for evaluations during training.
TRAINING = tuple(name for name, metric in METRICS.items() if metric.requires != "inception")


Value = TypeVar("Value", float, np.ndarray)


def lower_is_better(name: str, value: Value) -> Value:
    """Sign-adjusts a metric so that lower is better; other quantities, such as losses, unchanged.

    A metric with a best value becomes the distance from it.
    """
    better = METRICS[name].better if name in METRICS else "lower"
    if isinstance(better, float):
        return abs(value - better)
    return value if better == "lower" else -value


def best(name: str, values: np.ndarray) -> float:
    """The best of a metric's values, any shape, ignoring NaN; NaN if there is no other."""
    known = values[~np.isnan(values)].tolist()
    return min(known, key=functools.partial(lower_is_better, name), default=np.nan)
