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


def test_a_grid_by_hand():
    line = quadrature.grid_1d(-1, 3, 4)
    np.testing.assert_allclose(line.points, [-0.5, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(line.weights, 1)


@pytest.mark.parametrize(
    ("a", "s", "b", "t"), [(0, 1, 0, 1), (0, 1, 1.5, 1), (-1, 0.5, 2, 1.3), (0.3, 2, 0, 0.7)]
)
def test_divergences_of_gaussians(a, s, b, t):
    def kl(a, s, b, t):
        return math.log(t / s) + (s**2 + (a - b) ** 2) / (2 * t**2) - 0.5

    p, q = on(quadrature.grid_1d(-18, 18, 1000), gaussian(a, s), gaussian(b, t))
    overlap = math.sqrt(2 * s * t / (s**2 + t**2)) * math.exp(-((a - b) ** 2) / 4 / (s**2 + t**2))
    expected = {
        "kl": kl(a, s, b, t),
        "reverse_kl": kl(b, t, a, s),
        "squared_hellinger": 2 - 2 * overlap,
    }
    if s == t:
        expected["pearson"] = math.expm1((a - b) ** 2 / s**2)
    for name, value in expected.items():
        np.testing.assert_allclose(divergences.f_divergence(name, p, q), value, **EXACT)


def test_convergence_is_as_documented():
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


def test_masses_are_normalised_and_keep_the_grid():
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
def test_invalid_densities_are_refused(density, message):
    with pytest.raises(InputError, match=f"^density {message}"):
        quadrature.masses(density, quadrature.grid_1d(-10, 10, 100))


@pytest.mark.parametrize("args", [(1, 1, 9), (0, math.inf, 9), (math.nan, 1, 9), (0, 1, 0)])
def test_invalid_grids_are_refused(args):
    with pytest.raises(InputError, match=r"^a grid needs finite low < high and n >= 1; got"):
        quadrature.grid_1d(*args)
