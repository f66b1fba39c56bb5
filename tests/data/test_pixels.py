import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax.data import pixels
from gan_jax.data.pixels import to_float, to_uint8, to_unit


@pytest.mark.parametrize("xp", [np, jnp])
def test_conversions(xp):
    levels = xp.arange(256, dtype=xp.uint8)
    x = to_float(levels)
    assert (type(x), x.dtype) == (type(levels), np.float32)
    np.testing.assert_allclose(x, np.arange(256) / 255, rtol=2e-7)
    assert (x[0], x[255]) == (0, 1)
    back = to_uint8(x)
    assert (type(back), back.dtype) == (type(levels), np.uint8)
    np.testing.assert_array_equal(back, levels)
    signed = to_float(levels, -1.0)
    np.testing.assert_allclose(signed, np.arange(256) / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(to_uint8(to_unit(signed, -1.0)), levels)
    clipped = to_uint8(xp.array([-2.0, 0.001, 0.003, 0.5, 1.0, 3.0], xp.float32))
    assert clipped.tolist() == [0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize("xp", [np, jnp])
def test_conversions_pass_other_dtypes(xp):
    points = xp.array([-3.0, 300.0], xp.float32)
    assert to_float(points) is points
    levels = xp.zeros(3, xp.uint8)
    assert to_uint8(levels) is levels


def test_resize_to_height_and_width():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    expected = Image.fromarray(image).resize((3, 2), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(pixels.resize(image, (2, 3)), np.asarray(expected))
    assert pixels.resize(image, (4, 6)) is image
    assert pixels.resize(image, 5).shape == (5, 5, 3)
