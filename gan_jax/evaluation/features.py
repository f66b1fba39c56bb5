"""Features of images by which to find similar ones: `FEATURES` lists the kinds."""

import functools
import hashlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import checkpoint, data, networks
from gan_jax.algorithms import autoencoder
from gan_jax.data import Dataset
from gan_jax.data.cache import npy_header
from gan_jax.data.pixels import to_float
from gan_jax.errors import InputError, brief
from gan_jax.evaluation import evaluators
from gan_jax.networks import Variables
from gan_jax.spec import AutoencoderSpec, GANSpec, Spec
from gan_jax.state import State

log = logging.getLogger(__name__)

FEATURES = ("discriminator", "encoder", "evaluator", "pixels")
GRID = 4  # cells per side that feature maps are pooled to
VERSION = 2  # of the cache; increment when the features of given parameters change
_BLOCK = 64  # images at a time; queries are padded to it, for the same bits as in a data set


class Features(NamedTuple):
    """A map from images to vectors."""

    name: str
    sha256: str  # of all that it depends on
    shape: tuple[int, ...]  # of an image: (height, width, channels)
    compute: Callable[[np.ndarray], Any]  # uint8 (n, *shape) to float32 (n, d)


def pooled(x: jax.Array) -> jax.Array:
    """Features of a layer, (batch, d): flattened, of Euclidean length 1 for each example.

    Maps, (batch, height, width, channels), are max-pooled to 4x4 first, as for the DCGAN
    discriminator's features in Radford et al. 2016, https://arxiv.org/abs/1511.06434, section 5.1;
    cell i of a side of n spans pixels floor(i n / 4) to ceil((i + 1) n / 4) - 1. Smaller maps stay.
    """
    for axis in range(1, x.ndim - 1):
        n = x.shape[axis]
        if n > GRID:
            cells = [(i * n // GRID, -(-(i + 1) * n // GRID)) for i in range(GRID)]
            x = jnp.stack(
                [jax.lax.slice_in_dim(x, *cell, axis=axis).max(axis) for cell in cells], axis
            )
    x = x.reshape(len(x), -1).astype(jnp.float32)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)


@functools.partial(jax.jit, static_argnames="spec")
def _hidden(spec: GANSpec, d: Variables, x: jax.Array) -> dict[str, jax.Array]:
    """Activations of D's hidden layers; NaN in those that depend on the condition."""
    width = spec.classes or spec.text
    y = jnp.full((len(x), width), jnp.nan) if width else None
    return networks.hidden(spec.discriminator, d, to_float(x, spec.pixel_low), y)


@functools.partial(jax.jit, static_argnames=("spec", "layers"))
def _discriminator(spec: GANSpec, layers: tuple[str, ...], d: Variables, x: jax.Array) -> jax.Array:
    found = _hidden(spec, d, x)
    return jnp.concatenate([pooled(found[layer]) for layer in layers], axis=1)


def discriminator(spec: GANSpec, state: State, layer: str | None = None) -> Features:
    """Activations of a discriminator's hidden layers, `pooled` and concatenated.

    Args:
      spec: static structure, of a GAN of images.
      state: training state.
      layer: one layer; None for all that do not depend on the condition.

    Raises:
      InputError: no such layer, or D sees several images at once.
    """
    if spec.pack > 1:
        raise InputError(
            f"--features=discriminator: D takes {spec.pack} images at once (config.pack)"
        )
    d = state.players["d"].variables
    x = jnp.zeros((1, *spec.example_shape), jnp.uint8)
    layers = tuple(jax.eval_shape(functools.partial(_hidden, spec), d, x))
    why = "it has none"
    if spec.classes or spec.text:
        layers = tuple(name for name, x in _hidden(spec, d, x).items() if not jnp.isnan(x).any())
        why = "all depend on the condition"
    if not layers:
        raise InputError(f"--features=discriminator needs a hidden layer of D: {why}")
    if layer is not None and layer not in layers:
        raise InputError(f"--layer={layer}: expected one of {', '.join(layers)}")
    layers = layers if layer is None else (layer,)
    return Features(
        "D's features" if layer is None else f"{layer} of D",
        _sha256("discriminator", spec.discriminator, spec.pixel_low, layers, d),
        spec.example_shape,
        functools.partial(_discriminator, spec, layers, d),
    )


@functools.partial(jax.jit, static_argnames="spec")
def _encoder(spec: AutoencoderSpec, encoder: Variables, x: jax.Array) -> jax.Array:
    codes, _, _ = autoencoder.encode(spec, encoder, to_float(x, spec.pixel_low))
    return codes[:, : spec.z_dim]  # of a VAE, the means


def encoder(spec: AutoencoderSpec, state: State) -> Features:
    """Codes, (n, z_dim); of a VAE, the means of q(z | x)."""
    variables = state.players["encoder"].variables
    return Features(
        "codes",
        _sha256("encoder", spec.encoder, spec.pixel_low, spec.z_dim, variables),
        spec.example_shape,
        functools.partial(_encoder, spec, variables),
    )


def evaluator(chosen: evaluators.Evaluator) -> Features:
    """The features of a classifier, (n, 64)."""
    return Features(
        f"features of {chosen.name}",
        _sha256("evaluator", chosen.params),
        chosen.shape,
        lambda images: evaluators.outputs(chosen, images)[0],
    )


def pixels(shape: tuple[int, ...]) -> Features:
    """Pixels from 0 to 1, flattened, of images of a shape."""
    return Features(
        "pixels",
        _sha256("pixels", shape, ()),
        shape,
        lambda images: to_float(images).reshape(len(images), -1),
    )


def _sha256(*determinants: Any) -> str:
    """Hex digest of `VERSION` and these, the last one a pytree of arrays."""
    *others, arrays = determinants
    text = repr((VERSION, *others)) + checkpoint.sha256(arrays)
    return hashlib.sha256(text.encode()).hexdigest()


def load(
    config: ConfigDict, spec: Spec, state: State, name: str | None, layer: str | None = None
) -> Features:
    """A run's features of images.

    Args:
      config: the run's config.
      spec: its spec.
      state: its state.
      name: one of FEATURES; None for the discriminator if it is one of images, else the encoder.
      layer: of the discriminator; None for all.

    Raises:
      InputError: the run is not of images, or lacks these features.
    """
    if len(spec.example_shape) != 3:
        raise InputError(f"{config.dataset} holds points, not images")
    has_encoder = isinstance(spec, AutoencoderSpec)
    name = name or ("encoder" if has_encoder else "discriminator")
    if layer is not None and name != "discriminator":
        raise InputError(f"--layer={layer} is of --features=discriminator, not {name}")
    if name == "pixels":
        return pixels(spec.example_shape)
    if name == "evaluator":
        train = data.load(config.dataset, config.split, config.image_size)
        return evaluator(evaluators.load(config.dataset, train))
    if name == "encoder" and isinstance(spec, AutoencoderSpec):
        return encoder(spec, state)
    if name == "discriminator" and isinstance(spec, GANSpec):
        return discriminator(spec, state, layer)
    own = {AutoencoderSpec: "encoder, ", GANSpec: "discriminator, "}.get(type(spec), "")
    raise InputError(
        f"--features={name}: algorithm {config.algorithm} has no {name} of images: expected {own}"
        "evaluator or pixels"
    )


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Grey images, uint8 (n, h, w, 1), as colour, or colour images as grey: ITU-R 601-2 luma."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.broadcast_to(images, (*images.shape[:-1], channels))
    luma = images @ np.array([[19595], [38470], [7471]]) + 2**15  # rounded as by Pillow
    return (luma >> 16).astype(np.uint8)


def _blocks(features: Features, images: np.ndarray) -> Iterator[np.ndarray]:
    for i in range(0, len(images), _BLOCK):
        block = _with_channels(images[i : i + _BLOCK], features.shape[-1])
        padded = np.resize(block, (_BLOCK, *block.shape[1:]))  # one size is compiled
        yield np.asarray(features.compute(padded))[: len(block)]


def compute(features: Features, images: np.ndarray) -> np.ndarray:
    """Features, float32 (n, d), of uint8 images, (n, height, width, 1 or 3), at least one."""
    return np.concatenate(list(_blocks(features, images)))


def cached(features: Features, dataset: Dataset) -> np.ndarray:
    """Features of a data set, float32 (n, d): memory-mapped from the cache, else computed.

    A warning tells if the cache cannot be written; they are then in memory.
    """
    key = hashlib.sha256((features.sha256 + dataset.sha256).encode()).hexdigest()[:32]
    entry = data.cache_dir() / "features" / f"{key}.npy"
    found = _read(entry)
    if found is None and data.write_cache_file(entry, _npy(features, dataset.images)):
        found = _read(entry)
    return compute(features, dataset.images) if found is None else found


def _npy(features: Features, images: np.ndarray) -> Iterator[bytes]:
    """Parts of an .npy file of features, with a progress bar."""
    with tqdm(total=len(images), desc=features.name, unit="image", disable=None) as bar:
        for i, block in enumerate(_blocks(features, images)):
            if i == 0:
                yield npy_header((len(images), block.shape[1]), block.dtype)
            yield block.tobytes()
            bar.update(len(block))


def _read(entry: Any) -> np.ndarray | None:
    try:
        return np.load(entry, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, EOFError) as error:  # cut off
        log.warning("computing features again, as %s cannot be read: %s", entry, brief(error))
        return None
