"""Tests of gan_jax.theory.line: the curves of figure 1 against samples and closed forms."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from ml_collections import ConfigDict

from gan_jax import algorithms, config, draws, workdir
from gan_jax.data.mixtures import MIXTURES
from gan_jax.draws import Batch
from gan_jax.losses import LOSSES
from gan_jax.spec import GANSpec, HParams
from gan_jax.state import State
from gan_jax.theory import divergences, line, quadrature
from gan_jax.writers import read_metrics
from tests.conftest import ROOT, untrained
from tests.networks.conftest import apply

LOG_4 = math.log(4)
MIXTURE = MIXTURES["gaussian1d"]


def line_config(changes: dict | None = None) -> ConfigDict:
    """configs/gaussian1d.py, shrunk to a run of a second or two."""
    fields = {
        "num_steps": 60,
        "batch_size": 64,
        "generator.units": 4,
        "discriminator.widths": (8,),
        "log_every": 30,
        "metrics_every": 6,
        "sample_every": 30,
        "checkpoint_every": 30,
    }
    base = config.load(str(ROOT / "configs/gaussian1d.py"))
    return config.replace(base, fields | (changes or {}))


@functools.cache
def randomised(**changes) -> tuple[GANSpec, HParams, State]:
    """Spec, hyperparameters, and an initial state with a modified G."""
    c = line_config(changes)
    spec, hparams = config.spec(c, (1,)), config.hparams(c)
    state = algorithms.init(spec, hparams, 0, Batch(jnp.zeros((1, 1))))
    g = state.players["g"]
    params = g.params | {"a": jnp.array([-0.3]), "c": jnp.array([0.4])}
    return spec, hparams, state.replace_players(g=g._replace(params=params))


def curves(**changes) -> line.Line:
    return line.curves(*randomised(**changes), MIXTURE)


def test_p_g_matches_samples():
    spec, _, state = randomised()
    known, num = curves(), 400_000
    z = np.asarray(jax.jit(draws.noise, static_argnums=(0, 2))(spec, jax.random.key(0), num))
    x = np.asarray(apply(spec.generator, state.players["g"].variables, z)[0][:, 0])
    edges = (known.grid.points[1:] + known.grid.points[:-1]) / 2  # the end cells hold the tails
    shares = np.bincount(np.digitize(x, edges), minlength=len(known.p_g)) / num
    shares, p = shares.reshape(-1, 20).sum(axis=1), known.p_g.reshape(-1, 20).sum(axis=1)
    error = np.sqrt(p * (1 - p) / num) + 1 / num
    assert np.all(np.abs(shares - p) < 5 * error)
    np.testing.assert_allclose(known.p_g.sum(), 1, atol=1e-12)
    inverse = line._inverse(spec.generator, state.players["g"].variables, x[:100])
    np.testing.assert_allclose(inverse, z[:100, 0], atol=1e-4)


def test_curves():
    spec, _, state = randomised()
    known = curves()
    x, sizes = known.grid.points, known.grid.weights
    density = sum(scipy.stats.norm.pdf(x, mean, 0.5) for mean in (-1, 1)) / 2
    np.testing.assert_allclose(known.p_data / sizes, density, atol=1e-4)
    np.testing.assert_allclose(known.p_data[::-1], known.p_data, rtol=1e-6)  # no rounded upper tail
    d = state.players["d"].variables
    logits = apply(spec.discriminator, d, jnp.float32(x)[:, None])[0]
    np.testing.assert_allclose(known.logits, logits, atol=1e-6)
    np.testing.assert_allclose(known.z, np.linspace(-2.5, 2.5, 41))
    g_of_z = algorithms.generate(spec, state, jnp.float32(known.z)[:, None])[:, 0]
    np.testing.assert_allclose(known.g_of_z, g_of_z, atol=1e-6)


def test_ema_generator():
    spec, hparams, state = randomised()
    g = state.players["g"]
    moved = jax.tree.map(lambda x: x + 0.5, g.variables)
    averaged = line.curves(spec, hparams, state._replace(averages={"ema": moved}), MIXTURE)
    other = state.replace_players(g=g._replace(params=moved.params))
    expected = line.curves(spec, hparams, other, MIXTURE)
    for name in ("p_g", "g_of_z"):
        np.testing.assert_array_equal(getattr(averaged, name), getattr(expected, name))
    assert not np.allclose(averaged.p_g, curves().p_g)


def test_measure_by_hand():
    grid = quadrature.grid_1d(0, 2, 2)
    logits = np.array([0.0, math.log(3)])  # D = 1/2 and 3/4; D* = 1/3 and 3/5
    known = line.Line(grid, np.array([0.25, 0.75]), np.array([0.5, 0.5]), logits, grid, grid)
    v = 0.75 * math.log(1 / 2) + 0.75 * math.log(3 / 4) + 0.5 * math.log(1 / 4)
    best = 0.25 * math.log(1 / 3) + 0.75 * math.log(3 / 5)
    best += 0.5 * math.log(2 / 3) + 0.5 * math.log(2 / 5)
    gap = 0.75 / 2 * (1 / 2 - 1 / 3) + 1.25 / 2 * (3 / 4 - 3 / 5)
    by_hand = {"v": v, "v_best": best, "jsd": (best + LOG_4) / 2, "d_gap": gap}
    assert line.measure(known) == pytest.approx(by_hand, rel=1e-14)


def test_exact_metrics_of_a_run(tmp_path):
    untrained(line_config(), tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    spec, state = workdir.load(tmp_path, 60)
    expected = line.measure(line.curves(spec, config.hparams(line_config()), state, MIXTURE))
    assert expected == pytest.approx({name: lines[-1][name] for name in expected})


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"loss": "non_saturating"}, True),
        ({"penalties.r1.weight": 1.0}, True),
        ({"loss": "kl"}, False),
        ({"label_smoothing": 0.1}, False),
        ({"instance_noise.std": 0.1}, False),
        ({"discriminator.input_dropout": 0.1}, False),
    ],
)
def test_logits_only_of_comparable_d(changes, known):
    found = curves(**changes)
    assert (found.logits is not None) == known
    assert ({"v", "d_gap"} <= line.measure(found).keys()) == known
    labels = [curve.get_label() for axes in line.draw(found, 0).axes for curve in axes.lines]
    assert ("$D$" in labels) == known


@pytest.mark.parametrize("name", LOSSES)
def test_logit_losses(name):
    p, q = np.array([2, 5, 3]), np.array([6, 1, 3])  # examples at each point, of ten
    real, fake = np.repeat(np.arange(3), p), np.repeat(np.arange(3), q)
    pairs = np.repeat(real, 10), np.tile(fake, 10)  # all pairs, for relativistic_pairing
    gradient = jax.grad(lambda table: LOSSES[name].d(table[pairs[0]], table[pairs[1]]))

    def is_optimal(logits):
        return np.allclose(gradient(jnp.float32(logits)), 0, atol=1e-6)

    best = divergences.optimal_logits(p / 10, q / 10)
    # A relativistic D is optimal up to a constant.
    assert (is_optimal(best) and not is_optimal(best + 1)) == (name in line._LOGIT_LOSSES)


def test_image_shows_the_curves():
    known = curves()
    narrow = known.p_data**2
    known = known._replace(p_g=narrow / narrow.sum())  # with p_data, almost 0 at the ends
    densities, noise, outputs = line.draw(known, 7).axes
    assert "iteration 7:" in densities.get_title(loc="left")
    shown = {curve.get_label(): curve.get_xydata() for curve in (*densities.lines, *outputs.lines)}
    x, sizes = known.grid.points, known.grid.weights
    best = np.stack([x, divergences.optimal_discriminator(known.p_data, known.p_g)], axis=1)
    np.testing.assert_allclose(shown["$p_{data}$"], np.stack([x, known.p_data / sizes], axis=1))
    np.testing.assert_allclose(shown["$p_G$"], np.stack([x, known.p_g / sizes], axis=1))
    np.testing.assert_allclose(shown["$D$"][:, 1], 1 / (1 + np.exp(-known.logits)))
    assert {tuple(point) for point in shown["$D^*$"]} <= {tuple(point) for point in best}
    assert 200 < len(shown["$D^*$"]) < len(best)
    ends = np.array([curve.get_xydata() for curve in noise.lines])  # (z, (x above, z below), 2)
    np.testing.assert_allclose(ends[:, 0, 0], known.g_of_z)
    assert np.all(np.diff(ends[:, 1, 0]) > 0)
    np.testing.assert_array_equal(ends[:, :, 1], [[1, 0]] * 41)
    assert [label.get_text() for label in noise.get_yticklabels()] == ["z", "x"]


def test_known_mixture():
    spec, _, _ = randomised()
    assert line.known_mixture("gaussian1d", spec) is MIXTURE
    assert line.known_mixture("npy:points.npy", spec) is None
    mlp = config.spec(config.default(), (1,))
    assert line.known_mixture("gaussian1d", mlp) is None
