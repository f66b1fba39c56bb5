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
from gan_jax.evaluation.metrics.intervals import Score, matrix, normal

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())  # candidate widths of the paper's code

_VALIDATION = 1000  # examples that choose among them
_BLOCK = 250  # points at a time: their distances to 10,000 samples take 10 MB


class Parzen(NamedTuple):
    """A Parzen-window log-likelihood, in nats."""

    score: Score  # mean over test points
    error: float  # its standard error over test points alone, the +- of Table 1
    sigma: float  # chosen width
    validation: dict[float, float]  # mean over validation points, by width


@jax.jit
def _log_likelihoods(
    samples: jax.Array, x: jax.Array, sigma: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Natural log of p(x), (n,), for x (n, d), and the mean share of each sample in p(x), (m,)."""
    centre = jnp.mean(samples, axis=0)  # far from 0, rounding of squares would swamp distances
    samples = samples - centre
    square = 0.5 * jnp.sum(samples**2, axis=1)
    n, d = x.shape

    def block(shares: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        index = start + jnp.arange(_BLOCK)
        own = x[index] - centre  # past the end, the last point again
        # ||x||^2 / 2 is the same for every sample: subtracted after the sum.
        dot = (jnp.matmul(own, samples.T, precision="highest") - square) / sigma**2
        log_sum = jax.nn.logsumexp(dot, axis=1)
        weights = jnp.where(index < n, 1 / n, 0) @ jnp.exp(dot - log_sum[:, None])
        return shares + weights, log_sum - 0.5 * jnp.sum(own**2, axis=1) / sigma**2

    shares, log_sums = jax.lax.scan(block, jnp.zeros(len(samples)), jnp.arange(0, n, _BLOCK))
    normaliser = jnp.log(len(samples)) + d * jnp.log(sigma * jnp.sqrt(2 * jnp.pi))
    return log_sums.ravel()[:n] - normaliser, shares


def _flat(name: str, x: npt.ArrayLike, columns: int | None = None) -> np.ndarray:
    array = to_float(np.asarray(x))
    array = array.reshape(len(array), math.prod(array.shape[1:]))
    return matrix(f"parzen's {name}", array, columns=columns, dtype=np.float32)


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
    return np.asarray(_log_likelihoods(mu, _flat("points", x, columns=mu.shape[1]), sigma)[0])


def parzen(samples: npt.ArrayLike, validation: np.ndarray, test: npt.ArrayLike) -> Parzen:
    """The protocol of the 2014 paper: width by validation images, score by test images.

    The interval is normal; its variance has a term of the test points and one of the samples
    (infinitesimal jackknife).

    Args:
      samples: generated, 10,000 in the paper, shape (m, ...), uint8 images or floats.
      validation: its first 1,000 choose the width among `SIGMAS`, shape (n, ...).
      test: where the log-likelihood is reported, shape (n, ...).

    Raises:
      InputError: an empty set, different sizes, or non-finite values.
    """
    mu = _flat("samples", samples)
    held = _flat("validation", validation[:_VALIDATION], columns=mu.shape[1])
    points = _flat("points", test, columns=mu.shape[1])
    by_width = {sigma: float(log_likelihood(mu, held, sigma).mean()) for sigma in SIGMAS}
    sigma = max(by_width, key=by_width.__getitem__)
    values, shares = map(np.asarray, _log_likelihoods(mu, points, sigma))
    error = float(values.std() / len(values) ** 0.5)
    from_samples = np.sum((shares.astype(np.float64) - 1 / len(mu)) ** 2)
    score = normal(float(values.mean()), (error**2 + from_samples) ** 0.5)
    return Parzen(score, error, sigma, by_width)
