import pathlib
import pickle
import struct

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from gan_jax import config as config_lib
from gan_jax import data
from gan_jax.data import Dataset
from gan_jax.evaluation import evaluators
from gan_jax.evaluation.evaluators import Evaluator, Params
from gan_jax.evaluation.registry import METRICS, Reference
from tests.conftest import tiny_config

PIXELS = [name for name, metric in METRICS.items() if not metric.requires]
SPECIAL = [name for name in METRICS if METRICS[name].requires not in ("evaluator", "")]
GENERAL = [name for name, metric in METRICS.items() if metric.requires in ("evaluator", "")]

_CENTRES = np.array([[1.5, 1.5], [1.5, 5.5], [5.5, 3.5]])
_INIT = evaluators.init  # before `shorten` replaces it


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
    """`evaluators.init`, but drawn by NumPy, without its seconds of compilation."""
    rng = np.random.default_rng(0)

    def draw(x) -> jax.Array:
        scale = (2 / np.prod(x.shape[:-1])) ** 0.5 if len(x.shape) > 1 else 0
        return jax.numpy.asarray(rng.normal(0, scale, x.shape), np.float32)

    return jax.tree.map(draw, jax.eval_shape(lambda key: _INIT(key, shape, classes), key))


def shorten(patch: pytest.MonkeyPatch, steps: int = 60) -> None:
    """Trains evaluators briefly; the cache must be the test's own or the data set."""
    patch.setattr(evaluators, "_MIN_STEPS", steps)
    patch.setattr(evaluators, "_EPOCHS", 0)
    patch.setattr(evaluators, "_BATCH", 32)
    patch.setattr(evaluators, "init", random_params)


def untrained(shape: tuple[int, ...] = (8, 8, 1), classes: int = 3) -> Evaluator:
    params = random_params(jax.random.key(0), shape, classes)
    return Evaluator("untrained", params, shape, np.arange(classes), 0.0)


def untrained_reference(train: Dataset | None = None) -> Reference:
    """A reference with an evaluator of random weights."""
    validation, test = spots(100, 1).images, spots(100, 2).images
    own = untrained()
    return Reference(train or spots(300), validation, test, own, *evaluators.outputs(own, test))


def torch_file(tensors: dict[str, np.ndarray]) -> bytes:
    """A state dict as torch.save wrote it before PyTorch 1.6: five pickles, then the storages."""

    def text(s: str) -> bytes:
        return b"X" + struct.pack("<I", len(s)) + s.encode()

    def integers(xs) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", x) for x in xs) + b"t"

    def tensor(x: np.ndarray, key: str) -> bytes:
        kind = {"f": b"ctorch\nFloatStorage\n", "i": b"ctorch\nLongStorage\n"}[x.dtype.kind]
        size, strides = integers([x.size])[1:-1], [stride // x.itemsize for stride in x.strides]
        storage = b"(" + text("storage") + kind + text(key) + text("cpu") + size + b"NtQ"
        hooks = b"\x89ccollections\nOrderedDict\n)Rt"
        rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
        return rebuild + storage + b"K\0" + integers(x.shape) + integers(strides) + hooks + b"R"

    keyed = {str(key): x for key, x in enumerate(tensors.values(), 100)}
    items = zip(tensors, keyed.items(), strict=True)
    state = b"}(" + b"".join(text(name) + tensor(x, key) for name, (key, x) in items) + b"u."
    headers = b"".join(pickle.dumps(x, 2) for x in (0, 1001, {}))
    storages = (struct.pack("<q", x.size) + x.tobytes("A") for x in keyed.values())
    return headers + b"\x80\2" + state + pickle.dumps([*keyed], 2) + b"".join(storages)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    """An empty cache."""
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
