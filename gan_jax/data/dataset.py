"""The arrays of one split, and the checks that every source shares."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from gan_jax.errors import InputError


class SplitError(InputError):
    """A split that a data set does not have; callers add the field that names it."""


class Captions(NamedTuple):
    """Captions in groups: of one image each, or of all images of a class.

    texts: every caption, group by group.
    first: int32 (groups + 1,): group g has texts[first[g] : first[g + 1]].
    groups: int32 (n,): the group of each image.
    sha256: hex digest of the texts and their groups.
    """

    texts: tuple[str, ...]
    first: np.ndarray
    groups: np.ndarray
    sha256: str

    def draw(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Numbers of random captions of images, int (n,)."""
        groups = self.groups[images]
        return rng.integers(self.first[groups], self.first[groups + 1])


class Dataset(NamedTuple):
    """The examples of one split.

    images: uint8 (n, height, width, channels), or float32 (n, d) for points.
    labels: int32 (n,), or None.
    sha256: hex digest of dtype, shape and bytes of the images and of the labels, if any.
    class_names: the name of class i at index i, or None if unknown.
    names: of a folder's images, their paths below it; of molecules, their SMILES; else None.
    captions: of training conditioned on text, else None.
    """

    images: np.ndarray
    labels: np.ndarray | None
    sha256: str
    class_names: tuple[str, ...] | None = None
    names: np.ndarray | None = None
    captions: Captions | None = None


def num_classes(dataset: Dataset) -> int:
    """One more than the largest label, at least the number of class names; 0 without labels."""
    if dataset.labels is None:
        return 0
    return max(int(dataset.labels.max()) + 1, len(dataset.class_names or ()))


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    class_names: tuple[str, ...] | None = None,
    names: np.ndarray | None = None,
) -> Dataset:
    """Returns a Dataset of these arrays, with the hash of images and labels."""
    digest = hashlib.sha256()
    for array in (images,) if labels is None else (images, labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Dataset(images, labels, digest.hexdigest(), class_names, names)


def select(dataset: Dataset, index: slice | np.ndarray) -> Dataset:
    """The examples at these positions, or where a mask is True."""
    labels, names = (None if x is None else x[index] for x in (dataset.labels, dataset.names))
    captions = dataset.captions
    if captions is not None:
        captions = captions._replace(groups=captions.groups[index])
    chosen = from_arrays(dataset.images[index], labels, dataset.class_names, names)
    return chosen._replace(captions=captions)


def check_split(name: str, split: str, splits: Iterable[str]) -> None:
    """Raises a SplitError that lists the splits unless `split` is one of them."""
    if split not in splits:
        raise SplitError(f"{name} has no split {split!r}: expected one of {', '.join(splits)}")


def to_int32(name: str, labels: np.ndarray) -> np.ndarray:
    """Casts integer labels to int32, or raises an InputError if one does not fit."""
    limits = np.iinfo(np.int32)
    if labels.min() < limits.min or labels.max() > limits.max:
        raise InputError(
            f"{name}: expected labels that fit in 32 bits, found {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int32)
