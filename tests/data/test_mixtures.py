import math

import numpy as np
import pytest

from gan_jax import config
from gan_jax.data.mixtures import HIGH_QUALITY, MIXTURES, draw
from tests.conftest import ROOT


def test_ring_has_eight_equidistant_modes():
    means = MIXTURES["ring"].means
    assert MIXTURES["ring"].sigma == 0.01
    assert means.shape == (8, 2)
    np.testing.assert_allclose(np.hypot(*means.T), 1)
    apart = np.linalg.norm(means[:, None] - means, axis=-1)
    apart.sort(axis=1)  # itself, then its two neighbours
    np.testing.assert_allclose(apart[:, 1:3], 2 * math.sin(math.pi / 8))


def test_grid_has_25_modes():
    means = {(float(x), float(y)) for x, y in MIXTURES["grid"].means}
    assert means == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    assert len(MIXTURES["grid"].means) == 25
    assert MIXTURES["grid"].sigma == 0.05


@pytest.mark.parametrize("name", MIXTURES)
def test_draws_have_the_moments_of_the_mixture(name):
    mixture = MIXTURES[name]
    points, modes = draw(mixture, 100_000, 0)
    assert (points.dtype, modes.dtype) == (np.float32, np.int32)
    share = np.bincount(modes, minlength=len(mixture.means)) / len(modes)
    np.testing.assert_allclose(share, 1 / len(mixture.means), atol=5 * math.sqrt(0.25 / 100_000))
    away = (points - mixture.means[modes]) / mixture.sigma
    np.testing.assert_allclose(away.mean(axis=0), 0, atol=5 / math.sqrt(100_000))
    np.testing.assert_allclose(away.std(axis=0), 1, atol=0.02)
    if points.shape[1] == 2:
        near = np.mean(np.linalg.norm(away, axis=1) <= 3)
        assert near == pytest.approx(HIGH_QUALITY, abs=0.002)
    assert np.array_equal(points, draw(mixture, 100_000, 0)[0])
    assert not np.array_equal(points, draw(mixture, 100_000, 1)[0])


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_configs_follow_pacgan(name):
    fields = config.flatten(config.load(str(ROOT / f"configs/{name}.py")))
    protocol = {
        "dataset": name,
        "update": "simultaneous",
        "num_steps": 400_000,
        "batch_size": 100,
        "loss": "non_saturating",
        "z_dim": 2,
        "prior.name": "normal",
        "generator.widths": (400,) * 4,
        "generator.activation": "relu",
        "generator.batch_norm": True,
        "generator.output": "linear",
        "discriminator.widths": (200,) * 3,
        "discriminator.activation": "linear",
        "discriminator.pieces": 5,
        "eval_num": 2_500,
    }
    for player in ("generator", "discriminator"):
        protocol |= {f"{player}.initializer": "normal", f"{player}.init_scale": 0.02}
    adam = {"name": "adam", "learning_rate": 1e-4, "b1": 0.8, "b2": 0.999}
    for optimizer in ("d_optimizer", "g_optimizer"):
        protocol |= {f"{optimizer}.{field}": value for field, value in adam.items()}
    assert {field: fields[field] for field in protocol} == protocol
    assert fields["eval_metrics"][0] == "reverse_kl"
