"""Tests of gan_jax.theory.divergences: the paper's identities, scipy, losses.py and by hand."""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
import scipy.special

from gan_jax import losses
from gan_jax.errors import InputError
from gan_jax.losses import LOSSES
from gan_jax.theory import divergences
from gan_jax.theory.divergences import DIVERGENCES

LOG_2, LOG_4 = math.log(2), math.log(4)
EXACT = {"rtol": 1e-12, "atol": 1e-12}
NAMES = sorted(DIVERGENCES)

POINTS = 5


def minibatches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Points of real examples, points of fakes, and a table of D's logits by point."""
    rng = np.random.default_rng(0)
    for _ in range(30):  # points without real or fake examples are common
        yield *(rng.integers(0, POINTS, size) for size in (12, 18)), rng.uniform(-8, 8, POINTS)


def histogram(x: np.ndarray) -> np.ndarray:
    return np.bincount(x, minlength=POINTS) / len(x)


def pairs(num: int = 300) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random pairs of distributions: near and far, flat and peaked, with and without zeros."""
    rng = np.random.default_rng(0)
    for i in range(num):
        size = rng.integers(1, 20)
        p, q = rng.dirichlet(np.full(size, 10.0 ** rng.uniform(-1, 2)), 2)
        if i % 3 == 0:
            q = p + 10.0 ** rng.uniform(-6, -1) * (q - p)
        if i % 4 == 0:
            p, q = (x * np.append(rng.random(size - 1) < 0.7, True) for x in (p, q))
        p, q = p + (p.sum() == 0), q + (q.sum() == 0)
        yield p / p.sum(), q / q.sum()


# The value function.


def test_value_matches_minibatch_value():
    for real, fake, table in minibatches():
        p, q = histogram(real), histogram(fake)
        with jax.enable_x64(True):
            expected = losses.value(jnp.asarray(table[real]), jnp.asarray(table[fake]))
        np.testing.assert_allclose(divergences.value(p, q, table), expected, **EXACT)
        d = scipy.special.expit(table)
        np.testing.assert_allclose(divergences.value_from_probs(p, q, d), expected, rtol=1e-10)


def test_value_of_a_confident_discriminator():
    p, q = [1, 0], [0, 1]
    for d, logits, expected in (
        ([1, 0], [math.inf, -math.inf], 0),
        ([0, 0], [-math.inf, -math.inf], -math.inf),
        ([1, 1], [math.inf, math.inf], -math.inf),
    ):
        assert divergences.value_from_probs(p, q, d) == expected
        assert divergences.value(p, q, logits) == expected
    np.testing.assert_allclose(divergences.value(p, q, [50, -60]), -np.exp(-50), rtol=1e-4)
    found = divergences.value_from_probs(p, q, [1, 1e-30])
    np.testing.assert_allclose(found, -1e-30, rtol=1e-10)


# The optimal discriminator, and G's objective against it.


def test_optimal_discriminator_by_hand():
    p, q = [0.75, 0.25, 0, 0], [0.25, 0, 0.75, 0]
    best = divergences.optimal_discriminator(p, q)
    np.testing.assert_allclose(best, [0.75, 1, 0, 0.5], **EXACT)
    logits = divergences.optimal_logits(p, q)
    np.testing.assert_allclose(logits, [math.log(3), math.inf, -math.inf, 0], **EXACT)


def test_optimal_discriminator_maximises_value():
    rng = np.random.default_rng(1)
    for p, q in pairs():
        best, highest = divergences.optimal_discriminator(p, q), divergences.criterion(p, q)
        if not np.any((best == 1) & (q > 0)):  # unless D* rounds to 1
            value = divergences.value_from_probs(p, q, best)
            np.testing.assert_allclose(value, highest, **EXACT)
        for size in (1e-3, 0.1, 1):  # of a step towards a random D
            other = best + size * (rng.random(p.shape) - best)
            fall = 2 * np.sum((p + q) * (other - best) ** 2)  # lower bound, by V's curvature
            assert divergences.value_from_probs(p, q, other) <= highest - (1 - 1e-9) * fall + 1e-13
        logits = divergences.optimal_logits(p, q) + rng.normal(size=p.shape)
        assert divergences.value(p, q, logits) <= highest + 1e-12


def test_criterion_is_2_jsd_minus_log_4():
    for p, q in pairs():
        m = (p + q) / 2
        by_kl = divergences.kl(p, m) + divergences.kl(q, m) - LOG_4  # equation 5
        found = divergences.criterion(p, q)
        np.testing.assert_allclose(found, by_kl, **EXACT)
        np.testing.assert_allclose(found, 2 * divergences.jsd(p, q) - LOG_4, **EXACT)


# Divergences.


def test_kl_and_jsd_match_scipy():
    for p, q in pairs():
        expected = np.sum(scipy.special.rel_entr(p, q))
        np.testing.assert_allclose(divergences.kl(p, q), expected, **EXACT)
        np.testing.assert_allclose(divergences.f_divergence("reverse_kl", q, p), expected, **EXACT)
        with np.errstate(invalid="ignore"):  # scipy takes the root of a negative rounding error
            expected = np.nan_to_num(scipy.spatial.distance.jensenshannon(p, q) ** 2)
        np.testing.assert_allclose(divergences.jsd(p, q), expected, **EXACT)
        np.testing.assert_allclose(divergences.f_divergence("js", p, q), 2 * expected, **EXACT)


@pytest.mark.parametrize(
    ("name", "where_p_is_0", "where_q_is_0"),
    [
        ("kl", LOG_2, math.inf),
        ("reverse_kl", math.inf, LOG_2),
        ("pearson", 1, math.inf),
        ("squared_hellinger", 2 - math.sqrt(2), 2 - math.sqrt(2)),
        ("js", *[LOG_2 + 1.5 * math.log(2 / 3) + LOG_2 / 2] * 2),
    ],
)
def test_supports_that_differ(name, where_p_is_0, where_q_is_0):
    one, both = [1, 0, 0], [0.5, 0.5, 0]  # the last point is in neither support
    np.testing.assert_allclose(divergences.f_divergence(name, one, both), where_p_is_0, **EXACT)
    np.testing.assert_allclose(divergences.f_divergence(name, both, one), where_q_is_0, **EXACT)


def test_bounds_despite_rounding():
    rng = np.random.default_rng(5)
    for size in range(2, 102):
        p = rng.dirichlet(np.ones(size))
        near = p * (1 + 1e-13 * rng.normal(size=size))
        for name in NAMES:
            assert 0 <= divergences.f_divergence(name, p, near) < 1e-15
        apart = np.append(p, 0 * p), np.append(0 * p, near)
        assert LOG_2 - 1e-14 < divergences.jsd(*apart) <= LOG_2


# D's output v, before the activation g, at which the bound is tight: g(v) = f'(p / q), section 2.2
# of Nowozin et al. 2016; by log(p / q), the logit of D*.
OPTIMAL_V = {
    "kl": lambda log_u: 1 + log_u,
    "reverse_kl": lambda log_u: log_u,
    "pearson": lambda log_u: 2 * np.expm1(log_u),
    "squared_hellinger": lambda log_u: log_u / 2,
    "js": lambda log_u: log_u,
}


@pytest.mark.parametrize("name", NAMES)
def test_f_gan_losses_bound_divergences(name):
    def bound(v: np.ndarray) -> float:
        with jax.enable_x64(True):
            return -float(LOSSES[name].d(jnp.asarray(v[real]), jnp.asarray(v[fake])))

    for real, fake, table in minibatches():
        p, q = histogram(real), histogram(fake)
        divergence = divergences.f_divergence(name, p, q)
        v = OPTIMAL_V[name](divergences.optimal_logits(p, q))
        np.testing.assert_allclose(bound(v), divergence, **EXACT)
        for other in (table, v + table / 100, v + 1, v - 1):
            assert bound(other) <= divergence + 1e-12


# Best responses.

RNG = np.random.default_rng(6)
# Data distributions and generator logits.
GENERATORS = [
    (RNG.dirichlet(np.full(size, 2.0)) * 0.9 + 0.1 / size, RNG.normal(size=size) * scale)
    for size, scale in ((3, 0.1), (5, 2.0), (9, 4.0))
]


def test_softmax_at_any_scale():
    for _, logits in GENERATORS:
        for x in (logits, logits + 1e4, 100 * logits):
            np.testing.assert_allclose(divergences.softmax(x), scipy.special.softmax(x), rtol=1e-10)
    np.testing.assert_array_equal(divergences.softmax([[0, 0], [0, 0]]), np.full((2, 2), 0.25))


@pytest.mark.parametrize("steps", [1, 7])
def test_best_response_round(steps):
    for p, logits in GENERATORS:
        with jax.enable_x64(True):
            fixed = jnp.asarray(divergences.optimal_logits(p, divergences.softmax(logits)))

            @jax.jit
            @jax.grad
            def gradient(x: jax.Array, fixed=fixed) -> jax.Array:
                return -jnp.sum(jax.nn.softmax(x) * jax.nn.softplus(fixed))

            x = logits
            for _ in range(steps):
                x = x - 0.7 * np.asarray(gradient(x))
        found = divergences.best_response_round(p, logits, 0.7, steps)
        np.testing.assert_allclose(found, x, rtol=1e-12)


# Arguments.


def test_arguments_of_any_shape_and_dtype():
    p = np.random.default_rng(4).random((3, 4)).astype(np.float32)
    p /= p.sum() * np.float32(1 + 5e-7)  # renormalised
    q, before = p[::-1], p.copy()
    assert divergences.optimal_discriminator(p, q).shape == (3, 4)
    assert divergences.optimal_logits(p, q).dtype == np.float64
    assert divergences.jsd(p, q) == divergences.jsd(p.tolist(), jnp.asarray(q))
    np.testing.assert_allclose(divergences.criterion(p, p), -LOG_4, rtol=1e-14)
    np.testing.assert_array_equal(p, before)


HALF = [0.5, 0.5]
PAIR_FUNCTIONS = {
    "p_data p_g": [
        lambda p, q: divergences.value(p, q, HALF),
        lambda p, q: divergences.value_from_probs(p, q, HALF),
        divergences.optimal_logits,
        divergences.optimal_discriminator,
    ],
    "p q": [divergences.kl],
}


@pytest.mark.parametrize("names", PAIR_FUNCTIONS)
def test_invalid_distributions(names):
    first, second = names.split()
    for function in PAIR_FUNCTIONS[names]:
        for x, message in (
            ([1.5, -0.5], "be finite and non-negative; got -0.5"),
            ([0.5, math.nan], "be finite and non-negative; got nan"),
            ([math.inf, 0.5], "be finite and non-negative; got inf"),
            ([0.5, 0.5 + 1.1e-6], r"sum to 1 \(within 1e-06\); got 1.0000011"),
        ):
            for argument, args in ((first, (x, HALF)), (second, (HALF, x))):
                with pytest.raises(InputError, match=f"^{argument} must {message}"):
                    function(*args)
        with pytest.raises(InputError, match=rf"^{first} and {second} must have the same shape"):
            function(HALF, [0.2, 0.3, 0.5])


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("value", (HALF, HALF, [HALF]), r"logits must have p_data's shape, \(2,\); got \(1, 2\)"),
        ("value", (HALF, HALF, [0, math.nan]), "logits must not be NaN"),
        ("value_from_probs", (HALF, HALF, [0.5]), "d must have p_data's shape"),
        (
            "value_from_probs",
            (HALF, HALF, [0.5, 1.01]),
            r"d must be in \[0, 1\]; got values from 0",
        ),
        ("value_from_probs", (HALF, HALF, [-1e-9, 0.5]), r"d must be in \[0, 1\]"),
        ("value_from_probs", (HALF, HALF, [math.nan, 0.5]), r"d must be in \[0, 1\]"),
        ("softmax", ([],), "logits must be finite and non-empty"),
        ("softmax", ([0, math.nan],), "logits must be finite and non-empty"),
        ("best_response_round", (HALF, [0, math.inf], 1), "g_logits must be finite"),
        ("best_response_round", (HALF, [0, 0, 0], 1), "g_logits must have p_data's shape"),
    ],
)
def test_invalid_logits(function, arguments, message):
    with pytest.raises(InputError, match=f"^{message}"):
        getattr(divergences, function)(*arguments)
