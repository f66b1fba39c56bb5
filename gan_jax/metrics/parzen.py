"""The Parzen-window log-likelihood by which Goodfellow et al. 2014 compared models, Table 1.

It is a poor measure of samples: k-means centroids score above the data themselves, and it rewards
what it cannot tell from truth (Theis, van den Oord and Bethge 2016,
https://arxiv.org/abs/1511.01844). It stands here to compare with the paper.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.metrics import bootstrap
from gan_jax.metrics.bootstrap import Score

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())  # the widths that the paper's code chose from

_VALIDATION = 1000  # images that choose among them
_BLOCK = 250  # test points at a time: distances to 10,000 samples are then 10 MB


class Parzen(NamedTuple):
    """A Parzen-window log-likelihood, in nats."""

    score: Score  # mean over the test points
    error: float  # standard error of that mean, the +- of Table 1
    sigma: float  # the width chosen
    validation: dict[float, float]  # mean over the validation points, for each width


@jax.jit
def _log_likelihoods(samples: jax.Array, x: jax.Array, sigma: jax.Array | float) -> jax.Array:
    """Natural log of p(x), shape (n,), for x of shape (n, d)."""
    centre = jnp.mean(samples, axis=0)  # far from 0, squares would round away the distances
    samples = samples - centre
    square = 0.5 * jnp.sum(samples**2, axis=1)

    def block(x: jax.Array) -> jax.Array:
        x = x - centre
        # ||x||^2 / 2 is the same for every sample, so it waits until after the sum.
        dot = jnp.matmul(x, samples.T, precision="highest") - square
        log_sum = jax.nn.logsumexp(dot / sigma**2, axis=1)
        return log_sum - 0.5 * jnp.sum(x**2, axis=1) / sigma**2

    n, d = x.shape
    blocks = jnp.pad(x, ((0, -n % _BLOCK), (0, 0))).reshape(-1, _BLOCK, d)
    log_sums = jax.lax.map(block, blocks).ravel()[:n]
    return log_sums - jnp.log(len(samples)) - d * jnp.log(sigma * jnp.sqrt(2 * jnp.pi))


def _flat(name: str, x: npt.ArrayLike, columns: int | None = None) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / 255
    return bootstrap.matrix(
        f"parzen's {name}",
        array.reshape(len(array), math.prod(array.shape[1:])),
        columns=columns,
        dtype=np.float32,
    )


def log_likelihood(samples: npt.ArrayLike, x: npt.ArrayLike, sigma: float) -> np.ndarray:
    """Log 1/m sum_i N(x; mu_i, sigma^2 I), the density of Gaussians around the samples mu.

    Args:
      samples: mu, shape (m, ...), uint8 images (taken in [0, 1]) or floats.
      x: where to evaluate it, shape (n, ...).
      sigma: standard deviation of each Gaussian, above 0.

    Returns:
      Nats, float32 (n,).

    Raises:
      InputError: no samples, or of another size than x, or values that are not finite.
    """
    mu = _flat("samples", samples)
    points = _flat("points", x, columns=mu.shape[1])
    return np.asarray(_log_likelihoods(mu, points, sigma))


def parzen(
    samples: npt.ArrayLike, validation: np.ndarray, test: npt.ArrayLike, seed: int
) -> Parzen:
    """The protocol of the 2014 paper: the width by validation images, the score by test images.

    Args:
      samples: of the model, 10,000 in the paper, shape (m, ...), uint8 images or floats.
      validation: of which the first 1,000 choose the width among `SIGMAS`, shape (n, ...).
      test: where the log-likelihood is reported, shape (n, ...).
      seed: of the bootstrap.

    Raises:
      InputError: an empty set, sets of different sizes, or values that are not finite.
    """
    mu = _flat("samples", samples)
    held = _flat("validation", validation[:_VALIDATION], columns=mu.shape[1])
    by_width = np.array([log_likelihood(mu, held, sigma).mean() for sigma in SIGMAS])
    sigma = SIGMAS[int(by_width.argmax())]
    values = log_likelihood(mu, test, sigma)
    return Parzen(
        score=bootstrap.mean(values, seed),
        error=float(values.std() / len(values) ** 0.5),
        sigma=sigma,
        validation=dict(zip(SIGMAS, by_width.tolist(), strict=True)),
    )
