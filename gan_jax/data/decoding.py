"""Resumable decoding of many image files on all cores, into memory-mapped arrays."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from gan_jax.data import pixels

_BLOCK = 1024  # images decoded between updates of channels.npy


def decode(
    files: Sequence[pathlib.Path],
    read: Callable[[pathlib.Path], np.ndarray],
    image_size: pixels.Size,
    partial: pathlib.Path,
) -> np.ndarray:
    """Decodes images, resized to a common size if one is given.

    Args:
      files: at least one.
      read: decodes a file to uint8 (height, width, 1 or 3); called from several threads.
      image_size: see `pixels.resize`.
      partial: directory for decoded images, from which an interrupted call resumes. If it cannot
        be written, images stay in memory. Not shared between processes; deleted by the caller.

    Returns:
      uint8 (n, height, width, channels): RGB unless all are grey.

    Raises:
      InputError: images differ in size and image_size is 0; or raised by read.
    """
    first = pixels.resize(read(files[0]), image_size)
    images, channels = _arrays(partial, (len(files), *first.shape[:2], 3))

    def one(i: int) -> int:
        image = pixels.resize(read(files[i]), image_size)
        if image.shape[:2] != first.shape[:2]:
            raise pixels.size_error(str(files[0]), first, str(files[i]), image)
        images[i] = image  # grey broadcasts
        return image.shape[2]

    left = np.flatnonzero(channels == 0)  # 0: not decoded yet
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,  # Pillow releases the GIL
        tqdm(
            total=len(files), initial=len(files) - len(left), desc="decoding", disable=None
        ) as bar,
    ):
        for start in range(0, len(left), _BLOCK):
            block = left[start : start + _BLOCK]
            found = []
            for number in pool.map(one, block.tolist()):
                found.append(number)
                bar.update()
            if isinstance(images, np.memmap):
                images.flush()  # before channels.npy marks them as decoded
            channels[block] = found
    return images if channels.max() == 3 else np.ascontiguousarray(images[..., :1])


def _arrays(directory: pathlib.Path, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images, and the number of channels of each, 0 until it is decoded."""
    sizes = {"images.npy": shape, "channels.npy": shape[:1]}
    with contextlib.suppress(OSError, ValueError, EOFError):  # none yet, or damaged
        images, channels = (np.load(directory / name, mmap_mode="r+") for name in sizes)
        return images, channels
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name, size in sizes.items():
            np.lib.format.open_memmap(directory / name, "w+", np.uint8, size)
            if hasattr(os, "posix_fallocate"):  # a full disk is an error here, but SIGBUS later
                with (directory / name).open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        images, channels = (np.load(directory / name, mmap_mode="r+") for name in sizes)
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        return np.zeros(shape, np.uint8), np.zeros(shape[:1], np.uint8)
    return images, channels
