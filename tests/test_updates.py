"""Tests of gan_jax.updates, mostly on the bilinear game min_x max_y xy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import algorithms
from gan_jax.algorithms import gan
from gan_jax.draws import Batch
from gan_jax.networks import MLP
from gan_jax.spec import GANSpec, Prior
from tests.conftest import linear, make_hparams, make_spec

RATE = 0.3
# Moduli of a step's eigenvalues; the Jacobian of v has the eigenvalues +-i.
FACTORS = {
    "simultaneous": np.sqrt(1 + RATE**2),  # |1 + i rate|
    "extragradient": np.sqrt((1 - RATE**2) ** 2 + RATE**2),  # |1 - i rate (1 - i rate)|
    "consensus": np.sqrt((1 - RATE) ** 2 + RATE**2),  # |1 - rate (weight + i)| at weight 1
}

# The game as a GAN: D(x) = w x + b, G(z) = c as z is nearly 0, and all data are 0.

DATA = Batch(jnp.zeros((4, 1)))
iteration = jax.jit(gan.step, static_argnums=0)


def bilinear(update: str, **changes) -> GANSpec:
    fields = {"loss": "wasserstein", "batch_size": 2, "z_dim": 1, "update": update}
    networks = {"generator": linear(1), "discriminator": linear()}
    return make_spec(prior=Prior("uniform", -1e-9, 1e-9), **fields | networks | changes)


def trained(update: str, steps: int) -> np.ndarray:
    """Distances of (w, c) from the equilibrium before each iteration and at the end."""
    rates = {f"{player}_optimizer.learning_rate": RATE for player in "dg"}
    hparams = make_hparams(rates | {"consensus": float(update == "consensus")})
    spec, distances = bilinear(update), []
    state = algorithms.init(spec, hparams, 0, DATA)
    for _ in range(steps + 1):
        d, g = (state.players[name].params["Dense_0"] for name in "dg")
        distances.append(float(jnp.hypot(d["kernel"].item(), g["bias"].item())))
        state, _ = iteration(spec, hparams, state, DATA)
    return np.array(distances)


@pytest.mark.parametrize("name", FACTORS)
def test_convergence_rates(name):
    distances = trained(name, 12)
    np.testing.assert_allclose(distances[1:] / distances[:-1], FACTORS[name], rtol=1e-4)


def test_optimistic_convergence_rate():
    # w' = w - 2 rate v(w) + rate v(previous w): z^2 = z (1 - 2 i rate) + i rate.
    root = np.abs(np.roots([1, -(1 - 2j * RATE), -1j * RATE])).max()
    distances = trained("optimistic", 60)
    assert root < 1
    np.testing.assert_allclose((distances[60] / distances[30]) ** (1 / 30), root, rtol=1e-3)


def test_alternating_steps_cycle():
    # G sees the D just updated: the product of both maps has determinant 1.
    distances = trained("alternating", 100)
    start = distances[0]
    assert 0.7 * start < distances.min() < distances.max() < 1.4 * start


def test_extragradient_accumulates_both_gradients():
    spec = bilinear("extragradient", d_optimizer="adam")
    hparams = make_hparams({"ema": 0.9})
    before = algorithms.init(spec, hparams, 0, DATA)
    after, _ = iteration(spec, hparams, before, DATA)
    assert optax.tree.get(after.players["d"].opt_state, "count") == 2
    # The average excludes the extrapolated G.
    old, new = before.averages["ema"], after.players["g"].variables
    expected = optax.incremental_update(new, old, 0.9)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, after.averages["ema"], expected)


@pytest.mark.slow
def test_unrolled_steps_through_dead_relus():
    # Without gradients, second moments are 0, where the square root is not differentiable.
    spec = bilinear(
        "unrolled",
        unrolled_steps=2,
        d_optimizer="rmsprop",
        discriminator=MLP((64,), (), "relu", "linear", "normal", 1.0),
    )
    hparams = make_hparams({"d_optimizer.eps": 1e-24})
    state = algorithms.init(spec, hparams, 0, DATA)
    for _ in range(3):
        state, info = iteration(spec, hparams, state, DATA)
        assert np.isfinite(list(info.values())).all()
