"""Tests of gan_jax.penalties: closed forms on a linear D, and where on others each one looks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.penalties import PENALTIES, Critic

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
SHAPE = (2, 1, 2)
REAL = jnp.float32(RNG.normal(2, 3, (6, *SHAPE)))
FAKE = jnp.float32(RNG.normal(-2, 3, (6, *SHAPE)))
W = np.array([3.0, 0.0, -4.0, 0.0])  # of length 5
ABOUT_ONE, SQUARED = ("gradient_penalty", "dragan"), ("r1", "r2")


def linear(w: jax.Array) -> Critic:
    return lambda x: x.reshape(len(x), -1) @ w + 7


@pytest.mark.parametrize("scale", [1.0, 0.1])  # longer than 1, and shorter
@pytest.mark.parametrize("name", PENALTIES)
def test_on_a_linear_critic_it_and_its_gradient_are_known(name, scale):
    @jax.jit
    @jax.value_and_grad
    def penalty(w: jax.Array) -> jax.Array:
        return PENALTIES[name](linear(w), REAL, FAKE, KEY)

    w = scale * W
    length = np.linalg.norm(w)
    value, grad = penalty(jnp.float32(w))
    if name in ABOUT_ONE:
        expected = (length - 1) ** 2, 2 * (length - 1) * w / length
    else:
        assert name in SQUARED
        expected = length**2 / 2, w
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_critic_that_is_flat_has_a_gradient_that_is_finite(name):
    # As a D of ReLUs that are all off.
    grad = jax.grad(lambda w: PENALTIES[name](linear(w), REAL, FAKE, KEY))(jnp.zeros(4))
    np.testing.assert_array_equal(grad, np.zeros(4))


def looked_at(name: str, real: jax.Array, fake: jax.Array, key: jax.Array = KEY) -> np.ndarray:
    """The points at which a penalty takes D's gradient."""
    seen: list[np.ndarray] = []

    def critic(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda x: seen.append(np.array(x)), x)
        return jnp.sum(x.reshape(len(x), -1) ** 2, axis=1) / 2

    value = PENALTIES[name](critic, real, fake, key)
    jax.effects_barrier()
    (points,) = seen
    # The gradient of this critic is the point itself.
    lengths = np.linalg.norm(points.reshape(len(points), -1), axis=1)
    of_each = (lengths - 1) ** 2 if name in ABOUT_ONE else lengths**2 / 2
    np.testing.assert_allclose(value, of_each.mean(), rtol=1e-5)
    return points


def test_r1_looks_at_real_examples_and_r2_at_generated_ones():
    np.testing.assert_array_equal(looked_at("r1", REAL, FAKE), REAL)
    np.testing.assert_array_equal(looked_at("r2", REAL, FAKE), FAKE)


def assert_uniform(x: np.ndarray) -> None:
    """Numbers of [0, 1) with the uniform's shares, within five standard errors."""
    assert 0 <= x.min() <= x.max() < 1
    counts = np.histogram(x, bins=4, range=(0, 1))[0]
    np.testing.assert_allclose(counts, x.size / 4, atol=5 * np.sqrt(x.size * 3 / 16))


def test_gradient_penalty_looks_between_the_two_each_pair_at_a_place_of_its_own():
    n = 2000
    real, fake = jnp.tile(REAL[:1], (n, 1, 1, 1)), jnp.tile(FAKE[:1], (n, 1, 1, 1))
    points = looked_at("gradient_penalty", real, fake)
    share = np.array((points - fake) / (real - fake)).reshape(n, -1)
    np.testing.assert_allclose(share, np.repeat(share[:, :1], 4, axis=1), atol=1e-5)  # on the line
    assert_uniform(share[:, 0])
    assert np.any(points != looked_at("gradient_penalty", real, fake, jax.random.key(4)))


def test_dragan_looks_around_real_examples_up_to_half_their_spread_away():
    n = 2000
    real = jnp.float32(np.random.default_rng(1).normal(5, 3, (n, *SHAPE)))
    points = looked_at("dragan", real, FAKE)
    away = np.array(points - real).reshape(n, -1) / np.std(real) * 2
    assert -1e-5 < away.min() < away.max() < 1
    # Each component is a product: of the example's number from [0, 1), and of one of its own.
    np.testing.assert_allclose(away.mean(axis=0), 1 / 4, atol=5 * np.sqrt(7 / 144 / n))
    np.testing.assert_allclose(away.std(axis=0), np.sqrt(7 / 144), rtol=0.1)
    # Two components share a factor: their covariance is that of it, 1/12, times (1/2)^2.
    correlation = np.corrcoef(away.T)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(correlation, (1 / 48) / (7 / 144), atol=0.12)
    assert np.any(points != looked_at("dragan", real, FAKE, jax.random.key(4)))


def test_packs_have_one_gradient_of_all_their_examples():
    packed = REAL.reshape(3, 2, *SHAPE)
    w = jnp.arange(8.0)
    np.testing.assert_allclose(
        PENALTIES["r1"](linear(w), packed, packed, KEY), np.sum(np.arange(8.0) ** 2) / 2, rtol=1e-6
    )
