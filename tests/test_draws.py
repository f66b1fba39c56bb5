"""Tests of gan_jax.draws: distributions, and that no key or minibatch serves twice."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import draws
from gan_jax.draws import Batch, Stream
from gan_jax.spec import Prior
from tests.conftest import make_spec

ROOT_KEY = jax.random.key_data(jax.random.key(0))


@pytest.mark.parametrize(
    ("prior", "mean", "std"),
    [
        (Prior("uniform"), 0.0, 2 / np.sqrt(12)),
        (Prior("uniform", 2.0, 3.0), 2.5, 1 / np.sqrt(12)),
        (Prior("normal"), 0.0, 1.0),
    ],
)
def test_noise_follows_the_prior(prior, mean, std):
    z = np.asarray(draws.noise(make_spec(prior=prior), jax.random.key(0), 10_000))
    assert z.shape == (10_000, 3)
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=5 * std / 100)
    np.testing.assert_allclose(z.std(axis=0), std, rtol=5 / np.sqrt(20_000))
    np.testing.assert_allclose(np.corrcoef(z.T) - np.eye(3), 0, atol=0.05)
    if prior.name == "uniform":
        assert prior.low <= z.min() < z.max() < prior.high
    else:
        assert abs(np.mean(np.abs(z) > 1.96) - 0.05) < 5 * np.sqrt(0.05 * 0.95 / z.size)


def polar(prior):
    """Radius and angle in turns of 10,000 points."""
    z = draws.noise(make_spec(prior=Prior(prior), z_dim=2), jax.random.key(0), 10_000)
    x, y = np.asarray(z, np.float64).T
    return np.hypot(x, y), np.arctan2(y, x) / (2 * np.pi) % 1


def test_mixture_prior():
    radius, turns = polar("mixture")
    spoke = np.round(10 * turns) % 10
    assert np.abs(np.bincount(spoke.astype(int)) / 10_000 - 0.1).max() < 0.015
    angle = 2 * np.pi * (turns - np.round(10 * turns) / 10)
    far = radius > 1  # where spokes are apart
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    np.testing.assert_allclose(across[far].std(), 0.1, atol=0.01)
    np.testing.assert_allclose(np.median(along), 1.4, atol=0.03)
    np.testing.assert_allclose(np.quantile(along, 0.84) - 1.4, 0.5, atol=0.03)


def test_swiss_roll_prior():
    radius, turns = polar("swiss_roll")
    assert 2.9 < radius.max() <= 3
    offset = (2 * radius / 3 - turns) % 1  # two turns up to radius 3
    np.testing.assert_allclose(np.minimum(offset, 1 - offset), 0, atol=1e-5)
    assert np.mean(radius < 1.5) == pytest.approx(0.25, abs=0.02)  # evenly along the roll


def test_stream_keys_are_unique():
    # The numbers are part of the format: checkpoints of earlier versions resume with them.
    assert [stream.value for stream in Stream] == list(range(14))
    stream, number = (x.ravel() for x in jnp.meshgrid(jnp.arange(14), jnp.arange(50)))
    keys = jax.vmap(functools.partial(draws.stream_key, ROOT_KEY))(stream, number)
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == 700
    first = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 8), 0)
    key = draws.stream_key(ROOT_KEY, Stream.EVALUATE)
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(first))


@pytest.mark.parametrize("stream", [Stream.BATCH, Stream.BATCH_G])
def test_epochs_of_minibatches(stream):
    data = Batch(jnp.arange(20.0)[:, None], jnp.arange(20) * 10)
    batch = jax.jit(functools.partial(draws.minibatch, 8, ROOT_KEY, data, stream=stream))
    batches = [batch(number) for number in range(5)]
    x = np.concatenate([b.x[:, 0] for b in batches])
    for epoch in x.reshape(2, 20):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(20))
    np.testing.assert_array_equal(np.concatenate([b.y for b in batches]), x * 10)
    if stream != Stream.BATCH:  # in an order of its own
        assert np.any(draws.minibatch(8, ROOT_KEY, data, 0).x != batches[0].x)


def test_minibatch_scales_only_uint8():
    pixels = np.arange(40, dtype=np.uint8).reshape(20, 2)
    scaled, plain = (
        draws.minibatch(8, ROOT_KEY, Batch(jnp.asarray(x)), 3) for x in (pixels, np.float32(pixels))
    )
    assert scaled.x.dtype == jnp.float32
    np.testing.assert_allclose(scaled.x, plain.x / 255, rtol=1e-6)
    assert scaled.y is None
