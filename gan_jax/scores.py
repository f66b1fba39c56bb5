"""All metrics of a set of samples, beside those of real data and of trivial models.

A value by itself cannot be read: `baselines` are what real data, Gaussians and k-means centroids
get by the same code, at the same number of samples where the data set has as many.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import data
from gan_jax import evaluator as evaluators
from gan_jax.data import Dataset, cache_dir
from gan_jax.errors import InputError, brief
from gan_jax.evaluator import Evaluator
from gan_jax.metrics import classifier, frechet, kernel, mixture, neighbours, parzen
from gan_jax.metrics.bootstrap import Score
from gan_jax.mixtures import HIGH_QUALITY, MIXTURES, Mixture
from gan_jax.plots import to_uint8

log = logging.getLogger(__name__)

VERSION = 1  # to be raised when a metric or a baseline changes: the cache is of this version

_IMAGES_A_CENTROID = 5  # of the training set, at least


class Reference(NamedTuple):
    """What samples are compared with.

    train: the data set that the model was trained on, or is taken to have been.
    validation: examples that choose what a metric leaves open (Parzen's width), (n, ...).
    test: examples that the samples should be like, (n, ...).
    evaluator: the classifier whose features and probabilities are compared, or None.
    features: of test, (n, 64); empty without an evaluator.
    probabilities: of test, (n, classes); empty without an evaluator.
    mixture: that the data are drawn from, if they are.
    """

    train: Dataset
    validation: np.ndarray
    test: np.ndarray
    evaluator: Evaluator | None
    features: np.ndarray
    probabilities: np.ndarray
    mixture: Mixture | None = None


Entry = dict[str, Any]  # {"value", "low", "high"} and what else belongs to a score
Family = Callable[["Sample", Reference, int, dict[str, int]], dict[str, Entry]]


class Sample(NamedTuple):
    """Samples, and what the evaluator makes of them."""

    images: np.ndarray  # (n, ...), uint8 or floats; or points, (n, d)
    features: np.ndarray
    probabilities: np.ndarray


# A family's last argument is what its long bootstraps take besides the seed: resamples, or nothing.


def _entry(score: Score, **more: Any) -> Entry:
    return {**score._asdict(), **more}


def _fid(s: Sample, r: Reference, seed: int, bootstrap: dict[str, int]) -> dict[str, Entry]:
    return {"fid": _entry(frechet.frechet(s.features, r.features, seed, **bootstrap))}


def _fid_infinity(
    s: Sample, r: Reference, seed: int, bootstrap: dict[str, int]
) -> dict[str, Entry]:
    return {"fid_infinity": _entry(frechet.extrapolated(s.features, r.features, seed, **bootstrap))}


def _kid(s: Sample, r: Reference, seed: int, bootstrap: dict[str, int]) -> dict[str, Entry]:
    return {"kid": _entry(kernel.kernel(s.features, r.features, seed, **bootstrap))}


def _manifold(s: Sample, r: Reference, seed: int, bootstrap: dict[str, int]) -> dict[str, Entry]:
    found = neighbours.manifold(real=r.features, fake=s.features, seed=seed)
    return {name: _entry(score) for name, score in found.items()}


def _classes(s: Sample, r: Reference, seed: int, bootstrap: dict[str, int]) -> dict[str, Entry]:
    counts, real = classifier.histogram(s.probabilities), classifier.histogram(r.probabilities)
    modes = float(classifier.modes(counts))
    score = classifier.class_kl(s.probabilities, real, seed)
    return {
        "classifier_score": _entry(classifier.classifier_score(s.probabilities, seed)),
        "class_kl": _entry(score, histogram=counts.tolist(), data_histogram=real.tolist()),
        "modes": _entry(Score(modes, modes, modes)),
    }


def _memorisation(
    s: Sample, r: Reference, seed: int, bootstrap: dict[str, int]
) -> dict[str, Entry]:
    found = neighbours.memorisation(_flat(s.images), _flat(r.train.images), _flat(r.test), seed)
    return {
        "memorisation": _entry(
            found.score,
            median_distance=float(np.median(found.distance)),
            test_median_distance=float(np.median(found.test_distance)),
        )
    }


def _parzen(s: Sample, r: Reference, seed: int, bootstrap: dict[str, int]) -> dict[str, Entry]:
    found = parzen.parzen(s.images, r.validation, r.test, seed)
    return {"parzen": _entry(found.score, standard_error=found.error, sigma=found.sigma)}


def _mixture(s: Sample, r: Reference, seed: int, bootstrap: dict[str, int]) -> dict[str, Entry]:
    assert r.mixture is not None  # see `absent`
    found = mixture.mixture(s.images, r.mixture.means, r.mixture.sigma, seed)
    return {name: _entry(score) for name, score in found.items()}


class Metric(NamedTuple):
    label: str
    better: str | float  # "lower" or "higher", or the value that is best
    family: Family  # what computes it, and others with it
    by_evaluator: bool = True
    by_mixture: bool = False
    least: int = 1  # samples that it needs


METRICS: dict[str, Metric] = {
    "fid": Metric("FID", "lower", _fid, least=2),
    "fid_infinity": Metric(
        "FID, infinitely many samples",
        "lower",
        _fid_infinity,
        least=frechet.least(evaluators.FEATURES),
    ),
    "kid": Metric("KID", "lower", _kid, least=2),
    "precision": Metric("precision", "higher", _manifold, least=neighbours.K + 1),
    "recall": Metric("recall", "higher", _manifold, least=neighbours.K + 1),
    "density": Metric("density", 1.0, _manifold, least=neighbours.K + 1),
    "coverage": Metric("coverage", "higher", _manifold, least=neighbours.K + 1),
    "classifier_score": Metric("classifier score", "higher", _classes),
    "class_kl": Metric("KL of classes (nats)", "lower", _classes),
    "modes": Metric("classes present", "higher", _classes),
    "memorisation": Metric("memorisation", 0.5, _memorisation, by_evaluator=False),
    "parzen": Metric("Parzen log-likelihood (nats)", "higher", _parzen, by_evaluator=False),
    **{
        name: Metric(label, better, _mixture, by_evaluator=False, by_mixture=True)
        for name, label, better in (
            ("modes_covered", "modes covered", "higher"),
            ("high_quality", "high quality, share", HIGH_QUALITY),
            ("reverse_kl", "reverse KL of modes (nats)", "lower"),
        )
    },
}


Value = TypeVar("Value", float, np.ndarray)


def cost(name: str, value: Value) -> Value:
    """A quantity of metrics.jsonl so turned that the lower is the better; losses as they are."""
    better = METRICS[name].better if name in METRICS else "lower"
    if isinstance(better, float):
        return abs(value - better)
    return value if better == "lower" else -value


def _flat(x: np.ndarray) -> np.ndarray:
    x = x.reshape(len(x), -1)
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x


def best(name: str, values: np.ndarray) -> float:
    """The best of a metric's values, any shape; NaN counts as none, and is returned for none."""
    known = values[~np.isnan(values)].tolist()
    return min(known, key=functools.partial(cost, name), default=np.nan)


def absent(config: ConfigDict, train: Dataset, test_split: str, num: int) -> dict[str, str]:
    """The metrics that `num` samples of a run have not, compared with a split, and why."""
    found = {
        name: f"it needs {metric.least} samples, more than {num}"
        for name, metric in METRICS.items()
        if num < metric.least
    }
    if why := evaluators.unfit(train):
        found |= {name: why for name, metric in METRICS.items() if metric.by_evaluator}
    planar = [name for name, mixture in MIXTURES.items() if mixture.means.shape[1] == 2]
    if config.dataset not in planar:
        why = f"{config.dataset} is none of the mixtures {', '.join(planar)}"
        found |= {name: why for name, metric in METRICS.items() if metric.by_mixture}
    found = {name: found[name] for name in METRICS if name in found}
    if data.overlap(config.split, test_split):
        found["memorisation"] = f"{test_split} has examples of {config.split}, which was trained on"
    return found


def _load(config: ConfigDict, split: str, role: str) -> Dataset:
    try:
        return data.load(config.dataset, split, config.image_size)
    except InputError as e:
        raise InputError(f"{role}: {e}") from None


def held_out(
    config: ConfigDict, train: Dataset, test_split: str, names: Sequence[str], num: int
) -> Dataset:
    """What the samples of a run are to be like; arguments and errors as of `reference`."""
    missing = absent(config, train, test_split, num)
    for name in names:
        if name in missing:
            raise InputError(f"{name} cannot be measured: {missing[name]}")
    role = "what to compare with (config.test_split, or --split=train[a:b])"
    return _load(config, test_split, role)


def reference(
    config: ConfigDict, train: Dataset, test_split: str, names: Sequence[str], num: int
) -> Reference:
    """What the samples of a run are compared with; the first time, this may train an evaluator.

    Args:
      config: of the run, validated.
      train: the data set that it trains on.
      test_split: which split is `test`.
      names: keys of METRICS, that will be asked for.
      num: of samples that there will be.

    Raises:
      InputError: there is no such split, a metric makes no sense, or `num` is too small for it.
    """
    test = held_out(config, train, test_split, names, num).images
    validation = _load(config, config.validation_split, "config.validation_split").images
    empty = np.empty((0, 0), np.float32)
    if not any(METRICS[name].by_evaluator for name in names):
        known = MIXTURES.get(config.dataset)
        return Reference(train, validation, test, None, empty, empty, known)
    # Of the whole split, so that runs on parts of it are scored by one evaluator.
    evaluator = evaluators.load(
        config.dataset, _load(config, config.split.partition("[")[0], "config.split")
    )
    return Reference(train, validation, test, evaluator, *evaluators.outputs(evaluator, test))


def score(
    images: np.ndarray,
    reference: Reference,
    names: Iterable[str] = METRICS,
    seed: int = 0,
    intervals: bool = True,
) -> dict[str, Entry]:
    """The metrics of samples.

    Args:
      images: samples, shape (n, ...) as the data's: uint8, or floats in [0, 1], which the
        evaluator sees rounded to 8 bits, as the data are; or points.
      reference: what they are compared with.
      names: keys of METRICS.
      seed: of every bootstrap.
      intervals: False saves the bootstraps that take long; their low and high are then NaN.

    Returns:
      For each name its value and the ends of its 95 % interval, "low" and "high".

    Raises:
      InputError: too few samples for a metric, samples unlike the data, or no evaluator.
    """
    names = list(names)
    if images.dtype != np.uint8 and not (images.dtype.kind == "f" and np.isfinite(images).all()):
        raise InputError("samples must be uint8, or finite floats")
    outputs = (np.empty((0, 0)), np.empty((0, 0)))
    if any(METRICS[name].by_evaluator for name in names):
        if reference.evaluator is None:
            raise InputError("the reference has no evaluator")
        outputs = evaluators.outputs(reference.evaluator, to_uint8(images))
    sample = Sample(images, *outputs)
    families = dict.fromkeys(METRICS[name].family for name in names)
    entries: dict[str, Entry] = {}
    hidden = None if intervals else True  # while training there is a bar already
    for family in tqdm(families, desc="metrics", leave=False, disable=hidden):
        entries |= family(sample, reference, seed, {} if intervals else {"resamples": 0})
    return {name: entries[name] for name in names}


# Real data and trivial models


def real(train: Dataset, num: int) -> np.ndarray:
    """Training examples, each at most once: what samples of the true distribution get."""
    order = np.random.default_rng(0).permutation(len(train.images))
    return train.images[order[:num]]


def gaussians(train: Dataset, num: int) -> np.ndarray:
    """Samples of a Gaussian fitted to the pixels of each class (to all, without labels)."""
    x, rng = _flat(train.images), np.random.default_rng(0)
    labels = np.zeros(len(x), np.int32) if train.labels is None else train.labels
    drawn = rng.choice(labels, num)
    out = np.empty((num, x.shape[1]), np.float32)
    for label in np.unique(drawn):
        own = x[labels == label].astype(np.float64)
        covariance = np.cov(own.T) if len(own) > 1 else np.zeros((x.shape[1],) * 2)
        values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
        normal = rng.standard_normal((np.sum(drawn == label), x.shape[1]))
        scale = np.sqrt(np.maximum(values, 0))
        out[drawn == label] = own.mean(axis=0) + normal * scale @ vectors.T
    out = out.reshape(num, *train.images.shape[1:])
    return np.clip(out, 0, 1) if train.images.dtype == np.uint8 else out


def kmeans(train: Dataset, num: int) -> np.ndarray:
    """Centroids of k-means (Lloyd's algorithm), one for every 5 training examples at the most."""
    from sklearn.cluster import KMeans  # a second to import

    x = _flat(train.images)
    k = max(1, min(num, len(x) // _IMAGES_A_CENTROID))
    fitted = KMeans(k, init="random", n_init=1, max_iter=10, tol=0, random_state=0).fit(x)
    return fitted.cluster_centers_.astype(np.float32).reshape(k, *train.images.shape[1:])


BASELINES: dict[str, Callable[[Dataset, int], np.ndarray]] = {
    "real data": real,
    "Gaussians": gaussians,
    "k-means": kmeans,
}


def baselines(
    reference: Reference, num: int, names: Sequence[str]
) -> dict[str, dict[str, Entry | None]]:
    """The scores of each of BASELINES, kept in the cache.

    Args:
      reference: what they are compared with; they are made of its train.
      num: of samples.
      names: keys of METRICS.

    Returns:
      By baseline and metric the entry, or None where the baseline has too few samples for it.
    """
    made_of = [
        VERSION,
        num,
        reference.train.sha256,
        *(
            hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()
            for x in (reference.validation, reference.test)
        ),
        reference.evaluator and reference.evaluator.name,
    ]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
    file = cache_dir() / "baselines" / f"{key}.json"
    found: dict[str, dict[str, Entry | None]] = {}
    try:
        found = json.loads(file.read_bytes())
        if found.keys() != BASELINES.keys():
            raise ValueError("it holds something else")
        for entry in (entry for row in found.values() for entry in row.values()):
            if entry is not None and not {*Score._fields, "samples"} <= entry.keys():
                raise ValueError("it holds something else")
    except FileNotFoundError:
        found = {name: {} for name in BASELINES}
    except (OSError, ValueError, AttributeError, RecursionError) as e:
        log.warning("measuring the baselines again, as %s cannot be read: %s", file, brief(e))
        found = {name: {} for name in BASELINES}
    missing = {row: [n for n in names if n not in found[row]] for row in BASELINES}
    for row in tqdm([r for r in BASELINES if missing[r]], desc="baselines", disable=None):
        images = BASELINES[row](reference.train, num)
        able = [name for name in missing[row] if METRICS[name].least <= len(images)]
        entries = score(images, reference, able)
        found[row] |= dict.fromkeys(missing[row])
        found[row] |= {name: {**entry, "samples": len(images)} for name, entry in entries.items()}
    if any(missing.values()):
        data.keep(file, json.dumps(found).encode())
    return {row: {name: found[row][name] for name in names} for row in BASELINES}
