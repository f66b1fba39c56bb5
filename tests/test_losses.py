"""Tests of gan_jax.losses: values and gradients by hand, and in float64 at extreme logits."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.losses import BATCH_COUPLED, CROSS_ENTROPY, LOSSES

RELATIVISTIC = ("relativistic_pairing", "relativistic_average")
LOG_2 = math.log(2)
E = math.exp


def sp(x):
    """Softplus, log(1 + e^x), in float64."""
    return np.logaddexp(0, np.float64(x))


def S(x):
    """The logistic function, in float64."""
    return np.exp(-sp(-np.float64(x)))


REAL, FAKE = jnp.array([2.0, -2.0]), jnp.array([-2.0, 4.0])
# D's value, G's value, and twice the gradients (losses are means, here of two): of D's term with
# respect to the real and to the fake logits, and of G's term with respect to the fake logits.
BY_HAND = {
    "minimax": (
        *((sp(-2) + sp(2) + sp(-2) + sp(4)) / 2, -(sp(-2) + sp(4)) / 2),
        *((-S(-2), -S(2)), (S(-2), S(4)), (-S(-2), -S(4))),
    ),
    "non_saturating": (
        *((sp(-2) + sp(2) + sp(-2) + sp(4)) / 2, (sp(2) + sp(-4)) / 2),
        *((-S(-2), -S(2)), (S(-2), S(4)), (-S(2), -S(-4))),
    ),
    "least_squares": ((1 + 9 + 4 + 16) / 4, 18 / 4, (1, -3), (-2, 4), (-3, 3)),
    "wasserstein": (1, -1, (-1, -1), (1, 1), (-1, -1)),
    "hinge": ((0 + 3 + 0 + 5) / 2, -1, (0, -1), (0, 1), (-1, -1)),
    # Of the pairs' differences, fake - real = -4 and 6.
    "relativistic_pairing": (
        *((sp(-4) + sp(6)) / 2, (sp(4) + sp(-6)) / 2),
        *((-S(-4), -S(6)), (S(-4), S(6)), (-S(4), -S(-6))),
    ),
    # The means are 0 and 1: real - 1 = 1, -3 and fake - 0 = -2, 4. Each logit is also in a mean.
    "relativistic_average": (
        *((sp(-1) + sp(3) + sp(-2) + sp(4)) / 2, (sp(2) + sp(-4) + sp(1) + sp(-3)) / 2),
        tuple(-S(x) - (S(-2) + S(4)) / 2 for x in (-1, 3)),
        tuple(S(x) + (S(-1) + S(3)) / 2 for x in (-2, 4)),
        tuple(-S(-x) - (S(1) + S(-3)) / 2 for x in (-2, 4)),
    ),
    "kl": ((E(-3) + E(3)) / 2, -(E(-3) + E(3)) / 2, (-1, -1), (E(-3), E(3)), (-E(-3), -E(3))),
    "reverse_kl": ((E(-2) + E(2)) / 2, 0, (-E(-2), -E(2)), (1, 1), (-1, -1)),
    "pearson": ((-1 + 8) / 2, -(-1 + 8) / 2, (-1, -1), (0, 3), (0, -3)),
    "squared_hellinger": (
        (E(-2) - 1 + E(4) - 1) / 2 - (1 - E(-2) + 1 - E(2)) / 2,
        -(E(-2) - 1 + E(4) - 1) / 2,
        *((-E(-2), -E(2)), (E(-2), E(4)), (-E(-2), -E(4))),
    ),
    "js": (
        (sp(-2) + sp(4) + sp(-2) + sp(2)) / 2 - 2 * LOG_2,
        LOG_2 - (sp(-2) + sp(4)) / 2,
        *((-S(-2), -S(2)), (S(-2), S(4)), (-S(-2), -S(4))),
    ),
}


@functools.partial(jax.jit, static_argnames="name")
def evaluate(name: str, real: jax.Array, fake: jax.Array):
    """((D's value, its gradients), (G's value, its gradients)) of a loss."""
    return [jax.value_and_grad(term, argnums=(0, 1))(real, fake) for term in LOSSES[name][:2]]


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_by_hand(name):
    d, g, d_by_real, d_by_fake, g_by_fake = BY_HAND[name]
    (d_value, d_grads), (g_value, g_grads) = evaluate(name, REAL, FAKE)
    np.testing.assert_allclose((d_value, g_value), (d, g), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(d_grads, np.array([d_by_real, d_by_fake]) / 2, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(g_grads[1], np.array(g_by_fake) / 2, rtol=2e-6, atol=1e-6)
    if name in RELATIVISTIC:  # D's term with real and fake exchanged, in both arguments
        swapped = evaluate(name, FAKE, REAL)[0]
        np.testing.assert_array_equal(g_value, swapped[0])
        np.testing.assert_array_equal(g_grads, swapped[1][::-1])
    else:
        np.testing.assert_array_equal(g_grads[0], 0)


# From about 17 on, float32's sigmoid is 1 and the logarithm of 1 - D is lost.
LOGITS = np.array([-1e4, -100.0, -30.0, -1.0, 0.0, 0.5, 30.0, 100.0, 1e4])


@pytest.mark.parametrize("name", CROSS_ENTROPY)
def test_accurate_cross_entropies(name):
    sign = {"minimax": -1, "non_saturating": 1}[name]
    for logit in LOGITS:
        real, fake = jnp.float32([-logit]), jnp.float32([logit])
        (d_value, d_grads), (g_value, g_grads) = evaluate(name, real, fake)
        # atol: below 1e-37 float32 has no normal numbers.
        expected = (2 * sp(logit), -S(logit), S(logit), sign * sp(-sign * logit))
        actual = (d_value, *(x.item() for x in d_grads), g_value)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-37)
        np.testing.assert_allclose(g_grads[1], [-S(-sign * logit)], rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("name", LOSSES)
def test_finite_at_confident_logits(name):
    a, ones = jnp.array([-30.0, 30.0]), jnp.ones(2)
    for real, fake in ((a, a), (a, -a), (30 * ones, -30 * ones), (-30 * ones, 30 * ones)):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(evaluate(name, real, fake)))


@pytest.mark.parametrize("name", LOSSES)
def test_batch_coupled_losses(name):
    real, fake = jnp.array([0.3, -1.2, 2.0]), jnp.array([0.7, 2.1])
    pairs = jnp.repeat(real, 2), jnp.tile(fake, 3)
    for term in LOSSES[name][:2]:
        single = jnp.mean(jax.vmap(lambda logit, term=term: term(real, logit[None]))(fake))
        assert (abs(term(*pairs) - single) < 1e-5) == (name not in BATCH_COUPLED)
        many = term(jnp.tile(pairs[0], 8), jnp.tile(pairs[1], 8))
        np.testing.assert_allclose(many, term(*pairs), rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_reported_outputs(name):
    expected = S(2.0) if name in CROSS_ENTROPY else 2.0
    np.testing.assert_allclose(LOSSES[name].output(jnp.float32(2.0)), expected, rtol=1e-6)
