"""Folders of images."""

import contextlib
import functools
import hashlib
import logging
import os
import pathlib
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import filelock
import numpy as np

from gan_jax.data import decoding, pixels
from gan_jax.data.cache import cached, entries_dir, expand_user, read
from gan_jax.data.dataset import Dataset, from_arrays
from gan_jax.errors import InputError, brief

if TYPE_CHECKING:
    from PIL import ImageFile

log = logging.getLogger(__name__)

# A fixed list, so that a data set does not depend on the version of Pillow.
# Excluded: stubs that Pillow identifies but cannot decode, EPS (runs Ghostscript), float formats.
_FORMATS = (
    "apng avif bmp dds dib gif icns ico j2c j2k jfif jp2 jpc jpe jpeg jpf jpg jpx"
    " pbm pcx pgm png pnm ppm psd qoi sgi tga tif tiff webp xbm xpm"
)
IMAGE_SUFFIXES = frozenset(f".{name}" for name in _FORMATS.split())
_SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")  # copies and thumbnails by macOS and Synology
_MAX_LISTED = 20  # classes, or kinds of skipped files, that the summary lists one by one


def load(path: str, image_size: pixels.Size) -> Dataset:
    """Reads the images below a folder; its subfolders, if any, are the classes.

    Skips hidden files and folders, files without an image suffix, and images outside the class
    folders if these are a minority. Logs one line about what was found and skipped.

    The order is pseudorandom, so that slices of the split contain all classes, and depends only on
    relative paths, so that the folder may move.

    Returns:
      Grey images if all are, else RGB.

    Raises:
      InputError: there are no images, or one cannot be used.
    """
    folder = pathlib.Path(os.path.realpath(expand_user(path)))
    if not os.path.isdir(folder):  # Path.is_dir raises on names that are too long
        raise InputError(f"folder:{path}: there is no directory {folder}")
    skipped: Counter[str] = Counter()
    try:
        files = sorted(_walk(folder, (), skipped), key=lambda f: f.parts)
        nested = [f for f in files if f.parent != folder]
        if nested and (stray := len(files) - len(nested)):
            if stray >= len(nested):
                raise InputError(
                    f"folder:{path}: {stray} images are outside of the subfolders and {len(nested)}"
                    " inside: move all into subfolders (the classes), or none"
                )
            skipped["outside the class folders"] = stray
            files = nested
        if not files:
            raise InputError(f"folder:{path}: no images below {folder}{_skipped(skipped)}")
        files = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
        listing = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    except OSError as error:
        raise InputError(f"folder:{path} cannot be read: {brief(error)}") from error

    # With the absolute paths: in another folder, files of equal name, size and time may differ.
    key = hashlib.sha256(repr(("names", str(folder), listing)).encode()).hexdigest()[:32]
    entry = entries_dir() / "folder" / f"{key}-{image_size}.npz"
    place = hashlib.sha256(repr((str(folder), image_size)).encode()).hexdigest()[:32]
    partial = entry.with_name(f"{place}-{key}.partial")

    def decode() -> Dataset:
        images = decoding.decode(files, read_image, image_size, partial)
        names = np.array([f.relative_to(folder).as_posix() for f in files])
        if not nested:
            return from_arrays(images, names=names)
        classes = [f.relative_to(folder).parts[0] for f in files]
        class_names, labels = np.unique(classes, return_inverse=True)
        labels = labels.astype(np.int32)
        return from_arrays(images, labels, tuple(class_names.tolist()), names)

    dataset = read(entry)
    if dataset is None:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # without a lock where the cache cannot be written
                entry.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(filelock.FileLock(entry.with_suffix(".lock")))
            for abandoned in entry.parent.glob(f"{place}-*.partial"):  # the folder has changed
                if abandoned != partial:
                    shutil.rmtree(abandoned, ignore_errors=True)
            try:
                dataset = cached(entry, decode)
            except InputError:  # repairing a file changes the listing, and so the entry
                shutil.rmtree(partial, ignore_errors=True)
                raise
            shutil.rmtree(partial, ignore_errors=True)
    _log_once(f"folder:{path}: {_summary(dataset)}{_skipped(skipped)}")
    return dataset


def _walk(
    folder: pathlib.Path, ancestors: tuple[str, ...], skipped: Counter[str]
) -> Iterator[pathlib.Path]:
    """Yields the image files below a folder, following links, and counts skipped files."""
    real = os.path.realpath(folder)
    if real in ancestors:
        skipped["circular links"] += 1
        return
    for entry in list(os.scandir(folder)):
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith(".") or entry.name in _SYSTEM_FOLDERS:
            skipped["hidden"] += 1
        elif entry.is_dir():
            yield from _walk(pathlib.Path(entry.path), (*ancestors, real), skipped)
        elif not entry.is_file():
            skipped["broken links or special files"] += 1
        elif suffix in IMAGE_SUFFIXES:
            yield pathlib.Path(entry.path)
        else:
            skipped[suffix or "without a suffix"] += 1


def read_image(file: pathlib.Path) -> np.ndarray:
    """Decodes the first frame: upright, on white where transparent.

    Returns:
      uint8 (height, width, 1) of a grey image, (height, width, 3) of any other.
    """
    from PIL import ExifTags, Image

    turn = Image.Transpose
    upright = {  # by EXIF orientation; ImageOps.exif_transpose fails where other tags are corrupt
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as opened:
            high_depth = _exceeds_8_bits(opened)
            opened.load()
            orientation = opened.getexif().get(ExifTags.Base.Orientation)
            grey = opened.mode in ("1", "L", "LA")
            image: Image.Image = opened
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("L" if grey else "RGB")
            if orientation in upright:
                image = image.transpose(upright[orientation])
    except Exception as error:  # damaged, or of more pixels than Pillow trusts
        raise InputError(f"{file} cannot be read as an image: {brief(error)}") from error
    if high_depth:
        raise InputError(f"{file} has more than 8 bits per channel: convert it to 8 bits first")
    return np.asarray(image).reshape(image.height, image.width, -1)


def _exceeds_8_bits(image: "ImageFile.ImageFile") -> bool:
    """Whether channels have more than 8 bits, which Pillow truncates in colour images."""
    for codec, _, _, args in image.tile:
        rawmode, *others = args if isinstance(args, tuple) else (args,)
        if ";16" in str(rawmode) and rawmode != "BGR;16":  # which is 5, 6 and 5 bits
            return True
        if codec.startswith("ppm") and others[-1] > 255:
            return True
    return image.mode[0] in "IF"


def _summary(dataset: Dataset) -> str:
    n, height, width, channels = dataset.images.shape
    colour = "grey" if channels == 1 else "RGB"
    text = f"{n} {colour} image{'s' * (n > 1)} of {width}x{height} pixels, "
    if dataset.labels is None or dataset.class_names is None:
        return text + "no classes"
    counts = np.bincount(dataset.labels).tolist()
    if len(counts) > _MAX_LISTED:
        return f"{text}{len(counts)} classes of {min(counts)} to {max(counts)} images"
    classes = [f"{name} {count}" for name, count in zip(dataset.class_names, counts, strict=True)]
    return f"{text}{len(counts)} class{'es' * (len(counts) > 1)} ({', '.join(classes)})"


def _skipped(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{count} {kind}" for kind, count in ordered[:_MAX_LISTED]]
    if rest := sum(count for _, count in ordered[_MAX_LISTED:]):
        listed.append(f"{rest} others")
    return f"; skipped: {', '.join(listed)}" if listed else ""


@functools.cache
def _log_once(line: str) -> None:
    """Logs a line, the first time; names with line breaks or stray bytes are escaped."""
    log.info("%s", line if line.isprintable() else repr(line)[1:-1])
