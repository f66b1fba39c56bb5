"""Tests of gan_jax.losses: values by hand, gradients in closed form, and the known pitfalls."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import losses
from gan_jax.losses import CROSS_ENTROPY, LOSSES

# From 30 on, float32's sigmoid is 1 and a probability's logarithm has lost everything.
LOGITS = [-1e4, -100.0, -30.0, -1.0, 0.0, 0.5, 30.0, 100.0, 1e4]

SOFTPLUS_1 = 1.3132616875182228  # log(1 + e)
SOFTPLUS_2 = 2.1269280110429727  # log(1 + e^2); softplus(-x) = softplus(x) - x
LOG_2 = 0.6931471805599453


def generator(name: str):
    """G's part of a game as a function of the fakes alone, which it is in most."""
    return functools.partial(LOSSES[name].g, jnp.zeros(1))


def sigmoid(x) -> np.ndarray:
    """The logistic function in float64, without overflow."""
    x = np.asarray(x, np.float64)
    return np.exp(-np.logaddexp(0, -x))


def test_value_by_hand():
    # log D(x) = -softplus(-l): -(s(1) - 1) and -(s(2) - 2);
    # log(1 - D) = -softplus(l): -log 2 and -s(2)
    real, fake = jnp.array([1.0, 2.0]), jnp.array([0.0, 2.0])
    expected = -(SOFTPLUS_1 - 1 + SOFTPLUS_2 - 2) / 2 - (LOG_2 + SOFTPLUS_2) / 2
    np.testing.assert_allclose(jax.jit(losses.value)(real, fake), expected, rtol=1e-6)


def test_discriminator_loss_by_hand():
    real, fake = jnp.array([1.0, -2.0]), jnp.array([0.0, 2.0])
    expected = (SOFTPLUS_1 - 1 + SOFTPLUS_2) / 2 + (LOG_2 + SOFTPLUS_2) / 2
    np.testing.assert_allclose(jax.jit(losses.discriminator)(real, fake), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimax", -(LOG_2 + SOFTPLUS_1 + SOFTPLUS_2 - 2) / 3),
        ("non_saturating", (LOG_2 + SOFTPLUS_1 - 1 + SOFTPLUS_2) / 3),
    ],
)
def test_generator_loss_by_hand(name, expected):
    logits = jnp.array([0.0, 1.0, -2.0])
    np.testing.assert_allclose(jax.jit(generator(name))(logits), expected, rtol=1e-6)


def test_an_undecided_discriminator_has_value_minus_log_4():
    zeros = jnp.zeros(7)
    np.testing.assert_allclose(losses.value(zeros, zeros), -math.log(4), rtol=1e-6)
    np.testing.assert_allclose(losses.discriminator(zeros, zeros), math.log(4), rtol=1e-6)
    np.testing.assert_allclose(generator("minimax")(zeros), -math.log(2), rtol=1e-6)
    np.testing.assert_allclose(generator("non_saturating")(zeros), math.log(2), rtol=1e-6)


def test_the_optimal_discriminator_is_stationary_and_its_value_is_2_jsd_minus_log_4():
    # Two points, p = (3/4, 1/4), q = (1/4, 3/4); D* = p / (p + q) has the logits log(p / q).
    p, q = np.array([0.75, 0.25]), np.array([0.25, 0.75])

    def value(table: jax.Array) -> jax.Array:
        return losses.value(table[jnp.array([0, 0, 0, 1])], table[jnp.array([0, 1, 1, 1])])

    best, grad = jax.jit(jax.value_and_grad(value))(jnp.log(p / q))
    divergence = sum(np.sum(r * np.log(r / 0.5)) for r in (p, q)) / 2  # the mixture is 1/2, 1/2
    np.testing.assert_allclose(best, 2 * divergence - math.log(4), rtol=1e-6)
    np.testing.assert_allclose(grad, 0, atol=1e-6)


@pytest.mark.parametrize("name", CROSS_ENTROPY)
@pytest.mark.parametrize("batch", [1, 8])
def test_losses_are_means_so_that_a_repeated_batch_changes_nothing(name, batch):
    one = jnp.array([0.3, -1.2])
    many = jnp.tile(one, batch)
    np.testing.assert_allclose(generator(name)(many), generator(name)(one), rtol=1e-6)
    np.testing.assert_allclose(LOSSES[name].d(many, -many), LOSSES[name].d(one, -one), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimax", -sigmoid(LOGITS) / len(LOGITS)),
        ("non_saturating", -sigmoid(-np.array(LOGITS)) / len(LOGITS)),
    ],
)
def test_generator_gradient_is_exact_at_every_logit(name, expected):
    grad = jax.jit(jax.grad(generator(name)))(jnp.array(LOGITS))
    # atol: below 1e-37 float32 has no normal numbers left
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("name", CROSS_ENTROPY)
def test_discriminator_gradient_is_exact_at_every_logit(name):
    logits = jnp.array(LOGITS)
    real, fake = jax.jit(jax.grad(LOSSES[name].d, argnums=(0, 1)))(logits, logits)
    np.testing.assert_allclose(real, -sigmoid(-np.array(LOGITS)) / 9, rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(fake, sigmoid(LOGITS) / 9, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("name", CROSS_ENTROPY)
def test_losses_are_exact_and_finite_at_extreme_logits(name):
    x = jnp.array(LOGITS)[:, None]  # nine batches of one
    log_d, log_not_d = -np.logaddexp(0, -np.array(LOGITS)), -np.logaddexp(0, LOGITS)
    g = log_not_d if name == "minimax" else -log_d
    near = {"rtol": 1e-5, "atol": 1e-37}
    np.testing.assert_allclose(jax.jit(jax.vmap(generator(name)))(x), g, **near)
    np.testing.assert_allclose(jax.jit(jax.vmap(LOSSES[name].d))(x, -x), -2 * log_d, **near)
    np.testing.assert_allclose(jax.jit(jax.vmap(losses.value))(-x, x), 2 * log_not_d, **near)


def test_minimax_saturates_where_the_discriminator_is_sure_of_a_fake_and_its_remedy_does_not():
    # Pitfalls: a "minimax" that is non-saturating; log(D + eps) or a clipped D, which vanish too.
    x = jnp.array([-30.0, -100.0, -1e4])
    np.testing.assert_allclose(jax.grad(generator("minimax"))(x), 0, atol=1e-12)
    np.testing.assert_allclose(jax.grad(generator("non_saturating"))(x), [-1 / 3] * 3, rtol=1e-6)


def test_the_discriminator_still_learns_from_what_it_is_surely_wrong_about():
    x = jnp.array([30.0, 100.0, 1e4])
    real, fake = jax.grad(losses.discriminator, argnums=(0, 1))(-x, x)
    np.testing.assert_allclose(real, [-1 / 3] * 3, rtol=1e-6)
    np.testing.assert_allclose(fake, [1 / 3] * 3, rtol=1e-6)


def test_minimax_is_a_zero_sum_game():
    # d + g must not depend on the fakes: what D gains on them, G loses.
    real, fake = jnp.array([0.2, -3.0]), jnp.array([1.5, -0.7])
    total = jax.grad(lambda x: LOSSES["minimax"].d(real, x) + generator("minimax")(x))(fake)
    np.testing.assert_allclose(total, 0, atol=1e-7)


def test_both_generator_losses_push_equally_at_the_fixed_point_and_never_against_each_other():
    at_half = [jax.grad(generator(name))(jnp.zeros(4)) for name in CROSS_ENTROPY]
    np.testing.assert_allclose(at_half[0], at_half[1], rtol=1e-6)
    np.testing.assert_allclose(at_half[0], -1 / 8, rtol=1e-6)
    for name in CROSS_ENTROPY:
        assert np.all(jax.grad(generator(name))(jnp.linspace(-5, 5, 11)) < 0), name
