import base64
import logging
import os
import pathlib
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from gan_jax import data
from gan_jax.data import decoding, folders
from gan_jax.data.folders import IMAGE_SUFFIXES
from tests.data.conftest import assert_same, load_error, start_python

Image.init()
# One suffix of each format that Pillow can write.
WRITABLE = {Image.EXTENSION[s]: s for s in sorted(IMAGE_SUFFIXES)}
WRITABLE = [suffix for kind, suffix in WRITABLE.items() if kind in Image.SAVE]


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def save(path: pathlib.Path, size=(6, 5), mode="L", value=7, **kwargs) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode in ("L", "1") else (value,) * len(mode)
    Image.new(mode, size, colour).save(path, **kwargs)
    return path


def load_one(folder: pathlib.Path) -> np.ndarray:
    (image,) = data.load(f"folder:{folder}").images
    return image


def summary(folder: pathlib.Path, caplog) -> str:
    """Loads a folder and returns the line that it logs."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        data.load(f"folder:{folder}")
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    return record.getMessage().removeprefix(f"folder:{folder}: ")


# Which files, in which order, of which class


def test_folder_without_classes(folder, caplog):
    for value, name in enumerate(["a.png", "b.PNG", "d.png"]):
        save(folder / name, value=value)
    assert summary(folder, caplog) == "3 grey images of 6x5 pixels, no classes"
    d = data.load(f"folder:{folder}")
    assert (d.images.shape, d.images.dtype) == ((3, 5, 6, 1), np.uint8)
    assert (d.labels, d.class_names) == (None, None)
    assert sorted(d.images[:, 0, 0, 0].tolist()) == [0, 1, 2]


def test_subfolders_are_classes(folder, tmp_path, caplog):
    (folder / "bird").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / "dog").symlink_to(tmp_path / "elsewhere")
    for value, name in enumerate(["dog/a.png", "cat/a.png", "cat/deep/b.png"]):
        save(folder / name, mode="RGB", value=value)
    assert summary(folder, caplog) == "3 RGB images of 6x5 pixels, 2 classes (cat 2, dog 1)"
    for _ in range(2):  # decoded, and from the cache
        d = data.load(f"folder:{folder}")
        assert d.class_names == ("cat", "dog")
        assert d.labels.dtype == np.int32
        pairs = zip(d.images[:, 0, 0, 0].tolist(), d.labels.tolist(), strict=True)
        assert sorted(pairs) == [(0, 1), (1, 0), (2, 0)]


def test_many_classes_are_summarised(folder, caplog):
    for value in range(25):
        save(folder / str(value % 24) / f"{value}.png")
    assert summary(folder, caplog) == "25 grey images of 6x5 pixels, 24 classes of 1 to 2 images"


def test_order_depends_on_relative_paths_only(folder, tmp_path):
    for value in range(12):
        save(folder / "ab"[value % 2] / f"{value}.png", value=value)
    before = data.load(f"folder:{folder}")
    # Runs are resumed on the data that they record: the order is part of the format.
    assert before.images[:, 0, 0, 0].tolist() == [5, 2, 11, 6, 8, 9, 0, 4, 1, 7, 3, 10]
    moved = folder.rename(tmp_path / "a long way")
    assert_same(data.load(f"folder:{moved}"), before)
    (tmp_path / "link").symlink_to(moved)
    assert_same(data.load(f"folder:{tmp_path / 'link'}"), before)
    part = data.load(f"folder:{moved}", "train[6:]")
    np.testing.assert_array_equal(part.labels, before.labels[6:])
    assert part.class_names == ("a", "b")


def test_skipped_files_are_reported(folder, caplog):
    save(folder / "cat" / "a.png", value=1)
    for hidden in (".ipynb_checkpoints/a.png", "cat/.a.png", "__MACOSX/cat/a.png", "@eaDir/a.png"):
        save(folder / hidden, value=2)
    for name in ("._a.png", "cat/photo.HEIC", "cat/notes", "cat/b.txt", "cat/c.txt"):
        (folder / name).write_bytes(b"not an image")
    (folder / "cat" / "broken.png").symlink_to("nowhere")
    (folder / "cat" / "loop").symlink_to(folder)
    assert summary(folder, caplog) == (
        "1 grey image of 6x5 pixels, 1 class (cat 1); skipped: 5 hidden, 2 .txt, 1 .heic, "
        "1 broken links or special files, 1 circular links, 1 without a suffix"
    )
    assert load_one(folder)[0, 0] == 1


def test_images_beside_class_folders(folder, caplog):
    save(folder / "cat" / "a.png", value=1)
    save(folder / "dog" / "a.png", value=2)
    save(folder / "preview.png", value=3)
    assert summary(folder, caplog).endswith("(cat 1, dog 1); skipped: 1 outside the class folders")
    assert set(data.load(f"folder:{folder}").images[:, 0, 0, 0].tolist()) == {1, 2}
    save(folder / "more.png")
    assert "2 images are outside of the subfolders and 2 inside" in load_error(f"folder:{folder}")


def test_names_that_are_not_utf8(folder, caplog):
    name = os.fsdecode(b"caf\xe9")
    image = save(folder / name / name / "a.png")
    (folder / name / "a.new\nline").touch()
    line = summary(folder / name, caplog)  # escaped, so that it can be printed anywhere
    assert line.endswith(r"1 class (caf\udce9 1); skipped: 1 .new\nline")
    line.encode()
    assert data.load(f"folder:{folder / name}").class_names == (name,)  # from the cache
    image.write_text("damaged")
    assert "cannot be read" in load_error(f"folder:{folder / name}")


def test_folder_missing_or_empty(folder, tmp_path):
    for missing in ("none", "x" * 5000):
        assert "no directory" in load_error(f"folder:{tmp_path / missing}")
    save(folder / ".hidden.png")
    (folder / "photo.heic").touch()
    message = load_error(f"folder:{folder}")
    assert "no images" in message
    assert message.endswith("skipped: 1 .heic, 1 hidden")
    (folder / "x.png").symlink_to("x.png")  # which cannot even be looked at
    assert "cannot be read" in load_error(f"folder:{folder}")


def test_cache_follows_files_and_folder(folder):
    image = save(folder / "animals" / "cat" / "a.png")
    expected = data.load(f"folder:{folder}")
    assert expected.class_names == ("animals",)
    assert data.load(f"folder:{folder / 'animals'}").class_names == ("cat",)
    code = f"from gan_jax import data; print(data.load('folder:{folder}').sha256)"
    assert start_python(code).communicate()[0].strip() == expected.sha256
    save(image, value=8)
    os.utime(image, ns=(1, 1))
    assert data.load(f"folder:{folder}").sha256 != expected.sha256


# Pixels


@pytest.mark.parametrize("suffix", WRITABLE)
def test_every_suffix_is_read(folder, suffix):
    mode = "1" if suffix == ".xbm" else "RGB"
    save(folder / f"a{suffix.upper()}", size=(16, 16), mode=mode, value=1 if mode == "1" else 200)
    image = load_one(folder)
    assert image.shape[2] == len(mode)
    assert (abs(image - (255.0 if mode == "1" else 200)) < 5).all()


def test_grey_broadcasts_to_colour(folder):
    save(folder / "a.png", value=9)
    save(folder / "b.jpeg", mode="RGB", value=200)
    d = data.load(f"folder:{folder}")
    assert d.images.shape == (2, 5, 6, 3)
    grey, colour = sorted(d.images.astype(int), key=np.mean)
    assert (grey == 9).all()
    assert (abs(colour - 200) < 5).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(folder, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6)).astype(np.uint8))
    image.save(folder / "a.png", exif=exif)
    with Image.open(folder / "a.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    np.testing.assert_array_equal(load_one(folder)[..., 0], expected)


def test_corrupt_exif_is_no_error(folder):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    path = save(folder / "a.jpg", exif=exif)
    header, tags = b"MM\0*\0\0\0\x08\0", b"\x02"  # two tags follow
    assert header + tags in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(header + tags, header + b"\xff"))
    assert load_one(folder).shape == (6, 5, 1)  # turned, and Pillow's warning kept from the user


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (51, 224), (255, 100)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_composited_on_white(folder, mode, alpha, expected):
    if mode == "P":
        image = Image.new("P", (2, 2), 1)
        image.putpalette([0, 0, 0, 100, 100, 100])
        image.save(folder / "a.png", transparency=bytes([9, alpha]))
    else:
        Image.new(mode, (2, 2), (*(100,) * (len(mode) - 1), alpha)).save(folder / "a.png")
    image = load_one(folder)
    assert image.shape[2] == (1 if mode == "LA" else 3)
    assert set(image.ravel().tolist()) == {expected}


@pytest.mark.parametrize(("mode", "key"), [("L", 100), ("RGB", (100, 100, 100))])
def test_a_transparent_colour_is_white(folder, mode, key):
    image = Image.new(mode, (2, 1), key)
    image.putpixel((1, 0), 50 if mode == "L" else (50, 50, 50))
    image.save(folder / "a.png", transparency=key)
    assert load_one(folder).tolist() == [[[255] * len(mode), [50] * len(mode)]]


COLOUR_PNG = (  # a pixel with 16 bits per channel, which Pillow cannot write
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABEAIAAADA54+dAAAADElEQVR4nGNg/A+CAAkKAwH8BSF3AAAAAElFTkSuQmCC"
)


@pytest.mark.parametrize("name", ["grey.png", "float.tif", "colour.png", "colour.ppm"])
def test_more_than_8_bits_are_refused(folder, name):
    if name.startswith("colour"):
        ppm = b"P6 2 1 65535\n" + b"\x01\xff" * 6
        (folder / name).write_bytes(ppm if "ppm" in name else base64.b64decode(COLOUR_PNG))
    else:
        Image.new("F" if name == "float.tif" else "I;16", (2, 2)).save(folder / name)
    assert f"{name} has more than 8 bits" in load_error(f"folder:{folder}")


def test_16_bits_per_pixel_are_read(folder):
    file = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 66)
    info = struct.pack("<I2i2H6I", 40, 2, 1, 1, 16, 3, 0, 0, 0, 0, 0)
    masks, pixels = struct.pack("<3I", 0xF800, 0x7E0, 0x1F), struct.pack("<2H", 0xF800, 0x1F)
    (folder / "a.bmp").write_bytes(file + info + masks + pixels)
    assert load_one(folder).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_unequal_sizes(folder):
    a, b = save(folder / "a.png"), save(folder / "b.png", size=(9, 4))
    message = load_error(f"folder:{folder}")
    for part in (str(a), "6x5", str(b), "9x4", "--config.image_size"):
        assert part in message
    for size in (4, 5):
        assert data.load(f"folder:{folder}", image_size=size).images.shape == (2, size, size, 1)


def test_decoding_resumes(folder, monkeypatch, cache_dir):
    for i in range(10):
        save(folder / f"{i}.png", value=20 * i)
    monkeypatch.setattr(decoding, "_BLOCK", 3)
    read, done = folders.read_image, []

    def interrupted(file):
        if len(done) == 8:
            raise KeyboardInterrupt
        done.append(file)
        return read(file)

    monkeypatch.setattr(folders, "read_image", interrupted)
    monkeypatch.setattr(decoding, "ThreadPoolExecutor", lambda _: ThreadPoolExecutor(1))
    with pytest.raises(KeyboardInterrupt):
        data.load(f"folder:{folder}")
    monkeypatch.setattr(folders, "read_image", lambda file: done.append(file) or read(file))
    images = data.load(f"folder:{folder}").images
    assert len(done) == 8 + 1 + 4  # the first again, for its size, and those after two blocks
    expected = [i * 20 for i in np.random.default_rng(0).permutation(10)]
    assert images[:, 0, 0, 0].tolist() == expected
    assert not list(cache_dir.rglob("*.partial"))


@pytest.mark.parametrize("name", ["images.npy", "channels.npy"])
def test_decoding_after_a_full_disk(folder, tmp_path, name):
    files = [save(folder / f"{i}.png", value=i) for i in range(3)]
    arguments = files, folders.read_image, 0, tmp_path / "partial"
    decoding.decode(*arguments)
    (tmp_path / "partial" / name).write_bytes(b"")
    assert decoding.decode(*arguments)[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert (tmp_path / "partial" / name).stat().st_size > 0


def test_abandoned_decodings_are_deleted(folder, monkeypatch, cache_dir):
    for i in range(2):
        save(folder / f"{i}.png", value=i)

    def interrupted(file):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoding.ThreadPoolExecutor, "map", lambda *_: interrupted(None))
        with pytest.raises(KeyboardInterrupt):
            data.load(f"folder:{folder}")
    assert len(list(cache_dir.rglob("*.partial"))) == 1
    save(folder / "2.png")
    data.load(f"folder:{folder}")
    assert not list(cache_dir.rglob("*.partial"))


@pytest.mark.parametrize("damage", ["text", "truncated"])
def test_a_damaged_image_is_named(folder, damage):
    bad = folder / "bad.png"
    noise = np.random.default_rng(0).integers(0, 256, (90, 90))
    Image.fromarray(noise.astype(np.uint8)).save(bad)
    bad.write_bytes(b"text" if damage == "text" else bad.read_bytes()[:4000])
    assert str(bad) in load_error(f"folder:{folder}")
