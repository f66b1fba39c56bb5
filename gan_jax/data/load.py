"""Data sets by name, decoded once and cached."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from gan_jax.data import captions, folders, mixtures, molecules, numpy_files, pixels, tfds
from gan_jax.data.cache import cached, entries_dir
from gan_jax.data.dataset import Dataset, SplitError, check_split, from_arrays, select
from gan_jax.errors import InputError


def load(
    name: str,
    split: str = "train",
    image_size: pixels.Size = 0,
    captions_file: str = "",
    without: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Dataset:
    """Loads one split of a data set, from the cache if it has been decoded before.

    Args:
      name: one of
        - a TFDS image data set (https://www.tensorflow.org/datasets/catalog/overview): `mnist`,
          `mnist:3.0.1`, `emnist/letters`, `cifar10`, ..., found in `$TFDS_DATA_DIR` or prepared;
        - `digits`: scikit-learn's 1797 digits of 8x8 pixels, the first 1500 as train, the others
          as test;
        - `ring`, `grid`, `gaussian1d`: 100,000 points of a mixture of Gaussians
          (gan_jax/data/mixtures.py), 10,000 others as test; the labels are the modes;
        - `stacked_mnist`: 128,000 triples of MNIST digits, one per channel, and 26,000 of its test
          digits (Lin et al. 2018, "PacGAN", https://arxiv.org/abs/1712.04086, section 4.2); the
          labels are the three digits as a number, the 1,000 modes;
        - `folder:DIR`: image files, whose subfolders are the classes (gan_jax/data/folders.py);
        - `npz:FILE`, `npy:FILE`: uint8 images or float points (gan_jax/data/numpy_files.py);
        - `smiles:FILE`, `smiles_morgan:FILE`: MACCS keys or Morgan fingerprints of molecules in a
          CSV file, and whether they are active (gan_jax/data/molecules.py).
      split: NAME or NAME[a:b], a and b counting examples: `train`, `train[50000:60000]`.
      image_size: pixels per side to resize images to, or (height, width); 0 keeps their size.
      captions_file: of captions of all splits, see gan_jax/data/captions.py; they become part of
        the hash.
      without: classes to leave out, by name or by the number in it.
      only: classes to keep, if any are given.

    Raises:
      InputError: the data do not exist, are damaged or cannot be downloaded.
      SplitError: they have no such split.
    """
    match = re.fullmatch(r"(\w[\w-]{0,99})(?:\[(\d{0,18}):(\d{0,18})\])?", split)
    if not match:
        raise SplitError(f"split {split!r} must be NAME or NAME[a:b], such as train[:50000]")
    sides = (image_size,) if isinstance(image_size, int) else image_size
    if min(sides) < (1 if len(sides) == 2 else 0):
        raise InputError(f"image_size {image_size}: expected pixels, or 0 for no resizing")
    try:
        dataset = _load_whole(name, match[1], image_size)
    except MemoryError as error:
        raise InputError(f"{name} with image_size {image_size} does not fit in memory") from error
    n = len(dataset.images)
    start, stop = int(match[2] or 0), int(match[3] or n)
    if not start < stop <= n:
        raise SplitError(f"split {split!r}: {name} has {n} examples: expected 0 <= a < b <= {n}")
    if captions_file:
        dataset = dataset._replace(captions=captions.load(captions_file, dataset))
    if (start, stop) != (0, n):
        dataset = select(dataset, slice(start, stop))
    for classes, kept in ((without, False), (only, True)):
        if classes:
            chosen = _of_classes(name, dataset, classes) == kept
            if not chosen.any():
                raise InputError(f"config.condition.held_out leaves no example of {name} {split}")
            dataset = select(dataset, chosen)
    if dataset.captions is not None:
        digest = hashlib.sha256((dataset.sha256 + dataset.captions.sha256).encode())
        dataset = dataset._replace(sha256=digest.hexdigest())
    return dataset


def _of_classes(name: str, dataset: Dataset, chosen: Sequence[str]) -> np.ndarray:
    """Whether each example is of a chosen class, bool (n,)."""
    if dataset.labels is None or dataset.class_names is None:
        raise InputError(f"config.condition.held_out: {name} has no named classes")
    numbers = captions.class_numbers(dataset.class_names)
    if unknown := [key for key in chosen if key not in numbers]:
        raise InputError(f"config.condition.held_out: {name} has no class {unknown[0]!r}")
    return np.isin(dataset.labels, [numbers[key] for key in chosen])


def overlap(a: str, b: str) -> bool:
    """Whether two splits of a data set, as `load` takes them, can have examples in common."""

    def parts(split: str) -> tuple[str, int, float]:
        name, _, part = split.partition("[")
        start, _, stop = part.rstrip("]").partition(":")
        return name, int(start or 0), float(stop or "inf")

    (one, low, high), (other, start, end) = parts(a), parts(b)
    return one == other and max(low, start) < min(high, end)


def _load_whole(name: str, split: str, image_size: pixels.Size) -> Dataset:
    kind, _, path = name.partition(":")
    if kind in ("npz", "npy", "folder") and path:
        check_split(name, split, ["train"])
        return (folders if kind == "folder" else numpy_files).load(path, image_size)
    if kind in molecules.FINGERPRINTS and path:
        check_split(name, split, ["train"])
        if image_size:
            raise InputError(f"image_size {image_size}: {name} has fingerprints, without a size")
        return molecules.load(kind, path)
    if name == "digits":
        return _load_digits(split, image_size)
    if name in mixtures.MIXTURES:
        return _load_mixture(name, split, image_size)
    if name == "stacked_mnist":
        return _load_stacked_mnist(split, image_size)
    return tfds.load(name, split, image_size)


def _load_digits(split: str, image_size: pixels.Size) -> Dataset:
    splits = {"train": slice(0, 1500), "test": slice(1500, None)}
    check_split("digits", split, splits)

    def decode() -> Dataset:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise InputError("digits needs scikit-learn: pip install scikit-learn") from error
        raw, labels = load_digits(return_X_y=True)  # levels 0 to 16
        images = np.rint(raw[splits[split]] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        images = pixels.stack((("", image) for image in images), image_size)
        return from_arrays(images, labels[splits[split]].astype(np.int32), tuple("0123456789"))

    return cached(entries_dir() / "digits" / f"{split}-{image_size}.npz", decode)


def _load_mixture(name: str, split: str, image_size: pixels.Size) -> Dataset:
    splits = {"train": (100_000, 0), "test": (10_000, 1)}  # number of points, seed
    check_split(name, split, splits)
    if image_size:
        raise InputError(f"image_size {image_size}: {name} has points, which have no size")
    return from_arrays(*mixtures.draw(mixtures.MIXTURES[name], *splits[split]))


def _load_stacked_mnist(split: str, image_size: pixels.Size) -> Dataset:
    splits = {"train": (128_000, 0), "test": (26_000, 1)}  # number of triples, seed
    check_split("stacked_mnist", split, splits)
    digits = tfds.load("mnist", split, image_size)
    assert digits.labels is not None
    num, seed = splits[split]
    chosen = np.random.default_rng(seed).integers(0, len(digits.images), (3, num))
    images = np.concatenate([digits.images[i] for i in chosen], axis=-1)
    hundreds, tens, ones = (digits.labels[i] for i in chosen)
    return from_arrays(images, 100 * hundreds + 10 * tens + ones)
