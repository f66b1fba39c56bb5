"""Tests of R3GAN: published parameter shapes, initialisation, forward passes in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import config
from gan_jax.networks import R3GANDiscriminator, R3GANGenerator
from tests.networks.conftest import (
    apply,
    assert_normal,
    conv,
    init,
    randomised,
    relu,
    resampled,
    shapes,
)

GENERATOR = R3GANGenerator((8, 8, 4), blocks=2, group_size=4, out_shape=(8, 12, 2))
DISCRIMINATOR = R3GANDiscriminator((4, 8, 8), blocks=2, group_size=4)


def test_parameters():
    """The CIFAR-10 preset has 8 blocks of 768 channels per network."""
    block = [(1, 1, 768, 1536), (1536,), (3, 3, 16, 1536), (1536,), (1, 1, 1536, 768)]
    widths = (768,) * 4
    for found, image, basis, dense in (
        (shapes(R3GANGenerator(widths, 2, 16, (32, 32, 3)), 64), 3, (4, 4, 768), (64, 768)),
        (shapes(R3GANDiscriminator(widths, 2, 16), 32, 32, 3), 3, (4, 4, 768), (768, 1)),
    ):
        assert found.pop("basis") == basis
        assert found.pop("Dense_0.kernel") == dense
        assert sorted(found.values()) == sorted(
            [*8 * block, (1, 1, *sorted((image, 768), reverse=dense[1] == 768))]
        )


@pytest.mark.parametrize(
    ("network", "shape", "basis", "blocks"),
    [(GENERATOR, (50,), 1.0, 2), (DISCRIMINATOR, (8, 12, 2), 1 / math.sqrt(4 * 6), 1)],
)
def test_initial_distribution(network, shape, basis, blocks):
    wide = network.clone(widths=(160, 80), blocks=blocks, group_size=16)
    gain = math.sqrt(2 / 1.04) * (2 * blocks) ** -0.25
    params = config.flatten(jax.device_get(init(wide, shape).params))
    assert_normal(params.pop("basis"), basis)
    zeros = 0
    for name, x in params.items():
        fan_in = math.prod(x.shape[:-1])
        if name.endswith("bias"):
            assert not x.any()
        elif name.replace("kernel", "bias") in params:
            assert_normal(x, gain / math.sqrt(fan_in))
        elif not x.any():
            zeros += 1  # the last 1x1 of a block
        else:
            assert_normal(x, 1 / math.sqrt(fan_in))
    assert zeros == 2 * blocks


class Layers:
    """Applies a network's convolutions in order."""

    def __init__(self, params: dict):
        self.params, self.number = params, 0

    def __call__(self, x: np.ndarray, groups: int = 1) -> np.ndarray:
        name, self.number = f"Conv_{self.number}", self.number + 1
        return conv(x, self.params[f"{name}.kernel"], groups=groups) + self.params.get(
            f"{name}.bias", 0
        )

    def stage(self, x: np.ndarray) -> np.ndarray:
        for _ in range(2):
            y = relu(self(x), 0.2)
            x = x + self(relu(self(y, groups=y.shape[-1] // 4), 0.2))
        return x


def test_generator_in_numpy():
    variables, params, _ = randomised(GENERATOR, 5)
    z, layers = np.random.default_rng(1).normal(size=(6, 5)), Layers(params)
    x = layers.stage(params["basis"] * (z @ params["Dense_0.kernel"])[:, None, None])
    x = layers.stage(resampled(x, up=2))
    x = layers(layers.stage(resampled(layers(x), up=2)))
    y = apply(GENERATOR, variables, jnp.float32(z))[0]
    np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-5 * np.abs(x).max())


def test_discriminator_in_numpy():
    variables, params, _ = randomised(DISCRIMINATOR, 8, 12, 2)
    images, layers = np.random.default_rng(1).normal(size=(6, 8, 12, 2)), Layers(params)
    x = layers.stage(layers(images))
    x = layers.stage(layers(resampled(x, down=2)))
    x = layers.stage(resampled(x, down=2))
    expected = (x * params["basis"]).sum((1, 2)) @ params["Dense_0.kernel"][:, 0]
    y = apply(DISCRIMINATOR, variables, jnp.float32(images))[0]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
