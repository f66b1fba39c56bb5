"""Tests of gan_jax.augment: operations in NumPy, probabilities, gradients and ADA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import augment
from gan_jax.augment import AUGMENTATIONS

KEY = jax.random.key(0)
X = np.random.default_rng(0).uniform(-1, 1, (400, 16, 8, 3)).astype(np.float32)
CLOSE = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
augmented = jax.jit(augment.augment, static_argnums=0)


def test_flip():
    y = np.asarray(jax.jit(augment.flip)(KEY, X))
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(y, X, strict=True)])
    np.testing.assert_array_equal(y[~mirrored], X[~mirrored])
    assert abs(mirrored.mean() - 0.5) < 0.1


def test_color_by_hand():
    brightness, saturation, contrast = np.asarray(jax.random.uniform(KEY, (3, len(X), 1, 1, 1)))
    x = X + brightness - 0.5
    grey = x.mean(axis=3, keepdims=True)
    x = grey + (x - grey) * 2 * saturation
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    CLOSE(jax.jit(augment.color)(KEY, X), mean + (x - mean) * (0.5 + contrast))


def test_translation():
    shifts = [
        np.asarray(jax.random.randint(key, (len(X),), -most, most + 1))
        for key, most in zip(jax.random.split(KEY), (2, 1), strict=True)  # 1/8 of the size
    ]
    padded = np.pad(X, ((0, 0), (2, 2), (1, 1), (0, 0)))
    for x, i, j, shifted in zip(padded, *shifts, jax.jit(augment.translation)(KEY, X), strict=True):
        np.testing.assert_array_equal(shifted, x[2 - i : 18 - i, 1 - j : 9 - j])


def test_cutout():
    cut = np.asarray(jax.jit(augment.cutout)(KEY, X) == 0).all(axis=3)
    heights, widths = cut.any(axis=2).sum(axis=1), cut.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(cut.sum(axis=(1, 2)), heights * widths)  # one box each
    assert set(heights) == set(range(4, 9))  # at least half of it inside
    assert set(widths) == {2, 3, 4}
    np.testing.assert_array_equal(np.asarray(jax.jit(augment.cutout)(KEY, X))[~cut], X[~cut])


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_application_probability(probability):
    for name in AUGMENTATIONS:
        y = np.asarray(augmented((name,), probability, KEY, X.reshape(200, 2, 16, 8, 3)))
        changed = (y.reshape(X.shape) != X).any(axis=(1, 2, 3)).mean()
        share = {"flip": 0.5, "translation": 14 / 15}.get(name, 1.0)  # visibly changed
        assert abs(changed - share * probability) <= 0.1 * (probability > 0)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_linear_gradients(name):
    x, v = jnp.asarray(X[:6]), jnp.asarray(X[6:12])
    f = jax.jit(functools.partial(AUGMENTATIONS[name], KEY))
    y, vjp = jax.vjp(f, x)
    difference = f(x + v) - y
    CLOSE(jnp.vdot(vjp(y)[0], v), jnp.vdot(y, difference), rtol=1e-4)


def test_ada_moves_towards_target():
    probability = functools.partial(augment.adapt, target=0.6, batch_size=50)
    CLOSE(probability(0.5, 0.7), 0.5 + 200 / 500_000)
    CLOSE(probability(0.5, 0.5), 0.5 - 200 / 500_000)
    CLOSE([probability(0.0, 0.0), probability(1.0, 1.0)], [0, 1])
