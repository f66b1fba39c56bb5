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


def test_an_animation_has_a_frame_a_picture():
    frames = [Image.new("L", (8, 8), 80 * i) for i in range(3)]
    animation = Image.open(io.BytesIO(plots.gif(frames)))
    assert animation.n_frames == 3
    for i in range(3):
        animation.seek(i)
        assert np.allclose(np.asarray(animation.convert("L")), 80 * i, atol=1)


def evaluated(**metrics) -> dict:
    return {"dataset": "digits", "step": 40, "samples": 30, "metrics": metrics}


def line(step: int, **more) -> dict:
    return {"step": step, "d_loss": 1.0, "g_loss": 1.0, "d_real": 0.5, "d_fake": 0.5, **more}


def axes_of(monkeypatch, *arguments) -> list:
    """The axes of an evaluation's figure, in the order they were made, from a PNG that opens."""
    kept = []
    original = plots.figure_png
    monkeypatch.setattr(plots, "figure_png", lambda figure: kept.append(figure) or original(figure))
    assert Image.open(io.BytesIO(plots.evaluation(*arguments))).size == (1200, 960)
    return kept[0].axes


@pytest.mark.parametrize("channels", [1, 3])
def test_an_evaluation_shows_samples_neighbours_classes_and_curves(channels, monkeypatch):
    train = np.random.default_rng(0).integers(0, 256, (40, 8, 8, channels)).astype(np.uint8)
    samples = train[[7, 3, 11]] / np.float32(255)
    classes = {"histogram": [1, 2, 0], "data_histogram": [10, 0, 30]}
    metrics = [line(1), line(20, fid=3.0, modes=2), line(40, fid=2.0, modes=float("inf"))]
    found = evaluated(fid={}, class_kl=classes)
    shown, pairs, bars, curves = axes_of(monkeypatch, samples, train, found, metrics)[:4]
    expected = np.asarray(plots.image_grid(samples, 10, 10))
    np.testing.assert_array_equal(shown.images[0].get_array(), expected)
    both = plots.to_uint8(samples).repeat(2, axis=0)  # whose neighbours are they themselves
    expected = np.asarray(plots.image_grid(both, 5, 10))
    np.testing.assert_array_equal(pairs.images[0].get_array(), expected)
    heights = [patch.get_height() for patch in bars.patches]
    np.testing.assert_allclose(heights, [1 / 3, 2 / 3, 0, 0.25, 0, 0.75])
    (fid,) = curves.child_axes  # modes was not asked for this time
    assert fid.get_ylabel() == "fid"
    assert fid.lines[0].get_xydata().tolist() == [[20, 3], [40, 2]]


@pytest.mark.parametrize("d", [1, 2, 3])
def test_an_evaluation_of_points_without_classes_or_curves(d, monkeypatch):
    points = np.random.default_rng(0).normal(size=(30, d)).astype(np.float32)
    found = evaluated(parzen={"value": float("inf")})
    left, right, bars, curves = axes_of(monkeypatch, points[:10], points, found, [line(1)])
    assert [len(axes.collections[0].get_offsets()) for axes in (left, right)] == [10, 30]
    assert not bars.patches
    assert not curves.child_axes


def test_a_metric_that_is_infinite_is_still_drawn(monkeypatch):
    points = np.zeros((9, 2), np.float32)
    metrics = [line(step, class_kl=float("inf")) for step in (1, 2)]
    counts = {"histogram": [9], "data_histogram": [9]}
    *_, curves = axes_of(monkeypatch, points, points, evaluated(class_kl=counts), metrics)
    assert len(curves.child_axes) == 1
