"""The cache of decoded data sets."""

import io
import logging
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from gan_jax.data.dataset import Dataset, from_arrays
from gan_jax.errors import InputError, brief

log = logging.getLogger(__name__)

T = TypeVar("T")

# Increment when the decoding of any source changes: older entries are then ignored.
DECODING_VERSION = 3


def expand_user(path: str | os.PathLike[str]) -> pathlib.Path:
    """`Path.expanduser`, with an InputError where there is no such home directory."""
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: no home directory found; give the path without ~") from error


def cache_dir() -> pathlib.Path:
    """$GAN_JAX_CACHE, else $XDG_CACHE_HOME/gan_jax, else ~/.cache/gan_jax.

    Raises:
      InputError: the user has no home directory and neither variable is set.
    """
    if own := os.environ.get("GAN_JAX_CACHE"):
        return expand_user(own)
    try:
        return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gan_jax"
    except RuntimeError as error:
        raise InputError("no home directory to cache in: set GAN_JAX_CACHE=DIR") from error


def entries_dir() -> pathlib.Path:
    """The directory of data sets decoded by this version.

    Each split and size has an .npz file, with its images next to it as a memory-mapped .npy.
    """
    return cache_dir() / "data" / f"v{DECODING_VERSION}"


def cached(entry: pathlib.Path, decode: Callable[[], Dataset]) -> Dataset:
    """Returns the cached data set, or decodes and caches it."""
    dataset = read(entry)
    if dataset is None:
        dataset = decode()
        write(entry, dataset)
    return dataset


def read(entry: pathlib.Path) -> Dataset | None:
    """Returns the cached data set, or None if it is missing or damaged (with a warning).

    Its images are memory-mapped.
    """
    try:
        with entry.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            images = np.load(entry.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
            names = arrays.get("class_names")
            dataset = from_arrays(
                np.asarray(images),  # still mapped
                arrays.get("labels"),
                None if names is None else tuple(names.tolist()),
                arrays.get("names"),
            )
            if dataset.sha256 != str(arrays["sha256"]):
                raise ValueError("checksum mismatch")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a damaged zip raises anything, from EOFError to zlib.error
        log.warning("decoding again, as %s cannot be read: %s", entry, brief(error))
        return None
    return dataset


def write(entry: pathlib.Path, dataset: Dataset) -> None:
    """Caches a data set, or warns if the cache cannot be written."""
    images = np.ascontiguousarray(dataset.images)
    arrays = io.BytesIO()
    others = {key: x for key, x in dataset._asdict().items() if key != "images" and x is not None}
    np.savez(arrays, allow_pickle=False, **others)
    header = npy_header(images.shape, images.dtype)
    if write_cache_file(entry.with_suffix(".npy"), [header, images.data.cast("B")]):
        write_cache_file(entry, [arrays.getbuffer()])


def npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """What precedes the bytes of a C-contiguous array in an .npy file."""
    header = io.BytesIO()
    described = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def write_cache_file(entry: pathlib.Path, content: Iterable[bytes | memoryview]) -> bool:
    """Writes parts of a cache file, atomically, and returns True, or warns and returns False."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
        try:
            with open(descriptor, "wb") as file:
                file.writelines(content)
            os.replace(partial, entry)  # atomic, so that concurrent writers need no lock
        finally:
            pathlib.Path(partial).unlink(missing_ok=True)
    except OSError as error:
        log.warning("not cached: %s", brief(error))
        return False
    return True


def read_cache_file(entry: pathlib.Path, parse: Callable[[bytes], T], otherwise: str) -> T | None:
    """Parses a cache file; None if it is missing, or unreadable (with a warning)."""
    try:
        return parse(entry.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # damaged contents raise anything, from EOFError to KeyError
        log.warning("%s: %s is unreadable: %s", otherwise, entry, brief(error))
        return None
