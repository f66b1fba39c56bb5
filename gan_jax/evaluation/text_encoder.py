"""A joint embedding of captions and images, learned from pairs of them.

python -m gan_jax.evaluation.text_encoder --dataset=folder:DIR --captions=FILE --out=FILE
                                          [--split=train[:7000]] [--image_size=64]
                                          [--held_out=CLASS,CLASS,...]

trains one; config.condition.encoder names its file. The one in this package (`flowers-v1`) is of
Oxford-102 flowers. Needs the extra `features`. Retraining on the same machine reproduces the file
byte for byte.

As in the structured joint embedding of Reed et al. 2016 (https://arxiv.org/abs/1605.05395), a
caption and an image are compatible as far as their embeddings are parallel, and each must be more
compatible with its partner than with those of other groups; by cross-entropy in both directions, as
in CLIP (Radford et al. 2021, https://arxiv.org/abs/2103.00020). Captions are read by a convolution
over word embeddings, images by a linear map of EfficientNet's features.
"""

import functools
import hashlib
import importlib.resources
import io
import logging
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from gan_jax import cli, data
from gan_jax.data import Captions
from gan_jax.data.cache import expand_user
from gan_jax.errors import InputError, brief
from gan_jax.evaluation import efficientnet

log = logging.getLogger(__name__)

Params = dict[str, jax.Array]

FEATURES = 128
MAX_WORDS = 64  # of a caption; the rest is ignored
RECIPE = 1  # increment when the networks or their training change
PACKAGED = "flowers-v1"
SHA256 = "9548c1a0c34522d57f05252d391599cf758fb690217cfc03e46cda15c0decfda"  # of its file

_WORD, _HIDDEN = 64, 128  # units of word embeddings and of the convolution
_WINDOW = 3  # words
_MIN_COUNT = 5  # captions that a word of the vocabulary occurs in
_STEPS, _BATCH = 4000, 100
_LEARNING_RATE = 1e-3
_SCALE = 10.0  # of cosines as logits
_DROPOUT = 0.5  # of image features
_BLOCK = 1000  # captions encoded at a time


class TextEncoder(NamedTuple):
    """Embeds captions and images.

    params: of both networks.
    vocabulary: number from 1 on, by word; others are ignored.
    sha256: of its file.
    """

    params: Params
    vocabulary: dict[str, int]
    sha256: str = ""


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def tokens(vocabulary: dict[str, int], texts: Sequence[str]) -> np.ndarray:
    """Numbers of the known words of each text, int32 (n, 64), padded by zeros."""
    out = np.zeros((len(texts), MAX_WORDS), np.int32)
    for row, text in zip(out, texts, strict=True):
        known = [vocabulary[word] for word in words(text) if word in vocabulary][:MAX_WORDS]
        row[: len(known)] = known
    return out


def _shapes(vocabulary: int, features: int) -> dict[str, tuple[int, ...]]:
    return {
        "words": (vocabulary + 1, _WORD),
        "conv/kernel": (_WINDOW * _WORD, _HIDDEN),
        "conv/bias": (_HIDDEN,),
        "text/kernel": (2 * _HIDDEN, FEATURES),
        "text/bias": (FEATURES,),
        "image/kernel": (features, FEATURES),
        "image/bias": (FEATURES,),
    }


def init(key: jax.Array, vocabulary: int, features: int) -> Params:
    """Parameters for this many words and features of images; biases are zero."""
    params: Params = {}
    for i, (name, shape) in enumerate(_shapes(vocabulary, features).items()):
        scale = 0.0 if "bias" in name else 1.0 if name == "words" else shape[0] ** -0.5
        params[name] = scale * jax.random.normal(jax.random.fold_in(key, i), shape)
    return params


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def apply_text(params: Params, tokens: jax.Array) -> jax.Array:
    """Text embeddings, unit vectors (n, 128), of captions, int (n, words), see `tokens`."""
    known = (tokens > 0)[..., None]
    x = params["words"][tokens] * known
    x = jnp.pad(x, [(0, 0), (_WINDOW // 2,) * 2, (0, 0)])
    n = tokens.shape[1]
    windows = jnp.concatenate([x[:, i : i + n] for i in range(_WINDOW)], axis=-1)
    x = jax.nn.relu(windows @ params["conv/kernel"] + params["conv/bias"]) * known
    mean = jnp.sum(x, axis=1) / jnp.maximum(jnp.sum(known, axis=1), 1)
    pooled = jnp.concatenate([mean, jnp.max(x, axis=1)], axis=-1)
    return _unit(pooled @ params["text/kernel"] + params["text/bias"])


def apply_image(params: Params, features: jax.Array) -> jax.Array:
    """Image embeddings, unit vectors (n, 128), by their features, (n, 1280)."""
    return _unit(features @ params["image/kernel"] + params["image/bias"])


# Use


@jax.jit
def embed(params: Params, tokens: jax.Array) -> jax.Array:
    """Text embeddings (n, 128) of captions, int (n, 64), with a root mean square of 1."""
    return apply_text(params, tokens) * jnp.sqrt(FEATURES)


def encode(encoder: TextEncoder, texts: Sequence[str]) -> np.ndarray:
    """Text embeddings, float32 (n, 128), with a root mean square of 1."""
    numbers = tokens(encoder.vocabulary, texts)
    if unknown := [text for text, row in zip(texts, numbers, strict=True) if not row.any()]:
        log.warning("%d captions without a known word, such as %r", len(unknown), unknown[0])
    parts = []
    for i in range(0, len(texts), _BLOCK):
        block = numbers[i : i + _BLOCK]
        padded = np.pad(block, [(0, _BLOCK - len(block)), (0, 0)])  # one size is compiled
        parts.append(np.asarray(embed(encoder.params, padded))[: len(block)])
    return np.concatenate(parts)


# Training


def _vocabulary(texts: Sequence[str]) -> dict[str, int]:
    counts = Counter(word for text in texts for word in set(words(text)))
    frequent = sorted(word for word, count in counts.items() if count >= _MIN_COUNT)
    return {word: number for number, word in enumerate(frequent, 1)}


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _step(
    params: Params, opt_state: optax.OptState, key: jax.Array, texts: jax.Array, images: jax.Array
) -> tuple[Params, optax.OptState]:
    kept = jax.random.bernoulli(key, 1 - _DROPOUT, images.shape)

    def loss(params: Params) -> jax.Array:
        dropped = jnp.where(kept, images / (1 - _DROPOUT), 0)
        logits = _SCALE * apply_text(params, texts) @ apply_image(params, dropped).T
        labels = jnp.arange(len(logits))
        errors = (
            optax.softmax_cross_entropy_with_integer_labels(x, labels) for x in (logits, logits.T)
        )
        return sum(error.mean() for error in errors)

    updates, opt_state = _optimizer().update(jax.grad(loss)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _optimizer() -> optax.GradientTransformation:
    return optax.adamw(optax.cosine_decay_schedule(_LEARNING_RATE, _STEPS), weight_decay=1e-2)


def train(features: np.ndarray, captions: Captions, seed: int = 0) -> TextEncoder:
    """Trains an encoder from scratch.

    A minibatch has one image and one caption of each of up to 100 groups.

    Args:
      features: of images, (n, d).
      captions: of the same images.
      seed: of weights, minibatches and dropout.

    Raises:
      InputError: all captions are of one group, or no word is frequent enough.
    """
    rng = np.random.default_rng(seed)
    groups, inverse = np.unique(captions.groups, return_inverse=True)
    if len(groups) < 2:
        raise InputError("a text encoder needs captions of at least two classes or images")
    spans = captions.first[groups], captions.first[groups + 1]
    vocabulary = _vocabulary([t for a, b in zip(*spans, strict=True) for t in captions.texts[a:b]])
    if not vocabulary:
        raise InputError(f"a text encoder needs words that occur in {_MIN_COUNT} captions or more")
    numbers = tokens(vocabulary, captions.texts)
    order, counts = np.argsort(inverse, kind="stable"), np.bincount(inverse)
    begins = np.cumsum(counts) - counts  # of each group, in order
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale += np.where(scale > 0, 1e-6, 1).astype(np.float32)
    images = (features - mean) / scale
    key_init, key_steps = jax.random.split(jax.random.key(seed))
    params = init(key_init, len(vocabulary), features.shape[1])
    opt_state = _optimizer().init(params)
    for number in tqdm(range(_STEPS), desc="training the text encoder", unit="step", disable=None):
        chosen = rng.permutation(len(groups))[:_BATCH]
        image = order[begins[chosen] + rng.integers(counts[chosen])]
        text = rng.integers(*(span[chosen] for span in spans))
        key = jax.random.fold_in(key_steps, number)
        params, opt_state = _step(params, opt_state, key, numbers[text], images[image])
    # The standardisation of the features becomes part of the linear map.
    kernel = params["image/kernel"] / scale[:, None]
    bias = params["image/bias"] - mean @ kernel
    return TextEncoder(params | {"image/kernel": kernel, "image/bias": bias}, vocabulary)


# Files


def _pack(encoder: TextEncoder) -> bytes:
    """An .npz of half-precision arrays."""
    arrays = {name: np.asarray(x, np.float16) for name, x in encoder.params.items()}
    file = io.BytesIO()
    words = np.array([*encoder.vocabulary])
    np.savez(file, allow_pickle=False, recipe=np.array(RECIPE), vocabulary=words, **arrays)
    return file.getvalue()


def _unpack(content: bytes) -> TextEncoder:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    if (recipe := int(arrays.pop("recipe"))) != RECIPE:
        raise ValueError(f"of recipe {recipe}, not {RECIPE}")
    vocabulary = {word: i for i, word in enumerate(arrays.pop("vocabulary").tolist(), 1)}
    params = {name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()}
    found = {name: x.shape for name, x in params.items()}
    if found != _shapes(len(vocabulary), efficientnet.FEATURES):
        raise ValueError("unexpected arrays")
    return TextEncoder(params, vocabulary, hashlib.sha256(content).hexdigest())


def load(name: str) -> TextEncoder:
    """The encoder in this package, or one from a file.

    Raises:
      InputError: there is no such file, or it holds something else.
    """
    packaged = importlib.resources.files("gan_jax.evaluation") / "weights" / f"{PACKAGED}.npz"
    try:
        content = (packaged if name == PACKAGED else expand_user(name)).read_bytes()
        encoder = _unpack(content)
    except Exception as error:  # a damaged zip raises anything, from EOFError to zlib.error
        raise InputError(
            f"config.condition.encoder is {name!r}: {brief(error)}; expected {PACKAGED}, or a file "
            "by python -m gan_jax.evaluation.text_encoder"
        ) from error
    if name == PACKAGED and encoder.sha256 != SHA256:
        raise InputError(f"{packaged} has sha256 {encoder.sha256}, not {SHA256}: reinstall gan_jax")
    return encoder


def main() -> int:
    from gan_jax import device
    from gan_jax.writers import write_whole

    parser = cli.parser(__doc__)
    parser.add_argument("--dataset", required=True, help="folder:DIR, a TFDS name, ...")
    parser.add_argument("--split", default="train", help="or a slice, such as train[:7000]")
    parser.add_argument("--captions", required=True, help="TSV file, see gan_jax/data/captions.py")
    parser.add_argument("--image_size", type=cli.at_least(0), default=0, help="pixels per side")
    parser.add_argument(
        "--held_out",
        type=lambda text: tuple(text.split(",")),
        default=(),
        help="classes to leave out, comma-separated",
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help=".npz file to write")
    args = parser.parse_args()
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"--out={args.out}: {args.out.parent} is not a directory")
    device.setup("auto", deterministic=True)
    train_set = data.load(
        args.dataset,
        args.split,
        image_size=args.image_size,
        captions_file=args.captions,
        without=args.held_out,
    )
    assert train_set.captions is not None
    if why := efficientnet.unavailable(train_set.images.shape[-1]):
        raise InputError(why)
    features = efficientnet.features(efficientnet.load(), train_set.images)
    content = _pack(train(features, train_set.captions))
    write_whole(args.out, content)
    print(f"{args.out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    return 0


if __name__ == "__main__":
    cli.run(main)
