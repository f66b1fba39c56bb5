"""Probability densities as cell probabilities on a regular grid."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError
from gan_jax.theory.divergences import TOLERANCE, distribution


class Grid(NamedTuple):
    """Equal cells covering an interval (midpoint rule).

    For smooth densities that vanish at the boundary, the error falls faster than any power of the
    cell size. For mixtures of Gaussians with smallest standard deviation s, the JSD is accurate to
    1e-5 with cells of s/2 and to 1e-9 with s/4. A KL divergence of order 1 is accurate to 1e-6 with
    s/8 and to 1e-11 with s/16, but converges more slowly where q has a valley between narrow modes,
    and becomes infinite on a grid so wide that q underflows. Piecewise constant densities are exact
    if they jump only at cell edges; truncated ones converge to second order.
    """

    points: np.ndarray  # cell centres, (n,)
    weights: np.ndarray  # cell sizes, (n,)


def grid_1d(low: float, high: float, n: int) -> Grid:
    """A grid of n cells on [low, high].

    Raises:
      InputError: the interval is empty or infinite, or n < 1.
    """
    if not 0 < high - low < math.inf or n < 1:
        raise InputError(
            f"a grid needs finite low < high and n >= 1; got low={low}, high={high}, n={n}"
        )
    size = (high - low) / n
    return Grid(low + size * (np.arange(n) + 0.5), np.full(n, size))


def masses(density: Callable[[np.ndarray], npt.ArrayLike], grid: Grid) -> np.ndarray:
    """Cell probabilities of a normalised density.

    Args:
      density: maps points, (n,), to densities, (n,). Where it underflows to 0 (for a Gaussian,
        beyond 38 standard deviations), it has no support.
      grid: covers all but `TOLERANCE` of the density.

    Raises:
      InputError: a density of another shape, negative, not finite, or that does not integrate to 1.
    """
    values = np.asarray(density(grid.points.copy()), np.float64)  # it may work in place
    if values.shape != grid.weights.shape:
        raise InputError(
            f"density must return one value per cell, shape {grid.weights.shape}; "
            f"got shape {values.shape}"
        )
    p = values * grid.weights
    if abs(p.sum() - 1) > TOLERANCE:
        raise InputError(
            f"density integrates to {p.sum():.8g} over the grid, not 1: normalise it, or use a "
            "wider or finer grid"
        )
    return distribution("density", p)
