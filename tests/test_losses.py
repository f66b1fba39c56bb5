"""Tests of gan_jax.losses: values by hand, gradients in closed form, and the known pitfalls."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import losses, theory
from gan_jax.losses import CROSS_ENTROPY, LOSSES, NOT_MEANS

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


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_means_so_that_a_repeated_batch_changes_nothing(name):
    real, fake = jnp.array([0.3, -1.2]), jnp.array([0.7, 2.1])
    for part in (LOSSES[name].d, LOSSES[name].g):
        many = part(jnp.tile(real, 8), jnp.tile(fake, 8))
        np.testing.assert_allclose(many, part(real, fake), rtol=1e-6)


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


def test_both_generator_losses_push_equally_at_the_fixed_point_and_never_against_each_other():
    at_half = [jax.grad(generator(name))(jnp.zeros(4)) for name in CROSS_ENTROPY]
    np.testing.assert_allclose(at_half[0], at_half[1], rtol=1e-6)
    np.testing.assert_allclose(at_half[0], -1 / 8, rtol=1e-6)
    for name in CROSS_ENTROPY:
        assert np.all(jax.grad(generator(name))(jnp.linspace(-5, 5, 11)) < 0), name


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_mean_over_single_fakes_unless_it_is_said_not_to_be(name):
    # In expectation: of every pair of a real example and a fake.
    real, fake = jnp.array([0.3, -1.2, 2.0]), jnp.array([0.7, 2.1])
    pairs = jnp.repeat(real, 2), jnp.tile(fake, 3)
    for part in (LOSSES[name].d, LOSSES[name].g):
        single = jnp.mean(jnp.stack([part(real, logit[None]) for logit in fake]))
        assert (abs(part(*pairs) - single) < 1e-5) == (name not in NOT_MEANS)


# The losses that came after, at the logits (2, -2) of data and (-2, 4) of fakes.


def sp(x: float) -> float:
    """Softplus, log(1 + e^x), in float64."""
    return float(np.logaddexp(0, x))


REAL, FAKE = jnp.array([2.0, -2.0]), jnp.array([-2.0, 4.0])  # whose means are 0 and 1
E = math.exp


def S(x: float) -> float:
    return float(sigmoid(x))


# By loss: D's and G's value; twice the gradient (a mean of two) of D's part by the real logits and
# by the fakes', and of G's part by the fakes'. What is not said of G's, by the real logits, is 0.
BY_HAND = {
    "least_squares": ((1 + 9 + 4 + 16) / 4, 18 / 4, (1, -3), (-2, 4), (-3, 3)),
    "wasserstein": (1, -1, (-1, -1), (1, 1), (-1, -1)),
    "hinge": ((0 + 3 + 0 + 5) / 2, -1, (0, -1), (0, 1), (-1, -1)),
    # Of the pairs' differences, -4 and 6.
    "relativistic_pairing": (
        *((sp(-4) + sp(6)) / 2, (sp(4) + sp(-6)) / 2),
        *((-S(-4), -S(6)), (S(-4), S(6)), (-S(4), -S(-6))),
    ),
    # Of 2 - 1, -2 - 1 and -2 - 0, 4 - 0; each logit is in the other side's mean as well.
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
RELATIVISTIC = ("relativistic_pairing", "relativistic_average")


def test_every_loss_has_its_numbers_by_hand():
    assert BY_HAND.keys() | set(CROSS_ENTROPY) == LOSSES.keys()


@pytest.mark.parametrize("name", BY_HAND)
def test_values_and_gradients_by_hand(name):
    d, g, d_by_real, d_by_fake, g_by_fake = BY_HAND[name]
    values, grads = zip(
        *(
            jax.jit(jax.value_and_grad(part, argnums=(0, 1)))(REAL, FAKE)
            for part in (LOSSES[name].d, LOSSES[name].g)
        ),
        strict=True,
    )
    near = functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=1e-6)
    near(values, (d, g))
    near(grads[0], np.array([d_by_real, d_by_fake]) / 2)
    near(grads[1][1], np.array(g_by_fake) / 2)
    if name not in RELATIVISTIC:
        assert not grads[1][0].any()


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_a_relativistic_generator_plays_the_discriminators_part_with_the_sides_exchanged(name):
    loss = LOSSES[name]
    np.testing.assert_array_equal(loss.g(REAL, FAKE), loss.d(FAKE, REAL))
    assert abs(loss.g(REAL, FAKE) - loss.d(REAL, FAKE)) > 0.1  # at these logits it shows


@pytest.mark.parametrize("name", [*RELATIVISTIC, "wasserstein"])
def test_what_all_logits_have_in_common_is_no_part_of_a_relativistic_game(name):
    d = LOSSES[name].d
    np.testing.assert_allclose(d(REAL + 7, FAKE + 7), d(REAL, FAKE), rtol=1e-5)
    assert abs(LOSSES["hinge"].d(REAL + 7, FAKE + 7) - LOSSES["hinge"].d(REAL, FAKE)) > 0.1


def test_only_rpgan_pairs_the_examples_of_the_two_sides():
    for name in LOSSES:
        d = LOSSES[name].d
        np.testing.assert_allclose(d(REAL[::-1], FAKE[::-1]), d(REAL, FAKE), rtol=1e-6)
        same = np.isclose(d(REAL[::-1], FAKE), d(REAL, FAKE), rtol=1e-6)
        assert same == (name != "relativistic_pairing"), name


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_finite_where_probabilities_are_0_and_1(name):
    x, ones = jnp.array([-30.0, 30.0]), jnp.ones(2)
    real = jnp.stack([x, x, 30 * ones, -30 * ones])
    fake = jnp.stack([x, -x, -30 * ones, 30 * ones])

    @jax.jit
    @jax.vmap
    def found(real: jax.Array, fake: jax.Array):
        parts = LOSSES[name].d, LOSSES[name].g
        return [jax.value_and_grad(part, argnums=(0, 1))(real, fake) for part in parts]

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found(real, fake)))


def test_only_cross_entropies_make_a_probability_of_a_logit():
    for name, loss in LOSSES.items():
        expected = sigmoid(2.0) if name in CROSS_ENTROPY else 2.0
        np.testing.assert_allclose(loss.output(jnp.float32(2.0)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["minimax", "wasserstein", *theory.DIVERGENCES])
def test_in_a_zero_sum_game_g_gains_what_d_loses(name):
    # D's loss less its part on data is minus G's, whatever the logits.
    alone = LOSSES[name].d(REAL, FAKE) + LOSSES[name].g(REAL, FAKE)
    other = LOSSES[name].d(REAL, FAKE * 0.5 - 1) + LOSSES[name].g(REAL, FAKE * 0.5 - 1)
    np.testing.assert_allclose(alone, other, rtol=1e-5, atol=1e-5)
