"""Data sets as uint8 arrays, decoded once and kept in a cache.

`load(name, split, image_size)` is all that others need. `name` is one of

- a TFDS image data set: `mnist`, `mnist:3.0.1`, `fashion_mnist`, `emnist/letters`, `cifar10`, ...
  (https://www.tensorflow.org/datasets/catalog/overview), found in `$TFDS_DATA_DIR` or prepared;
- `digits`: scikit-learn's 1797 digits of 8x8 pixels, the first 1500 as train, the others as test;
- `ring`, `grid`, `gaussian1d`: 100,000 points of a mixture of Gaussians (gan_jax/mixtures.py), as
  test 10,000 others; the labels are the modes;
- `folder:DIR`: PNG and JPEG files, whose subfolders, if all lie in one, are the classes;
- `npz:FILE`, `npy:FILE`: uint8 images, or floating-point points.
"""

import hashlib
import io
import logging
import os
import pathlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from gan_jax import mixtures, tfds
from gan_jax.errors import InputError, brief
from gan_jax.mixtures import MIXTURES

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class Dataset(NamedTuple):
    """The examples of one split.

    images: uint8 (n, height, width, channels), or float32 (n, d) for points.
    labels: int32 (n,), or None.
    sha256: hex digest over dtype, shape and bytes of images and, where there are any, labels.
    """

    images: np.ndarray
    labels: np.ndarray | None
    sha256: str


def load(name: str, split: str = "train", image_size: int = 0) -> Dataset:
    """Returns one split of a data set, from the cache where it has been decoded before.

    Args:
      name: see the module's docstring.
      split: NAME or NAME[a:b], of which a and b count examples: `train`, `train[50000:60000]`.
      image_size: height and width in pixels to resize images to; 0 leaves them as they are.

    Raises:
      InputError: what was asked for does not exist, is damaged or cannot be fetched.
    """
    match = re.fullmatch(r"(\w[\w-]*)(?:\[(\d*):(\d*)\])?", split)
    if not match:
        raise InputError(f"split {split!r} must be NAME or NAME[a:b], such as train[:50000]")
    if image_size < 0:
        raise InputError(f"image_size {image_size}: want pixels, or 0 for images as they are")
    kind, _, path = name.partition(":")
    if kind in ("npz", "npy") and path:
        dataset = _load_file(path, match[1], image_size)
    elif kind == "folder" and path:
        dataset = _load_folder(path, match[1], image_size)
    elif name == "digits":
        dataset = _load_digits(match[1], image_size)
    elif name in MIXTURES:
        dataset = _load_mixture(name, match[1], image_size)
    else:
        dataset = _load_tfds(name, match[1], image_size)
    n = len(dataset.images)
    start, stop = int(match[2] or 0), int(match[3] or n)
    if not start < stop <= n:
        raise InputError(f"split {split!r}: {name} has {n} examples: want 0 <= a < b <= {n}")
    if (start, stop) == (0, n):
        return dataset
    labels = None if dataset.labels is None else dataset.labels[start:stop]
    return _dataset(dataset.images[start:stop], labels)


def overlap(a: str, b: str) -> bool:
    """Whether two splits, as `load` takes them, have examples in common (as far as names tell)."""

    def parts(split: str) -> tuple[str, int, float]:
        name, _, part = split.partition("[")
        start, _, stop = part.rstrip("]").partition(":")
        return name, int(start or 0), float(stop or "inf")

    (one, low, high), (other, start, end) = parts(a), parts(b)
    return one == other and max(low, start) < min(high, end)


# The cache


def cache_dir() -> pathlib.Path:
    """$GAN_JAX_CACHE, else $XDG_CACHE_HOME/gan_jax, else ~/.cache/gan_jax."""
    if own := os.environ.get("GAN_JAX_CACHE"):
        return pathlib.Path(own).expanduser()
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gan_jax"


def _dataset(images: np.ndarray, labels: np.ndarray | None) -> Dataset:
    digest = hashlib.sha256()
    for array in (images,) if labels is None else (images, labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Dataset(images, labels, digest.hexdigest())


def _read_cache(entry: pathlib.Path) -> Dataset | None:
    """The data set kept in a file, or None if there is none or it is not what was written."""
    try:
        with entry.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            labels = arrays.get("labels")
            dataset = _dataset(arrays["images"], labels)
            if dataset.sha256 != str(arrays["sha256"]):
                raise ValueError("its checksum does not match")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a damaged zip raises anything, from EOFError to zlib.error
        log.warning("decoding again, as %s cannot be read: %s", entry, brief(error))
        return None
    return dataset


def _write_cache(entry: pathlib.Path, images: np.ndarray, labels: np.ndarray | None) -> Dataset:
    """Keeps a data set in a file, if that can be written, and returns it in any case."""
    dataset = _dataset(images, labels)
    arrays = {key: value for key, value in dataset._asdict().items() if value is not None}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    keep(entry, buffer.getbuffer())
    return dataset


def keep(entry: pathlib.Path, content: bytes | memoryview) -> None:
    """Writes a file of the cache, whole or not at all, or warns where it cannot be written."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            os.replace(partial, entry)  # whoever else is writing it
        finally:
            pathlib.Path(partial).unlink(missing_ok=True)
    except OSError as error:
        log.warning("not kept in the cache: %s", brief(error))


# Images


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes uint8 (height, width, channels) to (size, size, channels), unless size is 0."""
    if size == 0 or image.shape[:2] == (size, size):
        return image
    from PIL import Image

    bands = [Image.fromarray(band) for band in np.moveaxis(image, -1, 0)]
    resized = [band.resize((size, size), Image.Resampling.LANCZOS) for band in bands]
    return np.stack([np.asarray(band) for band in resized], axis=-1)


def _stack(named_images: Iterable[tuple[str, np.ndarray]], image_size: int) -> np.ndarray:
    """Resizes (height, width, channels) images one by one and stacks them; grey joins colour."""
    images: list[np.ndarray] = []
    first = ""
    for name, original in named_images:
        image = _resize(original, image_size)
        if images and image.shape[:2] != images[0].shape[:2]:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (images[0].shape, image.shape)]
            raise InputError(
                f"images differ in size: {first} is {sizes[0]} and {name} is {sizes[1]} pixels;"
                " --config.image_size=N resizes them all"
            )
        first = first or name
        images.append(image)
    channels = max(image.shape[2] for image in images)
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images])


# Sources


def _load_digits(split: str, image_size: int) -> Dataset:
    """scikit-learn has a single set of 1797 digits: the first 1500 are train, the last 297 test."""
    splits = {"train": slice(0, 1500), "test": slice(1500, None)}
    tfds.want_split("digits", split, splits)
    entry = cache_dir() / "data" / "digits" / f"{split}-{image_size}.npz"
    if dataset := _read_cache(entry):
        return dataset
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("digits needs scikit-learn: pip install scikit-learn") from error
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images[splits[split]] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    images = _stack((("", image) for image in images), image_size)
    return _write_cache(entry, images, labels[splits[split]].astype(np.int32))


def _load_mixture(name: str, split: str, image_size: int) -> Dataset:
    splits = {"train": (100_000, 0), "test": (10_000, 1)}  # how many points, and their seed
    tfds.want_split(name, split, splits)
    if image_size:
        raise InputError(f"image_size {image_size}: {name} has points, which have no size")
    return _dataset(*mixtures.draw(MIXTURES[name], *splits[split]))


def _load_folder(path: str, split: str, image_size: int) -> Dataset:
    """PNG and JPEG files in a fixed random order; grey if all are, else RGB without alpha."""
    tfds.want_split(f"folder:{path}", split, ["train"])
    folder = pathlib.Path(path).expanduser().resolve()
    if not os.path.isdir(folder):
        raise InputError(f"folder:{path}: there is no directory {folder}")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    # In an order that mixes the classes, so that a part of the split has them all.
    files = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
    if not files:
        raise InputError(
            f"folder:{path}: no file below {folder} ends in {', '.join(IMAGE_SUFFIXES)}"
        )
    listing = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    key = hashlib.sha256(repr(listing).encode()).hexdigest()[:32]
    entry = cache_dir() / "data" / "folder" / f"{key}-{image_size}.npz"
    if dataset := _read_cache(entry):
        return dataset
    images = _stack(((str(f), _read_image(f)) for f in files), image_size)
    parts = [f.relative_to(folder).parts for f in files]
    if min(map(len, parts)) < 2:
        return _write_cache(entry, images, None)
    _, labels = np.unique([part[0] for part in parts], return_inverse=True)
    return _write_cache(entry, images, labels.astype(np.int32))


def _read_image(file: pathlib.Path) -> np.ndarray:
    """Returns uint8 (height, width, 1) of a grey image and (height, width, 3) of any other."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            deep = image.mode.startswith(("I", "F"))
            # By way of RGBA, as Pillow warns of a palette with transparency otherwise.
            grey = image.mode in ("1", "L")
            pixels = np.asarray(
                image.convert("L") if grey else image.convert("RGBA").convert("RGB")
            )
    except Exception as error:  # of a damaged file, or one of more pixels than Pillow trusts
        raise InputError(f"{file} cannot be read as an image: {brief(error)}") from error
    if deep:
        raise InputError(f"{file} has more than 8 bits a channel: want 8-bit images")
    return pixels.reshape(*pixels.shape[:2], -1)


def _load_file(path: str, split: str, image_size: int) -> Dataset:
    """Reads images or points from a NumPy file; never unpickles."""
    tfds.want_split(path, split, ["train"])
    try:
        with pathlib.Path(path).expanduser().open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except Exception as error:  # damage shows in as many ways as there are layers below
        raise InputError(
            f"{path}: want NumPy arrays without pickled objects, found {brief(error)}"
        ) from error
    if "images" not in arrays and len(arrays) != 1:
        raise InputError(f"{path}: want `images` or a single array, found {', '.join(arrays)}")
    images = arrays["images"] if "images" in arrays else next(iter(arrays.values()))
    labels = arrays.get("labels")
    if 0 in images.shape:
        raise InputError(f"{path}: want at least one example, found shape {images.shape}")
    if images.dtype == np.uint8 and (images.ndim == 3 or images.shape[3:] in ((1,), (3,))):
        images = images.reshape(*images.shape[:3], -1)
        images = _stack((("", image) for image in images), image_size) if image_size else images
    elif images.dtype in (np.float32, np.float64) and images.ndim == 2 and not image_size:
        with np.errstate(over="ignore"):
            images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise InputError(f"{path}: want finite points, found inf or nan (as float32)")
    else:
        wanted = "uint8 (n, h, w) or (n, h, w, 1 or 3) images"
        wanted += " to resize" if image_size else ", or float (n, d) points"
        raise InputError(f"{path}: want {wanted}, found {images.dtype} {images.shape}")
    if labels is not None:
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            found = f"{labels.dtype} {labels.shape}"
            raise InputError(f"{path}: want integer labels ({len(images)},), found {found}")
        labels = labels.astype(np.int32)
    return _dataset(images, labels)


def _load_tfds(name: str, split: str, image_size: int) -> Dataset:
    """Any cached version serves a name without one, so that TFDS is imported on a miss only."""
    plain, version = tfds.parse(name)
    folder = cache_dir() / "data" / plain
    file = f"{split}-{image_size}.npz"
    entries = (
        entry
        for entry in folder.glob(f"{version or '*'}/{file}")
        if re.fullmatch(r"\d+(\.\d+)*", entry.parent.name)
    )
    for entry in sorted(entries, key=lambda e: [*map(int, e.parent.name.split("."))], reverse=True):
        if dataset := _read_cache(entry):
            return dataset
    data_dir = os.environ.get("TFDS_DATA_DIR") or cache_dir() / "tensorflow_datasets"
    labels: list[int] = []

    def named_images() -> Iterator[tuple[str, np.ndarray]]:
        for number, (image, label) in enumerate(examples):
            if label is not None:
                labels.append(label)
            yield f"image {number}", image

    with tfds.examples(name, split, pathlib.Path(data_dir).expanduser()) as (version, examples):
        images = _stack(named_images(), image_size)
    entry = folder / version / file
    return _write_cache(entry, images, np.asarray(labels, np.int32) if labels else None)
