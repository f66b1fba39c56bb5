"""Tests of gan_jax.spectrum: eigenvalues of games whose Jacobian is known, and the command."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import core, plots, spectrum, train
from gan_jax.core import Game, HParams, Prior
from gan_jax.errors import InputError
from gan_jax.networks import MLP
from gan_jax.optimizers import Optimizer, Rates
from tests.conftest import picture
from tests.test_commands import assert_one_line, call
from tests.test_figures import figure_of

HPARAMS = HParams(*[Rates(0.1, 0.0, 0.9, 1e-8)] * 2)


def linear(**changes) -> Game:
    """D(x) = w.x + b against G(z) = W z + c in the plane."""
    fields = {
        "loss": "wasserstein",
        "k": 1,
        "update": "simultaneous",
        "batch_size": 4,
        "z_dim": 3,
        "prior": Prior("normal"),
        "generator": MLP((), (2,), "linear", "linear", "normal", 1.0),
        "discriminator": MLP((), (), "linear", "linear", "normal", 1.0),
        "d_optimizer": Optimizer("sgd"),
        "g_optimizer": Optimizer("sgd"),
    }
    return Game(**fields | changes)


def eigenvalues(game: Game, hparams: HParams = HPARAMS) -> np.ndarray:
    real = jax.random.normal(jax.random.key(1), (4, 2))
    state = core.init(game, hparams, 0, real)
    found = spectrum.eigenvalues(game, hparams, state, real, jnp.zeros((4, 3)), jax.random.key(0))
    assert found.shape == (3 + 8,)
    return found[np.argsort(found.imag)]


@pytest.mark.parametrize("update", ["simultaneous", "alternating", "unrolled"])
def test_the_bilinear_game_only_turns(update):
    # With z = 0, D's gradient with respect to w is c - mean(x) and G's with respect to c is -w: two
    # pairs +-i, for the two directions of the plane, and nothing from b and W.
    found = eigenvalues(linear(update=update, unrolled_steps=3 * (update == "unrolled")))
    np.testing.assert_allclose(found.real, 0, atol=1e-6)
    np.testing.assert_allclose(found.imag, [-1, -1, *[0] * 7, 1, 1], atol=1e-6)


@pytest.mark.parametrize("interval", [1, 4])
def test_a_penalty_draws_in(interval):
    # R1 with weight g adds g w to D's gradient: lambda^2 - g lambda + 1 = 0.
    game = linear(penalties=(("r1", interval),))
    found = eigenvalues(game, HPARAMS._replace(penalties=(0.5,)))
    expected = np.roots([1, -0.5, 1])
    np.testing.assert_allclose(found[:2].real, expected.real, atol=1e-6)
    np.testing.assert_allclose(found[-2:].imag, np.abs(expected.imag), atol=1e-6)
    np.testing.assert_allclose(found[2:-2], 0, atol=1e-6)


def test_a_large_game_is_refused():
    with pytest.raises(InputError, match="the players have 40999 parameters"):
        eigenvalues(linear(generator=MLP((200, 198), (2,), "linear", "linear", "normal", 1.0)))


def test_the_figure_tells_three_kinds_apart(monkeypatch):
    found = np.array([1 + 2j, 1 - 2j, -3, 0, 1e-7, -1e-7 + 1j])
    figure = figure_of(monkeypatch, plots.spectrum, found, "a game")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["contracts (2)", "spreads (1)", "neither (3)"]


def test_the_command_draws_a_run_and_says_what_it_may_not(tiny, tmp_path, monkeypatch, capfd):
    train.run(tiny, tmp_path / "run", "digits")
    capfd.readouterr()
    out = tmp_path / "spectrum.png"
    arguments = [f"--workdir={tmp_path / 'run'}", f"--out={out}", "--num=20"]
    assert call(spectrum, monkeypatch, *arguments) == 0
    assert "eigenvalues up to" in capfd.readouterr().out
    assert picture(out).size[0] > 500
    assert call(spectrum, monkeypatch, *arguments) == 2
    assert_one_line(capfd.readouterr().err, "exists; remove it or name another")
    out.unlink()
    assert call(spectrum, monkeypatch, *arguments, "--num=5001") == 2
    assert_one_line(capfd.readouterr().err, "--num=5001: at most 5000")
