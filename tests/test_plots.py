import io

import numpy as np
import pytest
from PIL import Image

from gan_jax import plots


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_has_every_image_in_reading_order(channels):
    images = np.zeros((5, 4, 6, channels), np.float32)
    images += np.arange(1, 6).reshape(5, 1, 1, 1) / 10
    grid = np.asarray(plots.image_grid(images, 2, 3))
    factor = 480 // (3 * 8)
    assert grid.shape[:2] == (2 * 6 * factor, 3 * 8 * factor)
    centres = grid.reshape(2, 6 * factor, 3, 8 * factor, -1)[:, 3 * factor, :, 4 * factor, 0]
    assert centres.ravel().tolist() == [26, 51, 76, 102, 128, 0]


def test_bytes_are_kept_and_floats_rounded_and_clipped():
    array = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]])
    assert plots.to_uint8(array).tolist() == [[0, 0, 128, 255, 255]]
    same = np.array([3, 200], np.uint8)
    assert plots.to_uint8(same) is same


def test_an_animation_has_a_frame_a_picture(tmp_path):
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.png")
        paths[-1].write_bytes(plots.png(Image.new("L", (8, 8), 80 * i)))
    animation = Image.open(io.BytesIO(plots.gif(paths)))
    assert animation.n_frames == 3
    for i in range(3):
        animation.seek(i)
        assert np.allclose(np.asarray(animation.convert("L")), 80 * i, atol=1)
