"""Tests of gan_jax.exact: distributions that are known, by histograms, by change of variables and
by hand; and Algorithm 1 where the paper proves its end.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gan_jax import algorithm, config, core, data, exact, networks, theory, train, workdir
from gan_jax.core import Game, HParams, Prior, State
from gan_jax.errors import InputError
from gan_jax.losses import LOSSES
from gan_jax.mixtures import MIXTURES
from gan_jax.networks import MLP, Tabular
from gan_jax.optimizers import Optimizer, Rates
from gan_jax.writers import read_metrics
from tests.conftest import ROOT

LOG_4 = math.log(4)
LINE = MIXTURES["gaussian1d"]


# A finite support, on which G is a table of logits and D too: the game of the paper's proof.


def tabular(loss: str, batch_size: int) -> Game:
    return Game(
        loss,
        k=1,
        update="alternating",
        batch_size=batch_size,
        z_dim=1,
        prior=Prior("normal"),
        generator=Tabular(8),
        discriminator=MLP((), (), "linear", "linear", "normal", 0.1),
        d_optimizer=Optimizer("sgd"),
        g_optimizer=Optimizer("sgd"),
    )


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_the_steps_of_algorithm_1_end_where_the_paper_proves(loss):
    counts = np.array([1, 2, 3, 4, 5, 6, 7, 12])
    real = jnp.repeat(jnp.eye(8), counts, axis=0)  # a minibatch of the data, exactly
    p_data = counts / counts.sum()
    game = tabular(loss, len(real))
    rates = Rates(2.0, 0.0, 0.0, 0.0)
    hparams = HParams(rates, rates._replace(learning_rate=0.5))
    noise, key = jnp.zeros((len(real), 1)), jax.random.key(0)

    def iteration(state: State, _: None) -> tuple[State, None]:
        state, _ = algorithm.d_step(game, hparams, state, real, noise, key)
        return algorithm.g_step(game, hparams, state, real, noise, key)[0], None

    @functools.partial(jax.jit, static_argnums=1)
    def after(state: State, iterations: int) -> State:
        return jax.lax.scan(iteration, state, length=iterations)[0]

    def known(state: State) -> tuple[np.ndarray, np.ndarray]:
        logits = networks.apply(game.discriminator, state.d.variables, jnp.eye(8))[0]
        return networks.probabilities(game.generator, state.g.params), logits

    start = core.init(game, hparams, 0, real)
    assert theory.jsd(p_data, known(start)[0]) > 0.05
    p_g, logits = known(after(start, 3000))
    np.testing.assert_allclose(p_g, p_data, atol=1e-3)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), 0.5, atol=1e-3)
    np.testing.assert_allclose(theory.value(p_data, p_g, logits), -LOG_4, atol=1e-3)
    assert theory.jsd(p_data, p_g) < 1e-6


def test_a_loss_that_is_no_mean_over_fakes_has_no_expectation_and_is_refused():
    game, real = tabular("relativistic_average", 8), jnp.eye(8)
    rates = Rates(0.1, 0.0, 0.0, 0.0)
    hparams = HParams(rates, rates)
    state = core.init(game, hparams, 0, real)
    for step in (algorithm.d_step, algorithm.g_step):
        with pytest.raises(InputError, match=r"^loss relativistic_average is no mean over fakes"):
            step(game, hparams, state, real, jnp.zeros((8, 1)), jax.random.key(0))


# A line, on which G is a rising function of one normal number.


def line_config(*settings: str):
    """configs/gaussian1d.py, shrunk until a run takes a second or two."""
    return config.load(
        str(ROOT / "configs/gaussian1d.py"),
        [
            "--config.num_steps=60",
            "--config.k=2",
            "--config.batch_size=64",
            "--config.generator.widths=(4,)",
            "--config.discriminator.widths=(8,)",
            "--config.log_every=30",
            "--config.metrics_every=6",
            "--config.sample_every=30",
            "--config.checkpoint_every=30",
            *settings,
        ],
    )


def trained(seed: int, steps: int = 100) -> tuple[Game, State]:
    c = line_config()
    game, hparams = config.game(c, (1,)), config.hparams(c)
    points = jnp.asarray(data.load(c.dataset).images)
    state = core.init(game, hparams, seed, points)
    return game, algorithm.train_chunk(game, hparams, state, points, steps)[0]


def slope(game: Game, state: State, z: np.ndarray) -> np.ndarray:
    """G'(z)."""
    g = state.g.variables
    rise = jax.vmap(jax.grad(lambda z: networks.apply(game.generator, g, z[None, None])[0][0, 0]))
    return np.asarray(rise(jnp.float32(z)))


@pytest.mark.parametrize("seed", range(3))
def test_the_inverse_inverts_g(seed):
    game, state = trained(seed)
    z = jnp.linspace(-5, 5, 101)
    x = core.generate(game, state.g.variables, z[:, None])[:, 0]
    assert np.all(np.diff(x) > 0)
    error = np.abs(exact._inverse(game, state.g.variables, x) - z)
    assert np.all(error < 1e-5 + 1e-6 * np.abs(x) / slope(game, state, z))


def test_the_inverse_of_what_g_never_gives_is_at_the_end_of_the_noise():
    game, state = trained(0)
    far = exact._inverse(game, state.g.variables, jnp.float32([-1e6, 1e6]))
    np.testing.assert_allclose(far, [-8, 8], atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_masses_are_those_of_samples_and_of_the_change_of_variables(seed):
    game, state = trained(seed)
    known = exact.line(game, state, LINE)
    for p in (known.p_data, known.p_g):
        assert p.min() >= 0
        np.testing.assert_allclose(p.sum(), 1, atol=1e-12)
    # Samples of G, counted in twenty cells of the grid at a time; the ends hold what lies beyond.
    num = 400_000
    noise = core.sample_noise(game, jax.random.key(seed), num)
    x = core.generate_in_blocks(game, state.g.variables, noise)[:, 0]
    edges = (known.grid.points[1:] + known.grid.points[:-1]) / 2
    shares = np.bincount(np.digitize(x, edges), minlength=len(known.p_g)) / num
    shares, p = shares.reshape(-1, 20).sum(axis=1), known.p_g.reshape(-1, 20).sum(axis=1)
    error = np.sqrt(p * (1 - p) / num) + 1 / num
    assert np.all(np.abs(shares - p) < 5 * error)
    # p_G(G(z)) = p_z(z) / G'(z).
    z = np.linspace(-3, 3, 601)
    x = np.asarray(core.generate(game, state.g.variables, jnp.float32(z)[:, None]))[:, 0]
    density = scipy.stats.norm.pdf(z) / slope(game, state, z)
    inside = (x > edges[1]) & (x < edges[-2])
    assert inside.sum() > 100
    by_cells = np.interp(x, known.grid.points, known.p_g / known.grid.weights)
    np.testing.assert_allclose(by_cells[inside], density[inside], atol=2e-3 * density.max())


def test_the_data_and_the_curves_are_what_they_say():
    game, state = trained(0)
    known = exact.line(game, state, LINE)
    density = sum(scipy.stats.norm.pdf(known.grid.points, mean, 0.5) for mean in (-1, 1)) / 2
    np.testing.assert_allclose(known.p_data / known.grid.weights, density, atol=1e-4)
    x = jnp.float32(known.grid.points)[:, None]
    logits = networks.apply(game.discriminator, state.d.variables, x)[0]
    np.testing.assert_allclose(known.logits, logits, atol=1e-6)
    z = jnp.float32(known.z)[:, None]
    np.testing.assert_allclose(
        known.g_of_z, core.generate(game, state.g.variables, z)[:, 0], atol=1e-6
    )


def test_the_upper_tails_are_not_rounded_off():
    game, state = trained(0)
    known = exact.line(game, state, LINE)
    last = (known.grid.points[-2:].mean() - LINE.means[:, 0]) / LINE.sigma
    np.testing.assert_allclose(known.p_data[-1], scipy.stats.norm.sf(last).mean(), rtol=1e-6)
    np.testing.assert_allclose(known.p_data[::-1], known.p_data, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_measured_is_the_theory_of_the_line(seed):
    known = exact.line(*trained(seed, steps=20), LINE)
    found = exact.measure(known)
    np.testing.assert_allclose(found["v_best"], 2 * found["jsd"] - LOG_4, atol=1e-12)
    assert -LOG_4 < found["v_best"] <= 0
    assert found["v"] < found["v_best"]
    assert 0 < found["d_gap"] < 1


def test_what_is_measured_by_hand():
    grid = theory.grid_1d(0, 2, 2)
    logits = np.array([0.0, math.log(3)])  # D = 1/2 and 3/4; D* = 1/3 and 3/5
    known = exact.Line(grid, np.array([0.25, 0.75]), np.array([0.5, 0.5]), logits, grid, grid)
    found = exact.measure(known)
    v = 0.75 * math.log(1 / 2) + 0.75 * math.log(3 / 4) + 0.5 * math.log(1 / 4)
    best = 0.25 * math.log(1 / 3) + 0.75 * math.log(3 / 5)
    best += 0.5 * math.log(2 / 3) + 0.5 * math.log(2 / 5)
    gap = 0.75 / 2 * (1 / 2 - 1 / 3) + 1.25 / 2 * (3 / 4 - 3 / 5)
    by_hand = {"v": v, "v_best": best, "jsd": (best + LOG_4) / 2, "d_gap": gap}
    assert found == pytest.approx(by_hand, rel=1e-14)


def test_a_run_on_the_line_writes_what_the_theory_says_of_it(tmp_path):
    assert train.run(line_config(), tmp_path, "gaussian1d") == 0
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, *range(6, 61, 6)]
    for line in lines:
        assert line["v"] <= line["v_best"] <= 0
        np.testing.assert_allclose(line["v_best"], 2 * line["jsd"] - LOG_4, atol=1e-12)
        assert 0 <= line["d_gap"] <= 1
    known = exact.line(*workdir.load(tmp_path, 60), LINE)
    assert exact.measure(known) == pytest.approx({x: lines[-1][x] for x in exact.measure(known)})
    assert lines[-1]["jsd"] < lines[0]["jsd"]
    assert len(list((tmp_path / "samples").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("loss=non_saturating", True),
        ("loss=js", True),
        ("penalties.r1.weight=1", True),
        ("loss=kl", False),
        ("loss=wasserstein", False),
        ("instance_noise.std=0.1", False),
        ("label_smoothing=0.1", False),
        ("discriminator.input_dropout=0.1", False),
    ],
)
def test_a_run_tells_of_d_only_where_its_best_output_is_the_logit_of_d_star(
    setting, told, tmp_path
):
    c = line_config(f"--config.{setting}", "--config.num_steps=6", "--config.k=1")
    assert train.run(c, tmp_path, "gaussian1d") == 0
    for line in read_metrics(tmp_path / "metrics.jsonl"):
        assert {"v_best", "jsd"} <= line.keys()
        assert ("v" in line) == ("d_gap" in line) == told
    assert len(list((tmp_path / "samples").glob("*.png"))) == 2


@pytest.mark.parametrize("name", LOSSES)
def test_the_losses_whose_best_output_is_the_logit_of_d_star(name):
    p, q = np.array([2, 5, 3]), np.array([6, 1, 3])  # of ten samples each
    real, fake = np.repeat(np.arange(3), p), np.repeat(np.arange(3), q)
    pairs = np.repeat(real, 10), np.tile(fake, 10)  # each with each, which pairing losses ask for
    slope = jax.grad(lambda table: LOSSES[name].d(table[pairs[0]], table[pairs[1]]))

    def flat(logits):
        return np.allclose(slope(jnp.float32(logits)), 0, atol=1e-6)

    best = theory.optimal_logits(p / 10, q / 10)
    # A relativistic D is as good with a constant added to it.
    assert (flat(best) and not flat(best + 1)) == (name in exact._LOGIT)


def test_the_picture_shows_the_line():
    game, state = trained(0)
    known = exact.line(game, state, LINE)
    curves, noise, outputs = exact.draw(known, 7).axes
    assert "iteration 7:" in curves.get_title(loc="left")
    shown = {line.get_label(): line.get_xydata() for line in (*curves.lines, *outputs.lines)}
    x, size = known.grid.points, known.grid.weights
    best = np.stack([x, theory.optimal_discriminator(known.p_data, known.p_g)], axis=1)
    np.testing.assert_allclose(shown["$p_{data}$"], np.stack([x, known.p_data / size], axis=1))
    np.testing.assert_allclose(shown["$p_G$"], np.stack([x, known.p_g / size], axis=1))
    np.testing.assert_allclose(shown["$D$"][:, 1], 1 / (1 + np.exp(-known.logits)))
    assert {tuple(point) for point in shown["$D^*$"]} <= {tuple(point) for point in best}
    assert len(shown["$D^*$"]) > 200
    ends = np.array([line.get_xydata() for line in noise.lines])  # (z, (x above, z below), 2)
    np.testing.assert_allclose(ends[:, 0, 0], known.g_of_z)
    assert np.all(np.diff(ends[:, 1, 0]) > 0)
    np.testing.assert_allclose(known.z, np.linspace(-2.5, 2.5, 41))
    assert [label.get_text() for label in noise.get_yticklabels()] == ["z", "x"]
    np.testing.assert_array_equal(ends[:, :, 1], [[1, 0]] * 41)


def test_with_an_average_of_g_the_line_is_the_averages():
    game, state = trained(0)
    moved = jax.tree.map(lambda x: x + 0.5, state.g.variables)
    averaged = state._replace(ema=moved)
    other = state._replace(g=state.g._replace(params=moved.params, stats=moved.stats))
    found = exact.line(game, averaged, LINE).p_g
    np.testing.assert_allclose(found, exact.line(game, other, LINE).p_g)
    assert not np.allclose(found, exact.line(game, state, LINE).p_g)


def test_only_a_known_line_and_a_monotone_g_are_measured():
    c = line_config()
    game = config.game(c, (1,))
    assert exact.known_mixture("gaussian1d", game) is LINE
    assert exact.known_mixture("npy:points.npy", game) is None
    plain = config.game(line_config("--config.generator.monotone=False"), (1,))
    assert exact.known_mixture("gaussian1d", plain) is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("z_dim=2", "config.z_dim is 2, but must be 1 with generator.monotone"),
        ("prior.name=uniform", "config.prior.name is 'uniform', but must be normal with"),
        ("generator.widths=(4,4)", r"config.generator.widths is \(4, 4\), but must be of one"),
        ("pack=2", "config.pack is 2, but must be 1 with generator.monotone"),
        ("generator.widths=()", r"config.generator.widths is \(\), but must be of one layer"),
    ],
)
def test_a_monotone_g_of_anything_but_a_normal_number_is_refused(setting, message):
    with pytest.raises(InputError, match=message):
        line_config(f"--config.{setting}")


def test_a_monotone_g_of_images_is_refused():
    c = line_config("--config.dataset=digits")
    with pytest.raises(InputError, match=r"digits has examples of shape .*only numbers have an or"):
        config.game(c, (8, 8, 1))
