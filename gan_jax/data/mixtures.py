"""Mixtures of Gaussians, whose density is known.

`ring` and `grid` are the benchmarks of mode coverage in Lin et al. 2018, "PacGAN",
https://arxiv.org/abs/1712.04086, section 4.1.
"""

from typing import NamedTuple

import numpy as np


class Mixture(NamedTuple):
    """Equally weighted isotropic Gaussians."""

    means: np.ndarray  # (modes, d)
    sigma: float  # standard deviation in each direction


_ANGLES = 2 * np.pi * np.arange(8) / 8
_LINE = np.arange(-4.0, 5.0, 2.0)

MIXTURES: dict[str, Mixture] = {
    "ring": Mixture(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), 0.01),
    "grid": Mixture(np.stack(np.meshgrid(_LINE, _LINE), axis=-1).reshape(-1, 2), 0.05),
    "gaussian1d": Mixture(np.array([[-1.0], [1.0]]), 0.5),
}

# PacGAN's "high quality": within 3 sigma of a mean. In two dimensions, that much of the mixture is.
HIGH_QUALITY = 1 - float(np.exp(-4.5))


def draw(mixture: Mixture, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws points, float32 (num, d), and the mode of each, int32 (num,)."""
    rng = np.random.default_rng(seed)
    modes = rng.integers(0, len(mixture.means), num)
    points = mixture.means[modes] + mixture.sigma * rng.standard_normal(
        (num, mixture.means.shape[1])
    )
    return points.astype(np.float32), modes.astype(np.int32)
