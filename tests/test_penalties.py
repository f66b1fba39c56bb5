"""Tests of gan_jax.penalties: closed forms on a linear critic, and where the gradient is taken."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.penalties import PENALTIES

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
SHAPE = (2, 1, 2)
REAL = jnp.float32(RNG.normal(2, 3, (6, *SHAPE)))
FAKE = jnp.float32(RNG.normal(-2, 3, (6, *SHAPE)))
W = np.array([3.0, 0.0, -4.0, 0.0])  # of norm 5
UNIT_NORM = ("gradient_penalty", "dragan")  # the others penalise the squared norm itself


@functools.partial(jax.jit, static_argnames="name")
@functools.partial(jax.value_and_grad, argnums=1)
def value_and_grad(name: str, w: jax.Array) -> jax.Array:
    """A penalty on a linear critic, differentiated with respect to its weights."""
    return PENALTIES[name](lambda x: x.reshape(len(x), -1) @ w + 7, REAL, FAKE, KEY)


@pytest.mark.parametrize("norm", [5.0, 0.5, 1e-10])
@pytest.mark.parametrize("name", PENALTIES)
def test_closed_form_on_linear_critic(name, norm):
    unit = W / 5
    if name in UNIT_NORM:
        expected = (norm - 1) ** 2, 2 * (norm - 1) * unit
    else:
        expected = norm**2 / 2, norm * unit
    value, grad = value_and_grad(name, jnp.float32(norm * unit))
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("norm", [0.0, 5e-13])
@pytest.mark.parametrize("name", UNIT_NORM)
def test_flat_critic_has_zero_gradient(name, norm):
    # As with dead ReLUs; the norm is not differentiable at 0.
    value, grad = value_and_grad(name, jnp.float32(norm * W / 5))
    assert value == 1
    np.testing.assert_array_equal(grad, 0)


def points_of(name: str, real: jax.Array, fake: jax.Array, key: jax.Array = KEY) -> np.ndarray:
    """The points at which a penalty takes the critic's gradient."""
    seen: list[np.ndarray] = []

    def critic(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda x: seen.append(np.array(x)), x)
        return jnp.sum(x.reshape(len(x), -1) ** 2, axis=1) / 2

    value = PENALTIES[name](critic, real, fake, key)
    jax.effects_barrier()
    (points,) = seen
    # The gradient of this critic is the point itself.
    norms = np.linalg.norm(points.reshape(len(points), -1), axis=1)
    each = (norms - 1) ** 2 if name in UNIT_NORM else norms**2 / 2
    np.testing.assert_allclose(value, each.mean(), rtol=1e-5)
    return points


def test_r1_on_real_and_r2_on_fake_examples():
    np.testing.assert_array_equal(points_of("r1", REAL, FAKE), REAL)
    np.testing.assert_array_equal(points_of("r2", REAL, FAKE), FAKE)


def test_gradient_penalty_interpolates_each_pair():
    n = 2000
    real, fake = jnp.tile(REAL[:1], (n, 1, 1, 1)), jnp.tile(FAKE[:1], (n, 1, 1, 1))
    points = points_of("gradient_penalty", real, fake)
    share = np.array((points - fake) / (real - fake)).reshape(n, -1)
    np.testing.assert_allclose(share, np.repeat(share[:, :1], 4, axis=1), atol=1e-5)  # on the line
    assert 0 <= share.min() < share.max() < 1 + 1e-5
    counts = np.histogram(share[:, 0], bins=4, range=(0, 1))[0]  # uniform, to 5 standard errors
    np.testing.assert_allclose(counts, n / 4, atol=5 * np.sqrt(n * 3 / 16))
    assert np.any(points != points_of("gradient_penalty", real, fake, jax.random.key(4)))


def test_dragan_perturbs_by_up_to_half_a_std():
    n = 2000
    real = jnp.float32(np.random.default_rng(1).normal(5, 3, (n, *SHAPE)))
    points = points_of("dragan", real, FAKE)
    away = np.array(points - real).reshape(n, -1) / np.std(real) * 2
    assert -1e-5 < away.min() < away.max() < 1
    # Each component is the product of two uniforms, one of them shared by the example.
    np.testing.assert_allclose(away.mean(axis=0), 1 / 4, atol=5 * np.sqrt(7 / 144 / n))
    np.testing.assert_allclose(away.std(axis=0), np.sqrt(7 / 144), rtol=0.1)
    # Covariance of two components: the shared factor's variance, 1/12, times (1/2)^2.
    correlation = np.corrcoef(away.T)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(correlation, (1 / 48) / (7 / 144), atol=0.12)
    assert np.any(points != points_of("dragan", real, FAKE, jax.random.key(4)))
