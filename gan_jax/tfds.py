"""TensorFlow Datasets without TensorFlow: found or prepared, and read as arrays.

TFDS itself is imported when a data set is asked for, and not before.
"""

import contextlib
import difflib
import functools
import gzip
import importlib.util
import io
import logging
import os
import pathlib
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_jax.errors import InputError, brief

log = logging.getLogger(__name__)

# These come as IDX files, which we read ourselves: TFDS would need TensorFlow to prepare them.
MNIST_FAMILY = ("mnist", "fashion_mnist", "kmnist", "emnist")
WANTED = (
    "(want digits, folder:DIR, npz:FILE, npy:FILE or a name from"
    " https://www.tensorflow.org/datasets/catalog/overview)"
)
DOWNLOAD_RETRIES = 1
DOWNLOAD_TIMEOUT = (5, 60)  # seconds to connect, seconds without a byte


def parse(name: str) -> tuple[str, str | None]:
    """A TFDS name, NAME[/CONFIG][:VERSION], as what stands before the version, and the version.

    Raises:
      InputError: not of that form.
    """
    match = re.fullmatch(r"(\w+(?:/\w[\w.+-]*)?)(?::([\d*]+(?:\.[\d*]+){2}))?", name)
    if not match:
        raise InputError(f"unknown data set {name!r} {WANTED}")
    return match[1], match[2]


def want_split(name: str, split: str, splits: Iterable[str]) -> None:
    """Raises an InputError that lists the splits, unless `split` is one."""
    if split not in splits:
        raise InputError(f"{name} has no split {split!r}: want one of {', '.join(splits)}")


@contextlib.contextmanager
def examples(
    name: str, split: str, data_dir: pathlib.Path
) -> Iterator[tuple[str, Iterator[tuple[np.ndarray, int | None]]]]:
    """Opens a split of an image data set, preparing it on first use.

    Args:
      name: of TFDS, such as mnist, mnist:3.0.1 or emnist/letters.
      split: such as train.
      data_dir: where TFDS keeps its data sets.

    Yields:
      The version, and an iterator over (image, label): uint8 (height, width, channels), and the
      class or None.

    Raises:
      InputError: there is no such data set or split, or it cannot be fetched, prepared or read.
    """
    try:
        with _tensorflow_datasets() as tfds:
            builder = _prepare(tfds, name, data_dir)
            want_split(builder.info.full_name, split, builder.info.splits)
            yield str(builder.version), _decode(builder, split)
    except ImportError as error:
        raise InputError(
            f"{name} is not in the cache and cannot be read without the package {error.name}:"
            " pip install tensorflow-datasets importlib_resources array_record"
        ) from error


@contextlib.contextmanager
def _tensorflow_datasets() -> Iterator[Any]:
    """The module, made silent but for progress bars on a terminal, and quick to give up.

    Its own 10 retries take minutes, and for a host that drops packets it would wait on and on.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3")]
    levels = [logger.level for logger in loggers]
    retries, open_url = downloader.MAX_RETRIES, downloader._open_url
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        downloader.MAX_RETRIES = DOWNLOAD_RETRIES
        downloader._open_url = functools.partial(open_url, timeout=DOWNLOAD_TIMEOUT)
        with contextlib.redirect_stdout(io.StringIO()):
            yield tfds
    finally:
        downloader.MAX_RETRIES, downloader._open_url = retries, open_url
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _prepare(tfds: Any, name: str, data_dir: pathlib.Path) -> Any:
    """Returns the TFDS builder of an image data set whose files are on disk, maybe only now."""
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = [*tfds.list_builders(with_community_datasets=False), "digits"]
        close = "".join(f"; did you mean {n}?" for n in difflib.get_close_matches(name, known, 1))
        raise InputError(f"unknown data set {name!r}{close} {WANTED}") from error
    except Exception as error:
        raise InputError(f"TFDS cannot open {name} in {data_dir}: {brief(error)}") from error
    image = dict(builder.info.features).get("image")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise InputError(f"{name} has no 8-bit feature `image`: want an image data set of TFDS")
    if builder.is_prepared():
        return builder
    if builder.name in MNIST_FAMILY:
        _read_without_tensorflow(builder)
    elif importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            f"{name} is not prepared in {data_dir}, and preparing it needs TensorFlow:"
            " pip install 'gan_jax[prepare]'"
        )
    log.info("preparing %s in %s", name, data_dir)
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # whatever lies beneath: requests, gzip, the file system
        if not builder.is_prepared():  # else another process was faster
            names = [info.filename for info in (builder.url_infos or {}).values()]
            files = ", ".join(names) if 0 < len(names) <= 4 else "its original files"
            raise InputError(
                f"{name} could not be fetched and prepared ({brief(error)}): put {files} into"
                f" {data_dir / 'downloads' / 'manual'}, or set TFDS_DATA_DIR to a directory where"
                " it is prepared, or use --config=configs/digits.py, which needs no download"
            ) from error
    return tfds.builder(name, data_dir=data_dir)


def _read_without_tensorflow(builder: Any) -> None:
    """Has a builder of the MNIST family read its archives itself and encode with Pillow."""
    split_generators = builder._split_generators

    def keep_archives(dl_manager: Any) -> Any:
        dl_manager.download_and_extract = dl_manager.download
        dl_manager.extract = lambda paths: paths
        return split_generators(dl_manager)

    def generate_examples(data_path: str, label_path: str, **_: int) -> Iterator[tuple[int, Any]]:
        from PIL import Image

        examples = zip(_read_idx(data_path), _read_idx(label_path), strict=True)
        for index, (image, label) in enumerate(examples):
            yield index, {"image": Image.fromarray(image), "label": int(label)}

    builder._split_generators = keep_archives
    builder._generate_examples = generate_examples


def _read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads gzipped IDX of uint8, for EMNIST inside a zip: `ZIP/gzip/NAME.gz`, of which TFDS asks.

    Format: two zero bytes, the type (8 is uint8), the rank, the shape as big-endian
    int32, the data.
    """
    file = pathlib.Path(path)
    archive = file.parents[1]
    if archive.is_file():
        packed = zipfile.Path(archive, f"{file.parent.name}/{file.name}").read_bytes()
    else:
        packed = file.read_bytes()
    data = gzip.decompress(packed)
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{file} is not an IDX file of uint8")
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def _decode(builder: Any, split: str) -> Iterator[tuple[np.ndarray, int | None]]:
    """The examples of a prepared data set, decoded: 0.15 ms for an image of MNIST."""
    feature = dict(builder.info.features).get("label")
    labelled = (
        feature is not None and feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)
    )
    try:
        source = builder.as_data_source(split)
        n = len(source)
        with tqdm(total=n, desc=f"decoding {builder.name}", unit="", disable=None) as bar:
            for start in range(0, n, 256):  # in batches reads twice as fast as one by one
                for example in source.__getitems__(range(start, min(start + 256, n))):
                    yield example["image"], int(example["label"]) if labelled else None
                    bar.update()
    except InputError:
        raise
    except Exception as error:  # Riegeli, protobuf and Pillow each have their own
        raise InputError(
            f"{builder.data_path} cannot be read ({brief(error)}): delete it, so that it is"
            " prepared anew, or set TFDS_DATA_DIR to another directory"
        ) from error
