"""Every random draw of a run, as a pure function of the root key, a stream and a counter."""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax import parallel, prng, shuffle
from gan_jax.data.pixels import to_float
from gan_jax.spec import Spec


class CaptionEmbeddings(NamedTuple):
    """Text embeddings of captions, group by group; see `data.Captions`."""

    embeddings: jax.Array  # (captions, d)
    offsets: jax.Array  # int32 (groups + 1,)


class Batch(NamedTuple):
    """Examples with their conditions; also a whole device-resident data set."""

    x: jax.Array  # (n, *example shape)
    # Labels (n,) or text embeddings (n, d), None for unconditional training; of a data set with
    # captions the groups (n,), from which each minibatch draws captions.
    y: jax.Array | None = None
    captions: CaptionEmbeddings | None = None  # of a data set


def condition(spec: Spec, y: jax.Array | None) -> jax.Array | None:
    """Conditions as network inputs, (batch, d): labels one-hot, packed conditions concatenated.

    Args:
      spec: static structure.
      y: labels (batch,), or vectors (batch, d): text embeddings or mixtures of classes; of packed
        examples (batch, pack, ...).
    """
    if y is None:
        return None
    if not jnp.issubdtype(y.dtype, jnp.floating):
        y = jax.nn.one_hot(y, spec.classes)
    return y.reshape(y.shape[0], -1)


class Stream(enum.IntEnum):
    """Purpose of a key. No two draws share a stream and a number, so no key is reused."""

    INIT_D = 0
    INIT_G = 1
    BATCH = 2
    NOISE_D = 3
    NOISE_G = 4
    NOISE_SAMPLE = 5
    STEP_D = 6  # draws within a step: dropout masks, instance noise, points of a penalty
    STEP_G = 7
    EVALUATE = 8
    BATCH_G = 9  # real examples of the generator step
    STATISTICS = 10  # noise for recomputing the batch statistics of samples
    TEXT = 11  # captions of minibatches
    TEXT_G = 12
    INIT_E = 13


TEXT_STREAMS = {Stream.BATCH: Stream.TEXT, Stream.BATCH_G: Stream.TEXT_G}


class Window(NamedTuple):
    """The minibatches of consecutive iterations, gathered by the host; see `gan_jax.feed`."""

    start: dict[Stream, jax.Array]  # number of the first minibatch of each stream
    batches: dict[Stream, Batch]  # x of shape (minibatches, batch, *example shape)
    captions: CaptionEmbeddings | None = None


def stream_key(root: jax.Array, stream: Stream, number: jax.Array | int = 0) -> jax.Array:
    """Key of the `number`-th draw of a stream, from root key data uint32 (2,)."""
    key = jax.random.wrap_key_data(root, impl=prng.IMPL)
    return jax.random.fold_in(jax.random.fold_in(key, stream), number)


def noise(spec: Spec, key: jax.Array, num: int) -> jax.Array:
    """Draws z from the prior.

    The priors of Makhzani et al. 2015 (https://arxiv.org/abs/1511.05644), figures 3 and 4, in two
    dimensions: "mixture" has ten Gaussians around the origin, elongated towards it; "swiss_roll"
    winds twice around the origin.

    Args:
      spec: static structure: z_dim and prior.
      key: the key of this draw.
      num: number of points, static.

    Returns:
      float32 (num, z_dim).
    """
    return parallel.split(_noise(spec, key, num))


def _noise(spec: Spec, key: jax.Array, num: int) -> jax.Array:
    shape = (num, spec.z_dim)
    if spec.prior.name == "normal":
        return jax.random.normal(key, shape)
    if spec.prior.name in ("mixture", "swiss_roll"):
        key_place, key_shape = jax.random.split(key)
        if spec.prior.name == "mixture":
            angle = 2 * jnp.pi * jax.random.randint(key_place, (num,), 0, 10) / 10
            along, across = jax.random.normal(key_shape, (2, num)) * jnp.array([[0.5], [0.1]])
            along = along + 1.4
        else:
            turn = jnp.sqrt(jax.random.uniform(key_place, (num,)))  # evenly along the roll
            angle, along = 4 * jnp.pi * turn, 3 * turn
            across = 0.0
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return jnp.stack([along * cos - across * sin, along * sin + across * cos], axis=1)
    return jax.random.uniform(key, shape, minval=spec.prior.low, maxval=spec.prior.high)


def minibatch(
    batch_size: int,
    root: jax.Array,
    data: Batch | Window,
    number: jax.Array | int,
    stream: Stream = Stream.BATCH,
    low: float = 0.0,
) -> Batch:
    """The `number`-th minibatch of a stream, without replacement within an epoch.

    Each example of a data set with captions has one of its group's, drawn uniformly.

    Args:
      batch_size: examples in a minibatch, at most n; static.
      root: root key data, uint32 (2,).
      data: the data set, n examples, or a window that contains this minibatch.
      number: minibatches drawn before.
      stream: BATCH, or BATCH_G for the generator step.
      low: lower end of the pixel range, static.

    Returns:
      x as float32, with uint8 images scaled to [low, 1], and y: labels or text embeddings.
    """
    captions = data.captions
    if isinstance(data, Window):
        at = number - data.start[stream]
        batch = jax.tree.map(lambda x: x[at], data.batches[stream])
    else:
        index = shuffle.indices(stream_key(root, stream), number, batch_size, data.x.shape[0])
        # Split, its loop would communicate; on CPU that can deadlock with the step's all-reduces.
        index = parallel.replicated(index)
        batch = jax.tree.map(lambda x: x[index], data._replace(captions=None))
    if captions is not None:
        first, end = captions.offsets[batch.y], captions.offsets[batch.y + 1]
        key = stream_key(root, TEXT_STREAMS[stream], number)
        drawn = jax.random.randint(key, first.shape, first, end)
        batch = batch._replace(y=captions.embeddings[drawn])
    batch = batch._replace(x=to_float(batch.x, low))
    return jax.tree.map(parallel.split, batch)
