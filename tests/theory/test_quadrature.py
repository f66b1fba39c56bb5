"""Tests of gan_jax.theory.quadrature: closed forms, rates of convergence, and invalid densities."""

import functools
import math

import numpy as np
import pytest
import scipy.stats

from gan_jax.errors import InputError
from gan_jax.theory import divergences, quadrature

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def gaussian(mean, sigma):
    return functools.partial(scipy.stats.norm.pdf, loc=mean, scale=sigma)


def on(grid, *densities):
    return [quadrature.masses(density, grid) for density in densities]


def test_grid_by_hand():
    grid = quadrature.grid_1d(-1, 3, 4)
    np.testing.assert_allclose(grid.points, [-0.5, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(grid.weights, 1)


@pytest.mark.parametrize(("a", "s", "b", "t"), [(0, 1, 1.5, 1), (-1, 0.5, 2, 1.3)])
def test_divergences_of_gaussians(a, s, b, t):
    p, q = on(quadrature.grid_1d(-18, 18, 1000), gaussian(a, s), gaussian(b, t))
    kl = math.log(t / s) + (s**2 + (a - b) ** 2) / (2 * t**2) - 0.5
    overlap = math.sqrt(2 * s * t / (s**2 + t**2)) * math.exp(-((a - b) ** 2) / 4 / (s**2 + t**2))
    np.testing.assert_allclose(divergences.kl(p, q), kl, **EXACT)
    hellinger = divergences.f_divergence("squared_hellinger", p, q)
    np.testing.assert_allclose(hellinger, 2 - 2 * overlap, **EXACT)


def test_normalised_masses():
    def shifted(x):
        x -= 2  # in place
        return gaussian(0, 1)(x) * (1 - 9e-7)

    grid = quadrature.grid_1d(-10, 10, 400)
    first = quadrature.masses(shifted, grid)
    np.testing.assert_array_equal(quadrature.masses(shifted, grid), first)
    np.testing.assert_allclose(quadrature.masses(gaussian(2, 1), grid), first, atol=1e-12)


@pytest.mark.parametrize(
    ("density", "message"),
    [
        (lambda x: np.exp(-(x**2) / 2), "integrates to 2.5066283 over the grid, not 1: normalise"),
        (gaussian(9.5, 1), "integrates to 0.691"),
        (lambda x: 0.05 - x, "must be finite and non-negative; got -0.01"),
        (lambda x: x * math.nan, "must be finite and non-negative; got nan"),
        (lambda x: 0.05, r"must return one value per cell, shape \(100,\); got shape \(\)"),
    ],
)
def test_invalid_densities(density, message):
    with pytest.raises(InputError, match=f"^density {message}"):
        quadrature.masses(density, quadrature.grid_1d(-10, 10, 100))


@pytest.mark.parametrize("args", [(1, 1, 9), (0, math.inf, 9), (math.nan, 1, 9), (0, 1, 0)])
def test_invalid_grids(args):
    with pytest.raises(InputError, match=r"^a grid needs finite low < high and n >= 1; got"):
        quadrature.grid_1d(*args)
