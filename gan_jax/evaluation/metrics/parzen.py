"""Parzen-window log-likelihood, by which Goodfellow et al. 2014 compare models in Table 1.

A poor measure of sample quality: k-means centroids score higher than the data themselves (Theis,
van den Oord and Bethge 2016, https://arxiv.org/abs/1511.01844). Kept for comparison with the paper.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.data.pixels import to_float
from gan_jax.evaluation.metrics.intervals import Score, matrix, normal, parts, split_error

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())  # candidate widths of the paper's code

_VALIDATION = 1000  # examples used to select the width
_BLOCK = 250  # points at a time: their distances to 10,000 samples take 10 MB


class Parzen(NamedTuple):
    """A Parzen-window log-likelihood, in nats."""

    score: Score  # mean over test points
    error: float  # its standard error over test points alone, the +- of Table 1
    sigma: float  # chosen width
    validation: dict[float, float]  # mean over validation points, by width


@jax.jit
def _log_likelihoods(
    samples: jax.Array, x: jax.Array, sigma: jax.Array | float, subsets: jax.Array | None = None
) -> jax.Array:
    """Natural log of p(x), (n, s), by each of some subsets of the samples, 0 or 1, (m, s).

    Without subsets, by all samples, (n, 1).
    """
    centre = jnp.mean(samples, axis=0)  # far from 0, rounding of squares would swamp distances
    samples = samples - centre
    square = 0.5 * jnp.sum(samples**2, axis=1)
    tiny = jnp.finfo(jnp.float32).tiny

    def block(x: jax.Array) -> jax.Array:
        x = x - centre
        # ||x||^2 / 2 is the same for every sample: subtracted after the sum.
        dot = (jnp.matmul(x, samples.T, precision="highest") - square) / sigma**2
        norm = 0.5 * jnp.sum(x**2, axis=1, keepdims=True) / sigma**2
        if subsets is None:
            return jax.nn.logsumexp(dot, axis=1, keepdims=True) - norm
        most = jnp.max(dot, axis=1, keepdims=True)
        sums = jnp.matmul(jnp.exp(dot - most), subsets, precision="highest")
        # A subset without any sample nearby underflows: 87 nats below the nearest sample.
        return most + jnp.log(jnp.maximum(sums, tiny)) - norm

    n, d = x.shape
    blocks = jnp.pad(x, ((0, -n % _BLOCK), (0, 0))).reshape(-1, _BLOCK, d)
    number = len(samples) if subsets is None else jnp.sum(subsets, axis=0)
    logs = jax.lax.map(block, blocks)
    logs = logs.reshape(blocks.shape[0] * _BLOCK, logs.shape[-1])[:n]
    return logs - jnp.log(number) - d * jnp.log(sigma * jnp.sqrt(2 * jnp.pi))


def _flat(name: str, x: npt.ArrayLike, columns: int | None = None, rows: int = 1) -> np.ndarray:
    array = to_float(np.asarray(x))
    array = array.reshape(len(array), math.prod(array.shape[1:]))
    return matrix(f"parzen's {name}", array, rows, columns, np.float32)


def log_likelihood(samples: npt.ArrayLike, x: npt.ArrayLike, sigma: float) -> np.ndarray:
    """Natural log of 1/m sum_i N(x; mu_i, sigma^2 I), for Gaussians around the samples mu.

    Args:
      samples: mu, shape (m, ...), uint8 images (scaled to [0, 1]) or floats.
      x: where to evaluate, shape (n, ...).
      sigma: standard deviation of each Gaussian, above 0.

    Returns:
      Nats, float32 (n,).

    Raises:
      InputError: no samples, a size other than that of x, or non-finite values.
    """
    mu = _flat("samples", samples)
    points = _flat("points", x, columns=mu.shape[1])
    return np.asarray(_log_likelihoods(mu, points, sigma))[:, 0]


def parzen(
    samples: npt.ArrayLike, validation: np.ndarray, test: npt.ArrayLike, seed: int, splits: int = 50
) -> Parzen:
    """The protocol of the 2014 paper: width by validation images, score by test images.

    The interval comes from random halves of samples and test points (see `split_error`).

    Args:
      samples: generated, 10,000 in the paper, shape (m, ...), uint8 images or floats.
      validation: its first 1,000 choose the width among `SIGMAS`, shape (n, ...).
      test: where the log-likelihood is reported, shape (n, ...).
      seed: seed of the splits.
      splits: number of random splits; 0 for no interval.

    Raises:
      InputError: too few samples or points, different sizes, or non-finite values.
    """
    rng, rows = np.random.default_rng(seed), 2 if splits else 1
    mu = _flat("samples", samples, rows=rows)
    held = _flat("validation", validation[:_VALIDATION], columns=mu.shape[1])
    points = _flat("points", test, mu.shape[1], rows)
    by_width = {sigma: float(log_likelihood(mu, held, sigma).mean()) for sigma in SIGMAS}
    sigma = max(by_width, key=by_width.__getitem__)
    of_mu, of_points = (parts(len(a), 2, splits, rng).T for a in (mu, points))
    values = log_likelihood(mu, points, sigma).astype(np.float64)
    subsets = np.hstack([of_mu == 0, of_mu == 1]).astype(np.float32)
    halves = np.hsplit(np.asarray(_log_likelihoods(mu, points, sigma, subsets), np.float64), 2)
    by_half = [np.mean(x, axis=0, where=of_points == h) for h, x in enumerate(halves)]
    score = normal(float(values.mean()), split_error(np.transpose(by_half)))
    return Parzen(score, float(values.std() / len(values) ** 0.5), sigma, by_width)
