"""Builds the reference data of metrics and scores samples."""

import functools
import pathlib
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import algorithms, data, draws
from gan_jax.data import Dataset
from gan_jax.data.mixtures import MIXTURES
from gan_jax.data.pixels import to_uint8
from gan_jax.draws import Stream, stream_key
from gan_jax.errors import InputError
from gan_jax.evaluation import efficientnet, evaluators, inception, text_encoder
from gan_jax.evaluation.metrics import frechet
from gan_jax.evaluation.registry import (
    EXTRACTORS,
    METRICS,
    Conditions,
    EncodedCaptions,
    Entry,
    Extractor,
    Metric,
    Reference,
    Sample,
)
from gan_jax.spec import Spec
from gan_jax.state import State


def load_extractor(weights: pathlib.Path | None = None) -> Extractor:
    """Inception if given its weights, else EfficientNet.

    Raises:
      InputError: the file is not the published one.
    """
    module, name = (inception, "inception") if weights else (efficientnet, "efficientnet")
    loaded = inception.load(weights) if weights else efficientnet.load()
    return Extractor(name, module.SHA256, functools.partial(module.features, loaded))


def _class_fid_unavailable(train: Dataset, test: Dataset, num: int) -> str:
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
            if why := _class_fid_unavailable(train, test, num):
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
    fields = [name for name in ("test_split", "validation_split") if config[name] == test_split]
    role = ", ".join(f"config.{name}" for name in fields) or "--split"
    condition = config.condition
    chosen: dict[str, Any] = {"without": condition.held_out}
    if held_out:
        chosen = {"captions_file": condition.captions, "only": condition.held_out}
    try:
        return data.load(config.dataset, test_split, config.image_size, **chosen)
    except data.SplitError as e:
        other = shlex.quote(config.validation_split)
        hint = "" if "validation_split" in fields else f"; use --split={other}"
        raise InputError(f"{role}: {e}{hint}") from None


def load_checked_test(
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
    test_set = load_checked_test(config, train, test_split, names, num, extractor, held_out)
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
    encoded, captions = None, test_set.captions if held_out else train.captions
    if captions is not None and any(METRICS[name].requires == "captions" for name in names):
        encoder = text_encoder.load(config.condition.encoder)
        embeddings = text_encoder.encode(encoder, captions.texts)
        encoded = EncodedCaptions(captions, encoder, embeddings)
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
        captions=encoded,
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


def evaluation_samples(
    spec: Spec, state: State, num: int, y: np.ndarray | None = None
) -> np.ndarray:
    """Samples used to score a state, from the same noise at every step; see `generate`."""
    z = draws.noise(spec, stream_key(state.key, Stream.EVALUATE), num)
    return algorithms.generate(spec, state, z, y)


def evaluation_conditions(
    config: ConfigDict, num: int, dataset: data.Dataset
) -> tuple[np.ndarray | None, Conditions]:
    """Conditions of `evaluation_samples`: labels or captions of random examples of a data set.

    Returns:
      What `generate` takes and what `score` takes.
    """
    if config.condition.on == "none":
        return None, Conditions()
    rng = np.random.default_rng(0)
    drawn, captions = rng.choice(len(dataset.images), num), dataset.captions
    labels = None if dataset.labels is None else dataset.labels[drawn]
    if captions is None:
        return labels, Conditions(labels)
    numbers = captions.draw(drawn, rng)
    encoder = text_encoder.load(config.condition.encoder)
    embeddings = text_encoder.encode(encoder, [captions.texts[i] for i in numbers.tolist()])
    return embeddings, Conditions(labels, numbers)
