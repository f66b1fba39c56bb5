"""Tests of gan_jax.evaluator: the pinned classifier, those made on first use, their outputs."""

import hashlib
import pathlib
import shutil
import sys

import jax
import numpy as np
import pytest

from gan_jax import cli, data
from gan_jax.evaluation import classifier as evaluator
from gan_jax.errors import InputError

PINNED = pathlib.Path(evaluator.__file__).parent / "weights" / "mnist-v1.npz"


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(evaluator, "_MIN_STEPS", 3)
    monkeypatch.setattr(evaluator, "_MAX_STEPS", 3)


def blank_mnist() -> data.Dataset:
    """Of MNIST's shape, for what does not depend on the images."""
    return data._dataset(np.zeros((4, 28, 28, 1), np.uint8), np.arange(4, dtype=np.int32))


def colours(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Small colour images, not square, of the labels 2, 5 and 9: the brightest channel."""
    rng = np.random.default_rng(0)
    channels = rng.integers(0, 3, n)
    images = rng.integers(0, 100, (n, 9, 12, 3)).astype(np.uint8)
    images[np.arange(n), :, :, channels] += 100
    return images, np.array([2, 5, 9])[channels]


def untrained(shape: tuple[int, ...], classes: int) -> evaluator.Evaluator:
    params = evaluator.init(jax.random.key(0), shape, classes)
    return evaluator.Evaluator("untrained", params, shape, np.arange(classes), 0.0)


def assert_same(a: evaluator.Evaluator, b: evaluator.Evaluator) -> None:
    assert (a.name, a.shape, a.accuracy) == (b.name, b.shape, b.accuracy)
    np.testing.assert_array_equal(a.labels, b.labels)
    assert a.params.keys() == b.params.keys()
    for name in a.params:
        np.testing.assert_array_equal(a.params[name], b.params[name])


def one_line_error(*args) -> str:
    with pytest.raises(InputError) as info:
        evaluator.load(*args)
    assert "\n" not in str(info.value)
    return str(info.value)


# The pinned evaluator


def test_the_pinned_file_is_as_published_and_small():
    content = PINNED.read_bytes()
    assert hashlib.sha256(content).hexdigest() == evaluator.MNIST_SHA256
    assert len(content) < 500_000
    pinned = evaluator.load("mnist:3.0.1", blank_mnist())
    assert pinned.name == "mnist-v1"
    assert pinned.labels.tolist() == list(range(10))
    assert evaluator._pack(pinned) == content


def test_the_pinned_evaluator_knows_the_digits_of_mnist(mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    test_set = data.load("mnist", "test")
    pinned = evaluator.load("mnist", test_set)
    measured = evaluator.accuracy(pinned, test_set.images, test_set.labels)
    assert measured >= 0.992
    assert measured == pytest.approx(pinned.accuracy, abs=5e-4)  # rounding differs by machine
    features, _ = evaluator.outputs(pinned, test_set.images[:1000])
    assert (features.std(axis=0) > 0).mean() > 0.9  # the covariance has few empty directions


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_pinned_file_other_than_published_is_refused(tmp_path, monkeypatch, damage):
    copy = tmp_path / "evaluators" / PINNED.name
    copy.parent.mkdir()
    shutil.copyfile(PINNED, copy)
    monkeypatch.setattr(evaluator.importlib.resources, "files", lambda package: tmp_path)
    evaluator.load("mnist", blank_mnist())
    if damage == "altered":
        content = bytearray(copy.read_bytes())
        content[len(content) // 2] ^= 1
        copy.write_bytes(content)
    else:
        copy.unlink()
    message = one_line_error("mnist", blank_mnist())
    assert str(copy) in message
    assert "reinstall" in message
    assert "python -m gan_jax.evaluation.classifier --dataset=mnist" in message


def test_mnist_of_another_size_and_other_sets_of_its_size_are_not_mnist():
    small = data._dataset(np.zeros((4, 16, 16, 1), np.uint8), np.arange(4, dtype=np.int32))
    assert evaluator._name("mnist", blank_mnist()) == "mnist-v1"
    assert evaluator._name("mnist", small) != "mnist-v1"
    assert evaluator._name("fashion_mnist", blank_mnist()).startswith("fashion_mnist-")


# Outputs


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (32, 32, 3), (1, 1, 1), (9, 70, 3)])
def test_features_and_probabilities_of_any_shape(shape):
    images = np.random.default_rng(0).integers(0, 256, (7, *shape)).astype(np.uint8)
    features, probabilities = evaluator.outputs(untrained(shape, 3), images)
    assert features.shape == (7, evaluator.FEATURES)
    assert probabilities.shape == (7, 3)
    assert features.dtype == probabilities.dtype == np.float32
    assert features.min() >= 0
    assert features.max() > 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_no_images_have_no_outputs():
    features, probabilities = evaluator.outputs(untrained((8, 8, 1), 3), np.zeros((0, 8, 8, 1)))
    assert features.shape == (0, 64)
    assert probabilities.shape == (0, 3)


def test_outputs_do_not_depend_on_the_blocks(monkeypatch):
    own = untrained((8, 8, 1), 3)
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    whole = evaluator.outputs(own, images)
    for block in (1, 16, 40):
        monkeypatch.setattr(evaluator, "_BLOCK", block)
        for a, b in zip(evaluator.outputs(own, images), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_bytes_and_floats_give_the_same():
    own = untrained((8, 8, 1), 3)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    expected = evaluator.outputs(own, images)
    for same in (images.astype(np.float32) / 255, images / 255):
        for a, b in zip(evaluator.outputs(own, same), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8), np.uint8),
        np.full((2, 8, 8, 1), -1.0),  # as a tanh gives them
        np.full((2, 8, 8, 1), 255.0),
        np.full((2, 8, 8, 1), np.nan),
        np.zeros((2, 7, 8, 1)),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 1), np.int64),
    ],
)
def test_images_that_do_not_fit_are_refused(images):
    with pytest.raises(
        InputError, match=r"want uint8 or float images \(n, 8, 8, 1\), found|must lie in"
    ):
        evaluator.outputs(untrained((8, 8, 1), 3), images)


# Training and the cache


@pytest.mark.slow
def test_digits_are_learned(cache, digits):
    own = evaluator.load("digits", digits)
    assert own.name.startswith("digits-")
    assert [f.stem.rpartition("-")[0] for f in (cache / "evaluators").iterdir()] == ["digits"]
    test_set = data.load("digits", "test")
    assert evaluator.accuracy(own, test_set.images, test_set.labels) >= 0.95
    assert own.accuracy >= 0.95


def test_accuracy_is_of_images_not_trained_on(cache, digits, monkeypatch):
    seen = []
    original = evaluator.train
    monkeypatch.setattr(evaluator, "_MIN_STEPS", 3)
    monkeypatch.setattr(evaluator, "_EPOCHS", 0)
    monkeypatch.setattr(evaluator, "train", lambda *a: seen.append(a[0]) or original(*a))
    monkeypatch.setattr(evaluator, "accuracy", lambda own, x, y: seen.append(x) or 0.5)
    assert evaluator.load("digits", digits).accuracy == 0.5
    assert [len(x) for x in seen] == [1350, 150]
    split, whole = ([x.tobytes() for x in xs] for xs in (np.concatenate(seen), digits.images))
    assert sorted(split) == sorted(whole)


def test_a_second_load_does_not_train(cache, quick, digits, monkeypatch):
    own = evaluator.load("digits", digits)
    monkeypatch.setattr(evaluator, "train", None)
    assert_same(evaluator.load("digits", digits), own)


def test_another_data_set_or_recipe_has_another_evaluator(digits, monkeypatch):
    part = data.load("digits", "train[:100]")
    names = [evaluator._name("digits", digits), evaluator._name("digits", part)]
    monkeypatch.setattr(evaluator, "RECIPE", evaluator.RECIPE + 1)
    names.append(evaluator._name("digits", digits))
    assert len(set(names)) == 3
    assert evaluator._name("emnist/letters:3.1.0", digits).startswith("emnist_letters-")
    assert evaluator._name("folder:/a/b", digits).startswith("folder-")


def test_a_damaged_cache_is_trained_again_with_a_warning(cache, quick, digits, caplog):
    own = evaluator.load("digits", digits)
    (entry,) = (cache / "evaluators").iterdir()
    content = entry.read_bytes()
    for at in (300, len(content) // 2):
        entry.write_bytes(content[:at] + b"\xff\x00" * 4 + content[at + 8 :])
        assert_same(evaluator.load("digits", digits), own)
        assert "training again" in caplog.text
        assert entry.read_bytes() == content
        caplog.clear()
    for damaged in (b"", b"text", content[:5000]):
        entry.write_bytes(damaged)
        assert_same(evaluator.load("digits", digits), own)
        assert "training again" in caplog.text
        caplog.clear()
    assert_same(evaluator.load("digits", digits), own)
    assert not caplog.text


def test_a_cache_that_cannot_be_written_only_warns(tmp_path, quick, digits, caplog, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "file"))
    evaluator.load("digits", digits)
    assert "not kept in the cache" in caplog.text


def test_training_depends_on_the_seed_alone(quick, digits):
    def norm(seed: int) -> bytes:
        params = evaluator.train(digits.images, digits.labels, 10, seed)
        return b"".join(np.asarray(x).tobytes() for x in params.values())

    assert norm(0) == norm(0)
    assert norm(0) != norm(1)


def test_shifts_move_images_by_whole_pixels():
    images = np.arange(1, 1 + 28 * 28, dtype=np.int32).reshape(1, 28, 28, 1).repeat(200, axis=0)
    shifted = np.asarray(evaluator._shift(jax.random.key(0), images))[..., 0]
    moves = {divmod(int(x) - 1 - (14 * 28 + 14), 28) for x in shifted[:, 14, 14]}
    assert moves == {divmod(28 * i + j, 28) for i in range(-2, 3) for j in range(-2, 3)}
    for x in shifted:
        i, j = divmod(int(x[14, 14]) - 1 - (14 * 28 + 14) + 2 * 29, 28)
        expected = np.pad(images[0, ..., 0], 2)[i : i + 28, j : j + 28]
        np.testing.assert_array_equal(x, expected)


def test_data_without_labels_or_images_is_refused(cache):
    images, _ = colours()
    for dataset, problem in (
        (data._dataset(images, None), "has no labels"),
        (data._dataset(images, np.ones(len(images), np.int32)), "a single class"),
        (data._dataset(np.zeros((9, 2), np.float32), None), "points, not images"),
        (data._dataset(np.zeros((9, 2), np.float32), np.arange(9)), "points, not images"),
    ):
        message = one_line_error("npz:x.npz", dataset)
        assert problem in message
        assert "npz:x.npz" in message
        assert "FID" in message
    assert not cache.exists()


# The command


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluator", *arguments])
    with pytest.raises(SystemExit) as info:
        cli.run(evaluator.main)
    return info.value.code


def test_the_command_writes_the_same_bytes_each_time(tmp_path, cache, monkeypatch, capfd):
    monkeypatch.setattr(evaluator, "_MIN_STEPS", 200)
    images, labels = colours()
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    name = f"npz:{tmp_path / 'x.npz'}"
    for out in ("a.npz", "b.npz"):
        assert call(monkeypatch, f"--dataset={name}", f"--out={tmp_path / out}") == 0
        printed = capfd.readouterr().out
    content = (tmp_path / "a.npz").read_bytes()
    assert content == (tmp_path / "b.npz").read_bytes()
    own = evaluator.load(name, data.load(name))
    assert own.name.partition("-")[2] == hashlib.sha256(content).hexdigest()[:8]
    assert own.labels.tolist() == [2, 5, 9]
    assert own.accuracy == 1
    parameters = sum(x.size for x in own.params.values())
    for part in ("100.00%", str(parameters), hashlib.sha256(content).hexdigest()):
        assert part in printed


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, monkeypatch, capfd):
    np.save(tmp_path / "x.npy", np.zeros((9, 2)))
    for dataset, out, problem in (
        (f"npy:{tmp_path / 'x.npy'}", "a.npz", "points, not images"),
        ("digits", "none/a.npz", "no directory"),
    ):
        assert call(monkeypatch, f"--dataset={dataset}", f"--out={tmp_path / out}") == 2
        error = capfd.readouterr().err
        assert problem in error
        assert error.count("\n") == 1
