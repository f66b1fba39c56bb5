"""Tests of gan_jax.data: every source, the cache, and what the user is told when one fails."""

import gzip
import logging
import os
import pathlib
import pickle
import shutil
import socket
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan_jax import data, tfds
from gan_jax.errors import InputError
from tests.conftest import ROOT, skip_unless_ci

MNIST_FILES = pathlib.Path(
    os.environ.get("GAN_JAX_MNIST_FILES", ROOT.parent / "shared" / "data" / "mnist")
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return tmp_path / "cache"


def entries(cache: pathlib.Path) -> list[pathlib.Path]:
    """Every file below the cache's data, whole or partial."""
    return sorted(f for f in (cache / "data").rglob("*") if f.is_file())


def one_line_error(*args, **kwargs) -> str:
    with pytest.raises(InputError) as info:
        data.load(*args, **kwargs)
    assert "\n" not in str(info.value)
    return str(info.value)


def assert_same(a: data.Dataset, b: data.Dataset) -> None:
    assert a.sha256 == b.sha256
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)


def in_process(code: str, **env: str) -> subprocess.Popen[str]:
    """Starts Python on `code`, in which tensorflow_datasets, sklearn and PIL cannot be imported."""
    block = (
        "import sys\nfor n in ('tensorflow_datasets', 'sklearn', 'PIL'): sys.modules[n] = None\n"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", block + code],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# Splits


def test_slices_are_of_the_whole_split():
    whole = data.load("digits")
    part = data.load("digits", "train[10:30]")
    np.testing.assert_array_equal(part.images, whole.images[10:30])
    np.testing.assert_array_equal(part.labels, whole.labels[10:30])
    assert part.sha256 != whole.sha256
    assert len(data.load("digits", "train[1490:]").images) == 10
    assert len(data.load("digits", "train[:7]").images) == 7
    assert data.load("digits", "train[:]").sha256 == whole.sha256


@pytest.mark.parametrize(
    "split", ["", "train[", "train[5]", "train[-5:]", "train[:10%]", "train[:2][:1]", "../train"]
)
def test_bad_syntax_of_a_split(split):
    assert "NAME[a:b]" in one_line_error("digits", split)


@pytest.mark.parametrize("split", ["train[5:5]", "train[7:3]", "train[:0]", "train[:1501]"])
def test_a_slice_must_hold_examples_and_end_within_the_split(split):
    assert "<= 1500" in one_line_error("digits", split)


def test_unknown_split_names_those_there_are():
    assert "train, test" in one_line_error("digits", "validation")


def test_negative_image_size():
    assert "image_size" in one_line_error("digits", image_size=-1)


# Digits


def test_digits_are_those_of_sklearn():
    from sklearn.datasets import load_digits

    raw, labels = load_digits(return_X_y=True)
    train, test = data.load("digits", "train"), data.load("digits", "test")
    assert train.images.shape == (1500, 8, 8, 1)
    assert test.images.shape == (297, 8, 8, 1)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32
    both = np.concatenate([train.images, test.images])
    np.testing.assert_array_equal(np.round(both.reshape(-1, 64) * (16 / 255)), raw)
    assert both.max() == 255
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), labels)


def test_image_size_resizes_as_pillow_does():
    small, large = data.load("digits"), data.load("digits", image_size=16)
    expected = Image.fromarray(small.images[3, :, :, 0]).resize((16, 16), Image.Resampling.LANCZOS)
    assert large.images.shape == (1500, 16, 16, 1)
    np.testing.assert_array_equal(large.images[3, :, :, 0], np.asarray(expected))
    assert_same(data.load("digits", image_size=8), small)


def test_sha256_covers_dtype_shape_and_labels():
    zeros = np.zeros((2, 2, 2, 1), np.uint8)
    digests = {
        data._dataset(images, labels).sha256
        for images, labels in [
            (zeros, None),
            (zeros.reshape(2, 4, 1, 1), None),
            (zeros.view(np.int8), None),
            (zeros, np.zeros(2, np.int32)),
            (zeros, np.ones(2, np.int32)),
        ]
    }
    assert len(digests) == 5


# The cache


def test_cache_dir(monkeypatch, tmp_path):
    assert data.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("GAN_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.cache_dir() == tmp_path / "xdg" / "gan_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.cache_dir() == tmp_path / ".cache" / "gan_jax"


def test_a_hit_needs_neither_sklearn_nor_pillow(cache):
    expected = data.load("digits", image_size=10).sha256
    code = "from gan_jax import data; print(data.load('digits', image_size=10).sha256)"
    output, _ = in_process(code).communicate()
    assert output.strip() == expected


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "replaced", "pickled"])
def test_a_damaged_cache_file_is_decoded_again(cache, caplog, damage):
    expected = data.load("digits")
    (entry,) = entries(cache)
    content = bytearray(entry.read_bytes())
    if damage == "replaced":  # a sound zip with the sum of other images
        np.savez(entry, images=expected.images + 1, labels=expected.labels, sha256=expected.sha256)
    elif damage == "pickled":
        np.savez(entry, images=np.array([{}], object), sha256=expected.sha256)
    else:
        content[50_000] ^= 1
        sizes = {"empty": 0, "truncated": 60_000, "flipped": len(content)}
        entry.write_bytes(content[: sizes[damage]])
    with caplog.at_level(logging.WARNING):
        assert_same(data.load("digits"), expected)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "\n" not in caplog.text.strip()
    caplog.clear()
    assert_same(data.load("digits"), expected)
    assert not caplog.records  # it was replaced


def test_a_cache_that_cannot_be_written_is_no_error(cache, caplog):
    cache.write_text("a file in the cache's place")
    with caplog.at_level(logging.WARNING):
        assert len(data.load("digits").images) == 1500
    assert "not kept in the cache" in caplog.text


def test_a_full_disk_leaves_no_partial_file(cache, caplog, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with caplog.at_level(logging.WARNING):
        assert len(data.load("digits").images) == 1500
    assert "No space left" in caplog.text
    assert not entries(cache)


def test_two_processes_may_write_one_entry_at_once(cache):
    code = """
import pathlib, numpy as np
from gan_jax import data, tfds
images = np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8, 1)
entry = data.cache_dir() / "data" / "mnist" / "3.0.1" / "train-0.npz"
for _ in range(100):
    wrote = data._write_cache(entry, images, None)
    read = data._read_cache(entry)
    assert read and read.sha256 == wrote.sha256
print("done")
"""
    writers = [in_process(code) for _ in range(2)]
    assert [w.communicate()[0] for w in writers] == ["done\n"] * 2
    assert len(entries(cache)) == 1
    assert data.load("mnist").images.shape == (40, 8, 8, 1)


# Folders


def save(path: pathlib.Path, size=(6, 5), mode="L", value=7, **kwargs) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode in ("L", "1") else (value,) * len(mode)
    Image.new(mode, size, colour).save(path, **kwargs)
    return path


def test_folder_without_labels(tmp_path):
    for value, name in enumerate(["a.png", "b/c.PNG", "d.png"]):
        save(tmp_path / "images" / name, value=value)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    d = data.load(f"folder:{tmp_path / 'images'}")
    assert d.images.shape == (3, 5, 6, 1)
    assert d.images.dtype == np.uint8
    assert d.labels is None
    assert sorted(d.images[:, 0, 0, 0].tolist()) == [0, 1, 2]
    assert len(data.load(f"folder:{tmp_path / 'images'}", "train[1:]").images) == 2


def test_folder_classes_are_the_sorted_subfolders(tmp_path):
    for value, name in enumerate(["cat/a.png", "cat/deep/b.png", "dog/a.png"]):
        save(tmp_path / "images" / name, value=value)
    d = data.load(f"folder:{tmp_path / 'images'}")
    assert dict(zip(d.images[:, 0, 0, 0].tolist(), d.labels.tolist(), strict=True)) == {
        **{0: 0, 1: 0},
        2: 1,
    }
    assert d.labels.dtype == np.int32


def test_a_part_of_a_folder_has_all_classes(tmp_path):
    for value in range(30):
        save(tmp_path / "images" / "abc"[value % 3] / f"{value}.png", value=value)
    name = f"folder:{tmp_path / 'images'}"
    assert set(data.load(name, "train[:15]").labels.tolist()) == {0, 1, 2}
    assert set(data.load(name, "train[15:]").labels.tolist()) == {0, 1, 2}


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
def test_splits_overlap(a, b, common):
    assert data.overlap(a, b) is data.overlap(b, a) is common


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("RGBA", 3)])
def test_folder_channels(tmp_path, mode, channels):
    save(tmp_path / "images" / "a.png", mode=mode, value=1)
    assert data.load(f"folder:{tmp_path / 'images'}").images.shape == (1, 5, 6, channels)


def test_folder_grey_joins_colour(tmp_path):
    save(tmp_path / "images" / "a.png", value=9)
    save(tmp_path / "images" / "b.jpeg", mode="RGB", value=200)
    d = data.load(f"folder:{tmp_path / 'images'}")
    assert d.images.shape == (2, 5, 6, 3)
    grey, colour = sorted(d.images.astype(int), key=np.mean)
    assert (grey == 9).all()
    assert (abs(colour - 200) < 5).all()


def test_folder_palette_with_transparency(tmp_path):
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "a.png", transparency=bytes([0, 128]))
    assert data.load(f"folder:{tmp_path / 'images'}").images[0, 0, 0].tolist() == [10, 20, 30]


def test_folder_of_unequal_sizes(tmp_path):
    a = save(tmp_path / "images" / "a.png")
    b = save(tmp_path / "images" / "b.png", size=(9, 4))
    message = one_line_error(f"folder:{tmp_path / 'images'}")
    for part in (str(a), "6x5", str(b), "9x4", "--config.image_size"):
        assert part in message
    assert data.load(f"folder:{tmp_path / 'images'}", image_size=4).images.shape == (2, 4, 4, 1)


def test_folder_is_decoded_again_only_when_its_files_change(tmp_path, cache):
    a = save(tmp_path / "images" / "a.png")
    expected = data.load(f"folder:{tmp_path / 'images'}").sha256
    code = f"from gan_jax import data; print(data.load('folder:{tmp_path / 'images'}').sha256)"
    assert in_process(code).communicate()[0].strip() == expected
    save(a, value=8)
    os.utime(a, ns=(1, 1))
    assert data.load(f"folder:{tmp_path / 'images'}").sha256 != expected


@pytest.mark.parametrize("damage", ["text", "truncated", "16-bit"])
def test_folder_with_a_bad_image_names_it(tmp_path, damage):
    bad = save(tmp_path / "images" / "bad.png", size=(90, 90))
    noise = np.random.default_rng(0).integers(0, 256, (90, 90))
    if damage == "16-bit":
        Image.fromarray(noise.astype(np.uint16)).save(bad)
    else:
        Image.fromarray(noise.astype(np.uint8)).save(bad)
        bad.write_bytes(b"text" if damage == "text" else bad.read_bytes()[:4000])
    assert str(bad) in one_line_error(f"folder:{tmp_path / 'images'}")


def test_folder_missing_or_empty(tmp_path):
    assert "no directory" in one_line_error(f"folder:{tmp_path / 'none'}")
    assert ".png" in one_line_error(f"folder:{tmp_path}")
    save(tmp_path / "images" / "a.png")
    assert "want one of train" in one_line_error(f"folder:{tmp_path / 'images'}", "test")


# NumPy files

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_npz_with_labels(tmp_path, cache):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=np.array([3, 4]), other=np.zeros(1))
    d = data.load(f"npz:{tmp_path / 'x.npz'}")
    np.testing.assert_array_equal(d.images, IMAGES[..., None])
    assert d.labels.tolist() == [3, 4]
    assert d.labels.dtype == np.int32
    assert not entries(cache)
    assert data.load(f"npz:{tmp_path / 'x.npz'}", "train[1:]").labels.tolist() == [4]
    assert "want one of train" in one_line_error(f"npz:{tmp_path / 'x.npz'}", "test")


def test_npz_with_a_single_array_of_any_name(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", faces=IMAGES)
    assert data.load(f"npz:{tmp_path / 'x.npz'}").images.shape == (2, 3, 4, 1)
    np.savez(tmp_path / "x.npz", a=IMAGES, b=IMAGES)
    assert "found a, b" in one_line_error(f"npz:{tmp_path / 'x.npz'}")


def test_npy_images_are_resized_band_by_band(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    d = data.load(f"npy:{tmp_path / 'x.npy'}", image_size=4)
    expected = Image.fromarray(images[1]).resize((4, 4), Image.Resampling.LANCZOS)
    assert d.images.shape == (2, 4, 4, 3)
    np.testing.assert_array_equal(d.images[1], np.asarray(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_npy_points_stay_as_they_are(tmp_path, dtype):
    points = np.array([[0.5, -2.0], [1e6, 3.0], [0.0, 1.0]], dtype)
    np.save(tmp_path / "x.npy", points)
    d = data.load(f"npy:{tmp_path / 'x.npy'}")
    assert d.images.dtype == np.float32
    assert d.labels is None
    np.testing.assert_array_equal(d.images, points)
    assert "images to resize" in one_line_error(f"npy:{tmp_path / 'x.npy'}", image_size=8)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((2, 3)), None),
        (np.array([[1.0, np.nan]]), "nan"),
        (np.array([[1e300]]), "inf"),
        (np.zeros((2, 3, 3), np.float32), "float32 (2, 3, 3)"),
        (np.zeros((2, 3), np.uint8), "uint8 (2, 3)"),
        (np.zeros((2, 3), np.int64), "int64 (2, 3)"),
        (np.zeros((0, 3, 3), np.uint8), "(0, 3, 3)"),
        (np.float32(1.0), "float32 ()"),
    ],
)
def test_npy_of_another_kind_says_what_was_found(tmp_path, array, found):
    np.save(tmp_path / "x.npy", array)
    if found is None:
        data.load(f"npy:{tmp_path / 'x.npy'}")
    else:
        assert found in one_line_error(f"npy:{tmp_path / 'x.npy'}")


@pytest.mark.parametrize("labels", [np.zeros(3, np.int32), np.zeros(2), np.zeros((2, 1), np.int32)])
def test_npz_with_labels_that_do_not_fit(tmp_path, labels):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=labels)
    assert "want integer labels (2,)" in one_line_error(f"npz:{tmp_path / 'x.npz'}")


class Bomb:
    """Would write a file when unpickled."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_pickles_are_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", images=np.array([Bomb()], object))
    np.save("x.npy", np.array([Bomb()], object))
    pathlib.Path("raw.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("npz:x.npz", "npy:x.npy", "npy:raw.npy"):
        assert "pickle" in one_line_error(name)
    assert not pathlib.Path("exploded").exists()


def test_npz_missing_or_damaged(tmp_path):
    assert "no file" in one_line_error(f"npz:{tmp_path / 'none.npz'}")
    images = np.random.default_rng(0).integers(0, 9, (9, 30, 30)).astype(np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=images)
    content = (tmp_path / "x.npz").read_bytes()
    holes = [content[:at] + b"\xff" * 9 + content[at + 9 :] for at in range(60, 2000, 100)]
    for damaged in (b"", b"text", content[:2000], *holes):
        (tmp_path / "x.npz").write_bytes(damaged)
        assert "x.npz" in one_line_error(f"npz:{tmp_path / 'x.npz'}")


# TensorFlow Datasets, with archives made here in place of the real ones


def write_idx(file, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    file.write(gzip.compress(header + array.tobytes()))


@pytest.fixture
def manual(cache, monkeypatch) -> pathlib.Path:
    """TFDS's manual directory with tiny archives, whose checksums are those that TFDS expects."""
    from tensorflow_datasets.core.download import checksums
    from tensorflow_datasets.image_classification import mnist

    folder = cache / "tensorflow_datasets" / "downloads" / "manual"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        for split, n in {"train": 300, "t10k": 3}.items():
            images = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
            labels = (images[:, 0, 0] % 10).astype(np.uint8)  # so that a test can match the two
            named = {
                f"{split}-images-idx3-ubyte.gz": images,
                f"{split}-labels-idx1-ubyte.gz": labels,
            }
            for name, array in named.items():
                emnist = f"gzip/emnist-letters-{name.replace('t10k', 'test')}"
                with (folder / name).open("wb") as file, archive.open(emnist, "w") as member:
                    write_idx(file, array)
                    write_idx(member, array)
    urls = [mnist.MNIST.URL + f.name for f in folder.glob("*.gz")]
    infos = {url: checksums.compute_url_info(folder / url.rsplit("/")[-1]) for url in urls}
    infos[mnist.EMNIST.URL] = checksums.compute_url_info(folder / "gzip.zip")
    for cls in (mnist.MNIST, mnist.EMNIST):
        own = {url: info for url, info in infos.items() if url.startswith(cls.URL)}
        monkeypatch.setattr(cls, "url_infos", own, raising=False)
    return folder


@pytest.mark.parametrize("name", ["mnist", "emnist/letters"])
def test_preparing_without_tensorflow(manual, capfd, cache, name):
    assert "tensorflow" not in sys.modules
    train, test = data.load(name), data.load(name, "test")
    assert train.images.shape == (300, 28, 28, 1)
    assert test.images.shape == (3, 28, 28, 1)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32
    np.testing.assert_array_equal(train.labels, train.images[:, 0, 0, 0] % 10)
    assert len({image.tobytes() for image in train.images}) == 300
    assert capfd.readouterr() == ("", "")  # neither TFDS nor absl nor a bar off a terminal
    assert "tensorflow" not in sys.modules

    import tensorflow_datasets as tfds

    plain = tfds.builder(name, data_dir=cache / "tensorflow_datasets")
    assert plain.info.splits["train"].num_examples == 300
    np.testing.assert_array_equal(plain.as_data_source("train")[0]["image"], train.images[0])


def test_tfds_images_are_resized(manual):
    assert data.load("mnist", "test", image_size=32).images.shape == (3, 32, 32, 1)


def test_a_hit_needs_no_tfds_and_takes_the_highest_version(manual, cache):
    expected = data.load("mnist", "test")
    code = "from gan_jax import data; print(data.load('{}', 'test').sha256)"
    for name in ("mnist", "mnist:3.0.1", "mnist:3.*.*"):
        assert in_process(code.format(name)).communicate()[0].strip() == expected.sha256
    newer = data._write_cache(cache / "data/mnist/3.0.10/test-0.npz", expected.images[:2], None)
    data._write_cache(cache / "data/mnist/3.0.9/test-0.npz", expected.images[:1], None)
    assert data.load("mnist", "test").sha256 == newer.sha256
    assert data.load("mnist:3.0.1", "test").sha256 == expected.sha256


def test_a_miss_without_tfds_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    message = one_line_error("mnist")
    assert "tensorflow_datasets" in message
    assert "pip install" in message


def test_tfds_images_of_unequal_sizes_are_no_damage(manual, monkeypatch):
    heights = iter([28, 20])
    resize = data._resize
    monkeypatch.setattr(data, "_resize", lambda x, size: resize(x, size)[: next(heights)])
    message = one_line_error("mnist", "test")
    assert message.startswith("images differ in size: image 0 is 28x28 and image 1 is 28x20")


def test_unknown_split_of_tfds(manual):
    assert "want one of train, test" in one_line_error("mnist", "validation")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "json", "missing"])
def test_a_damaged_tfds_directory_is_named(manual, cache, damage):
    data.load("mnist", "test")
    folder = cache / "tensorflow_datasets" / "mnist" / "3.0.1"
    (records,) = folder.glob("mnist-train*")
    content = bytearray(records.read_bytes())
    content[100_000] ^= 255
    if damage == "json":
        (folder / "dataset_info.json").write_text("{")
    elif damage == "missing":
        records.unlink()
    else:
        records.write_bytes(content[: 70_000 if damage == "truncated" else None])
    message = one_line_error("mnist")
    assert "TFDS_DATA_DIR" in message or "cannot open" in message
    assert str(cache / "tensorflow_datasets") in message


def test_an_altered_manual_file_is_refused_by_its_checksum(manual, cache):
    with (manual / "t10k-labels-idx1-ubyte.gz").open("ab") as file:
        file.write(b"x")
    message = one_line_error("mnist")
    assert "checksum" in message.lower()
    assert str(manual / "t10k-labels-idx1-ubyte.gz") in message
    assert not (cache / "tensorflow_datasets" / "mnist" / "3.0.1").exists()


def test_a_failed_download_is_quick_and_names_the_ways_out(manual, capfd, caplog, monkeypatch):
    def unknown_host(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    (manual / "t10k-labels-idx1-ubyte.gz").unlink()
    start = time.monotonic()
    message = one_line_error("mnist")
    assert time.monotonic() - start < 10
    for way in ("TFDS_DATA_DIR", str(manual), "t10k-labels-idx1-ubyte.gz", "configs/digits.py"):
        assert way in message
    assert not caplog.records  # urllib3 would warn of each retry
    assert capfd.readouterr() == ("", "")


def test_the_patience_of_tfds_is_restored():
    from tensorflow_datasets.core.download import downloader

    before = downloader.MAX_RETRIES, downloader._open_url
    with tfds._tensorflow_datasets():
        assert downloader.MAX_RETRIES == tfds.DOWNLOAD_RETRIES
        assert downloader._open_url.keywords == {"timeout": tfds.DOWNLOAD_TIMEOUT}
    assert (downloader.MAX_RETRIES, downloader._open_url) == before


def test_unknown_names():
    assert "did you mean fashion_mnist?" in one_line_error("fashion_mnst")
    for name in ("no such set", "mnist:", "../mnist", "folder:", "npz:", "digits:8", ""):
        assert "tensorflow.org/datasets/catalog" in one_line_error(name)
    assert "cannot be loaded at version 2.0.0" in one_line_error("mnist:2.0.0")
    assert "foo not found" in one_line_error("emnist/foo")


def test_sets_that_need_tensorflow_or_hold_no_images(monkeypatch):
    monkeypatch.setattr(tfds.importlib.util, "find_spec", lambda name: None)
    assert "gan_jax[prepare]" in one_line_error("cifar10")
    assert "`image`" in one_line_error("imdb_reviews")


# The real MNIST


@pytest.fixture(scope="session")
def mnist_cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("mnist_cache"))


@pytest.fixture
def mnist_test(mnist_dir, mnist_cache, monkeypatch) -> data.Dataset:
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    monkeypatch.setenv("GAN_JAX_CACHE", mnist_cache)
    return data.load("mnist", "test")


def test_mnist(mnist_test):
    assert mnist_test.images.shape == (10000, 28, 28, 1)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist_test.labels).tolist() == counts
    assert mnist_test.sha256 == data.load("mnist:3.0.1", "test").sha256


@pytest.mark.slow
def test_mnist_prepared_from_its_files_equals_the_prepared_one(mnist_test, tmp_path, monkeypatch):
    if not MNIST_FILES.is_dir():
        skip_unless_ci(f"no {MNIST_FILES}")
    given = {"train": data.load("mnist"), "test": mnist_test}
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    for file in MNIST_FILES.glob("*.gz"):
        shutil.copyfile(file, manual / file.name)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    for split, expected in given.items():
        assert_same(data.load("mnist", split), expected)
