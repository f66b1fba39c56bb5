"""Tests of SNGAN's ResNet: published parameter shapes, initialisation, passes in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import config
from gan_jax.networks import ResNetDiscriminator, ResNetGenerator
from tests.networks.conftest import NEAR, apply, batch_norm, conv, init, randomised, relu, shapes


def test_parameters():
    found = shapes(ResNetGenerator((256, 256, 256), (32, 32, 3)), 128)
    kernels = {name: shape for name, shape in found.items() if name.endswith("kernel")}
    block = [(3, 3, 256, 256), (3, 3, 256, 256), (1, 1, 256, 256)]
    assert kernels.pop("Dense_0.kernel") == (128, 4 * 4 * 256)
    assert list(kernels.values()) == [*3 * block, (3, 3, 256, 3)]
    assert sum(name.endswith("scale") for name in found) == 7
    found = shapes(ResNetDiscriminator((128, 128), blocks=2), 32, 32, 3)
    plain = [(3, 3, 128, 128), (3, 3, 128, 128)]
    first = [(3, 3, 3, 128), (3, 3, 128, 128), (1, 1, 3, 128)]
    kernels = {name: shape for name, shape in found.items() if name.endswith("kernel")}
    assert kernels.pop("Dense_0.kernel") == (128, 1)
    assert list(kernels.values()) == [*first, *plain, (1, 1, 128, 128), *2 * plain]
    assert len(found) == 2 * len(kernels) + 2  # each with a bias, and nothing else


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (ResNetGenerator((50,), (4, 4, 3)), (30,)),
        (ResNetDiscriminator((50,), blocks=1), (4, 4, 3)),
    ],
)
def test_initial_distribution(network, shape):
    params = config.flatten(jax.device_get(init(network, shape).params))
    plain = {"Dense_0", "Conv_2", "Conv_3" * (network.out_shape != ())}  # gain 1
    for name, x in params.items():
        if name.endswith("kernel"):
            gain = 1 if name.split(".")[0] in plain else math.sqrt(2)
            window = math.prod(x.shape[:-2])
            bound = gain * math.sqrt(6 / (window * sum(x.shape[-2:])))
            assert np.abs(x).max() <= bound
            np.testing.assert_allclose(np.std(x), bound / math.sqrt(3), rtol=4 / math.sqrt(x.size))
        else:
            assert np.all(x == name.endswith("scale"))


def layer(x: np.ndarray, params: dict, i: int) -> np.ndarray:
    return conv(x, params[f"Conv_{i}.kernel"]) + params[f"Conv_{i}.bias"]


def pooled(x: np.ndarray) -> np.ndarray:
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


@pytest.mark.parametrize("train", [True, False])
def test_generator_in_numpy(train):
    network = ResNetGenerator((4, 3), (8, 12, 2))
    variables, params, stats = randomised(network, 5)
    z = np.random.default_rng(1).normal(size=(6, 5))

    def active(x: np.ndarray, i: int) -> np.ndarray:
        return relu(batch_norm(x, params, f"BatchNorm_{i}", None if train else stats))

    def doubled(x: np.ndarray) -> np.ndarray:
        return np.kron(x, np.ones((1, 2, 2, 1)))

    x = (z @ params["Dense_0.kernel"] + params["Dense_0.bias"]).reshape(6, 2, 3, 4)
    for block in range(2):
        residual = layer(doubled(active(x, 2 * block)), params, 3 * block)
        residual = layer(active(residual, 2 * block + 1), params, 3 * block + 1)
        x = residual + layer(doubled(x), params, 3 * block + 2)
    expected = np.tanh(layer(active(x, 4), params, 6))
    NEAR(apply(network, variables, jnp.float32(z), train=train)[0], expected)


def test_discriminator_in_numpy():
    network = ResNetDiscriminator((3, 4), blocks=1, spectral_norm=False)
    variables, params, _ = randomised(network, 8, 12, 2)
    images = np.random.default_rng(1).normal(size=(6, 8, 12, 2))
    # Miyato's first block has no activation before it, and pools its shortcut before the 1x1.
    x = pooled(layer(relu(layer(images, params, 0)), params, 1)) + layer(pooled(images), params, 2)
    x = pooled(layer(relu(layer(relu(x), params, 3)), params, 4)) + pooled(layer(x, params, 5))
    x = x + layer(relu(layer(relu(x), params, 6)), params, 7)
    expected = relu(x).sum((1, 2)) @ params["Dense_0.kernel"][:, 0] + params["Dense_0.bias"]
    NEAR(apply(network, variables, jnp.float32(images))[0], expected)
