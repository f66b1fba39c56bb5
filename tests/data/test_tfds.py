"""Tests of gan_jax.data.tfds, with generated archives; the real MNIST."""

import gzip
import logging
import pathlib
import socket
import sys
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from gan_jax import data
from gan_jax.data import cache, pixels, tfds
from gan_jax.errors import InputError
from tests.data.conftest import assert_same, load_error, start_python


@pytest.fixture
def manual(cache_dir, monkeypatch) -> pathlib.Path:
    """TFDS's manual directory with tiny archives, whose checksums are those that TFDS expects."""
    from tensorflow_datasets.core.download import checksums
    from tensorflow_datasets.image_classification import mnist

    folder = cache_dir / "tensorflow_datasets" / "downloads" / "manual"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        for split, n in {"train": 300, "t10k": 3}.items():
            images = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
            labels = (images[:, 0, 0] % 10).astype(np.uint8)  # so that a test can match the two
            for kind, array in {"images-idx3": images, "labels-idx1": labels}.items():
                header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
                name, content = f"{split}-{kind}-ubyte.gz", gzip.compress(header + array.tobytes())
                (folder / name).write_bytes(content)
                archive.writestr(f"gzip/emnist-letters-{name.replace('t10k', 'test')}", content)
    urls = [mnist.MNIST.URL + f.name for f in folder.glob("*.gz")]
    infos = {url: checksums.compute_url_info(folder / url.rsplit("/")[-1]) for url in urls}
    infos[mnist.EMNIST.URL] = checksums.compute_url_info(folder / "gzip.zip")
    for cls in (mnist.MNIST, mnist.EMNIST):
        own = {url: info for url, info in infos.items() if url.startswith(cls.URL)}
        monkeypatch.setattr(cls, "url_infos", own, raising=False)
    return folder


@pytest.mark.parametrize("name", ["mnist", "emnist/letters"])
def test_preparing_without_tensorflow(manual, capfd, cache_dir, name):
    assert "tensorflow" not in sys.modules
    train, test = data.load(name), data.load(name, "test")
    assert (train.images.shape, test.images.shape) == ((300, 28, 28, 1), (3, 28, 28, 1))
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(train.labels, train.images[:, 0, 0, 0] % 10)
    assert len({image.tobytes() for image in train.images}) == 300
    assert capfd.readouterr() == ("", "")  # neither TFDS nor absl nor a bar off a terminal
    assert "tensorflow" not in sys.modules

    import tensorflow_datasets as tfds

    plain = tfds.builder(name, data_dir=cache_dir / "tensorflow_datasets")
    assert plain.info.splits["train"].num_examples == 300
    np.testing.assert_array_equal(plain.as_data_source("train")[0]["image"], train.images[0])
    assert train.class_names == test.class_names == tuple(plain.info.features["label"].names)

    assert data.load(name, "test", image_size=32).images.shape == (3, 32, 32, 1)
    assert "expected one of train, test" in load_error(name, "validation")


def test_cache_prefers_newest_version(manual):
    expected = data.load("mnist", "test")
    code = "from gan_jax import data; print(data.load('{}', 'test').sha256)"
    for name in ("mnist", "mnist:3.0.1", "mnist:3.*.*"):
        assert start_python(code.format(name)).communicate()[0].strip() == expected.sha256
    newer = data.from_arrays(expected.images[:2])
    cache.write(cache.entries_dir() / "mnist/3.0.10/test-0.npz", newer)
    cache.write(cache.entries_dir() / "mnist/3.0.9/test-0.npz", data.from_arrays(newer.images[:1]))
    assert_same(data.load("mnist", "test"), newer)
    assert data.load("mnist:3.0.1", "test").sha256 == expected.sha256


def test_unequal_sizes(manual, monkeypatch):
    heights = iter([28, 20])
    resize = pixels.resize
    monkeypatch.setattr(pixels, "resize", lambda x, size: resize(x, size)[: next(heights)])
    message = load_error("mnist", "test")
    assert message.startswith("images differ in size: image 0 is 28x28 and image 1 is 28x20")


class Records(list):
    def __getitems__(self, indices):
        return [self[i] for i in indices]


def test_label_features():
    def decode(feature: SimpleNamespace | None, labels: list) -> data.Dataset:
        image = np.zeros((2, 2, 1), np.uint8)
        builder = SimpleNamespace(
            name="fake",
            info=SimpleNamespace(features={"label": feature} if feature else {}),
            as_data_source=lambda _: Records({"image": image, "label": y} for y in labels),
        )
        return tfds._decode(builder, "train", 0)

    integer = SimpleNamespace(shape=(), np_dtype=np.int64)
    d = decode(integer, [7, 2**31 - 1])
    assert (d.labels.tolist(), d.class_names) == ([7, 2**31 - 1], None)
    with pytest.raises(InputError, match=r"fake: .* found 7 to 2147483648"):
        decode(integer, [7, 2**31])
    for other in (SimpleNamespace(shape=(3,), np_dtype=np.int64), None):
        assert decode(other, [[1, 2, 3]]).labels is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "json", "missing"])
def test_damaged_directory(manual, cache_dir, damage):
    data.load("mnist", "test")
    folder = cache_dir / "tensorflow_datasets" / "mnist" / "3.0.1"
    (records,) = folder.glob("mnist-train*")
    content = bytearray(records.read_bytes())
    content[100_000] ^= 255
    if damage == "json":
        (folder / "dataset_info.json").write_text("{")
    elif damage == "missing":
        records.unlink()
    else:
        records.write_bytes(content[: 70_000 if damage == "truncated" else None])
    message = load_error("mnist")
    assert "TFDS_DATA_DIR" in message or "cannot open" in message
    assert str(cache_dir / "tensorflow_datasets") in message


def test_checksums_of_manual_files(manual, cache_dir):
    with (manual / "t10k-labels-idx1-ubyte.gz").open("ab") as file:
        file.write(b"x")
    message = load_error("mnist")
    assert "checksum" in message.lower()
    assert str(manual / "t10k-labels-idx1-ubyte.gz") in message
    assert not (cache_dir / "tensorflow_datasets" / "mnist" / "3.0.1").exists()


def test_failed_download_is_quick(manual, capfd, caplog, monkeypatch):
    def unknown_host(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    caplog.set_level(logging.WARNING)  # as in a process that runs no command
    (manual / "t10k-labels-idx1-ubyte.gz").unlink()
    start = time.monotonic()
    message = load_error("mnist")
    assert time.monotonic() - start < 10
    for way in ("TFDS_DATA_DIR", str(manual), "t10k-labels-idx1-ubyte.gz", "configs/digits.py"):
        assert way in message
    assert not caplog.records  # urllib3 would warn of each retry
    assert capfd.readouterr() == ("", "")


def test_settings_of_tfds_are_restored():
    from tensorflow_datasets.core.download import downloader

    before = downloader.MAX_RETRIES, downloader._open_url
    with tfds._tensorflow_datasets():
        assert downloader.MAX_RETRIES == tfds.DOWNLOAD_RETRIES
        assert downloader._open_url.keywords == {"timeout": tfds.DOWNLOAD_TIMEOUT}
    assert (downloader.MAX_RETRIES, downloader._open_url) == before


def test_unknown_names(tmp_path):
    assert "did you mean fashion_mnist?" in load_error("fashion_mnst")
    assert f"did you mean folder:{tmp_path}?" in load_error(str(tmp_path))
    for name in ("no set", "mnist:", "../mnist", "folder:", "npz:", "digits:8", "", "x" * 5000):
        assert "tensorflow.org/datasets/catalog" in load_error(name)
    assert "cannot be loaded at version 2.0.0" in load_error("mnist:2.0.0")
    assert "foo not found" in load_error("emnist/foo")


def test_missing_packages_are_named(monkeypatch):
    assert "`image`" in load_error("imdb_reviews")
    monkeypatch.setattr(tfds.importlib.util, "find_spec", lambda name: None)
    assert "gan_jax[prepare]" in load_error("cifar10")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert "without the package tensorflow_datasets: pip install" in load_error("mnist")


# The real MNIST


def test_mnist(mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    test = data.load("mnist", "test")
    assert test.images.shape == (10000, 28, 28, 1)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(test.labels).tolist() == counts
