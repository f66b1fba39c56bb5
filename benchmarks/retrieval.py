"""Scores retrieval by several features, and times the search of 100,000 images.

    python benchmarks/retrieval.py --shapes=DIR --workdir=DIR [--parts=silhouettes,mnist,time]

silhouettes: MPEG-7 CE-Shape-1 part B, 1,400 GIF files NAME-NUMBER.gif of 70 classes below --shapes;
cropped to the silhouette, padded to a square and resized to 64x64 pixels. Every image is a query;
the score is the bull's-eye score. mnist: mean average precision of the first 1,000 test images as
queries to the other 9,000. time: random images of 32x32 pixels, by an untrained discriminator of
half the width of dcgan_cifar10.

Trains the networks in --workdir, or uses those that are there; `random` features are of the same
networks before training. Prints tables of scores with 95 % intervals over queries, and of paired
differences to those of pixels, and writes benchmarks/results/retrieval/PART.json.
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from scipy.spatial.distance import cdist

from benchmarks import common
from gan_jax import algorithms, cli, data, retrieve, train, workdir
from gan_jax import config as config_lib
from gan_jax.data import Dataset
from gan_jax.draws import Batch
from gan_jax.errors import InputError
from gan_jax.evaluation import evaluators, features
from gan_jax.evaluation.features import Features
from gan_jax.evaluation.metrics import retrieval
from gan_jax.spec import Spec
from gan_jax.state import State
from gan_jax.writers import write_json

OUT = common.RESULTS / "retrieval"
SIDE = 64
QUERIES = 1_000
SEARCHED = 100_000


def prepare(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes silhouettes as square PNG files, in a subfolder for each class."""
    files = sorted(source.glob("*.gif"))
    if not files:
        raise InputError(f"--shapes={source} has no .gif files")
    for file in files:
        image = Image.open(file).convert("L")
        image = image.crop(image.getbbox())
        square = Image.new("L", (max(image.size),) * 2)
        square.paste(image, tuple((square.width - side) // 2 for side in image.size))
        place = folder / file.stem.rpartition("-")[0]
        place.mkdir(parents=True, exist_ok=True)
        square.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(place / f"{file.stem}.png")


def trained(config: ConfigDict, directory: pathlib.Path) -> tuple[Spec, dict[str, State]]:
    """A run's spec, and its states before and after training."""
    if train.run(config, directory, directory.name):
        raise InputError(f"{directory}: training did not finish")
    spec, state = workdir.load(directory)
    x = jnp.zeros((1, *spec.example_shape))
    initial = algorithms.init(spec, config_lib.hparams(config), config.seed, Batch(x))
    return spec, {"random": initial, "trained": state}


def discriminators(config: ConfigDict, directory: pathlib.Path) -> list[Features]:
    """Features of D before and after training: of all layers, and of each."""
    spec, states = trained(config, directory)
    every = []
    for name, state in states.items():
        layers = [None, *(f"conv{i}" for i in range(len(config.discriminator.widths)))]
        layers += [f"dense{i}" for i in range(len(config.discriminator.hidden))]
        for layer in layers:
            found = features.discriminator(spec, state, layer)
            every.append(found._replace(name=f"{name} D, {layer or 'all layers'}"))
    return every


def compare(
    kinds: list[Features],
    images: np.ndarray,
    labels: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    queries: np.ndarray | None = None,
    query_labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Scores by name of features, the first of which the others are compared with.

    Queries are the images themselves, unless given.
    """
    queries, query_labels = (images, labels) if queries is None else (queries, query_labels)
    relevant = query_labels[:, None] == labels
    first, found = None, {}
    print("| features | dimensions | score | difference |\n|---|---|---|---|")
    for kind in kinds:
        x, y = (features.compute(kind, part) for part in (queries, images))
        values = score(cdist(x, y), relevant)
        first = values if first is None else first
        result, difference = retrieval.mean(values), retrieval.mean(values - first, lower=-1)
        cells = (f"{s.value:.3f} ({s.low:.3f} to {s.high:.3f})" for s in (result, difference))
        print(f"| {kind.name} | {x.shape[1]} | {' | '.join(cells)} |", flush=True)
        found[kind.name] = {
            "dimensions": x.shape[1],
            "score": result._asdict(),
            "difference": difference._asdict(),
        }
    return found


def silhouettes(shapes: pathlib.Path, directory: pathlib.Path) -> dict[str, Any]:
    folder = directory / "silhouettes"
    if not folder.exists():
        prepare(shapes, folder)
    same = {"dataset": f"folder:{folder}", "image_size": SIDE, "validation_split": "train"}
    gan = config_lib.replace(
        config_lib.load("dcgan_mnist"),
        {
            **same,
            "split": "train",
            "num_steps": 600,
            "schedules": (),
            "eval_every": 0,
            "keep_best": "none",
            "generator.widths": (128, 64, 32, 16),
            "generator.hidden": (),
            "discriminator.widths": (16, 32, 64, 128),
            "discriminator.hidden": (),
        },
    )
    autoencoder = config_lib.replace(
        config_lib.load("autoencoder_mnist"), {**same, "split": "train", "num_steps": 1_500}
    )
    dataset = data.load(gan.dataset, "train", SIDE)
    kinds = [features.pixels(dataset.images.shape[1:])]
    kinds += discriminators(gan, directory / "silhouettes_gan")
    spec, states = trained(autoencoder, directory / "silhouettes_autoencoder")
    kinds += [
        features.encoder(spec, state)._replace(name=f"{name} encoder")
        for name, state in states.items()
    ]
    return compare(kinds, dataset.images, dataset.labels, retrieval.bullseye)


def mnist(directory: pathlib.Path) -> dict[str, Any]:
    config = config_lib.replace(
        config_lib.load("dcgan_mnist"),
        {"num_steps": 1_500, "schedules": (), "eval_every": 0, "keep_best": "none"},
    )
    test = data.load("mnist", "test")
    kinds = [features.pixels(test.images.shape[1:])]
    kinds += discriminators(config, directory / "mnist_gan")
    kinds.append(features.evaluator(evaluators.load("mnist", data.load("mnist", "train"))))
    (queries, images), (query_labels, labels) = (
        np.split(x, [QUERIES]) for x in (test.images, test.labels)
    )
    score = retrieval.average_precision
    return compare(kinds, images, labels, score, queries, query_labels)


def timing() -> dict[str, Any]:
    """Seconds of searches, of which the first follows the computation of the features."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (SEARCHED, 32, 32, 3), np.uint8)
    dataset: Dataset = data.from_arrays(images)
    half = {"discriminator.widths": (32, 64, 128)}
    config = config_lib.replace(config_lib.load("dcgan_cifar10"), half)
    spec = config_lib.spec(config, images.shape[1:])
    state = algorithms.init(spec, config_lib.hparams(config), 0, Batch(jnp.asarray(images[:1])))
    found = {}
    print("| features | dimensions | GB | to compute (s) | search (s) |\n|---|---|---|---|---|")
    for layer in (None, "conv0"):
        kind = features.discriminator(spec, state, layer)
        begun = time.perf_counter()
        searched = features.cached(kind, dataset)
        computed = time.perf_counter() - begun
        seconds = []
        for query in images[:10]:
            begun = time.perf_counter()
            hits = retrieve.search(kind, query, dataset, 15)
            seconds.append(time.perf_counter() - begun)
            assert hits[0].distance == 0
        row = statistics.median(seconds), max(seconds)
        name = layer or "all layers"
        cells = f"{searched.shape[1]} | {searched.nbytes / 1e9:.2f} | {computed:.0f}"
        print(f"| {name} | {cells} | {row[0]:.2f}, at most {row[1]:.2f} |", flush=True)
        found[name] = {
            "dimensions": searched.shape[1],
            "bytes": searched.nbytes,
            "seconds_to_compute": computed,
            "seconds_to_search": seconds,
        }
    return found


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--shapes", type=pathlib.Path, help="directory of the GIF files")
    parser.add_argument("--workdir", type=pathlib.Path, help="of the trained networks")
    parser.add_argument("--parts", default="silhouettes,mnist,time")
    args = parser.parse_args()
    directory = args.workdir or pathlib.Path(tempfile.mkdtemp())
    parts = {
        "silhouettes": lambda: silhouettes(args.shapes, directory),
        "mnist": lambda: mnist(directory),
        "time": timing,
    }
    common.setup("mnist")
    OUT.mkdir(parents=True, exist_ok=True)
    for name in args.parts.split(","):
        if name not in parts:
            raise InputError(f"--parts: {name!r} is not one of {', '.join(parts)}")
        if name == "silhouettes" and args.shapes is None:
            raise InputError("--parts=silhouettes needs --shapes")
        result = parts[name]()
        write_json(OUT / f"{name}.json", {**common.origin(), "features": result})
    return 0


if __name__ == "__main__":
    cli.run(main)
