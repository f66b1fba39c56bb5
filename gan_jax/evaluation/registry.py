"""Metrics by name, and the reference data they use.

To add a metric: a function of arrays in metrics/, a `MetricFn` here that calls it, and an entry in
METRICS.
"""

import functools
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import data
from gan_jax.data import Dataset
from gan_jax.data.mixtures import HIGH_QUALITY, MIXTURES, Mixture
from gan_jax.data.pixels import to_float, to_uint8
from gan_jax.errors import InputError
from gan_jax.evaluation import efficientnet, evaluators, inception, text_encoder
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


def load_extractor(weights: pathlib.Path | None = None) -> Extractor:
    """Inception if given its weights, else EfficientNet.

    Raises:
      InputError: the file is not the published one.
    """
    module, name = (inception, "inception") if weights else (efficientnet, "efficientnet")
    loaded = inception.load(weights) if weights else efficientnet.load()
    return Extractor(name, module.SHA256, functools.partial(module.features, loaded))


class Texts(NamedTuple):
    """Captions, embedded together with images."""

    captions: data.Captions
    encoder: text_encoder.TextEncoder
    vectors: np.ndarray  # of all captions, (captions, d)


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
    texts: the captions that samples may be generated for, or None.
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
    texts: Texts | None = None


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
    assert r.texts is not None
    captions, encoder, vectors = r.texts
    images = np.asarray(text_encoder.apply_image(encoder.params, jnp.asarray(s.imagenet_features)))

    def precision(numbers: np.ndarray) -> Score:
        groups = np.searchsorted(captions.first, numbers, side="right") - 1
        others = conditional.mismatched(captions.first, np.unique(captions.groups), groups, seed)
        return conditional.r_precision(images, vectors[numbers], vectors[others])

    return {
        "r_precision": _entry(
            precision(requested),
            shuffled_captions=precision(np.roll(requested, 1)).value,
            chance=1 / conditional.CANDIDATES,
        )
    }


class Metric(NamedTuple):
    label: str
    better: str | float  # "lower" or "higher", or the best value
    compute: MetricFn
    # "evaluator", "labels", "captions", "modes", "mixture", a key of EXTRACTORS; "": any data.
    requires: str = "evaluator"
    min_samples: int = 1  # samples
    min_examples: int = 1  # examples to compare with
    interval: str = ""  # where the 95 % interval does not cover 93 to 97 %


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
        "FID, infinitely many samples",
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
    "class_kl": Metric("KL of classes (nats)", "lower", _classes, interval=_NEAR_0),
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


def _too_few_of_any_class(train: Dataset, test: Dataset, num: int) -> str:
    """Why no class has enough samples and examples for its own FID; empty if one has.

    Samples are asked for in the proportions of the training set.
    """
    assert train.labels is not None
    assert test.labels is not None
    classes = data.num_classes(train)
    known = test.labels[(test.labels >= 0) & (test.labels < classes)]
    examples = np.bincount(known, minlength=classes)
    asked = np.bincount(train.labels, minlength=classes) * num / len(train.labels)
    if (np.minimum(examples, asked) >= frechet.MIN_SAMPLES).any():
        return ""
    return f"and the samples have no class with {frechet.MIN_SAMPLES} of each"


def unavailable_metrics(
    config: ConfigDict,
    train: Dataset,
    test: Dataset,
    num: int,
    test_split: str | None = None,
    extractor: Extractor | None = None,
) -> dict[str, str]:
    """Metric -> reason it cannot be computed.

    Args:
      config: the run's config.
      train: its training set.
      test: the data that samples will be compared with.
      num: number of samples.
      test_split: the split of `test`; None for config.test_split.
      extractor: the feature extractor for natural images; None for EfficientNet.
    """
    planar = [name for name, mixture in MIXTURES.items() if mixture.means.shape[1] == 2]
    test_split = config.test_split if test_split is None else test_split
    n = len(test.images)
    stacked = config.dataset == "stacked_mnist"
    channels = train.images.shape[-1] if train.images.ndim == 4 else 0
    chosen = extractor.name if extractor else "efficientnet"
    captioned = len(np.unique(train.captions.groups)) if train.captions else 0

    def reason(name: str, metric: Metric) -> str:
        if metric.requires == "captions":
            if not captioned:
                return "the run is not conditioned on text"
            if captioned < 2:
                return "it needs captions of two classes or images"
            if chosen != "efficientnet":
                return "it needs --features=efficientnet"
        if metric.requires == "labels":
            if config.condition.on == "none":
                return "the run is not conditional"
            if test.labels is None:
                return f"{test_split} has no labels"
            few = frechet.MIN_SAMPLES * data.num_classes(train)
            if min(num, n) < few:
                return f"it needs {few} samples and examples, {frechet.MIN_SAMPLES} for each class"
            if why := _too_few_of_any_class(train, test, num):
                return f"{test_split} {why}"
        if metric.requires in ("evaluator", "labels") and stacked:
            return "the classes of stacked_mnist are its modes: see modes_covered"
        if metric.requires in ("evaluator", "labels") and (why := evaluators.unavailable(train)):
            return why
        by_efficientnet = metric.requires in ("efficientnet", "captions")
        if by_efficientnet and (why := efficientnet.unavailable(channels)):
            return why
        if metric.requires == "inception" and (why := inception.unavailable(channels)):
            return why
        if metric.requires in EXTRACTORS and metric.requires != chosen:
            file = " --weights=FILE" if metric.requires == "inception" else ""
            return f"it needs --features={metric.requires}{file}"
        if metric.requires == "modes" and stacked:
            return "" if test.images.shape[1:3] == (28, 28) else "it needs images of 28x28 pixels"
        if metric.requires in ("modes", "mixture") and config.dataset not in planar:
            return f"{config.dataset} is not one of the mixtures {', '.join(planar)}"
        if name == "memorisation" and data.overlap(config.split, test_split):
            return f"{test_split} has examples of the training set, {config.split}"
        if num < metric.min_samples:
            return f"it needs {metric.min_samples} samples, not {num}"
        if n < metric.min_examples:
            return f"it needs {metric.min_examples} examples to compare with; {test_split} has {n}"
        return ""

    return {name: why for name, metric in METRICS.items() if (why := reason(name, metric))}


def _load(config: ConfigDict, split: str, role: str, **chosen: Any) -> Dataset:
    try:
        return data.load(config.dataset, split, config.image_size, **chosen)
    except InputError as e:
        raise InputError(f"{role}: {e}") from None


def load_test(config: ConfigDict, test_split: str, held_out: bool = False) -> Dataset:
    """Loads the split to compare samples with; an InputError names its setting.

    Either the held-out classes or all others.
    """
    role = "the split to compare with (see config.test_split, --split)"
    condition = config.condition
    if held_out:
        chosen = {"captions_file": condition.captions, "only": condition.held_out}
        return _load(config, test_split, role, **chosen)
    return _load(config, test_split, role, without=condition.held_out)


def checked_test(
    config: ConfigDict,
    train: Dataset,
    test_split: str,
    names: Sequence[str],
    num: int,
    extractor: Extractor | None = None,
    held_out: bool = False,
) -> Dataset:
    """Loads the split to compare samples with, and checks that metrics can be measured."""
    test = load_test(config, test_split, held_out)
    unavailable = unavailable_metrics(config, train, test, num, test_split, extractor)
    for name in names:
        if name in unavailable:
            raise InputError(f"{name} cannot be measured: {unavailable[name]}")
    return test


def reference(
    config: ConfigDict,
    train: Dataset,
    test_split: str,
    names: Sequence[str],
    num: int,
    extractor: Extractor | None = None,
    held_out: bool = False,
) -> Reference:
    """The reference for samples of a run; trains the data set's evaluator on first use.

    Args:
      config: the run's config.
      train: its training set.
      test_split: the split for `test`.
      names: keys of METRICS that will be measured.
      num: number of samples that will be scored.
      extractor: the feature extractor for natural images; None for EfficientNet.
      held_out: compare with the held-out classes.

    Raises:
      InputError: a split does not exist, or a metric is unavailable.
    """
    test_set = checked_test(config, train, test_split, names, num, extractor, held_out)
    test = test_set.images
    without = config.condition.held_out
    validation = _load(
        config, config.validation_split, "config.validation_split", without=without
    ).images
    evaluator, features, probabilities = None, *(np.empty((0, 0), np.float32),) * 2
    if any(METRICS[name].requires in ("evaluator", "labels") for name in names):
        # Trained on the whole split, so that runs on parts of it are comparable.
        whole = _load(config, config.split.partition("[")[0], "config.split")
        evaluator = evaluators.load(config.dataset, whole)
        features, probabilities = evaluators.outputs(evaluator, test)
    digits = None
    if config.dataset == "stacked_mnist" and any(
        METRICS[name].requires == "modes" for name in names
    ):
        digits = evaluators.load("mnist", train._replace(images=train.images[..., :1]))
    imagenet_features, used = np.empty((0, 0), np.float32), None
    if any(METRICS[name].requires in (*EXTRACTORS, "captions") for name in names):
        used = extractor or load_extractor()
        imagenet_features = used.features(test)
    texts, captions = None, test_set.captions if held_out else train.captions
    if captions is not None and any(METRICS[name].requires == "captions" for name in names):
        encoder = text_encoder.load(config.condition.encoder)
        texts = Texts(captions, encoder, text_encoder.encode(encoder, captions.texts))
    return Reference(
        train,
        validation,
        test,
        evaluator,
        features,
        probabilities,
        mixture=MIXTURES.get(config.dataset),
        imagenet_features=imagenet_features,
        digits=digits,
        extractor=used,
        test_labels=test_set.labels,
        texts=texts,
    )


def score(
    images: np.ndarray,
    reference: Reference,
    names: Iterable[str] = METRICS,
    seed: int = 0,
    intervals: bool = True,
    conditions: Conditions | None = None,
) -> dict[str, Entry]:
    """Computes metrics of samples.

    Args:
      images: samples of the shape of the data, (n, ...): uint8, floats in [0, 1], which are rounded
        to 8 bits for the evaluator, or points.
      reference: what they are compared with.
      names: keys of METRICS.
      seed: of random subsets and splits.
      intervals: False skips the expensive ones, whose ends are then NaN.
      conditions: what samples of a conditional run were generated for.

    Returns:
      For each name, "value", the ends of its 95 % interval, "low" and "high", and details.

    Raises:
      InputError: too few samples for a metric, samples unlike the data, or no evaluator.
    """
    names = list(names)
    if images.dtype != np.uint8 and not (images.dtype.kind == "f" and np.isfinite(images).all()):
        raise InputError("samples must be uint8, or finite floats")
    outputs = (np.empty((0, 0)), np.empty((0, 0)))
    if any(METRICS[name].requires in ("evaluator", "labels") for name in names):
        if reference.evaluator is None:
            raise InputError("the reference has no evaluator")
        outputs = evaluators.outputs(reference.evaluator, to_uint8(images))
    imagenet_features = np.empty((0, 0))
    if any(METRICS[name].requires in (*EXTRACTORS, "captions") for name in names):
        assert reference.extractor is not None  # see `unavailable_metrics`
        imagenet_features = reference.extractor.features(to_uint8(images))
    sample = Sample(images, *outputs, imagenet_features, conditions or Conditions())
    functions = dict.fromkeys(METRICS[name].compute for name in names)
    entries: dict[str, Entry] = {}
    hidden = None if intervals else True  # training has its own progress bar
    for compute in tqdm(functions, desc="metrics", leave=False, disable=hidden):
        entries |= compute(sample, reference, seed, {} if intervals else {"splits": 0})
    return {name: entries[name] for name in names}
