"""Tests of convolutional layers, and common tests of convolutional networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import algorithms, config, networks
from gan_jax.algorithms import gan
from gan_jax.draws import Batch, Stream, minibatch, noise, stream_key
from gan_jax.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    R3GANDiscriminator,
    R3GANGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
)
from gan_jax.networks.layers import Conv, Upconv, downsample, packed_channels, upsample
from tests.conftest import tiny_config
from tests.networks.conftest import NEAR, apply, conv, init, randomised, resampled, upconv

IMAGE = (8, 8, 2)
GENERATORS = (
    DCGANGenerator((4,), IMAGE),
    ResNetGenerator((4,), IMAGE),
    R3GANGenerator((4,), 1, 4, IMAGE),
)
DISCRIMINATORS = (
    DCGANDiscriminator((3, 4)),
    ResNetDiscriminator((4,), 1),
    R3GANDiscriminator((4,), 1, 4),
)
RNG = np.random.default_rng(0)
IMAGES, Z = jnp.float32(RNG.normal(size=(6, *IMAGE))), jnp.float32(RNG.normal(size=(6, 5)))


def kinds(networks):
    return pytest.mark.parametrize("network", networks, ids=lambda x: type(x).__name__)


# Layers


def test_resampling():
    x = RNG.normal(size=(2, 6, 4, 3))
    NEAR(jax.jit(upsample)(jnp.float32(x)), resampled(x, up=2))
    NEAR(jax.jit(downsample)(jnp.float32(x)), resampled(x, down=2))


@pytest.mark.parametrize(("window", "stride", "groups"), [(1, 1, 1), (3, 1, 2), (4, 2, 1)])
def test_conv(window, stride, groups):
    network, x = Conv(6, window, stride, groups), RNG.normal(size=(2, 6, 8, 4))
    params = jax.device_get(
        jax.jit(network.init)(jax.random.key(0, impl="unsafe_rbg"), x)["params"]
    )
    assert not params["bias"].any()
    params["bias"] = np.arange(6.0)
    expected = conv(x, np.float64(params["kernel"]), stride, groups) + np.arange(6)
    NEAR(jax.jit(network.apply)({"params": params}, jnp.float32(x)), expected)


def test_upconv():
    kernel, x = RNG.normal(size=(4, 4, 3, 2)), RNG.normal(size=(2, 3, 5, 2))
    y = Upconv(3, jax.nn.initializers.zeros).apply({"params": {"kernel": kernel}}, jnp.float32(x))
    NEAR(y, upconv(x, kernel))


@kinds(DISCRIMINATORS)
def test_packed_images_stack_channels(network):
    stacked = np.concatenate([IMAGES[:3], IMAGES[3:]], axis=-1)
    packed = jnp.stack([IMAGES[:3], IMAGES[3:]], axis=1)
    np.testing.assert_array_equal(packed_channels(packed), stacked)
    variables, *_ = randomised(network, 2, *IMAGE)
    y, _ = apply(network, variables, packed)
    NEAR(y, apply(network, variables, jnp.array(stacked))[0])


# Networks


@kinds(GENERATORS + DISCRIMINATORS)
def test_bfloat16_activations(network):
    x = Z if network in GENERATORS else IMAGES
    network = network.clone(dtype="bfloat16")
    variables, *_ = randomised(network, *x.shape[1:])
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    capturing = functools.partial(
        network.apply, capture_intermediates=True, mutable=["intermediates", "batch_stats"]
    )
    trees = {"params": variables.params, "batch_stats": variables.stats}
    y, found = jax.eval_shape(capturing, trees, x)
    found = found["intermediates"]
    assert (y.dtype, found.pop("__call__")[0].dtype) == (jnp.float32, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("bfloat16")}


@kinds(GENERATORS)
def test_output_range(network):
    network = network.clone(output="sigmoid")
    variables, *_ = randomised(network, 5)
    y = apply(network, variables, 1e3 * Z)[0]
    assert (y.min(), y.max()) == (0, 1)
    linear = apply(network.clone(output="linear"), variables, Z)[0]
    NEAR(apply(network, variables, Z)[0], jax.nn.sigmoid(linear))


@kinds([DCGANDiscriminator((4,), spectral_norm=True), ResNetDiscriminator((4,), 0)])
def test_unit_spectral_norm(network):
    variables = init(network, IMAGE)

    def divided(x):
        return x / np.linalg.norm(x.reshape(-1, x.shape[-1]), 2) if x.ndim > 1 else x

    plain = network.clone(spectral_norm=False)
    params = jax.tree.map(divided, variables.params)
    expected = apply(plain, variables._replace(params=params, stats={}), IMAGES)[0]
    y, stats = apply(network, variables, IMAGES)
    np.testing.assert_allclose(y, expected, rtol=0.05)
    jax.tree.map(np.testing.assert_array_equal, stats, variables.stats)


@kinds(GENERATORS[:2])
def test_recomputed_statistics(network):
    variables, *_ = randomised(network, 5)
    assert networks.sample_stats(network, variables, Z) is variables.stats
    recomputing = network.clone(sample_statistics="recomputed")
    stats = jax.jit(networks.sample_stats, static_argnums=0)(recomputing, variables, Z)
    y = apply(network, variables._replace(stats=stats), Z)[0]
    NEAR(y, apply(network, variables, Z, train=True)[0])


# Pixels from -1 to 1


def signed(discriminator: str, **changes):
    """Spec, initial state and images of an MLP with tanh output."""
    changes |= {"discriminator.name": discriminator, "discriminator.widths": (3, 4)}
    c = config.replace(tiny_config(), {"generator.output": "tanh", **changes})
    spec, hparams = config.spec(c, (8, 8, 1)), config.hparams(c)
    images = jnp.array(RNG.integers(0, 256, (20, 8, 8, 1), np.uint8))
    state = jax.jit(gan.init, static_argnums=0)(spec, hparams, 0, Batch(images))
    return spec, hparams, state, images


def test_d_sees_signed_pixels():
    spec, hparams, state, images = signed("dcgan")
    d, *_ = randomised(spec.discriminator, 8, 8, 1)
    state = state.replace_players(d=state.players["d"]._replace(params=d.params))

    @jax.jit
    def outputs(state):
        _, info = gan.step(spec, hparams, state, Batch(images))
        return info["d_real"], info["d_fake"]

    @jax.jit
    def drawn(images):
        batch = minibatch(8, state.key, Batch(images), 0)
        return batch.x, noise(spec, stream_key(state.key, Stream.NOISE_D, 0), 8)

    pixels, z = drawn(jnp.float32(images))
    real = pixels / 127.5 - 1
    fake, _ = apply(spec.generator, state.players["g"].variables, z, train=True)
    for output, batch in zip(outputs(state), (real, fake), strict=True):
        NEAR(output, jax.nn.sigmoid(apply(spec.discriminator, d, batch)[0]).mean())


def test_samples_in_unit_range():
    at_mean = {"generator.output_bias": "data_mean", "generator.init_scale": 1e-6}
    spec, _, state, images = signed("mlp", **at_mean)
    NEAR(algorithms.generate(spec, state, jnp.ones((1, 3)))[0], images.mean(0) / 255)
