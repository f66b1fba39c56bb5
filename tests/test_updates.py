"""Tests of gan_jax.updates, mostly on the bilinear game min_x max_y xy."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import algorithms
from gan_jax.draws import Batch
from gan_jax.networks import MLP
from gan_jax.optimizers import Optimizer, OptimizerHParams
from gan_jax.spec import GANSpec, Prior
from gan_jax.state import Player, State
from gan_jax.updates import UPDATES, Gradient
from tests.conftest import make_hparams

RATE = 0.3


def game_gradient(state: State):
    """The gradients (-x, y): D's y ascends xy by descending -xy, and G's x descends xy."""
    y, x = (state.players[name].params for name in "dg")
    return {"d": Gradient(-x, {}), "g": Gradient(y, {})}, {"value": x * y}


def move(optimizer: optax.GradientTransformation, state: State, gradients) -> State:
    def descend(player: Player, gradient: Gradient) -> Player:
        updates, opt_state = optimizer.update(gradient.params, player.opt_state, player.params)
        return Player(optax.apply_updates(player.params, updates), {}, opt_state)

    players = {name: descend(state.players[name], x) for name, x in gradients.items()}
    return state.replace_players(**players)


def run(name: str, steps: int, weight: float | None = None) -> np.ndarray:
    """Distances from the equilibrium, (0, 0), before each step and at the end."""
    hparams = OptimizerHParams(RATE, 0.0, 0.9, 1e-8)
    optimizer = Optimizer("sgd").transformation(hparams, 0, name == "optimistic")
    start = optimizer.init(jnp.float32(0))
    players = {n: Player(jnp.float32(x), {}, start) for n, x in (("d", 0.6), ("g", -0.8))}
    state, distances = State(jnp.int32(0), jnp.zeros(2, jnp.uint32), players, {}), []
    for _ in range(steps + 1):
        y, x = (state.players[name].params for name in "dg")
        distances.append(float(jnp.hypot(x, y)))
        mover = functools.partial(move, optimizer)
        state, info = UPDATES[name](game_gradient, mover, state, weight)
        np.testing.assert_allclose(info["value"], x * y, rtol=1e-6)  # pre-update
    return np.array(distances)


# Moduli of a step's eigenvalues, as v's Jacobian has +-i.
FACTORS = {
    "simultaneous": np.sqrt(1 + RATE**2),  # |1 + i rate|
    "extragradient": np.sqrt((1 - RATE**2) ** 2 + RATE**2),  # |1 - i rate (1 - i rate)|
    "consensus": np.sqrt((1 - RATE) ** 2 + RATE**2),  # |1 - rate (weight + i)| at weight 1
}


def weight_of(name: str) -> float | None:
    return 1.0 if name == "consensus" else None


@pytest.mark.parametrize("name", FACTORS)
def test_distance_changes_by_the_eigenvalue(name):
    distances = run(name, 12, weight_of(name))
    np.testing.assert_allclose(distances[1:] / distances[:-1], FACTORS[name], rtol=1e-5)


def test_optimistic_convergence_rate():
    # w' = w - 2 rate v(w) + rate v(previous w): z^2 = z (1 - 2 i rate) + i rate.
    root = np.abs(np.roots([1, -(1 - 2j * RATE), -1j * RATE])).max()
    distances = run("optimistic", 60)
    assert root < 1
    np.testing.assert_allclose((distances[60] / distances[30]) ** (1 / 30), root, rtol=1e-3)


# The same game as a GAN: D(x) = w x + b, G(z) = c as z is almost 0, data of 0.

DATA = Batch(jnp.zeros((4, 1)))


def bilinear(update: str) -> GANSpec:
    network = functools.partial(MLP, (), activation="linear", output="linear")
    return GANSpec(
        loss="wasserstein",
        k=1,
        update=update,
        batch_size=2,
        z_dim=1,
        prior=Prior("uniform", -1e-9, 1e-9),
        generator=network((1,), initializer="normal", init_scale=1.0),
        discriminator=network((), initializer="normal", init_scale=1.0),
        d_optimizer=Optimizer("sgd"),
        g_optimizer=Optimizer("sgd"),
    )


def trained(update: str, steps: int) -> np.ndarray:
    """Distances of (w, c) from the equilibrium before each iteration and at the end."""
    rates = {f"{player}_optimizer.learning_rate": RATE for player in "dg"}
    hparams = make_hparams(rates | {"consensus": weight_of(update) or 0.0})
    spec, distances = bilinear(update), []
    state = algorithms.init(spec, hparams, 0, DATA)
    for _ in range(steps + 1):
        d, g = (state.players[name].params["Dense_0"] for name in "dg")
        distances.append(float(jnp.hypot(d["kernel"].item(), g["bias"].item())))
        state, _ = algorithms.train_chunk(spec, hparams, state, DATA, 1)
    return np.array(distances)


@pytest.mark.parametrize("name", UPDATES)
def test_training_follows_its_update(name):
    ours, expected = trained(name, 8), run(name, 8, weight_of(name))
    np.testing.assert_allclose(ours[1:] / ours[:-1], expected[1:] / expected[:-1], rtol=1e-4)


def test_alternating_steps_cycle():
    # G sees the D just updated: the product of both maps has determinant 1.
    distances = trained("alternating", 100)
    start = distances[0]
    assert 0.7 * start < distances.min() < distances.max() < 1.4 * start


def test_extragradient_accumulates_both_gradients():
    spec = bilinear("extragradient")._replace(d_optimizer=Optimizer("adam"))
    hparams = make_hparams({"ema": 0.9})
    before = algorithms.init(spec, hparams, 0, DATA)
    after, _ = algorithms.train_chunk(spec, hparams, before, DATA, 1)
    assert optax.tree.get(after.players["d"].opt_state, "count") == 2
    # but averages once: the extrapolated G is not in the average
    old, new, ema = (
        variables.params["Dense_0"]["bias"]
        for variables in (
            before.averages["ema"],
            after.players["g"].variables,
            after.averages["ema"],
        )
    )
    np.testing.assert_allclose(ema, 0.1 * old + 0.9 * new, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_unrolled_steps_through_dead_relus(optimizer):
    # Parameters that never had a gradient have second moments of 0, whose root has no derivative.
    spec = bilinear("unrolled")._replace(
        unrolled_steps=2,
        d_optimizer=Optimizer(optimizer),
        discriminator=MLP((64,), (), "relu", "linear", "normal", 1.0),
    )
    hparams = make_hparams({"d_optimizer.eps": 1e-24})
    state = algorithms.init(spec, hparams, 0, DATA)
    _, info = algorithms.train_chunk(spec, hparams, state, DATA, 3)
    assert info["step"] == 3
    assert np.isfinite(list(info.values())).all()
