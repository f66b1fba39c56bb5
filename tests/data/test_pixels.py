import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data import pixels
from gan_jax.data.pixels import to_float, to_uint8


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
    clipped = to_uint8(xp.array([-2.0, 0.001, 0.003, 0.5, 1.0, 3.0], xp.float32))
    assert clipped.tolist() == [0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize("xp", [np, jnp])
def test_what_needs_no_conversion_is_returned(xp):
    points = xp.array([-3.0, 300.0], xp.float32)
    assert to_float(points) is points
    levels = xp.zeros(3, xp.uint8)
    assert to_uint8(levels) is levels


def test_resize_to_height_and_width():
    image = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6, 1) * 10
    assert pixels.resize(image, (2, 3)).shape == (2, 3, 1)
    assert pixels.resize(image, (4, 6)) is image
    assert pixels.resize(image, 5).shape == (5, 5, 1)
