"""Differentiable augmentation of D's input, real and generated alike.

DiffAugment, Zhao et al. 2020, https://arxiv.org/abs/2006.10738: colour, translation and cutout as
in the authors' code, for pixels in [-1, 1]. Each operation is drawn independently for each example,
and applied with a probability that is fixed, scheduled, or adapted to overfitting (ADA, Karras et
al. 2020, https://arxiv.org/abs/2006.06676).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

ADA_INTERVAL = 4  # iterations between adjustments of the probability
_ADA_IMAGES = 500_000  # over which the probability can rise from 0 to 1


def flip(key: jax.Array, x: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability 1/2."""
    mirrored = jax.random.bernoulli(key, shape=(len(x), 1, 1, 1))
    return jnp.where(mirrored, x[:, :, ::-1], x)


def color(key: jax.Array, x: jax.Array) -> jax.Array:
    """Brightness shifts of up to 1/2, saturation times 0 to 2, contrast times 1/2 to 3/2."""
    brightness, saturation, contrast = jax.random.uniform(key, (3, len(x), 1, 1, 1))
    x = x + brightness - 0.5
    grey = jnp.mean(x, axis=3, keepdims=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    return mean + (x - mean) * (contrast + 0.5)


def _shift(x: jax.Array, by: jax.Array, axis: int) -> jax.Array:
    """Shifts each image by whole pixels, filling with zeros; by is int (n,)."""
    i = jnp.arange(x.shape[axis])
    # A product with a 0-1 matrix, whose gradient is another product rather than a scatter.
    select = (i[:, None] - by[:, None, None] == i).astype(x.dtype)
    pattern = {1: "nij,njwc->niwc", 2: "nij,nhjc->nhic"}[axis]
    return jnp.einsum(pattern, select, x, precision="highest")


def translation(key: jax.Array, x: jax.Array) -> jax.Array:
    """Shifts by up to 1/8 of the size each way, filling with zeros."""
    for axis, key_axis in zip((1, 2), jax.random.split(key), strict=True):
        most = int(x.shape[axis] / 8 + 0.5)
        x = _shift(x, jax.random.randint(key_axis, (len(x),), -most, most + 1), axis)
    return x


def cutout(key: jax.Array, x: jax.Array) -> jax.Array:
    """Zeroes a box of half the height and width, which may reach over the edge."""
    inside = jnp.ones((len(x), 1, 1), bool)
    for axis, key_axis in zip((1, 2), jax.random.split(key), strict=True):
        n = x.shape[axis]
        size = int(n / 2 + 0.5)
        centre = jax.random.randint(key_axis, (len(x), 1), 0, n + 1 - size % 2)
        i = jnp.arange(n)
        covered = (i >= centre - size // 2) & (i < centre - size // 2 + size)
        inside &= jnp.expand_dims(covered, 3 - axis)
    return jnp.where(inside[..., None], 0, x)


AUGMENTATIONS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "flip": flip,
    "color": color,
    "translation": translation,
    "cutout": cutout,
}


def augment(
    names: Sequence[str], probability: jax.Array | float, key: jax.Array, x: jax.Array
) -> jax.Array:
    """Applies augmentations in turn, to each image independently with a probability.

    Args:
      names: keys of AUGMENTATIONS.
      probability: scalar in [0, 1].
      key: PRNG key.
      x: images, shape (..., height, width, channels).
    """
    images = x.reshape(-1, *x.shape[-3:])
    for i, name in enumerate(names):
        key_apply, key_own = jax.random.split(jax.random.fold_in(key, i))
        applied = jax.random.uniform(key_apply, (len(images), 1, 1, 1)) < probability
        images = jnp.where(applied, AUGMENTATIONS[name](key_own, images), images)
    return images.reshape(x.shape)


def adapt(
    probability: jax.Array, signs: jax.Array, target: jax.Array | float, batch_size: int
) -> jax.Array:
    """ADA's next probability, after ADA_INTERVAL iterations.

    Args:
      probability: scalar in [0, 1].
      signs: mean of sign(D(x)) over the real examples of these iterations, scalar.
      target: the value of `signs` to maintain.
      batch_size: examples per iteration.
    """
    change = jnp.sign(signs - target) * (ADA_INTERVAL * batch_size / _ADA_IMAGES)
    return jnp.clip(probability + change, 0, 1)
