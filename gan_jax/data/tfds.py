"""TensorFlow Datasets without TensorFlow: located or prepared, and read as arrays.

tensorflow_datasets itself is imported on a cache miss only.
"""

import contextlib
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

from gan_jax.data import cache, pixels
from gan_jax.data.dataset import Dataset, check_split, from_arrays, to_int32
from gan_jax.errors import InputError, brief, did_you_mean

log = logging.getLogger(__name__)

# Published as IDX files, which we read ourselves: TFDS would need TensorFlow to prepare them.
_MNIST_FAMILY = ("mnist", "fashion_mnist", "kmnist", "emnist")
_WANTED = (
    "(expected digits, folder:DIR, npz:FILE, npy:FILE, smiles:FILE or a name from"
    " https://www.tensorflow.org/datasets/catalog/overview)"
)
DOWNLOAD_RETRIES = 1
DOWNLOAD_TIMEOUT = (5, 60)  # seconds to connect, seconds without a byte


def load(name: str, split: str, image_size: pixels.Size) -> Dataset:
    """Loads a split of NAME[/CONFIG][:VERSION], such as mnist, mnist:3.0.1 or emnist/letters.

    Without a version, the newest in the cache.

    Raises:
      InputError: there is no such data set or split, or it cannot be downloaded, prepared or read.
    """
    match = re.fullmatch(
        r"(\w{1,99}(?:/\w[\w.+-]{0,99})?)(?::([\d*]{1,9}(?:\.[\d*]{1,9}){2}))?", name
    )
    if not match:
        raise _unknown(name)
    folder = cache.entries_dir() / match[1]
    file = f"{split}-{image_size}.npz"
    entries = (
        entry
        for entry in folder.glob(f"{match[2] or '*'}/{file}")
        if re.fullmatch(r"\d+(\.\d+)*", entry.parent.name)
    )
    for entry in sorted(entries, key=lambda e: [*map(int, e.parent.name.split("."))], reverse=True):
        if dataset := cache.read(entry):
            return dataset
    data_dir = os.environ.get("TFDS_DATA_DIR") or cache.cache_dir() / "tensorflow_datasets"
    try:
        with _tensorflow_datasets() as tfds:
            builder = _prepare(tfds, name, cache.expand_user(data_dir))
            check_split(builder.info.full_name, split, builder.info.splits)
            dataset = _decode(builder, split, image_size)
    except ImportError as error:
        raise InputError(
            f"{name} is not in the cache and cannot be read without the package {error.name}:"
            " pip install tensorflow-datasets importlib_resources array_record"
        ) from error
    cache.write(folder / str(builder.version) / file, dataset)
    return dataset


@contextlib.contextmanager
def _tensorflow_datasets() -> Iterator[Any]:
    """tensorflow_datasets with errors-only logging, few download retries and a timeout.

    Its default of 10 retries takes minutes, and it does not time out if a host drops packets.
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


def _unknown(name: str, known: Iterable[str] = ()) -> InputError:
    folder = os.path.isdir(os.path.expanduser(name))
    close = f"; did you mean folder:{name}?" if folder else did_you_mean(name, known)
    return InputError(f"unknown data set {name!r}{close} {_WANTED}")


def _prepare(tfds: Any, name: str, data_dir: pathlib.Path) -> Any:
    """Returns the TFDS builder of an image data set, prepared first if necessary."""
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = [*tfds.list_builders(with_community_datasets=False), "digits"]
        raise _unknown(name, known) from error
    except Exception as error:
        raise InputError(f"TFDS cannot open {name} in {data_dir}: {brief(error)}") from error
    image = dict(builder.info.features).get("image")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise InputError(f"{name} has no 8-bit feature `image`: expected an image data set of TFDS")
    if builder.is_prepared():
        return builder
    if builder.name in _MNIST_FAMILY:
        _read_without_tensorflow(builder)
    elif importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            f"{name} is not prepared in {data_dir}, and preparing it needs TensorFlow:"
            " pip install 'gan_jax[prepare]'"
        )
    log.info("preparing %s in %s", name, data_dir)
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # from any layer: requests, gzip, the file system
        if not builder.is_prepared():  # another process may have been faster
            names = [info.filename for info in (builder.url_infos or {}).values()]
            files = ", ".join(names) if 0 < len(names) <= 4 else "its original files"
            raise InputError(
                f"{name} could not be downloaded and prepared ({brief(error)}): put {files} into"
                f" {data_dir / 'downloads' / 'manual'}, or set TFDS_DATA_DIR to a directory where"
                " it is prepared, or use --config=configs/digits.py, which needs no download"
            ) from error
    return tfds.builder(name, data_dir=data_dir)


def _read_without_tensorflow(builder: Any) -> None:
    """Makes a builder of the MNIST family parse its archives itself and encode with Pillow."""
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
    """Reads a gzipped IDX file of uint8; TFDS names a member of EMNIST's zip ZIP/gzip/NAME.gz.

    Format: two zero bytes, the type (8 is uint8), the rank, the shape as big-endian int32, the
    data (http://yann.lecun.com/exdb/mnist). TFDS has verified the file's checksum.
    """
    file = pathlib.Path(path)
    archive = file.parents[1]
    if archive.is_file():
        packed = zipfile.Path(archive, f"{file.parent.name}/{file.name}").read_bytes()
    else:
        packed = file.read_bytes()
    data = gzip.decompress(packed)
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def _decode(builder: Any, split: str, image_size: pixels.Size) -> Dataset:
    """Decodes a split of a prepared data set: 0.15 ms for an image of MNIST."""
    feature = dict(builder.info.features).get("label")
    labelled = (
        feature is not None and feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)
    )
    labels: list[int] = []

    def named_images() -> Iterator[tuple[str, np.ndarray]]:
        source = builder.as_data_source(split)
        n = len(source)
        with tqdm(total=n, desc=f"decoding {builder.name}", unit="", disable=None) as bar:
            for start in range(0, n, 256):  # batches read twice as fast as single examples
                indices = range(start, min(start + 256, n))
                for index, example in zip(indices, source.__getitems__(indices), strict=True):
                    if labelled:
                        labels.append(int(example["label"]))
                    yield f"image {index}", example["image"]
                    bar.update()

    try:
        images = pixels.stack(named_images(), image_size)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Riegeli, protobuf and Pillow each have their own
        raise InputError(
            f"{builder.data_path} cannot be read ({brief(error)}): delete it to prepare it again,"
            " or set TFDS_DATA_DIR to another directory"
        ) from error
    if not labelled:
        return from_arrays(images)
    names = getattr(feature, "names", None)  # of a ClassLabel; no other feature has any
    int32_labels = to_int32(builder.name, np.array(labels))
    return from_arrays(images, int32_labels, tuple(names) if names else None)
