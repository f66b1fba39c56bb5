"""Tests of DCGAN: published parameter shapes, initialisation, forward passes in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import config
from gan_jax.networks import DCGANDiscriminator, DCGANGenerator
from tests.networks.conftest import (
    NEAR,
    apply,
    assert_normal,
    batch_norm,
    conv,
    init,
    randomised,
    relu,
    shapes,
    upconv,
)


@pytest.mark.parametrize(
    ("image", "widths", "smallest"),
    [
        ((64, 64, 3), (512, 256, 128, 64), (4, 4)),
        ((32, 32, 3), (256, 128, 64), (4, 4)),
        ((28, 28, 1), (128, 64), (7, 7)),
        ((48, 96, 3), (512, 256, 128, 64), (3, 6)),
    ],
)
def test_parameters(image, widths, smallest):
    size, channels = smallest[0] * smallest[1] * widths[0], image[2]
    expected = {"Dense_0.kernel": (100, size)}  # of transposed 4x4 convolution with stride 1
    for i, (fan_in, features) in enumerate(itertools.pairwise((*widths, channels))):
        expected |= {f"BatchNorm_{i}.{name}": (fan_in,) for name in ("scale", "bias")}
        expected[f"Upconv_{i}.kernel"] = (4, 4, features, fan_in)
    assert shapes(DCGANGenerator(widths, image), 100) == expected
    expected = {"Dense_0.kernel": (size, 1)}
    for i, (fan_in, features) in enumerate(itertools.pairwise((channels, *widths[::-1]))):
        expected[f"Conv_{i}.kernel"] = (4, 4, fan_in, features)
        if i:
            expected |= {f"BatchNorm_{i - 1}.{name}": (features,) for name in ("scale", "bias")}
    assert shapes(DCGANDiscriminator(widths[::-1]), *image) == expected


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (DCGANGenerator((400, 50), (4, 4, 8)), (10,)),
        (DCGANDiscriminator((50, 400), spectral_norm=True), (8, 8, 8)),
    ],
)
def test_initial_distribution(network, shape):
    for name, x in config.flatten(jax.device_get(init(network, shape).params)).items():
        if name.endswith("bias"):
            assert not x.any()
        else:
            assert_normal(x, 0.02, float(name.endswith("scale")))


@pytest.mark.parametrize("train", [True, False])
def test_generator_in_numpy(train):
    network = DCGANGenerator((4, 3), (8, 12, 2), hidden=(7,))
    variables, params, stats = randomised(network, 5)
    z = np.random.default_rng(1).normal(size=(6, 5))
    x = (z @ params["Dense_0.kernel"])[:, None, None]
    means = []
    for i in range(3):
        means.append(x.mean((0, 1, 2)))
        x = relu(batch_norm(x, params, f"BatchNorm_{i}", None if train else stats))
        if i:
            x = upconv(x, params[f"Upconv_{i - 1}.kernel"])
        else:
            x = (x @ params["Dense_1.kernel"]).reshape(6, 2, 3, 4)
    y, new = apply(network, variables, jnp.float32(z), train=train)
    NEAR(y, np.tanh(x))
    for i, mean in enumerate(means):
        old = stats[f"BatchNorm_{i}.mean"]
        NEAR(new[f"BatchNorm_{i}"]["mean"], 0.9 * old + 0.1 * mean if train else old)


@pytest.mark.parametrize("batch_norm_", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_discriminator_in_numpy(train, batch_norm_):
    network = DCGANDiscriminator((3, 4, 5), hidden=(7,), batch_norm=batch_norm_)
    variables, params, _ = randomised(network, 8, 16, 2)
    x = images = np.random.default_rng(1).normal(size=(6, 8, 16, 2))
    for i in range(3):
        x = conv(x, params[f"Conv_{i}.kernel"], stride=2)
        if i and batch_norm_:
            x = batch_norm(x, params, f"BatchNorm_{i - 1}")  # of the minibatch, in training or not
        x = relu(x, 0.2)
    assert x.shape == (6, 1, 2, 5)
    x = (x.reshape(6, 10) @ params["Dense_0.kernel"])[:, None, None]
    x = relu(batch_norm(x, params, "BatchNorm_2") if batch_norm_ else x, 0.2)
    y, _ = apply(network, variables, jnp.float32(images), train=train)
    NEAR(y, (x @ params["Dense_1.kernel"]).ravel())
