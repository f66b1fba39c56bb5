"""NumPy files of images or points."""

import numpy as np

from gan_jax.data import pixels
from gan_jax.data.cache import expand_user
from gan_jax.data.dataset import Dataset, from_arrays, to_int32
from gan_jax.errors import InputError, brief


def load(path: str, image_size: pixels.Size) -> Dataset:
    """Reads .npy, or .npz with `images` and perhaps `labels`; never unpickles.

    Images are uint8 (n, h, w) or (n, h, w, 1 or 3), points float (n, d).

    Raises:
      InputError: the file is missing, damaged or holds something else.
    """
    expanded = expand_user(path)
    try:
        with expanded.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except Exception as error:  # damage surfaces as the exceptions of every layer below
        raise InputError(
            f"{path}: expected NumPy arrays without pickled objects, found {brief(error)}"
        ) from error
    if "images" not in arrays and len(arrays) != 1:
        raise InputError(f"{path}: expected `images` or a single array, found {', '.join(arrays)}")
    images = arrays["images"] if "images" in arrays else next(iter(arrays.values()))
    if 0 in images.shape:
        raise InputError(f"{path}: expected at least one example, found shape {images.shape}")
    if images.dtype == np.uint8 and (images.ndim == 3 or images.shape[3:] in ((1,), (3,))):
        images = images.reshape(*images.shape[:3], -1)
        if image_size:
            images = pixels.stack((("", image) for image in images), image_size)
    elif images.dtype in (np.float32, np.float64) and images.ndim == 2 and not image_size:
        with np.errstate(over="ignore"):
            images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise InputError(f"{path}: expected finite points, found inf or nan (as float32)")
    else:
        wanted = "uint8 (n, h, w) or (n, h, w, 1 or 3) images"
        wanted += " to resize" if image_size else ", or float (n, d) points"
        raise InputError(f"{path}: expected {wanted}, found {images.dtype} {images.shape}")
    labels = arrays.get("labels")
    if labels is not None:
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            found = f"{labels.dtype} {labels.shape}"
            raise InputError(f"{path}: expected integer labels ({len(images)},), found {found}")
        labels = to_int32(path, labels)
    return from_arrays(images, labels)
