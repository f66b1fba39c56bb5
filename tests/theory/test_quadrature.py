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


def test_documented_convergence():
    rng = np.random.default_rng(7)

    def mixture():
        num = rng.integers(1, 5)
        parts = rng.dirichlet(np.ones(num)), rng.uniform(-4, 4, num), rng.uniform(0.2, 1.5, num)
        return lambda x: sum(w * gaussian(m, s)(x) for w, m, s in zip(*parts, strict=True))

    for _ in range(100):
        p, q = mixture(), mixture()
        # Cells of 1/2 to 1/32 of the smallest possible standard deviation.
        pairs = [on(quadrature.grid_1d(-14, 14, 280 * n), p, q) for n in (1, 2, 4, 8, 16)]
        jsds = np.array([divergences.jsd(*pair) for pair in pairs])
        kls = np.array([divergences.kl(*pair) for pair in pairs])
        assert np.all(abs(jsds[:-1] - jsds[-1]) < [1e-5, 1e-9, 1e-11, 1e-13])
        if kls[-1] < math.inf:
            assert np.all(abs(kls[2:-1] - kls[-1]) < [1e-6, 1e-11])
    wide, narrow = gaussian(0, 2), gaussian(0, 0.3)  # which underflows beyond 11.6
    found = [divergences.kl(*on(quadrature.grid_1d(-x, x, 1000), wide, narrow)) for x in (11, 12)]
    np.testing.assert_allclose(found, [19.82510, math.inf], rtol=1e-5)


def test_steps_at_cell_edges_are_exact():
    def uniform(low):
        return lambda x: ((x > low) & (x < low + 1)).astype(float)

    p, touching, half = on(quadrature.grid_1d(0, 4, 40), uniform(0), uniform(1), uniform(0.5))
    np.testing.assert_allclose(divergences.jsd(p, touching), math.log(2), **EXACT)
    np.testing.assert_allclose(divergences.jsd(p, half), math.log(2) / 2, **EXACT)


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
