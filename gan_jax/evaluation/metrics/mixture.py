"""Metrics of samples from data with known modes: which they cover, and how well.

The protocol of Lin et al. 2018, "PacGAN", https://arxiv.org/abs/1712.04086, section 4.1 (and of
Srivastava et al. 2017, "VEEGAN", https://arxiv.org/abs/1705.07761).
"""

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import classifier
from gan_jax.evaluation.metrics.intervals import Score, matrix, proportion


def mixture(points: npt.ArrayLike, means: npt.ArrayLike, sigma: float) -> dict[str, Score]:
    """Modes covered, fraction of high-quality samples, and reverse KL.

    A sample is of high quality (HQ) if it is within 3 sigma of the nearest mean.

    - modes_covered: means with at least one HQ sample; a count, without an interval.
    - high_quality: fraction of HQ samples. For the mixture itself, in 2-D, 1 - exp(-4.5) = 0.9889;
      clearly more means collapse within modes. The interval is Wilson's.
    - reverse_kl: KL(histogram of HQ samples over means || uniform) in nats, 0 log 0 = 0; from 0 to
      log(modes), with all HQ samples in one mode or without any. For the interval, see
      `classifier.kl`.

    Args:
      points: samples, shape (n, d).
      means: means of the equally likely components, shape (modes, d).
      sigma: standard deviation of every component in each direction.

    Returns:
      "modes_covered", "high_quality" and "reverse_kl".

    Raises:
      InputError: no samples, different d, non-finite values, or sigma not above 0.
    """
    means = matrix("mixture's means", means)
    points = matrix("mixture's points", points, columns=means.shape[1])
    if not 0 < sigma < np.inf:
        raise InputError(f"mixture's sigma must be a finite number above 0, not {sigma}")
    # Means are few: n distances at a time.
    distances = np.stack([np.linalg.norm(points - mean, axis=1) for mean in means])
    high = distances.min(axis=0) <= 3 * sigma
    counts = np.bincount(distances.argmin(axis=0)[high], minlength=len(means))
    n, share = len(points), float(high.mean())
    high_quality = proportion(share, (share * (1 - share) / n) ** 0.5, n)
    return {**modes(counts), "high_quality": high_quality}


def modes(counts: np.ndarray) -> dict[str, Score]:
    """Modes covered and reverse KL, as `mixture`, from a histogram over modes, (modes,)."""
    covered, most = float(np.count_nonzero(counts)), float(np.log(len(counts)))
    reverse_kl = Score(most, most, most)
    if covered:
        p = counts / counts.sum()
        value = most + np.sum(p * np.log(np.where(p > 0, p, 1)))
        reverse_kl = classifier.kl(counts, np.full(len(counts), 1 / len(counts)))
        reverse_kl = reverse_kl._replace(value=float(value))
    return {"modes_covered": Score(covered, covered, covered), "reverse_kl": reverse_kl}
