"""Tests of gan_jax.algorithms: Algorithm 1 against plain JAX in float64, and each step by hand."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from gan_jax import algorithms
from gan_jax.algorithms import gan
from gan_jax.config.schema import fields
from gan_jax.draws import Batch, Stream, minibatch, noise, stream_key
from gan_jax.networks import MLP
from gan_jax.spec import Schedule
from gan_jax.state import Player, State, trainable
from tests.conftest import linear, make_hparams, make_spec
from tests.networks.conftest import apply

N, BATCH, SHAPE = 20, 8, (4, 4, 1)  # 8 does not divide 20
MOMENTS = {f"{player}_optimizer.{b}": x for player in "dg" for b, x in (("b1", 0.5), ("b2", 0.9))}
KEY = jax.random.key(7)
IMAGES = Batch(jnp.float32(np.random.default_rng(0).uniform(size=(N, *SHAPE))))
REAL = Batch(IMAGES.x[:BATCH])
CLOSE = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6)


d_step, g_step, iteration = (
    jax.jit(step, static_argnums=0) for step in (gan.d_step, gan.g_step, gan.step)
)


def rates(d: float, g: float, **changes: float):
    """HParams with these learning rates, MOMENTS and other fields by name."""
    learning_rates = {"d_optimizer.learning_rate": d, "g_optimizer.learning_rate": g}
    return make_hparams(MOMENTS | learning_rates | changes)


HPARAMS = rates(0.01, 0.02)
Z = noise(make_spec(), jax.random.key(5), BATCH)


def assert_equal(actual, expected) -> None:
    """Two pytrees are bitwise equal."""
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def assert_all_differ(actual, expected) -> None:
    """Two pytrees differ in every array."""
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), actual, expected)
    assert not any(jax.tree.leaves(same)), same


# Algorithm 1 in float64.


def forward(params, x: jax.Array) -> jax.Array:
    first, last = params["Dense_0"], params["Dense_1"]
    hidden = jax.nn.relu(x.reshape(len(x), -1) @ first["kernel"] + first["bias"])
    return hidden @ last["kernel"] + last["bias"]


def output_on_fakes(d, g, z: jax.Array) -> jax.Array:
    """D(G(z))."""
    return jax.nn.sigmoid(forward(d, jax.nn.sigmoid(forward(g, z))))


def d_objective(d, g, real: jax.Array, z: jax.Array):
    """-V, and the info."""
    d_real, d_fake = jax.nn.sigmoid(forward(d, real)), output_on_fakes(d, g, z)
    loss = -jnp.mean(jnp.log(d_real)) - jnp.mean(jnp.log(1 - d_fake))
    return loss, {"d_loss": loss, "d_real": jnp.mean(d_real), "d_fake": jnp.mean(d_fake)}


def g_objective(g, d, z: jax.Array):
    loss = jnp.mean(jnp.log(1 - output_on_fakes(d, g, z)))
    return loss, {"g_loss": loss}


OPTIMIZERS = {"d": optax.identity(), "g": optax.scale_by_adam(0.5, 0.9)}
RATES = {"d": 0.3, "g": 0.02}  # move parameters by about a tenth of their size
STEPS, K = 15, 3
DECAY = tuple(Schedule(f"{player}_optimizer.learning_rate", "linear", 0.0, 20) for player in "dg")
GAME = make_spec(loss="minimax", k=K, g_optimizer="adam", schedules=DECAY)


@functools.partial(jax.jit, static_argnames="objective")
def descend(objective, decay, params, memory, *args):
    name = objective.__name__[0]
    grads, info = jax.grad(objective, has_aux=True)(params, *args)
    updates, memory = OPTIMIZERS[name].update(grads, memory)
    params = optax.apply_updates(params, optax.tree.scale(-decay * RATES[name], updates))
    norms = {f"{name}_grad_norm": optax.tree.norm(grads)}
    return params, memory, info | norms | {f"{name}_param_norm": optax.tree.norm(params)}


@jax.jit
@jax.vmap
def drawn(number: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The minibatch and the noises of this number."""
    root = jax.random.key_data(jax.random.key(0))
    keys = (stream_key(root, s, number) for s in (Stream.NOISE_D, Stream.NOISE_G))
    return minibatch(BATCH, root, IMAGES, number).x, *(noise(GAME, k, BATCH) for k in keys)


def test_training_follows_algorithm_1():
    hparams = rates(*RATES.values())
    state = algorithms.init(GAME, hparams, 0, IMAGES)
    begin = jax.tree.map(np.float64, {name: x.params for name, x in state.players.items()})
    real, d_z, g_z = (np.float64(x) for x in drawn(jnp.arange(K * STEPS)))
    d, g, expected = begin["d"], begin["g"], []
    with jax.enable_x64(True):
        d_memory, g_memory = (OPTIMIZERS[name].init(begin[name]) for name in "dg")
        for step in range(STEPS):
            decay = 1 - step / 20  # schedules count iterations
            for j in range(K * step, K * (step + 1)):
                d, d_memory, d_info = descend(d_objective, decay, d, d_memory, g, real[j], d_z[j])
            g, g_memory, g_info = descend(g_objective, decay, g, g_memory, d, g_z[step])
            info = {"step": step + 1, **d_info, **g_info}
            expected.append(jax.tree.map(np.asarray, ({"d": d, "g": g}, info)))
    # Float32 rounding error accumulates over up to 60 updates, and Adam amplifies it where a
    # gradient nearly vanishes.
    close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
    for params, info in expected:
        state, actual = algorithms.train_chunk(GAME, hparams, state, IMAGES, 1)
        jax.tree.map(close, {name: x.params for name, x in state.players.items()}, params)
        jax.tree.map(close, actual, info)
    for player in "dg":
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), params[player], begin[player])
        assert max(jax.tree.leaves(moved)) > 0.05


# One iteration


@pytest.mark.parametrize(
    "update", ["simultaneous", pytest.param("alternating", marks=pytest.mark.slow)]
)
def test_iteration_composes_steps(update):
    """A relativistic loss and dropout make the result depend on every random draw."""
    k = 1 if update == "simultaneous" else 2
    spec = make_spec(
        update=update,
        k=k,
        loss="relativistic_pairing",
        generator=linear(*SHAPE),
        discriminator=linear().clone(input_dropout=0.5),
    )
    start = algorithms.init(spec, HPARAMS, 0, IMAGES)._replace(step=jnp.int32(3))

    @functools.partial(jax.jit, static_argnums=(1, 2, 3))
    def draw(number: int, batch: Stream, z: Stream, key: Stream):
        return (
            minibatch(BATCH, start.key, IMAGES, number, batch),
            noise(spec, stream_key(start.key, z, number), BATCH),
            stream_key(start.key, key, number),
        )

    state = start
    for number in range(3 * k, 4 * k):
        drawn = draw(number, Stream.BATCH, Stream.NOISE_D, Stream.STEP_D)
        state, d_info = d_step(spec, HPARAMS, state, *drawn)
    if update == "simultaneous":
        g_state, g_info = g_step(spec, HPARAMS, start, *drawn)
    else:
        drawn = draw(3, Stream.BATCH_G, Stream.NOISE_G, Stream.STEP_G)
        g_state, g_info = g_step(spec, HPARAMS, state, *drawn)
    actual, info = iteration(spec, HPARAMS, start, IMAGES)
    expected = state.replace_players(g=g_state.players["g"])._replace(step=jnp.int32(4))
    jax.tree.map(CLOSE, actual, expected)
    jax.tree.map(CLOSE, info, d_info | g_info)


# One step


@pytest.mark.slow
def test_steps_with_statistics():
    """Each step changes only its own player; batch norm uses the minibatch in steps only."""
    spec = make_spec(
        "adam",
        generator=MLP((5,), SHAPE, "relu", "sigmoid", "uniform", 0.5, batch_norm=True),
        discriminator=MLP((6,), (), "relu", "linear", "uniform", 0.5, spectral_norm=True),
    )
    state = algorithms.init(spec, HPARAMS, 0, IMAGES)
    infos = {}
    for player, step in (("d", d_step), ("g", g_step)):
        new, infos[player] = step(spec, HPARAMS, state, REAL, Z, KEY)
        old = state.players[player]
        assert_equal(new.replace_players(**{player: old}), state)
        assert_all_differ(new.players[player].params, old.params)
        same = jax.tree.map(np.array_equal, new.players[player].stats, old.stats)
        assert not all(jax.tree.leaves(same))
    d, g = (state.players[name].variables for name in "dg")
    fake, stats = apply(spec.generator, g, Z, train=True)
    CLOSE(new.players["g"].stats["BatchNorm_0"]["mean"], stats["BatchNorm_0"]["mean"])
    logits = apply(spec.discriminator, d, fake)[0]
    CLOSE(infos["g"]["g_loss"], jnp.mean(jax.nn.softplus(-logits)))
    logits = apply(spec.discriminator, d, fake, train=True)[0]
    CLOSE(infos["d"]["d_fake"], jnp.mean(jax.nn.sigmoid(logits)))
    samples = algorithms.generate(spec, state, Z)
    assert np.abs(samples - fake).max() > 0.01
    CLOSE(samples, apply(spec.generator, g, Z)[0])


# Single steps of D(x) = w x and G(z) = z + b at b = 0, by hand.

W = np.array([3.0, 0.0, -4.0])
X, M = np.random.default_rng(2).normal(size=(2, BATCH, 3))  # real examples and fakes
DRAWN = Batch(jnp.float32(X)), jnp.float32(M), KEY


def linear_game(hparams=HPARAMS, **changes):
    spec = make_spec(generator=linear(3), discriminator=linear(), **changes)
    state = algorithms.init(spec, hparams, 0, Batch(jnp.zeros((1, 3))))
    params = {
        "d": {"Dense_0": {"kernel": jnp.float32(W)[:, None], "bias": jnp.zeros(1)}},
        "g": {"Dense_0": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}},
    }
    return spec, state.replace_players(
        **{name: state.players[name]._replace(params=p) for name, p in params.items()}
    )


def test_penalised_and_clipped_d_step_by_hand():
    spec, state = linear_game(loss="wasserstein", penalties=(("r1", 1),))
    hparams = rates(0.01, 0.02, weight_clip=2.96, **{"penalties.r1.weight": 2.0})
    new, info = gan.d_step(spec, hparams, state, *DRAWN)
    CLOSE((info["d_real"], info["d_fake"]), (np.mean(X @ W), np.mean(M @ W)))
    CLOSE((info["d_loss"], info["d_penalty"]), (np.mean(M @ W) - np.mean(X @ W), 25))
    grad = M.mean(axis=0) - X.mean(axis=0) + 2 * W
    CLOSE(info["d_grad_norm"], np.linalg.norm(grad))
    w = W - 0.01 * grad
    assert w[2] < -2.96 < w.max() < 2.96
    CLOSE(new.players["d"].params["Dense_0"]["kernel"][:, 0], np.clip(w, -2.96, 2.96))


def test_relativistic_g_step_by_hand():
    hparams = rates(0.01, 0.02, weight_clip=1e-3, ema_half_life=BATCH)  # G is not clipped
    spec, state = linear_game(hparams, loss="relativistic_pairing")
    new, info = gan.g_step(spec, hparams, state, *DRAWN)
    gap = (X - M) @ W
    CLOSE(info["g_loss"], np.mean(np.logaddexp(0, gap)))
    by_bias = -np.mean(1 / (1 + np.exp(-gap))) * W
    CLOSE(new.players["g"].params["Dense_0"]["bias"], -0.02 * by_bias)
    average = jax.tree.map(
        lambda a, b: (a + b) / 2, state.averages["ema"], new.players["g"].variables
    )
    jax.tree.map(CLOSE, new.averages["ema"], average)


def test_unrolled_g_step_by_hand():
    # A D step on the Wasserstein loss is w <- w + rate (mean(x) - m) for m = mean(fakes) + b, so
    # that after n of them -w m has the gradient -w + n rate m with respect to b.
    spec, state = linear_game(loss="wasserstein", update="unrolled", unrolled_steps=3)
    new, info = gan.g_step(spec, HPARAMS, state, *DRAWN)
    m, ahead = M.mean(axis=0), 3 * 0.01
    w = W + ahead * (X.mean(axis=0) - m)
    CLOSE(info["g_loss"], -w @ m)
    CLOSE(new.players["g"].params["Dense_0"]["bias"], -0.02 * (ahead * m - w))
    assert_equal(new.players["d"], state.players["d"])


# Running averages


def test_ema_and_ada():
    """EMA with a ramp-up; the augmentation probability changes every fourth iteration."""
    spec = make_spec(augment=("flip",), adaptive=True)
    hparams = rates(0.01, 0.02, ema=0.5, ada_target=-2.0)  # always exceeded
    state = algorithms.init(spec, hparams, 0, IMAGES)
    assert_equal(state.averages["ema"], state.players["g"].variables)
    probabilities = []
    for t in range(12):  # the decay reaches 0.5 at t = 8
        old, (state, info) = state, iteration(spec, hparams, state, IMAGES)
        decay = min(0.5, (1 + t) / (10 + t))
        expected = optax.incremental_update(
            state.players["g"].variables, old.averages["ema"], 1 - decay
        )
        jax.tree.map(CLOSE, state.averages["ema"], expected)
        probabilities.append(info["augment_probability"])
    rise = 4 * BATCH / 500_000
    CLOSE(probabilities, np.repeat([0, rise, 2 * rise], 4))
    averaged = state.players["g"]._replace(params=state.averages["ema"].params)
    plain = state._replace(averages={})
    samples = algorithms.generate(spec, state, Z)
    assert_equal(samples, algorithms.generate(spec, plain.replace_players(g=averaged), Z))
    assert np.any(samples != algorithms.generate(spec, plain, Z))
    assert trainable(state)["ema"] is state.averages["ema"]


def test_generation_in_blocks(monkeypatch):
    state = algorithms.init(make_spec(), HPARAMS, 0, IMAGES)
    whole = algorithms.generate(make_spec(), state, Z)
    assert whole.shape == (BATCH, *SHAPE)
    monkeypatch.setattr(algorithms, "_BLOCK", 3)
    CLOSE(algorithms.generate(make_spec(), state, Z), whole)


def test_players_start_differently():
    twin = MLP((5,), (3,), "relu", "linear", "uniform", 1.0)
    state = algorithms.init(
        make_spec(generator=twin, discriminator=twin), HPARAMS, 0, Batch(jnp.zeros((1, 3)))
    )
    assert_all_differ(*(state.players[name].params["Dense_0"]["kernel"] for name in "dg"))


# Static and traced


def primitives(jaxpr) -> dict[str, int]:
    """How often each primitive occurs in a jaxpr and the jaxprs inside it."""
    counts: dict[str, int] = {}
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        counts[name] = counts.get(name, 0) + 1
        for inner in jaxprs_in_params(equation.params):
            for name, count in primitives(inner).items():
                counts[name] = counts.get(name, 0) + count
    return counts


def test_disabled_options_compile_out():
    spec = make_spec("adam")
    state = algorithms.shapes(spec, HPARAMS)
    plain = jax.make_jaxpr(gan.step, static_argnums=0)(spec, HPARAMS, state, IMAGES)
    counts = primitives(plain.jaxpr)
    # Forward, two layers each: G twice, D four times (one of which, G's loss on real examples, XLA
    # removes). Backward: D's kernels and hidden units, on real and on fake; for G, D's two layers,
    # then G's kernels and hidden units.
    assert counts["dot_general"] == 2 * (2 + 4) + 2 * 3 + 2 + 3
    assert counts["random_bits"] == 2 + 2 * 2  # two noises; two minibatches, two epochs' keys each
    assert not counts.keys() & {"cond", "clamp", "erf_inv", "tanh"}
    # Step and key; four arrays of parameters, their two moments, and Adam's count per player;
    # four traced numbers per optimizer; the probability of augmentation; the data.
    assert len(plain.jaxpr.invars) == 2 + 2 * (3 * 4 + 1) + 2 * 4 + 1 + 1


@pytest.mark.slow
def test_one_compilation_for_all_traced_values():
    def compilations(hparams, seed: int = 0, num_steps: int = 1) -> int:
        spec = make_spec(z_dim=2, penalties=(("r1", 1),))  # not compiled by any other test
        state = algorithms.init(spec, hparams, seed, IMAGES)
        state, _ = algorithms.train_chunk(spec, hparams, state, IMAGES, num_steps)
        algorithms.train_chunk(spec, hparams, state, IMAGES, num_steps)  # on its own output
        return algorithms.train_chunk._cache_size()

    traced = [name for name, field in fields({}).items() if field.traced]
    size = compilations(make_hparams(dict.fromkeys(traced, 0.1)))
    assert compilations(make_hparams(dict.fromkeys(traced, 0.2)), seed=9, num_steps=3) == size
    assert compilations(make_hparams(dict.fromkeys(traced, 0.2) | {"ema": 0.0})) == size + 1


def test_info_names():
    spec = make_spec(
        update="extragradient", penalties=(("r1", 2),), augment=("flip",), adaptive=True
    )
    hparams = rates(0.01, 0.02, ada_target=0.6, **{"penalties.r1.weight": 1.0})
    state = algorithms.shapes(spec, hparams)
    chunk = functools.partial(algorithms.train_chunk, spec)
    _, info = jax.eval_shape(chunk, hparams, state, IMAGES, 1)
    assert info.keys() == {"step", *gan.info_names(spec)}
    assert {"d_penalty", "augment_probability"} <= info.keys()


class ToySpec(NamedTuple):
    algorithm: str = "toy"
    schedules: tuple[Schedule, ...] = ()


def test_toy_algorithm(monkeypatch):
    """Gradient descent on |w - mean(x)|^2 / 2."""

    def init(spec, hparams, seed, data):
        w = Player(jnp.zeros(2), {}, ())
        return State(jnp.int32(0), jax.random.key_data(jax.random.key(seed)), {"w": w}, {})

    def step(spec, hparams, state, data):
        w = state.players["w"]
        grad = w.params - data.x.mean(axis=0)
        new = state.replace_players(w=w._replace(params=w.params - hparams["rate"] * grad))
        return new._replace(step=state.step + 1), {"loss": jnp.sum(grad**2) / 2}

    def sample(spec, state, z, y):
        return z + state.players["w"].params

    names = ("loss", "w_param_norm")
    toy = algorithms.Algorithm(init, step, sample, names[:1], lambda spec: names, dict)
    monkeypatch.setitem(algorithms.ALGORITHMS, "toy", toy)
    spec, hparams, data = ToySpec(), {"rate": 0.5}, Batch(jnp.float32([[2, 4], [4, 8]]))
    state = algorithms.init(spec, hparams, 0, data)
    state, info = algorithms.train_chunk(spec, hparams, state, data, 3)
    mean = np.array([3, 6])
    w = mean * (1 - 0.5**3)
    loss = np.sum((mean * 0.5**2) ** 2) / 2
    jax.tree.map(CLOSE, info, {"step": 3, "loss": loss, "w_param_norm": np.linalg.norm(w)})
    CLOSE(algorithms.generate(spec, state, jnp.zeros((5, 2))), [w] * 5)


# Divergence


def test_info_freezes_when_not_finite():
    # With a quadratic loss, linear players at an absurd learning rate soon outgrow float32.
    spec, start = linear_game(loss="least_squares", k=3)
    data, hparams, state = DRAWN[0], rates(1.0, 1.0), start
    run = functools.partial(algorithms.train_chunk, spec, hparams)
    infos = []
    for _ in range(12):
        state, info = run(state, data, 1)
        infos.append({name: x for name, x in info.items() if not name.endswith("_norm")})
    first = next(i for i, x in enumerate(infos) if not np.isfinite(list(x.values())).all())
    assert 0 < first < 11  # otherwise nothing is tested
    end, info = run(start, data, 12)
    assert_equal({name: info[name] for name in infos[0]}, infos[first])
    assert (int(info["step"]), int(end.step)) == (first + 1, 12)
    _, info = run(start, data, first)  # the last finite iteration
    assert_equal({name: info[name] for name in infos[0]}, infos[first - 1])


@pytest.mark.parametrize("player", ["d", "g"])
def test_nan_parameters(player):
    state = algorithms.init(GAME, HPARAMS, 0, IMAGES)
    state, _ = algorithms.train_chunk(GAME, HPARAMS, state, IMAGES, 2)
    broken = state.players[player]
    params = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(jnp.nan), broken.params)
    state = state.replace_players(**{player: broken._replace(params=params)})
    state, info = algorithms.train_chunk(GAME, HPARAMS, state, IMAGES, 5)
    assert (int(info["step"]), int(state.step)) == (3, 7)
    assert np.isnan([info["d_loss"], info["g_loss"], info[f"{player}_param_norm"]]).all()
