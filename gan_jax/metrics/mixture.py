"""Metrics of samples from a mixture of Gaussians: which modes they cover, and how well.

The protocol of Lin et al. 2018, "PacGAN", https://arxiv.org/abs/1712.04086, section 4.1 (and of
Srivastava et al. 2017, "VEEGAN", https://arxiv.org/abs/1705.07761).
"""

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError
from gan_jax.metrics.bootstrap import Score, interval, matrix


def mixture(
    points: npt.ArrayLike,
    means: npt.ArrayLike,
    sigma: float,
    seed: int,
    resamples: int = 1000,
) -> dict[str, Score]:
    """Modes covered, share of high quality, and reverse KL.

    A sample is of high quality (HQ) if it is within 3 sigma of the nearest mean.

    - modes_covered: means with at least one HQ sample.
    - high_quality: share of HQ samples. In 2-D that of the mixture itself is 1 - exp(-4.5) =
      0.9889: a generator clearly above it has collapsed inside its modes.
    - reverse_kl: KL(histogram of HQ samples over the means || uniform) in nats, 0 log 0 = 0; from
      0 to log(means), all in one mode. With no HQ sample at all it is log(means) too, the worst.

    Args:
      points: samples, shape (n, d).
      means: of the mixture's equally likely components, shape (modes, d).
      sigma: the components' standard deviation in each direction.
      seed: of the bootstrap.
      resamples: replicates of the bootstrap, over the samples.

    Returns:
      "modes_covered", "high_quality" and "reverse_kl".

    Raises:
      InputError: no samples, unequal widths, a value that is not finite, or sigma not above 0.
    """
    means = matrix("mixture's means", means)
    points = matrix("mixture's points", points, columns=means.shape[1])
    if not 0 < sigma < np.inf:
        raise InputError(f"mixture's sigma must be a finite number above 0, not {sigma}")
    # The means are few: n distances at a time.
    distances = np.stack([np.linalg.norm(points - mean, axis=1) for mean in means])
    high = distances.min(axis=0) <= 3 * sigma
    counts = np.bincount(distances.argmin(axis=0)[high], minlength=len(means))
    n = len(points)

    def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
        """The three from HQ samples of each mode, shape (..., modes)."""
        total = counts.sum(axis=-1, keepdims=True)
        p = counts / np.maximum(total, 1)
        kl = np.log(len(means)) + np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)
        return {
            "modes_covered": (counts > 0).sum(axis=-1),
            "high_quality": total[..., 0] / n,
            "reverse_kl": kl,
        }

    # What became of a sample is all that counts, so drawing n of them anew is a multinomial draw.
    drawn = np.random.default_rng(seed).multinomial(
        n, np.append(counts, n - counts.sum()) / n, resamples
    )
    replicates = scores(drawn[:, :-1])
    return {
        name: interval(float(value), replicates[name]) for name, value in scores(counts).items()
    }
