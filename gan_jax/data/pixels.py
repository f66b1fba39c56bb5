"""Pixels: uint8 <-> float conversion, resizing and stacking."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gan_jax.errors import InputError

if TYPE_CHECKING:
    import jax

Pixels = TypeVar("Pixels", np.ndarray, "jax.Array")


def to_float(x: Pixels, low: float = 0.0) -> Pixels:
    """Maps uint8 to float32 in [low, 1]; other dtypes pass through. NumPy or JAX, as given."""
    if x.dtype != np.uint8:
        return x
    unit = x.astype(np.float32) / 255
    return unit * (1 - low) + low if low else unit


def to_unit(x: Pixels, low: float) -> Pixels:
    """Maps [low, 1] to [0, 1]. NumPy or JAX, as given."""
    return (x - low) / (1 - low) if low else x


def to_uint8(x: Pixels) -> Pixels:
    """Maps [0, 1], clipped, to rounded uint8; uint8 passes through. NumPy or JAX, as given."""
    return x if x.dtype == np.uint8 else (x.clip(0, 1) * 255).round().astype(np.uint8)


Size = int | tuple[int, int]  # of a square, or (height, width); 0: no resizing


def resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes uint8 (height, width, channels), unless size is 0.

    Lanczos resampling by Pillow, channel by channel.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if size == 0 or image.shape[:2] == (height, width):
        return image
    from PIL import Image

    bands = [Image.fromarray(band) for band in np.moveaxis(image, -1, 0)]
    resized = [band.resize((width, height), Image.Resampling.LANCZOS) for band in bands]
    return np.stack([np.asarray(band) for band in resized], axis=-1)


def stack(named_images: Iterable[tuple[str, np.ndarray]], image_size: Size) -> np.ndarray:
    """Resizes named (height, width, channels) images and stacks them; grey broadcasts to colour.

    Raises:
      InputError: they differ in size and image_size is 0.
    """
    images: list[np.ndarray] = []
    first = ""
    for name, original in named_images:
        image = resize(original, image_size)
        if images and image.shape[:2] != images[0].shape[:2]:
            raise size_error(first, images[0], name, image)
        first = first or name
        images.append(image)
    channels = max(image.shape[2] for image in images)
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images])


def size_error(name: str, image: np.ndarray, other_name: str, other: np.ndarray) -> InputError:
    """Error for two images, (height, width, channels), that differ in size."""
    one, two = (f"{width}x{height}" for height, width, _ in (image.shape, other.shape))
    return InputError(
        f"images differ in size: {name} is {one} and {other_name} is {two} pixels;"
        " resize them all with --config.image_size=N"
    )
