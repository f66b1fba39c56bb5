"""Inception-v3 features, as in published FIDs, with pytorch-fid's weights from a user's file.

The network of Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, as TensorFlow's graph of
2015-12-05 has it, which Heusel et al. 2017 used for FID: average pooling excludes padding, and the
last block uses max pooling.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from gan_jax.data.pixels import to_float
from gan_jax.errors import InputError
from gan_jax.evaluation import state_dict
from gan_jax.evaluation.state_dict import Weights
from gan_jax.networks.convolution import convolution

SIZE = 299  # pixels per side
FEATURES = 2048
FILE = "pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_BLOCK = 32  # images at a time, which bounds memory


def unavailable(channels: int) -> str:
    """Reason these features are unavailable for this many channels; empty if they are available."""
    return "" if channels in (1, 3) else "Inception's features are of images, grey or colour"


def load(path: pathlib.Path) -> Weights:
    """The weights of pytorch-fid.

    Raises:
      InputError: no such file, or another file.
    """
    try:
        content = path.read_bytes()
    except OSError as e:
        raise InputError(f"--weights: {path}: {e.strerror}") from None
    name = f"--weights: {path}, which should be pytorch-fid's {FILE},"
    return state_dict.load(content, name, SHA256)


def _unit(
    weights: Weights, name: str, x: jax.Array, stride: int = 1, padded: bool = True
) -> jax.Array:
    """Convolution, batch normalisation and ReLU; to half the size with stride 2."""
    kernel = jnp.transpose(weights[f"{name}.conv.weight"], (2, 3, 1, 0))
    high, wide = (size // 2 if padded and stride == 1 else 0 for size in kernel.shape[:2])
    x = convolution(x, kernel, (stride, stride), ((high, high), (wide, wide)))
    mean, variance, scale, bias = (
        weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return jax.nn.relu((x - mean) * (scale / jnp.sqrt(variance + 1e-3)) + bias)


def _chain(weights: Weights, name: str, x: jax.Array, length: int, stride: int = 1) -> jax.Array:
    """Units name_1, name_2, ...; the last with a stride."""
    for i in range(1, length + 1):
        x = _unit(weights, f"{name}_{i}", x, stride if i == length else 1)
    return x


def _max(x: jax.Array, stride: int = 2) -> jax.Array:
    padding = "VALID" if stride == 2 else "SAME"
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, stride, stride, 1), padding
    )


def _average(x: jax.Array) -> jax.Array:
    """Mean of the pixels of each 3x3 window that lie within the image."""

    def total(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")

    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1)))


def _block(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """One of the blocks Mixed_5b to Mixed_7c."""

    def unit(branch: str, x: jax.Array, stride: int = 1) -> jax.Array:
        return _unit(weights, f"{name}.branch{branch}", x, stride)

    def chain(branch: str, length: int, stride: int = 1) -> jax.Array:
        return _chain(weights, f"{name}.branch{branch}", x, length, stride)

    match name.removeprefix("Mixed_"):
        case "5b" | "5c" | "5d":
            branches = [unit("1x1", x), chain("5x5", 2), chain("3x3dbl", 3)]
        case "6a":
            return jnp.concatenate([unit("3x3", x, 2), chain("3x3dbl", 3, 2), _max(x)], axis=-1)
        case "6b" | "6c" | "6d" | "6e":
            branches = [unit("1x1", x), chain("7x7", 3), chain("7x7dbl", 5)]
        case "7a":
            return jnp.concatenate([chain("3x3", 2, 2), chain("7x7x3", 4, 2), _max(x)], axis=-1)
        case _:
            y, z = chain("3x3", 1), chain("3x3dbl", 2)
            split = [unit("3x3_2a", y), unit("3x3_2b", y), unit("3x3dbl_3a", z)]
            branches = [unit("1x1", x), *split, unit("3x3dbl_3b", z)]
    pooled = _max(x, 1) if name == "Mixed_7c" else _average(x)
    return jnp.concatenate([*branches, unit("_pool", pooled)], axis=-1)


@jax.jit
def apply(weights: Weights, x: jax.Array) -> jax.Array:
    """Features (n, 2048) of images (n, 299, 299, 3) from -1 to 1."""
    with jax.default_matmul_precision("highest"):  # GPUs would round to TF32
        x = _unit(weights, "Conv2d_1a_3x3", x, 2)
        x = _unit(weights, "Conv2d_2a_3x3", x, padded=False)
        x = _max(_unit(weights, "Conv2d_2b_3x3", x))
        x = _unit(weights, "Conv2d_3b_1x1", x)
        x = _max(_unit(weights, "Conv2d_4a_3x3", x, padded=False))
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = _block(weights, f"Mixed_{name}", x)
    return jnp.mean(x, axis=(1, 2))


@jax.jit
def prepare(images: jax.Array) -> jax.Array:
    """Preprocesses images (n, height, width, 1 or 3) in [0, 1] as pytorch-fid does.

    Bilinear resizing without antialiasing; grey images are replicated to three channels.
    """
    n, *_, channels = images.shape
    resized = jax.image.resize(images, (n, SIZE, SIZE, channels), "bilinear", antialias=False)
    return jnp.broadcast_to(2 * resized - 1, (n, SIZE, SIZE, 3))


def features(weights: Weights, images: np.ndarray) -> np.ndarray:
    """Features (n, 2048) of images (n, height, width, 1 or 3), uint8 or float32 in [0, 1]."""
    blocks = []
    for start in tqdm(range(0, len(images), _BLOCK), desc="Inception", leave=False, disable=None):
        block = to_float(images[start : start + _BLOCK])
        missing = min(_BLOCK, len(images)) - len(block)  # of the last block: compiled once
        padded = jnp.pad(block, ((0, missing), (0, 0), (0, 0), (0, 0)))
        blocks.append(np.asarray(apply(weights, prepare(padded)))[: len(block)])
    return np.concatenate(blocks)
