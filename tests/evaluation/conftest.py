import pathlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from gan_jax import config as config_lib
from gan_jax import data
from gan_jax.data import Dataset
from gan_jax.evaluation import classifier
from gan_jax.evaluation.classifier import Evaluator, Params
from gan_jax.evaluation.registry import METRICS, Reference
from tests.conftest import tiny_config

PIXELS = [name for name, metric in METRICS.items() if not metric.needs]
SPECIAL = [name for name in METRICS if METRICS[name].needs not in ("evaluator", "")]
GENERAL = [name for name, metric in METRICS.items() if metric.needs in ("evaluator", "")]

_CENTRES = np.array([[1.5, 1.5], [1.5, 5.5], [5.5, 3.5]])
_INIT = classifier.init  # before `shorten` replaces it


def spots(n: int, seed: int = 0) -> Dataset:
    """8x8 images of a bright spot near one of three places, its class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype(np.int32)
    y, x = (_CENTRES[labels] + rng.normal(0, 0.6, (n, 2))).T[..., None, None, None]
    width, light = rng.uniform(1, 2, (n, 1, 1, 1)), rng.uniform(150, 250, (n, 1, 1, 1))
    i, j = np.indices((8, 8))[..., None]
    images = light * np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * width**2))
    return data.from_arrays(images.astype(np.uint8), labels)


def write(path: pathlib.Path, dataset: Dataset, labelled: bool = True) -> str:
    """Writes an .npz file and returns its name as a data set."""
    labels = {"labels": dataset.labels} if labelled else {}
    np.savez(path, images=dataset.images, **labels)
    return f"npz:{path}"


def spots_config(name: str) -> ConfigDict:
    """A tiny run on 500 examples: 300 train, 100 validation, 100 test."""
    splits = {"split": "[:300]", "validation_split": "[300:400]", "test_split": "[400:500]"}
    fields = {field: f"train{part}" for field, part in splits.items()}
    return config_lib.replace(tiny_config(), {"dataset": name, **fields})


def random_params(key: jax.Array, shape: tuple[int, ...], classes: int) -> Params:
    """`classifier.init`, but drawn by NumPy, without its seconds of compilation."""
    rng = np.random.default_rng(0)

    def draw(x) -> jax.Array:
        scale = (2 / np.prod(x.shape[:-1])) ** 0.5 if len(x.shape) > 1 else 0
        return jax.numpy.asarray(rng.normal(0, scale, x.shape), np.float32)

    return jax.tree.map(draw, jax.eval_shape(lambda key: _INIT(key, shape, classes), key))


def shorten(patch: pytest.MonkeyPatch, steps: int = 60) -> None:
    """Trains evaluators briefly; the cache must be the test's own or the data set."""
    patch.setattr(classifier, "_MIN_STEPS", steps)
    patch.setattr(classifier, "_EPOCHS", 0)
    patch.setattr(classifier, "_BATCH", 32)
    patch.setattr(classifier, "init", random_params)


def untrained(shape: tuple[int, ...] = (8, 8, 1), classes: int = 3) -> Evaluator:
    params = random_params(jax.random.key(0), shape, classes)
    return Evaluator("untrained", params, shape, np.arange(classes), 0.0)


def untrained_reference(train: Dataset | None = None) -> Reference:
    """A reference with an evaluator of random weights."""
    validation, test = spots(100, 1).images, spots(100, 2).images
    own = untrained()
    return Reference(train or spots(300), validation, test, own, *classifier.outputs(own, test))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    """An empty cache."""
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
