"""Tests of gan_jax.spectrum: games with known eigenvalues, and the command."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import algorithms, config, plots, spectrum, workdir
from gan_jax.draws import Batch
from gan_jax.errors import InputError
from gan_jax.networks.mlp import MLP
from gan_jax.spec import GANSpec
from gan_jax.writers import write_json
from tests.conftest import (
    assert_one_line_error,
    call,
    figure_of,
    linear,
    make_hparams,
    make_spec,
    open_image,
    tiny_config,
)


def game(**changes) -> GANSpec:
    """D(x) = w.x + b against G(z) = W z + c in the plane."""
    fields = {"loss": "wasserstein", "update": "simultaneous", "batch_size": 4}
    networks = {"generator": linear(2), "discriminator": linear()}
    return make_spec(**fields | networks | changes)


def eigenvalues(spec: GANSpec, hparams: dict[str, float] | None = None) -> np.ndarray:
    real, hparams = Batch(jax.random.normal(jax.random.key(1), (4, 2))), make_hparams(hparams)
    state = algorithms.init(spec, hparams, 0, real)
    z, key = jnp.zeros((4, 3)), jax.random.key(0)
    found = spectrum.eigenvalues(spec, hparams, state, real, z, key)
    assert found.shape == (3 + 8,)
    return found[np.argsort(found.imag)]


@pytest.mark.parametrize("update", ["simultaneous", "alternating", "unrolled"])
def test_bilinear_game_only_rotates(update):
    # At z = 0 the gradient by w is c - mean(x) and that by c is -w: a pair +-i for each of the two
    # dimensions; b and W contribute zeros.
    found = eigenvalues(game(update=update, unrolled_steps=3 * (update == "unrolled")))
    np.testing.assert_allclose(found.real, 0, atol=1e-6)
    np.testing.assert_allclose(found.imag, [-1, -1, *[0] * 7, 1, 1], atol=1e-6)


@pytest.mark.parametrize("interval", [1, 4])
def test_r1_contracts_bilinear_game(interval):
    # R1 with weight a adds a w to the gradient by w: lambda^2 - a lambda + 1 = 0.
    found = eigenvalues(game(penalties=(("r1", interval),)), {"penalties.r1.weight": 0.5})
    expected = np.roots([1, -0.5, 1])
    np.testing.assert_allclose(found[:2].real, expected.real, atol=1e-6)
    np.testing.assert_allclose(found[-2:].imag, np.abs(expected.imag), atol=1e-6)
    np.testing.assert_allclose(found[2:-2], 0, atol=1e-6)


def test_large_networks():
    with pytest.raises(InputError, match="the players have 40999 parameters"):
        eigenvalues(game(generator=MLP((200, 198), (2,), "linear", "linear", "normal", 1.0)))


def test_near_zero_eigenvalues_are_neutral(monkeypatch):
    found = np.array([1 + 2j, 1 - 2j, -3, 0, 1e-7, -1e-7 + 1j])
    figure = figure_of(monkeypatch, plots.spectrum, found, "a game")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["contracts (2)", "diverges (1)", "neutral (3)"]


def test_convolutions(finished, tmp_path, monkeypatch, capfd):
    c = config.replace(tiny_config(), {"generator.name": "dcgan", "generator.widths": (2, 2)})
    write_json(tmp_path / "config.json", c.to_dict())
    loaded = workdir.load(finished)
    monkeypatch.setattr(workdir, "load", lambda *_: loaded)
    out = f"--out={tmp_path / 'x.png'}"
    assert call(spectrum, monkeypatch, f"--workdir={tmp_path}", out) == 2
    assert_one_line_error(capfd.readouterr().err, "convolutional networks, which are not supported")


@pytest.mark.slow
def test_command(finished, tmp_path, monkeypatch, capfd):
    out = tmp_path / "spectrum.png"
    arguments = [f"--workdir={finished}", f"--out={out}", "--num=20"]
    assert call(spectrum, monkeypatch, *arguments) == 0
    assert "eigenvalues, largest modulus" in capfd.readouterr().out
    assert open_image(out).size[0] > 500
    assert call(spectrum, monkeypatch, *arguments) == 2
    assert_one_line_error(capfd.readouterr().err, "exists: remove it or choose another file")
    out.unlink()
    assert call(spectrum, monkeypatch, *arguments, "--num=5001") == 2
    assert_one_line_error(capfd.readouterr().err, "--num=5001: at most 5000")
