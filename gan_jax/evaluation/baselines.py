"""Baseline scores: real data and trivial models.

python -m gan_jax.evaluation.baselines --configs=mnist,mnist_best,cdcgan_mnist --out=FILE

writes the baseline scores of 10,000 samples against each config's test images. The package includes
this file for MNIST, which saves two minutes on the first evaluation.
"""

import functools
import hashlib
import importlib.resources
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_jax import cli, config, data
from gan_jax.data import Dataset
from gan_jax.data.pixels import to_float
from gan_jax.errors import InputError
from gan_jax.evaluation import scoring
from gan_jax.evaluation.metrics.intervals import Score
from gan_jax.evaluation.metrics.neighbours import nearest
from gan_jax.evaluation.registry import CONDITIONAL, METRICS, Conditions, Entry, Reference
from gan_jax.writers import check_new, write_whole

VERSION = 3  # of the cache; increment when a metric or baseline changes
MNIST_SHA256 = "5fb92089c88e77c06821a7a6c7f29f06a42f408fb8b7ed427ec64aeac8a53633"

_EXAMPLES_PER_CENTROID = 5  # at least
_ITERATIONS = 10  # of k-means
_NUM = 10_000  # samples by default
_FIELDS = {*Score._fields, "samples"}  # of every entry


def real(train: Dataset, num: int) -> np.ndarray:
    """Distinct training examples in random order: samples of the true distribution."""
    return train.images[np.random.default_rng(0).permutation(len(train.images))[:num]]


def _conditions(row: str, train: Dataset, num: int) -> Conditions:
    """Labels and captions of the baseline, if it has any."""
    if row != "real data":
        return Conditions()
    rng = np.random.default_rng(0)
    drawn, captions = rng.permutation(len(train.images))[:num], train.captions
    return Conditions(
        None if train.labels is None else train.labels[drawn],
        None if captions is None else captions.draw(drawn, rng),
    )


def gaussians(train: Dataset, num: int) -> np.ndarray:
    """Samples of a Gaussian fitted to the pixels of each class (of all data, without labels)."""
    x, rng = to_float(train.images).reshape(len(train.images), -1), np.random.default_rng(0)
    labels = np.zeros(len(x), np.int32) if train.labels is None else train.labels
    drawn = rng.choice(labels, num)
    out = np.empty((num, x.shape[1]), np.float32)
    for label in np.unique(drawn):
        own = x[labels == label].astype(np.float64)
        n, d = own.shape
        if n < 2 * d:  # of the same covariance, without a decomposition of d x d numbers
            factor = (own - own.mean(axis=0)) / max(1, n - 1) ** 0.5
        else:
            values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(own.T)))
            factor = (vectors * np.sqrt(np.maximum(values, 0))).T
        normal = rng.standard_normal((np.sum(drawn == label), len(factor)))
        out[drawn == label] = own.mean(axis=0) + normal @ factor
    out = out.reshape(num, *train.images.shape[1:])
    return np.clip(out, 0, 1) if train.images.dtype == np.uint8 else out


def kmeans(train: Dataset, num: int) -> np.ndarray:
    """Centroids of k-means, at most one per 5 training examples.

    Lloyd's algorithm from random examples; an empty cluster keeps its centroid.
    """
    x = to_float(train.images).reshape(len(train.images), -1).astype(np.float32)
    k = max(1, min(num, len(x) // _EXAMPLES_PER_CENTROID))
    centroids = np.random.default_rng(0).choice(x, k, replace=False)
    for _ in range(_ITERATIONS):
        index, _ = nearest(x, centroids)
        used, first = np.unique(np.sort(index), return_index=True)
        sums = np.add.reduceat(x[np.argsort(index)], first, dtype=np.float64)
        centroids[used] = sums / np.bincount(index)[used, None]
    return centroids.reshape(k, *train.images.shape[1:])


BASELINES: dict[str, Callable[[Dataset, int], np.ndarray]] = {
    "real data": real,
    "Gaussians": gaussians,
    "k-means": kmeans,
}


Scores = dict[str, dict[str, Entry | None]]  # by baseline and metric


def _parse(content: bytes) -> Scores:
    found: Scores = json.loads(content)
    entries = [entry for row in found.values() for entry in row.values() if entry is not None]
    if found.keys() != BASELINES.keys() or not all(e.keys() >= _FIELDS for e in entries):
        raise ValueError("unexpected contents")
    return found


@functools.cache
def _packaged() -> dict[str, Any]:
    """Baseline scores that come with gan_jax, by cache key."""
    content = (importlib.resources.files(__package__) / "weights/mnist-baselines.json").read_bytes()
    if hashlib.sha256(content).hexdigest() != MNIST_SHA256:
        raise InputError("weights/mnist-baselines.json is damaged: install gan_jax again")
    found: dict[str, Any] = json.loads(content)
    return found


def key(reference: Reference, num: int, names: Sequence[str]) -> str:
    """Cache key of the baseline scores of `num` samples: a hash of all their inputs."""
    inputs = [
        VERSION,
        num,
        reference.train.sha256,
        *(
            hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()
            for x in (reference.validation, reference.test)
        ),
        reference.evaluator and reference.evaluator.name,
        *([reference.extractor.sha256] if reference.extractor else []),
        *([reference.captions.encoder.sha256] if reference.captions else []),
    ]
    if any(METRICS[name].requires == "labels" for name in names):
        assert reference.test_labels is not None  # see `unavailable_metrics`
        inputs.append(hashlib.sha256(np.ascontiguousarray(reference.test_labels).data).hexdigest())
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:32]


def _measure(
    row: str, reference: Reference, num: int, names: Sequence[str]
) -> dict[str, Entry | None]:
    images = BASELINES[row](reference.train, num)
    conditions = _conditions(row, reference.train, num)
    missed = {r for r, x in zip(CONDITIONAL, conditions, strict=True) if x is None}
    measurable = [
        name
        for name in names
        if METRICS[name].min_samples <= len(images) and METRICS[name].requires not in missed
    ]
    entries = scoring.score(images, reference, measurable, conditions=conditions)
    found: dict[str, Entry | None] = dict.fromkeys(names)
    return found | {name: {**entry, "samples": len(images)} for name, entry in entries.items()}


def baselines(reference: Reference, num: int, names: Sequence[str]) -> Scores:
    """Scores of each of BASELINES, cached.

    Args:
      reference: to compare with; baselines are built from its training set.
      num: number of samples.
      names: keys of METRICS.

    Returns:
      The entry by baseline and metric; None where the baseline has too few samples for the metric,
      or no labels.
    """
    entry = key(reference, num, names)
    file = data.cache_dir() / "baselines" / f"{entry}.json"
    found = data.read_cache_file(file, _parse, "measuring the baselines again")
    found = found or _packaged().get(entry) or {row: {} for row in BASELINES}
    missing = {row: [n for n in names if n not in found[row]] for row in BASELINES}
    for row in tqdm([r for r in BASELINES if missing[r]], desc="baselines", disable=None):
        found[row] = found[row] | _measure(row, reference, num, missing[row])
        data.write_cache_file(file, [json.dumps(found).encode()])
    return {row: {name: found[row][name] for name in names} for row in BASELINES}


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--configs", required=True, help="comma-separated names or .py files")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .json to write")
    args = parser.parse_args()
    check_new(args.out, ".json")
    entries = {}
    for name in args.configs.split(","):
        c = config.load(name)
        train = data.load(c.dataset, c.split, c.image_size)
        test = scoring.load_test(c, c.test_split)
        unavailable = scoring.unavailable_metrics(c, train, test, _NUM, c.test_split)
        names = [metric for metric in METRICS if metric not in unavailable]
        reference = scoring.reference(c, train, c.test_split, names, _NUM)
        found = {row: _measure(row, reference, _NUM, names) for row in BASELINES}
        entries[key(reference, _NUM, names)] = found
    content = json.dumps(entries).encode()
    write_whole(args.out, content)
    print(f"{args.out}: sha256 {hashlib.sha256(content).hexdigest()}")
    return 0


if __name__ == "__main__":
    cli.run(main)
