"""Spots: small labelled images whose class a short training suffices to tell."""

import pathlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from gan_jax import config as config_lib
from gan_jax import data
from gan_jax.data import Dataset
from gan_jax.evaluation import classifier, registry
from gan_jax.evaluation.classifier import Evaluator
from gan_jax.evaluation.registry import METRICS, Reference
from tests.conftest import tiny_config

PIXELS = ["memorisation", "parzen"]  # metrics of unlabelled images
MIXTURE = {name for name, metric in METRICS.items() if metric.needs == "mixture"}
GENERAL = [name for name in METRICS if name not in MIXTURE]
_CENTRES = np.array([[1.5, 1.5], [1.5, 5.5], [5.5, 3.5]])  # by class
_INIT = classifier.init  # tests replace it


def spots(n: int, seed: int = 0) -> Dataset:
    """8x8 images of a bright spot whose place, but for jitter, is the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype(np.int32)
    y, x = (_CENTRES[labels] + rng.normal(0, 0.6, (n, 2))).T[..., None, None, None]
    width, light = rng.uniform(1, 2, (n, 1, 1, 1)), rng.uniform(150, 250, (n, 1, 1, 1))
    i, j = np.indices((8, 8))[..., None]
    images = light * np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * width**2))
    return data.from_arrays(images.astype(np.uint8), labels)


def write(path: pathlib.Path, dataset: Dataset, labelled: bool = True) -> str:
    """Writes a data set and returns its name."""
    labels = {"labels": dataset.labels} if labelled else {}
    np.savez(path, images=dataset.images, **labels)
    return f"npz:{path}"


def configured(name: str, **fields) -> ConfigDict:
    """A config of 500 examples: 300 for training, 100 for validation, 100 for the test."""
    splits = {"split": "train[:300]", "validation_split": "train[300:400]"}
    fields = {"dataset": name, **splits, "test_split": "train[400:500]", **fields}
    return config_lib.replace(tiny_config(), fields)


def random_params(key, shape: tuple[int, ...], classes: int) -> classifier.Params:
    """classifier.init drawn by NumPy, to save compiling the draws."""
    shapes = jax.eval_shape(lambda key: _INIT(key, shape, classes), key)
    rng = np.random.default_rng(0)

    def draw(x) -> jax.Array:
        scale = (2 / np.prod(x.shape[:-1])) ** 0.5 if len(x.shape) > 1 else 0
        return jax.numpy.asarray(rng.normal(0, scale, x.shape), np.float32)

    return jax.tree.map(draw, shapes)


def quick(monkeypatch) -> None:
    """Shortens the training of evaluators to what spots need.

    Only for data sets of a test's own: the session's cache does not depend on these settings.
    """
    monkeypatch.setattr(classifier, "_EPOCHS", 0)
    monkeypatch.setattr(classifier, "_MIN_STEPS", 60)
    monkeypatch.setattr(classifier, "_BATCH", 32)
    monkeypatch.setattr(classifier, "init", random_params)


def make_reference(config, names=tuple(GENERAL), num=1280) -> Reference:
    train = data.load(config.dataset, config.split)
    return registry.reference(config, train, config.test_split, names, num)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> Reference:
    """Spots with a trained evaluator."""
    name = write(tmp_path_factory.mktemp("labelled") / "x.npz", spots(500))
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        return make_reference(configured(name))


def untrained(train: Dataset | None = None) -> Reference:
    """Spots with an evaluator of random weights."""
    params = random_params(jax.random.key(0), (8, 8, 1), 3)
    own = Evaluator("untrained", params, (8, 8, 1), np.arange(3), 0.0)
    held, test = spots(100, 1).images, spots(100, 2).images
    return Reference(train or spots(300), held, test, own, *classifier.outputs(own, test))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
