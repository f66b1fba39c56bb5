"""Tests of gan_jax.data.load: splits, built-in data sets and NumPy files."""

import pathlib
import pickle

import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data import pixels, tfds
from tests.conftest import Bomb
from tests.data.conftest import assert_same, entries, load_error

# Splits


def test_slices():
    whole = data.load("digits")
    part = data.load("digits", "train[10:30]")
    np.testing.assert_array_equal(part.images, whole.images[10:30])
    np.testing.assert_array_equal(part.labels, whole.labels[10:30])
    assert part.class_names == whole.class_names
    assert part.sha256 != whole.sha256
    assert len(data.load("digits", "train[1490:]").images) == 10
    assert len(data.load("digits", "train[:7]").images) == 7
    assert data.load("digits", "train[:]").sha256 == whole.sha256


@pytest.mark.parametrize(
    ("message", "splits"),
    [
        ("NAME[a:b]", ["", "train[", "train[5]", "train[-5:]", "train[:10%]", "train[:2][:1]"]),
        ("NAME[a:b]", ["../train", "x" * 5000, f"train[:{'9' * 5000}]"]),
        ("<= 1500", ["train[5:5]", "train[7:3]", "train[:0]", "train[:1501]"]),
        ("expected one of train, test", ["validation"]),
    ],
)
def test_invalid_splits(message, splits):
    for split in splits:
        assert message in load_error("digits", split)


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        ("train", "test", False),
        ("train", "train[5:]", True),
        ("train[:5]", "train[5:]", False),
        ("train[:6]", "train[5:]", True),
        ("train[2:4]", "train[4:9]", False),
        ("train[2:5]", "test[2:5]", False),
    ],
)
def test_overlap(a, b, common):
    assert data.overlap(a, b) is data.overlap(b, a) is common


def test_invalid_image_size(monkeypatch):
    for size in (-1, (0, 4)):
        assert "image_size" in load_error("digits", image_size=size)

    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(pixels, "resize", exhausted)
    assert "does not fit in memory" in load_error("digits", image_size=4096)


# Built-in data sets


def test_digits_match_sklearn():
    from sklearn.datasets import load_digits

    raw, labels = load_digits(return_X_y=True)
    train, test = data.load("digits", "train"), data.load("digits", "test")
    assert train.images.shape == (1500, 8, 8, 1)
    assert test.images.shape == (297, 8, 8, 1)
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int32)
    both = np.concatenate([train.images, test.images])
    np.testing.assert_array_equal(np.round(both.reshape(-1, 64) * (16 / 255)), raw)
    assert both.max() == 255
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), labels)
    assert train.class_names == tuple("0123456789")
    # Runs are resumed on the data that they record: the hash is part of the format.
    assert train.sha256.startswith("dbbe00969e2b8c1955414c44dbb05af9")
    assert_same(data.load("digits", image_size=8), train)
    assert data.load("digits", image_size=16).images.shape == (1500, 16, 16, 1)


def test_mixture(cache_dir):
    train, test = data.load("ring"), data.load("ring", "test")
    assert (train.images.shape, test.images.shape) == ((100_000, 2), (10_000, 2))
    assert not np.array_equal(test.labels, train.labels[:10_000])  # another seed
    assert "expected one of train, test" in load_error("ring", "validation")
    assert "points" in load_error("ring", image_size=8)
    assert not cache_dir.exists()


def test_stacked_mnist(monkeypatch):
    digits = data.load("digits")._replace(
        images=np.arange(1500, dtype=np.uint8)[:, None, None, None]
    )
    monkeypatch.setattr(tfds, "load", lambda name, split, size: digits if name == "mnist" else None)
    train, test = data.load("stacked_mnist"), data.load("stacked_mnist", "test")
    assert (train.images.shape, test.images.shape) == ((128_000, 1, 1, 3), (26_000, 1, 1, 3))
    assert len(np.unique(train.labels)) == 1000
    # Each channel is an example of the digit that the label says.
    pairs = set(zip(digits.images.ravel().tolist(), digits.labels.tolist(), strict=True))
    hundreds, tens, ones = train.labels // 100, train.labels // 10 % 10, train.labels % 10
    for channel, digit in zip(train.images[:100, 0, 0].T, (hundreds, tens, ones), strict=True):
        assert set(zip(channel.tolist(), digit[:100].tolist(), strict=True)) <= pairs
    assert "expected one of train, test" in load_error("stacked_mnist", "validation")


def test_sha256_covers_dtype_shape_and_labels():
    zeros = np.zeros((2, 2, 2, 1), np.uint8)
    digests = {
        data.from_arrays(images, labels, names).sha256
        for images, labels, names in [
            (zeros, None, None),
            (zeros.reshape(2, 4, 1, 1), None, None),
            (zeros.view(np.int8), None, None),
            (zeros, np.zeros(2, np.int32), None),
            (zeros, np.zeros(2, np.int32), ("a",)),  # the same: names are not data
            (zeros, np.ones(2, np.int32), None),
        ]
    }
    assert len(digests) == 5


# NumPy files

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_npz_with_labels(tmp_path, cache_dir):
    path = tmp_path / "x.npz"
    limits = np.iinfo(np.int32)
    np.savez(path, images=IMAGES, labels=np.array([limits.min, limits.max]), other=np.zeros(1))
    d = data.load(f"npz:{path}")
    np.testing.assert_array_equal(d.images, IMAGES[..., None])
    assert d.labels.tolist() == [limits.min, limits.max]
    assert d.labels.dtype == np.int32
    assert not entries(cache_dir)
    assert data.load(f"npz:{path}", "train[1:]").labels.tolist() == [limits.max]
    assert "expected one of train" in load_error(f"npz:{path}", "test")


def test_npz_with_a_single_array(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", faces=IMAGES)
    images = data.load(f"npz:{tmp_path / 'x.npz'}", image_size=4).images
    expected = Image.fromarray(IMAGES[1]).resize((4, 4), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(images[1, ..., 0], np.asarray(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_npy_points(tmp_path, dtype):
    points = np.array([[0.5, -2.0], [1e6, 3.0], [0.0, 1.0]], dtype)
    np.save(tmp_path / "x.npy", points)
    d = data.load(f"npy:{tmp_path / 'x.npy'}")
    assert d.images.dtype == np.float32
    assert d.labels is None
    np.testing.assert_array_equal(d.images, points)
    assert "images to resize" in load_error(f"npy:{tmp_path / 'x.npy'}", image_size=8)


@pytest.mark.parametrize(
    ("message", "arrays"),
    [
        ("found a, b", {"a": IMAGES, "b": IMAGES}),
        ("nan", {"images": np.array([[1.0, np.nan]])}),
        ("inf", {"images": np.array([[1e300]])}),
        ("float32 (2, 3, 3)", {"images": np.zeros((2, 3, 3), np.float32)}),
        ("uint8 (2, 3)", {"images": np.zeros((2, 3), np.uint8)}),
        ("uint8 (2, 3, 3, 4)", {"images": np.zeros((2, 3, 3, 4), np.uint8)}),
        ("int64 (2, 3)", {"images": np.zeros((2, 3), np.int64)}),
        ("(0, 3, 3)", {"images": np.zeros((0, 3, 3), np.uint8)}),
        ("float32 ()", {"images": np.float32(1.0)}),
        ("expected integer labels (2,)", {"images": IMAGES, "labels": np.zeros(3, np.int32)}),
        ("expected integer labels (2,)", {"images": IMAGES, "labels": np.zeros(2)}),
        ("expected integer labels (2,)", {"images": IMAGES, "labels": np.zeros((2, 1), np.int32)}),
        ("found 0 to 2147483648", {"images": IMAGES, "labels": np.array([0, 2**31])}),
        ("found -2147483649 to 0", {"images": IMAGES, "labels": np.array([-(2**31) - 1, 0])}),
        ("fit in 32 bits", {"images": IMAGES, "labels": np.array([0, 2**63], np.uint64)}),
    ],
)
def test_unusable_arrays(tmp_path, message, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    assert message in load_error(f"npz:{tmp_path / 'x.npz'}")


def test_pickles_are_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", images=np.array([Bomb()], object))
    np.save("x.npy", np.array([Bomb()], object))
    pathlib.Path("raw.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("npz:x.npz", "npy:x.npy", "npy:raw.npy"):
        assert "pickle" in load_error(name)
    assert not pathlib.Path("exploded").exists()


def test_missing_or_damaged_npz(tmp_path):
    assert "no file" in load_error(f"npz:{tmp_path / 'none.npz'}")
    images = np.random.default_rng(0).integers(0, 9, (9, 30, 30)).astype(np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=images)
    content = (tmp_path / "x.npz").read_bytes()
    holes = [content[:at] + b"\xff" * 9 + content[at + 9 :] for at in range(60, 2000, 100)]
    for damaged in (b"", b"text", content[:2000], *holes):
        (tmp_path / "x.npz").write_bytes(damaged)
        assert "x.npz" in load_error(f"npz:{tmp_path / 'x.npz'}")
