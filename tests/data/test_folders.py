import logging
import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data.folders import IMAGE_SUFFIXES
from tests.data.conftest import assert_same, in_process, one_line_error

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


@pytest.fixture
def summary(caplog):
    """Loads a folder and returns the line that it logs."""

    def load(folder: pathlib.Path) -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            data.load(f"folder:{folder}")
        (record,) = caplog.records
        assert "\n" not in record.getMessage()
        return record.getMessage().removeprefix(f"folder:{folder}: ")

    return load


# Which files, in which order, of which class


def test_folder_without_classes(folder, summary):
    for value, name in enumerate(["a.png", "b.PNG", "d.png"]):
        save(folder / name, value=value)
    assert summary(folder) == "3 grey images of 6x5 pixels, no classes"
    d = data.load(f"folder:{folder}")
    assert d.images.shape == (3, 5, 6, 1)
    assert d.images.dtype == np.uint8
    assert (d.labels, d.class_names) == (None, None)
    assert sorted(d.images[:, 0, 0, 0].tolist()) == [0, 1, 2]
    assert len(data.load(f"folder:{folder}", "train[1:]").images) == 2


def test_subfolders_are_classes(folder, summary):
    for value, name in enumerate(["dog/a.png", "cat/a.png", "cat/deep/b.png"]):
        save(folder / name, mode="RGB", value=value)
    (folder / "bird").mkdir()
    assert summary(folder) == "3 RGB images of 6x5 pixels, 2 classes (cat 2, dog 1)"
    for _ in range(2):  # decoded, and from the cache
        d = data.load(f"folder:{folder}")
        assert d.class_names == ("cat", "dog")
        assert d.labels.dtype == np.int32
        pairs = zip(d.images[:, 0, 0, 0].tolist(), d.labels.tolist(), strict=True)
        assert sorted(pairs) == [(0, 1), (1, 0), (2, 0)]


def test_many_classes_are_summarised(folder, summary):
    for value in range(25):
        save(folder / str(value % 24) / f"{value}.png")
    assert summary(folder) == "25 grey images of 6x5 pixels, 24 classes of 1 to 2 images"


def test_slices_have_every_class(folder):
    for value in range(30):
        save(folder / "abc"[value % 3] / f"{value}.png", value=value)
    for split in ("train[:15]", "train[15:]"):
        d = data.load(f"folder:{folder}", split)
        assert set(d.labels.tolist()) == {0, 1, 2}
        assert d.class_names == ("a", "b", "c")


def test_data_do_not_depend_on_the_place(folder, tmp_path):
    for value in range(12):
        save(folder / "ab"[value % 2] / f"{value}.png", value=value)
    before = data.load(f"folder:{folder}")
    # Runs are resumed on the data that they record: the order is part of the format.
    assert before.images[:, 0, 0, 0].tolist() == [5, 2, 11, 6, 8, 9, 0, 4, 1, 7, 3, 10]
    moved = folder.rename(tmp_path / "a long way")
    assert_same(data.load(f"folder:{moved}"), before)
    (tmp_path / "link").symlink_to(moved)
    assert_same(data.load(f"folder:{tmp_path / 'link'}"), before)


def test_skipped_files_are_reported(folder, summary):
    save(folder / "cat" / "a.png", value=1)
    for hidden in (".ipynb_checkpoints/a.png", "cat/.a.png", "__MACOSX/cat/a.png", "@eaDir/a.png"):
        save(folder / hidden, value=2)
    for name in ("._a.png", "cat/photo.HEIC", "cat/notes", "cat/b.txt", "cat/c.txt"):
        (folder / name).write_bytes(b"not an image")
    (folder / "cat" / "broken.png").symlink_to("nowhere")
    (folder / "cat" / "loop").symlink_to(folder)
    assert summary(folder) == (
        "1 grey image of 6x5 pixels, 1 class (cat 1); skipped: 5 hidden, 2 .txt, 1 .heic, "
        "1 broken links or special files, 1 circular links, 1 without a suffix"
    )
    assert load_one(folder)[0, 0] == 1


def test_stray_images_do_not_cost_the_labels(folder, summary):
    save(folder / "cat" / "a.png", value=1)
    save(folder / "dog" / "a.png", value=2)
    save(folder / "preview.png", value=3)
    assert summary(folder).endswith("(cat 1, dog 1); skipped: 1 outside the class folders")
    assert set(data.load(f"folder:{folder}").images[:, 0, 0, 0].tolist()) == {1, 2}
    save(folder / "more.png")
    assert "2 images lie beside the subfolders and 2 in them" in one_line_error(f"folder:{folder}")


def test_linked_class_folders(folder, tmp_path):
    save(tmp_path / "elsewhere" / "a.png")
    (folder / "cat").symlink_to(tmp_path / "elsewhere")
    assert data.load(f"folder:{folder}").class_names == ("cat",)


def test_names_that_are_not_utf8(folder, summary):
    name = os.fsdecode(b"caf\xe9")
    save(folder / name / name / "a.png")
    (folder / name / "a.new\nline").touch()
    line = summary(folder / name)  # escaped, so that it can be printed anywhere
    assert line.endswith(r"1 class (caf\udce9 1); skipped: 1 .new\nline")
    line.encode()
    for _ in range(2):
        assert data.load(f"folder:{folder / name}").class_names == (name,)
    (folder / name / name / "a.png").write_text("damaged")
    assert "cannot be read" in one_line_error(f"folder:{folder / name}")


def test_folder_missing_or_empty(folder, tmp_path):
    for missing in ("none", "x" * 5000):
        assert "no directory" in one_line_error(f"folder:{tmp_path / missing}")
    save(folder / ".hidden.png")
    (folder / "photo.heic").touch()
    message = one_line_error(f"folder:{folder}")
    assert "no images" in message
    assert message.endswith("skipped: 1 .heic, 1 hidden")
    save(folder / "a.png")
    assert "want one of train" in one_line_error(f"folder:{folder}", "test")
    (folder / "x.png").symlink_to("x.png")  # which cannot even be looked at
    assert "cannot be read" in one_line_error(f"folder:{folder}")


# The cache


def test_folder_is_decoded_again_when_files_change(folder):
    a = save(folder / "a.png")
    expected = data.load(f"folder:{folder}").sha256
    code = f"from gan_jax import data; print(data.load('folder:{folder}').sha256)"
    assert in_process(code).communicate()[0].strip() == expected
    save(a, value=8)
    os.utime(a, ns=(1, 1))
    assert data.load(f"folder:{folder}").sha256 != expected


def test_a_folder_and_its_parent_are_cached_apart(folder):
    save(folder / "animals" / "cat" / "a.png")
    assert data.load(f"folder:{folder}").class_names == ("animals",)
    assert data.load(f"folder:{folder / 'animals'}").class_names == ("cat",)


# Pixels


@pytest.mark.parametrize("suffix", WRITABLE)
def test_every_suffix_is_read(folder, suffix):
    mode = "1" if suffix == ".xbm" else "RGB"
    save(folder / f"a{suffix.upper()}", size=(16, 16), mode=mode, value=1 if mode == "1" else 200)
    image = load_one(folder)
    assert image.shape[2] == len(mode)
    assert (abs(image - (255.0 if mode == "1" else 200)) < 5).all()


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3)])
def test_channels(folder, mode, channels):
    save(folder / "a.png", mode=mode, value=1)
    assert load_one(folder).shape == (5, 6, channels)


def test_grey_joins_colour(folder):
    save(folder / "a.png", value=9)
    save(folder / "b.jpeg", mode="RGB", value=200)
    d = data.load(f"folder:{folder}")
    assert d.images.shape == (2, 5, 6, 3)
    grey, colour = sorted(d.images.astype(int), key=np.mean)
    assert (grey == 9).all()
    assert (abs(colour - 200) < 5).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(folder, orientation):
    corners = np.zeros((32, 48, 3), np.uint8)  # upright: dark, red, green; white at the right end
    corners[:16, 32:], corners[16:, :16], corners[16:, 32:] = [255, 0, 0], [0, 255, 0], 255
    stored = {  # as the camera stores what is upright with this orientation
        1: corners,
        2: corners[:, ::-1],
        3: corners[::-1, ::-1],
        4: corners[::-1],
        5: corners.swapaxes(0, 1),
        6: np.rot90(corners),
        7: corners[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(corners, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    image.save(folder / "a.jpg", exif=exif, quality=100, subsampling=0)
    assert np.abs(load_one(folder) - corners.astype(float)).mean() < 8


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


def png_of_16_bits(channels: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 1, 1, 16, 0 if channels == 1 else 2, 0, 0, 0)
    row = zlib.compress(b"\0" + channels * b"\x01\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("grey.png", png_of_16_bits(1)),
        ("colour.png", png_of_16_bits(3)),
        ("colour.ppm", b"P6 2 1 65535\n" + b"\x01\xff" * 6),
    ],
)
def test_16_bit_images_are_refused(folder, name, content):
    (folder / name).write_bytes(content)
    assert f"{name} has more than 8 bits" in one_line_error(f"folder:{folder}")


def test_16_bits_per_pixel_are_read(folder):
    file = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 66)
    info = struct.pack("<I2i2H6I", 40, 2, 1, 1, 16, 3, 0, 0, 0, 0, 0)
    masks, pixels = struct.pack("<3I", 0xF800, 0x7E0, 0x1F), struct.pack("<2H", 0xF800, 0x1F)
    (folder / "a.bmp").write_bytes(file + info + masks + pixels)
    assert load_one(folder).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_float_images_are_refused(folder):
    Image.new("F", (2, 2)).save(folder / "a.tif")
    assert "more than 8 bits" in one_line_error(f"folder:{folder}")


def test_unequal_sizes(folder):
    a, b = save(folder / "a.png"), save(folder / "b.png", size=(9, 4))
    message = one_line_error(f"folder:{folder}")
    for part in (str(a), "6x5", str(b), "9x4", "--config.image_size"):
        assert part in message
    for size in (4, 5):
        assert data.load(f"folder:{folder}", image_size=size).images.shape == (2, size, size, 1)


@pytest.mark.parametrize("damage", ["text", "truncated"])
def test_a_damaged_image_is_named(folder, damage):
    bad = folder / "bad.png"
    noise = np.random.default_rng(0).integers(0, 256, (90, 90))
    Image.fromarray(noise.astype(np.uint8)).save(bad)
    bad.write_bytes(b"text" if damage == "text" else bad.read_bytes()[:4000])
    assert str(bad) in one_line_error(f"folder:{folder}")
