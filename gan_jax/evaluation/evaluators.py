"""Classifier that provides features and class probabilities for the metrics.

python -m gan_jax.evaluation.evaluators --dataset=mnist --out=FILE

trains one from scratch: for mnist, the one in this package (`mnist-v1`); for any other labelled
data set, the one that is otherwise trained at first use and cached. Retraining on the same machine
reproduces the file byte for byte.

The network adapts to the image size: 3x3 convolutions with stride 2 until at most 8 pixels a side
remain, one with stride 1, one with stride 2, a dense layer of 64 and one for the classes, with
ReLUs in between. The features are those 64, after their ReLU: enough to tell digits of one class
apart, few enough for 10,000 samples to determine their covariance well. They are scaled to a root
mean square of 1 over the training images.
"""

import functools
import hashlib
import importlib.resources
import io
import pathlib
import re
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from gan_jax import cli, data, shuffle
from gan_jax.data import Dataset
from gan_jax.data.pixels import to_float
from gan_jax.errors import InputError, brief

Params = dict[str, jax.Array]  # {conv0, conv1, ..., features, logits} x {kernel, bias}

FEATURES = 64
RECIPE = 1  # increment when the network or its training changes
MNIST_SHA256 = "4fece66d1a9b6dd30909e2204d3fd044c31a88614c9f92f5a7eff82bd5e156b6"

_FINE, _COARSE, _LAST = 24, 32, 64  # channels of the first convolution, the others and the last
_BATCH = 128
_EPOCHS = 25
_MIN_STEPS, _MAX_STEPS = 1500, 15_000  # for data sets of any size
_LEARNING_RATE = 2e-3
_BLOCK = 250  # images evaluated at a time, to bound memory


class Evaluator(NamedTuple):
    """A trained classifier.

    name: metrics are comparable only between evaluators of the same name.
    params: network parameters.
    shape: shape of an input image, (height, width, channels).
    labels: the data set's label of each class, in the order of the probabilities, int32 (classes,).
    accuracy: accuracy on held-out images.
    """

    name: str
    params: Params
    shape: tuple[int, ...]
    labels: np.ndarray
    accuracy: float

    @property
    def classes(self) -> int:
        return len(self.labels)


# The network


def _strides(height: int, width: int) -> list[int]:
    """The stride of each convolution."""
    halvings = 0
    while max(height, width) > 8 * 2**halvings:
        halvings += 1
    return [2] * halvings + [1, 2]


def init(key: jax.Array, shape: tuple[int, ...], classes: int) -> Params:
    """Parameters for images of shape (height, width, channels): He et al. 2015; biases zero."""
    height, width, channels = shape
    strides = _strides(height, width)
    widths = [_FINE, *[_COARSE] * (len(strides) - 2), _LAST]
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (out, stride) in enumerate(zip(widths, strides, strict=True)):
        shapes[f"conv{i}"] = (3, 3, channels, out)
        height, width, channels = -(-height // stride), -(-width // stride), out
    shapes["features"] = (height * width * channels, FEATURES)
    shapes["logits"] = (FEATURES, classes)
    initializer = jax.nn.initializers.he_normal()
    params: Params = {}
    for number, (name, kernel) in enumerate(shapes.items()):
        params[f"{name}/kernel"] = initializer(jax.random.fold_in(key, number), kernel, jnp.float32)
        params[f"{name}/bias"] = jnp.zeros(kernel[-1])
    return params


def apply(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features (batch, 64) and logits (batch, classes) of images in [0, 1], (batch, h, w, c)."""
    # Full precision, so that features on accelerators agree with those on CPU.
    precision = jax.lax.Precision.HIGHEST
    for i, stride in enumerate(_strides(*x.shape[1:3])):
        x = jax.lax.conv_general_dilated(
            x,
            params[f"conv{i}/kernel"],
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=precision,
        )
        x = jax.nn.relu(x + params[f"conv{i}/bias"])
    x = x.reshape(x.shape[0], -1)
    x = jnp.dot(x, params["features/kernel"], precision=precision) + params["features/bias"]
    x = jax.nn.relu(x)
    return x, jnp.dot(x, params["logits/kernel"], precision=precision) + params["logits/bias"]


# Use


@jax.jit
def _outputs(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    features, logits = apply(params, to_float(images))
    return features, jax.nn.softmax(logits)


def outputs(evaluator: Evaluator, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 64), non-negative, and class probabilities (n, classes), both float32.

    Args:
      evaluator: for images of this shape.
      images: uint8, or floats in [0, 1], shape (n, height, width, channels).

    Raises:
      InputError: wrong shape or dtype, or floats outside [0, 1].
    """
    typed = images.dtype == np.uint8 or images.dtype.kind == "f"
    if not (typed and images.ndim == 4 and images.shape[1:] == evaluator.shape):
        wanted = ", ".join(map(str, evaluator.shape))
        raise InputError(
            f"evaluator {evaluator.name}: images must be uint8 or floats of shape (n, {wanted}), "
            f"not {images.dtype} {images.shape}"
        )
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
        if not np.all((images > -1e-3) & (images < 1 + 1e-3)):
            raise InputError(f"evaluator {evaluator.name}: floats must be in [0, 1]")
        images = images.clip(0, 1)
    features = np.empty((len(images), FEATURES), np.float32)
    probabilities = np.empty((len(images), evaluator.classes), np.float32)
    for i in range(0, len(images), _BLOCK):
        block = images[i : i + _BLOCK]
        # Padded, so that one size is compiled.
        padded = np.pad(block, [(0, _BLOCK - len(block)), (0, 0), (0, 0), (0, 0)])
        part = _outputs(evaluator.params, padded)
        features[i : i + _BLOCK], probabilities[i : i + _BLOCK] = (
            np.asarray(x)[: len(block)] for x in part
        )
    return features, probabilities


def accuracy(evaluator: Evaluator, images: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of images (see `outputs`) whose most probable class is their label, (n,)."""
    _, probabilities = outputs(evaluator, images)
    return float(np.mean(evaluator.labels[probabilities.argmax(axis=1)] == labels))


# Training


class _State(NamedTuple):
    params: Params
    opt_state: optax.OptState


def _optimizer(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))


def _shift(key: jax.Array, images: jax.Array) -> jax.Array:
    """Shifts each image by up to a fourteenth of its size (2 of 28 pixels), padding with zeros."""
    batch, height, width, channels = images.shape
    most = np.array([round(height / 14), round(width / 14)])
    padded = jnp.pad(images, [(0, 0), (most[0],) * 2, (most[1],) * 2, (0, 0)])
    corners = jax.random.randint(key, (batch, 2), 0, 2 * most + 1)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (*corner, 0), (height, width, channels))

    return jax.vmap(crop)(padded, corners)


# One call per step: inside a loop, XLA:CPU runs convolutions on one thread, 20 to 30 times slower.
@functools.partial(jax.jit, static_argnames="steps", donate_argnames="state")
def _step(
    state: _State, key: jax.Array, number: int, images: jax.Array, classes: jax.Array, steps: int
) -> _State:
    n = len(images)
    key_order, key_shift = jax.random.split(key)
    index = shuffle.indices(key_order, number, min(_BATCH, n), n)
    x = to_float(_shift(jax.random.fold_in(key_shift, number), images[index]))

    def loss(params: Params) -> jax.Array:
        _, logits = apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, classes[index]).mean()

    updates, opt_state = _optimizer(steps).update(jax.grad(loss)(state.params), state.opt_state)
    return _State(optax.apply_updates(state.params, updates), opt_state)


def train(images: np.ndarray, classes: np.ndarray, num_classes: int) -> Params:
    """Trains a classifier from scratch.

    Args:
      images: uint8 (n, height, width, channels).
      classes: integers in [0, num_classes), shape (n,).
      num_classes: at least 2.
    """
    steps = min(max(_EPOCHS * len(images) // _BATCH, _MIN_STEPS), _MAX_STEPS)
    key_init, key_steps = jax.random.split(jax.random.key(0))
    params = init(key_init, images.shape[1:], num_classes)
    state = _State(params, _optimizer(steps).init(params))
    x, y = jnp.asarray(images), jnp.asarray(classes, jnp.int32)
    for number in tqdm(range(steps), desc="training the evaluator", unit="step", disable=None):
        state = _step(state, key_steps, number, x, y, steps)
    return state.params


def _normalize_features(evaluator: Evaluator, images: np.ndarray) -> Params:
    """Parameters with which the features of these images have a root mean square of 1.

    Training leaves their scale arbitrary, and FID and KID grow with its square and its sixth
    power. The ReLU commutes with a positive factor, and the last layer undoes it: probabilities
    do not change.
    """
    features, _ = outputs(evaluator, images)
    size = np.sqrt(np.mean(features.astype(np.float64) ** 2))
    scale = 1 / size if size > 0 else 1.0  # no feature is active on any image
    params = dict(evaluator.params)
    for name in ("features/kernel", "features/bias"):
        params[name] *= scale
    params["logits/kernel"] /= scale
    return params


def _fit(dataset_name: str, train_set: Dataset) -> Evaluator:
    """Trains a data set's evaluator and measures its accuracy.

    For mnist-v1, that is on the test split; other data, which may have none, hold out a tenth.
    """
    images, labels = train_set.images, _labels(dataset_name, train_set)
    values, classes = np.unique(labels, return_inverse=True)
    if _is_mnist(dataset_name, train_set):
        test_set = data.load(dataset_name, "test")
        test_images, test_labels = test_set.images, _labels(dataset_name, test_set)
    else:
        order = np.random.default_rng(0).permutation(len(images))
        held, kept = np.split(order, [max(1, len(images) // 10)])
        test_images, test_labels = images[held], labels[held]
        images, classes = images[kept], classes[kept]
    params = train(images, classes, len(values))
    shape = images.shape[1:]
    evaluator = Evaluator(_name(dataset_name, train_set), params, shape, values, np.nan)
    evaluator = evaluator._replace(params=_normalize_features(evaluator, images))
    return evaluator._replace(accuracy=accuracy(evaluator, test_images, test_labels))


# By data set


def unavailable(dataset: Dataset) -> str:
    """Why no classifier can be trained on a data set; empty if one can."""
    if dataset.images.ndim != 4:
        return "the data set holds points, not images"
    if dataset.labels is None:
        return (
            "the data set has no labels (a folder has, with one subfolder per class; an npz, as "
            "`labels`)"
        )
    if len(np.unique(dataset.labels)) < 2:
        return "the data set has a single class"
    if (dataset.images == dataset.images[:1]).all():
        return "all images of the data set are equal"
    return ""


def _labels(dataset_name: str, dataset: Dataset) -> np.ndarray:
    """The labels of a data set, or an InputError where no classifier can be trained."""
    if why := unavailable(dataset):
        raise InputError(
            f"no evaluator for {dataset_name}, hence no FID, KID, precision, recall or classes: "
            f"{why}"
        )
    assert dataset.labels is not None
    return dataset.labels


def _is_mnist(dataset_name: str, dataset: Dataset) -> bool:
    return dataset_name.partition(":")[0] == "mnist" and dataset.images.shape[1:] == (28, 28, 1)


def _name(dataset_name: str, dataset: Dataset) -> str:
    """mnist-v1, or KIND-KEY: the data set's name without a path, and a hash of its contents."""
    if _is_mnist(dataset_name, dataset):
        return f"mnist-v{RECIPE}"
    kind = re.sub(r"\W", "_", dataset_name.partition(":")[0])
    key = hashlib.sha256(f"{RECIPE} {dataset.sha256}".encode()).hexdigest()
    return f"{kind}-{key[:8]}"


def load(dataset_name: str, train_set: Dataset) -> Evaluator:
    """The evaluator of a data set.

    Args:
      dataset_name: see gan_jax.data.load. For mnist at 28x28 pixels, always the evaluator in this
        package.
      train_set: trains any other evaluator, unless it is cached.

    Raises:
      InputError: no classifier can be trained, or the package's file is not as published.
    """
    name = _name(dataset_name, train_set)
    if _is_mnist(dataset_name, train_set):
        return _unpack(name, _pinned(name))
    _labels(dataset_name, train_set)
    entry = data.cache_dir() / "evaluators" / f"{name}.npz"
    evaluator = data.read_cache_file(entry, functools.partial(_unpack, name), "training again")
    if evaluator is None:
        print(f"training an evaluator for {dataset_name}, once: {entry}", file=sys.stderr)
        evaluator = _fit(dataset_name, train_set)
        data.write_cache_file(entry, [_pack(evaluator)])
    return _name_by_content(evaluator)


def _name_by_content(evaluator: Evaluator) -> Evaluator:
    """Names an evaluator by its parameters, as training may differ between machines."""
    kind, _, _ = evaluator.name.rpartition("-")
    digest = hashlib.sha256(_pack(evaluator)).hexdigest()
    return evaluator._replace(name=f"{kind}-{digest[:8]}")


# Files


def _pack(evaluator: Evaluator) -> bytes:
    """An evaluator as an .npz file; without timestamps, equal arrays give equal bytes."""
    arrays: dict[str, Any] = evaluator._asdict()
    arrays |= arrays.pop("params")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _unpack(name: str, content: bytes) -> Evaluator:
    """The evaluator in an .npz file; reading verifies the checksum of every array."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    if (found := str(arrays.pop("name"))) != name:
        raise ValueError(f"it contains {found}")
    shape = tuple(map(int, arrays.pop("shape")))
    labels, share = arrays.pop("labels"), float(arrays.pop("accuracy"))
    return Evaluator(name, {k: jnp.asarray(x) for k, x in arrays.items()}, shape, labels, share)


def _pinned(name: str) -> bytes:
    """The contents of a file in this package, as published."""
    file = importlib.resources.files("gan_jax.evaluation") / "weights" / f"{name}.npz"
    try:
        content = file.read_bytes()
    except OSError as error:
        problem = brief(error)
    else:
        if (digest := hashlib.sha256(content).hexdigest()) == MNIST_SHA256:
            return content
        problem = f"its sha256 is {digest}, not {MNIST_SHA256}"
    raise InputError(
        f"{file} is not the published evaluator: {problem}; reinstall gan_jax (or train your own: "
        f"python -m gan_jax.evaluation.evaluators --dataset=mnist --out={file}, and set "
        "MNIST_SHA256 in gan_jax/evaluation/evaluators.py to the printed sha256)"
    )


def main() -> int:
    from gan_jax import device
    from gan_jax.writers import write_whole

    parser = cli.parser(__doc__)
    parser.add_argument("--dataset", required=True, help="mnist, digits, folder:DIR, npz:FILE, ...")
    parser.add_argument("--out", type=pathlib.Path, required=True, help=".npz file to write")
    args = parser.parse_args()
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"--out={args.out}: {args.out.parent} is not a directory")
    device.setup("auto", deterministic=True)
    evaluator = _fit(args.dataset, data.load(args.dataset))
    content = _pack(evaluator)
    write_whole(args.out, content)
    parameters = sum(x.size for x in evaluator.params.values())
    print(
        f"{args.out}: {evaluator.name}, accuracy {evaluator.accuracy:.2%}, {parameters} parameters,"
        f" sha256 {hashlib.sha256(content).hexdigest()}"
    )
    return 0


if __name__ == "__main__":
    cli.run(main)
