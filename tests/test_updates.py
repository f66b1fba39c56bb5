"""Tests of gan_jax.updates, most on the bilinear game min_x max_y xy, and of steps ahead."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import algorithm, config, core
from gan_jax.core import Game, HParams, Player, Prior, State
from gan_jax.networks import MLP
from gan_jax.optimizers import Optimizer, Rates
from gan_jax.updates import UPDATES, Gradient, Gradients
from tests.conftest import tiny_config

RATE = 0.3
RATES = Rates(RATE, 0.0, 0.9, 1e-8)


def field(state: State):
    """The field v = (-x, y): D's y ascends xy, as descent on -xy, and G's x descends it."""
    y, x = state.d.params, state.g.params
    return Gradients(Gradient(-x, {}), Gradient(y, {})), {"value": x * y}


def move(optimizer: optax.GradientTransformation, state: State, gradients: Gradients) -> State:
    def descend(player: Player, gradient: Gradient) -> Player:
        updates, opt_state = optimizer.update(gradient.params, player.opt_state, player.params)
        return Player(optax.apply_updates(player.params, updates), {}, opt_state)

    return state._replace(
        d=descend(state.d, gradients.d), g=descend(state.g, gradients.g), step=state.step + 1
    )


def run(name: str, steps: int, weight: float = 0.0) -> np.ndarray:
    """The distances from the equilibrium, (0, 0), before each step and at the end."""
    optimizer = Optimizer("sgd").transformation(RATES, 0, name == "optimistic")
    start = optimizer.init(jnp.float32(0))
    d, g = (Player(jnp.float32(x), {}, start) for x in (0.6, -0.8))
    state, distances = State(jnp.int32(0), jnp.zeros(2, jnp.uint32), d, g, None), []
    for _ in range(steps + 1):
        distances.append(float(jnp.hypot(state.d.params, state.g.params)))
        state, info = UPDATES[name](field, functools.partial(move, optimizer), state, weight)
    assert info.keys() == {"value"}
    return np.array(distances)


@pytest.mark.parametrize(
    ("name", "weight", "factor"),
    [
        # |1 + i rate|, the modulus of a step's eigenvalue: v's Jacobian has +-i.
        ("simultaneous", 0.0, np.sqrt(1 + RATE**2)),
        # |1 - i rate (1 - i rate)|
        ("extragradient", 0.0, np.sqrt((1 - RATE**2) ** 2 + RATE**2)),
        # |1 - rate (weight + i)|, as |v|^2 / 2 is half the squared distance.
        ("consensus", 1.0, np.sqrt((1 - RATE) ** 2 + RATE**2)),
    ],
)
def test_the_distance_changes_by_the_computed_factor_at_every_step(name, weight, factor):
    distances = run(name, 12, weight)
    np.testing.assert_allclose(distances[1:] / distances[:-1], factor, rtol=1e-5)


def test_optimistic_steps_converge_at_their_rate():
    # w' = w - 2 rate v(w) + rate v(last w): z^2 = z (1 - 2 i rate) + i rate.
    root = np.abs(np.roots([1, -(1 - 2j * RATE), -1j * RATE])).max()
    distances = run("optimistic", 60)
    assert root < 1
    np.testing.assert_allclose((distances[60] / distances[30]) ** (1 / 30), root, rtol=1e-3)


def trained(update: str, steps: int, consensus: float = 0.0) -> np.ndarray:
    """The same distances of a run: D(x) = w x + b, G(z) = c as z is all but 0, data of 0."""
    network = functools.partial(MLP, (), activation="linear", output="linear")
    game = Game(
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
    hparams, data = HParams(RATES, RATES, consensus=consensus), jnp.zeros((4, 1))
    state, distances = core.init(game, hparams, 0, data), []
    for _ in range(steps + 1):
        w, c = state.d.params["Dense_0"]["kernel"], state.g.params["Dense_0"]["bias"]
        distances.append(float(jnp.hypot(w.item(), c.item())))
        state, _ = algorithm.train_chunk(game, hparams, state, data, 1)
    return np.array(distances)


@pytest.mark.parametrize("name", UPDATES)
def test_a_run_plays_the_game_as_its_update_says(name):
    weight = 1.0 if name == "consensus" else 0.0
    ours, expected = trained(name, 8, weight), run(name, 8, weight)
    np.testing.assert_allclose(ours[1:] / ours[:-1], expected[1:] / expected[:-1], rtol=1e-4)


def test_optimistic_adam_looks_back_at_its_own_steps():
    # Not at the gradients: Adam is not linear in them.
    plain, optimistic = (Optimizer("adam").transformation(RATES, 0, look) for look in (False, True))
    w, last = jnp.zeros(()), None
    states = [plain.init(w), optimistic.init(w)]
    for gradient in (1.5, -1.0, 0.3):
        u, states[0] = plain.update(jnp.float32(gradient), states[0], w)
        found, states[1] = optimistic.update(jnp.float32(gradient), states[1], w)
        np.testing.assert_allclose(found, 2 * u - (u if last is None else last), rtol=1e-5)
        last = u


def test_extragradient_learns_from_both_gradients_and_averages_once():
    fields = {"update": "extragradient", "ema": 0.9, "d_optimizer.name": "adam"}
    c = config.replace(tiny_config(), fields)
    game, hparams = config.game(c, (8, 8, 1)), config.hparams(c)
    images = jnp.full((16, 8, 8, 1), 255, jnp.uint8)
    before = core.init(game, hparams, 0, images)
    after, _ = algorithm.train_chunk(game, hparams, before, images, 1)
    assert optax.tree.get(after.d.opt_state, "count") == 2
    old, new, ema = (
        v.params["Dense_0"]["kernel"] for v in (before.ema, after.g.variables, after.ema)
    )
    np.testing.assert_allclose(ema, 0.1 * old + 0.9 * new, rtol=1e-5, atol=1e-7)


def test_alternating_steps_turn_on_and_neither_leave_nor_arrive():
    # G sees the D just moved: the product of both maps has determinant 1.
    distances = trained("alternating", 100)
    start = distances[0]
    assert 0.7 * start < distances.min() < distances.max() < 1.4 * start
    assert trained("simultaneous", 100)[-1] > 50 * start


def test_what_is_measured_is_of_the_state_before():
    optimizer = Optimizer("sgd").transformation(RATES, 0)
    start = optimizer.init(jnp.float32(0))
    d, g = (Player(jnp.float32(x), {}, start) for x in (0.6, -0.8))
    state = State(jnp.int32(0), jnp.zeros(2, jnp.uint32), d, g, None)
    for name, update in UPDATES.items():
        _, info = update(field, functools.partial(move, optimizer), state, 1.0)
        np.testing.assert_allclose(info["value"], -0.48, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("eps", [1e-8, 1e-24])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_steps_ahead_have_a_gradient_where_a_weight_of_d_never_had_one(optimizer, eps):
    """ReLUs that are off leave second moments of 0, whose root has no derivative."""
    fields = {"update": "unrolled", "unrolled_steps": 2, "d_optimizer.name": optimizer}
    fields["d_optimizer.eps"] = eps
    c = config.replace(tiny_config(), fields | {"discriminator.widths": (64,)})
    game, hparams = config.game(c, (8, 8, 1)), config.hparams(c)
    images = jnp.full((16, 8, 8, 1), 255, jnp.uint8)
    state = core.init(game, hparams, 0, images)
    _, info = algorithm.train_chunk(game, hparams, state, images, 3)
    assert int(info["step"]) == 3
    assert all(np.isfinite(x) for x in info.values())
