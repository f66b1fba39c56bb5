"""Tests of gan_jax.evaluation.evaluators: the pinned evaluator, the cached ones, their outputs."""

import hashlib
import io
import pathlib
import shutil

import jax
import numpy as np
import pytest

from gan_jax import data
from gan_jax.errors import InputError
from gan_jax.evaluation import evaluators
from gan_jax.evaluation.evaluators import FEATURES, Evaluator
from tests.conftest import assert_one_line_error, call
from tests.evaluation.conftest import shorten, spots, untrained

PINNED = pathlib.Path(evaluators.__file__).parent / "weights" / "mnist-v1.npz"
MNIST = data.from_arrays(np.zeros((4, 28, 28, 1), np.uint8), np.arange(4, dtype=np.int32))
SMALL = data.from_arrays(np.zeros((4, 16, 16, 1), np.uint8), np.arange(4, dtype=np.int32))
BYTES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)


@pytest.fixture
def quick(monkeypatch) -> None:
    shorten(monkeypatch, steps=3)


def assert_same(a: Evaluator, b: Evaluator) -> None:
    assert evaluators._pack(a) == evaluators._pack(b)


# The pinned evaluator


def test_pinned_file_is_as_published_and_small():
    content = PINNED.read_bytes()
    assert hashlib.sha256(content).hexdigest() == evaluators.MNIST_SHA256
    assert len(content) < 500_000
    pinned = evaluators.load("mnist:3.0.1", MNIST)
    assert pinned.name == "mnist-v1"
    assert pinned.labels.tolist() == list(range(10))
    with np.load(PINNED) as saved, np.load(io.BytesIO(evaluators._pack(pinned))) as packed:
        assert saved.files == packed.files  # their zip headers depend on the version of Python
        for name in saved.files:
            np.testing.assert_array_equal(saved[name], packed[name])


def test_pinned_evaluator_classifies_mnist(mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    images, labels, *_ = data.load("mnist", "test")
    pinned = evaluators.load("mnist", MNIST)
    measured = evaluators.accuracy(pinned, images, labels)
    assert measured >= 0.992
    assert measured == pytest.approx(pinned.accuracy, abs=5e-4)  # rounding differs by machine
    features, _ = evaluators.outputs(pinned, images[:1000])
    assert (features.std(axis=0) > 0).mean() > 0.9  # the covariance has few empty directions
    assert np.sqrt(np.mean(features**2)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_pinned_file_unlike_published_is_refused(tmp_path, monkeypatch, damage):
    copy = tmp_path / "weights" / PINNED.name
    copy.parent.mkdir()
    shutil.copyfile(PINNED, copy)
    monkeypatch.setattr(evaluators.importlib.resources, "files", lambda package: tmp_path)
    evaluators.load("mnist", MNIST)
    if damage == "altered":
        content = bytearray(copy.read_bytes())
        content[len(content) // 2] ^= 1
        copy.write_bytes(content)
    else:
        copy.unlink()
    with pytest.raises(InputError) as error:
        evaluators.load("mnist", MNIST)
    for part in (str(copy), "reinstall", "gan_jax.evaluation.evaluators --dataset=mnist"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_pickles_are_not_loaded():
    buffer = io.BytesIO()
    np.savez(buffer, name=np.array({}, object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        evaluators._unpack("mnist-v1", buffer.getvalue())


# Outputs


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (1, 1, 1), (9, 70, 3)])
def test_any_image_shape_has_outputs(shape):
    images = np.random.default_rng(0).integers(0, 256, (7, *shape)).astype(np.uint8)
    features, probabilities = evaluators.outputs(untrained(shape), images)
    assert (features.shape, probabilities.shape) == ((7, FEATURES), (7, 3))
    assert features.dtype == probabilities.dtype == np.float32
    assert 0 <= features.min() < features.max()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "block"),
    [(BYTES, 1), (BYTES, 16), (BYTES / 255, 250), ((BYTES / 255).astype(np.float32), 250)],
)
def test_outputs_do_not_depend_on_block_or_dtype(images, block, monkeypatch):
    expected = evaluators.outputs(untrained(), BYTES)
    monkeypatch.setattr(evaluators, "_BLOCK", block)
    for a, b in zip(evaluators.outputs(untrained(), images), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 8, 8), np.uint8), "must be uint8 or floats of shape"),
        (np.zeros((2, 7, 8, 1)), r"shape \(n, 8, 8, 1\), not float64 \(2, 7, 8, 1\)"),
        (np.zeros((2, 8, 8, 1), np.int64), "not int64"),
        (np.full((2, 8, 8, 1), -0.01), r"in \[0, 1\]"),
        (np.full((2, 8, 8, 1), 1.01), r"in \[0, 1\]"),
        (np.full((2, 8, 8, 1), np.nan), r"in \[0, 1\]"),
    ],
)
def test_invalid_images_are_refused(images, words):
    with pytest.raises(InputError, match=words):
        evaluators.outputs(untrained(), images)


# Training


def test_accuracy_is_of_held_out_images(cache, monkeypatch):
    seen, dataset, params = [], spots(60), untrained().params
    monkeypatch.setattr(evaluators, "train", lambda images, *_: seen.append(images) or params)
    monkeypatch.setattr(evaluators, "accuracy", lambda own, x, y: seen.append(x) or 0.5)
    assert evaluators.load("npz:x", dataset).accuracy == 0.5
    assert [len(x) for x in seen] == [54, 6]
    split, whole = ([x.tobytes() for x in xs] for xs in (np.concatenate(seen), dataset.images))
    assert sorted(split) == sorted(whole)


def test_features_have_unit_scale_and_same_classes():
    own = untrained()
    scaled = own._replace(params=evaluators._normalize_features(own, BYTES))
    features, probabilities = evaluators.outputs(scaled, BYTES)
    assert np.sqrt(np.mean(features**2)) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(probabilities, evaluators.outputs(own, BYTES)[1], rtol=1e-4)
    black = np.zeros_like(BYTES)  # without an active feature: no division by zero
    for name, x in evaluators._normalize_features(own, black).items():
        np.testing.assert_array_equal(x, own.params[name])


def test_shifts_move_images_by_whole_pixels():
    images = np.arange(1, 1 + 28 * 28, dtype=np.int32).reshape(1, 28, 28, 1).repeat(200, axis=0)
    shifted = np.asarray(evaluators._shift(jax.random.key(0), images))[..., 0]
    corners = set()
    for x in shifted:
        i, j = divmod(int(x[14, 14]) - 1 - (14 * 28 + 14) + 2 * 29, 28)
        corners.add((i, j))
        expected = np.pad(images[0, ..., 0], 2)[i : i + 28, j : j + 28]
        np.testing.assert_array_equal(x, expected)
    assert corners == {(i, j) for i in range(5) for j in range(5)}


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (BYTES, None, "has no labels"),
        (BYTES, np.ones(40, np.int32), "a single class"),
        (np.zeros_like(BYTES), np.arange(40), "all images of the data set are equal"),
        (np.zeros((9, 2), np.float32), np.arange(9), "points, not images"),
    ],
)
def test_unsuitable_data_are_refused(images, labels, problem, cache):
    with pytest.raises(InputError, match=f"no evaluator for npz:x.npz, .*FID.*: .*{problem}"):
        evaluators.load("npz:x.npz", data.from_arrays(images, labels))
    assert not cache.exists()


# The cache


def test_names_identify_data_and_recipe(monkeypatch):
    name = evaluators._name
    assert name("mnist", MNIST) == "mnist-v1"
    assert name("fashion_mnist", MNIST).startswith("fashion_mnist-")
    assert name("emnist/letters:3.1.0", SMALL).startswith("emnist_letters-")
    names = {name("mnist", SMALL), name("mnist", spots(9)), name("mnist", spots(10))}
    monkeypatch.setattr(evaluators, "RECIPE", evaluators.RECIPE + 1)
    assert len(names | {name("mnist", SMALL)}) == 4


def test_damaged_entries_are_trained_again(cache, quick, caplog, monkeypatch):
    dataset, train = spots(60), evaluators.train
    own = evaluators.load("npz:x", dataset)
    (entry,) = (cache / "evaluators").iterdir()
    content = entry.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + b"\xff\x00" * 4 + content[middle + 8 :]
    for damaged in (flipped, b"", b"text", content[:5000]):
        entry.write_bytes(damaged)
        assert_same(evaluators.load("npz:x", dataset), own)
        assert "training again" in caplog.text
        assert entry.read_bytes() == content
        caplog.clear()
    monkeypatch.setattr(evaluators, "train", None)  # the intact entry is used
    assert_same(evaluators.load("npz:x", dataset), own)
    assert not caplog.text
    monkeypatch.setattr(evaluators, "train", train)
    shutil.rmtree(cache)
    cache.write_text("")
    assert_same(evaluators.load("npz:x", dataset), own)
    assert "not cached" in caplog.text


# The command


def test_command_reproduces_its_file(tmp_path, cache, monkeypatch, capfd):
    shorten(monkeypatch)
    images, labels = spots(100).images, np.array([2, 5, 9])[spots(100).labels]
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    name = f"npz:{tmp_path / 'x.npz'}"
    for out in ("a.npz", "b.npz"):
        arguments = f"--dataset={name}", f"--out={tmp_path / out}"
        assert call(evaluators, monkeypatch, *arguments) == 0
        printed = capfd.readouterr().out
    content = (tmp_path / "a.npz").read_bytes()
    assert content == (tmp_path / "b.npz").read_bytes()
    own = evaluators.load(name, data.load(name))
    assert own.name == f"npz-{hashlib.sha256(content).hexdigest()[:8]}"
    assert own.labels.tolist() == [2, 5, 9]
    assert own.accuracy == 1
    parameters = sum(x.size for x in own.params.values())
    for part in ("100.00%", str(parameters), hashlib.sha256(content).hexdigest()):
        assert part in printed


@pytest.mark.parametrize(
    ("dataset", "out", "problem"),
    [
        ("npy:x.npy", "a.npz", "points, not images"),
        ("npy:gone.npy", "a.npz", "gone.npy"),
        ("npy:x.npy", "none/a.npz", "none is not a directory"),
    ],
)
def test_one_line_errors(dataset, out, problem, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((9, 2)))
    assert call(evaluators, monkeypatch, f"--dataset={dataset}", f"--out={out}") == 2
    assert_one_line_error(capfd.readouterr().err, problem)
