"""Tests of gan_jax.algorithms: conformance to Algorithm 1 in NumPy, and what each step changes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from gan_jax import algorithms, networks
from gan_jax.algorithms import gan
from gan_jax.config.schema import COMMON
from gan_jax.draws import Batch, Stream, minibatch, noise, stream_key
from gan_jax.networks import MLP
from gan_jax.spec import GANSpec, Prior, Schedule
from gan_jax.state import Player, State, trainable
from tests.conftest import make_hparams

N, BATCH, SHAPE = 20, 8, (4, 4, 1)  # 8 does not divide 20
B1, B2, EPS = 0.5, 0.9, 1e-8
MOMENTS = {"d_optimizer.b1": B1, "d_optimizer.b2": B2, "g_optimizer.b1": B1, "g_optimizer.b2": B2}
KEY = jax.random.key(7)
IMAGES = Batch(jnp.float32(np.random.default_rng(0).uniform(size=(N, *SHAPE))))
REAL = Batch(IMAGES.x[:BATCH])
CLOSE = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6)


def make_spec(optimizer: str = "sgd", **changes) -> GANSpec:
    fields = {
        "loss": "non_saturating",
        "k": 1,
        "update": "alternating",
        "batch_size": BATCH,
        "z_dim": 3,
        "prior": Prior("uniform"),
        "generator": MLP((5,), SHAPE, "relu", "sigmoid", "uniform", 0.5),
        "discriminator": MLP((6,), (), "relu", "linear", "uniform", 0.5),
        "d_optimizer": optimizer,
        "g_optimizer": optimizer,
    }
    return GANSpec(**fields | changes)


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
    """No array of one pytree equals that of the other."""
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), actual, expected)
    assert not any(jax.tree.leaves(same)), same


# Algorithm 1 in plain NumPy. A player is a list of its layers' kernels and biases in turn.


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def norm(arrays: list) -> np.ndarray:
    return np.sqrt(sum(np.sum(x**2) for x in arrays))


def forward(params: list, x: np.ndarray) -> tuple[np.ndarray, list]:
    """The last layer's output, and the input of every layer."""
    inputs, x = [], x.reshape(len(x), -1)
    for i in range(0, len(params), 2):
        inputs.append(x)
        x = x @ params[i] + params[i + 1]
        if i + 2 < len(params):
            x = np.maximum(x, 0)
    return x, inputs


def backward(params: list, inputs: list, grad: np.ndarray) -> tuple[list, np.ndarray]:
    """Gradients with respect to parameters and input, from that of the last layer's output."""
    grads = []
    for i in reversed(range(len(inputs))):
        grads = [inputs[i].T @ grad, grad.sum(axis=0), *grads]
        grad = grad @ params[2 * i].T
        if i:
            grad = grad * (inputs[i] > 0)
    return grads, grad


def numpy_d(d: list, g: list, real: np.ndarray, z: np.ndarray) -> tuple[list, dict]:
    """D's gradient of -(mean log D(x) + mean log(1 - D(G(z)))), and the info."""
    fake = sigmoid(forward(g, z)[0])
    (on_real, real_inputs), (on_fake, fake_inputs) = forward(d, real), forward(d, fake)
    d_real, d_fake = sigmoid(on_real), sigmoid(on_fake)
    from_real, _ = backward(d, real_inputs, (d_real - 1) / len(real))
    from_fake, _ = backward(d, fake_inputs, d_fake / len(fake))
    grads = [a + b for a, b in zip(from_real, from_fake, strict=True)]
    return grads, {
        "d_loss": -np.mean(np.log(d_real)) - np.mean(np.log(1 - d_fake)),
        "d_real": d_real.mean(),
        "d_fake": d_fake.mean(),
        "d_grad_norm": norm(grads),
    }


def numpy_g(loss: str, d: list, g: list, z: np.ndarray) -> tuple[list, dict]:
    """G's gradient of mean log(1 - D(G(z))) or -mean log D(G(z)), and the info."""
    before, g_inputs = forward(g, z)
    fake = sigmoid(before)
    logits, d_inputs = forward(d, fake)
    d_fake = sigmoid(logits)
    g_loss, grad = {
        "minimax": (np.mean(np.log(1 - d_fake)), -d_fake),
        "non_saturating": (-np.mean(np.log(d_fake)), d_fake - 1),
    }[loss]
    _, grad = backward(d, d_inputs, grad / len(z))
    grads, _ = backward(g, g_inputs, grad * fake * (1 - fake))
    return grads, {"g_loss": g_loss, "g_grad_norm": norm(grads)}


def numpy_descend(optimizer: str, params: list, grads: list, memory: dict, rate: float) -> list:
    """SGD, or Adam, whose moments and count live in `memory`."""
    if optimizer == "sgd":
        return [p - rate * x for p, x in zip(params, grads, strict=True)]
    t = memory["t"] = memory.get("t", 0) + 1
    old_m, old_v = memory.get("m", [0] * len(grads)), memory.get("v", [0] * len(grads))
    m = [B1 * a + (1 - B1) * x for a, x in zip(old_m, grads, strict=True)]
    v = [B2 * a + (1 - B2) * x**2 for a, x in zip(old_v, grads, strict=True)]
    memory.update(m=m, v=v)
    return [
        p - rate * (a / (1 - B1**t)) / (np.sqrt(b / (1 - B2**t)) + EPS)
        for p, a, b in zip(params, m, v, strict=True)
    ]


# Large enough to move the parameters by a tenth of their size in 15 iterations.
RATE = {"sgd": 0.3, "adam": 0.02}


def as_list(params) -> list:
    """The parameters of flax as layers in turn, in float64."""
    layers = [params[f"Dense_{i}"] for i in range(len(params))]
    return [np.asarray(layer[x], np.float64) for layer in layers for x in ("kernel", "bias")]


@functools.cache
def draws(k: int, steps: int) -> list[np.ndarray]:
    """For each iteration: k minibatches, k noises for D, and G's noise."""
    spec, root = make_spec(k=k), jax.random.key_data(jax.random.key(0))

    def z(stream: Stream, number: jax.Array) -> jax.Array:
        return noise(spec, stream_key(root, stream, number), BATCH)

    draw_real = jax.vmap(lambda number: minibatch(BATCH, root, IMAGES, number).x)
    draw_z = [jax.vmap(functools.partial(z, s)) for s in (Stream.NOISE_D, Stream.NOISE_G)]
    numbers = jnp.arange(steps * k)
    out = jax.jit(draw_real)(numbers), draw_z[0](numbers), draw_z[1](jnp.arange(steps))
    real, d_z, g_z = (np.asarray(x, np.float64) for x in out)
    return list(zip(np.split(real, steps), np.split(d_z, steps), g_z, strict=True))


@pytest.mark.parametrize(
    ("loss", "k", "d_optimizer", "g_optimizer"),
    [
        ("minimax", 1, "adam", "sgd"),
        ("minimax", 3, "sgd", "adam"),
        ("non_saturating", 1, "sgd", "adam"),
        ("non_saturating", 3, "adam", "sgd"),
    ],
)
def test_iterations_match_algorithm_1_in_numpy(loss, k, d_optimizer, g_optimizer):
    spec = make_spec(
        loss=loss,
        k=k,
        d_optimizer=d_optimizer,
        g_optimizer=g_optimizer,
        # Schedules count iterations, for any k.
        schedules=tuple(
            Schedule(f"{player}_optimizer.learning_rate", "linear", 0.0, 20) for player in "dg"
        ),
    )
    hparams = rates(RATE[d_optimizer], RATE[g_optimizer])
    start = state = algorithms.init(spec, hparams, 0, IMAGES)
    d, g = (as_list(start.players[name].params) for name in "dg")
    d_memory, g_memory = {}, {}
    for step, (reals, d_z, g_z) in enumerate(draws(k, 15)):
        decay = 1 - step / 20
        for real, z in zip(reals, d_z, strict=True):
            grads, d_info = numpy_d(d, g, real, z)
            d = numpy_descend(d_optimizer, d, grads, d_memory, decay * RATE[d_optimizer])
        grads, g_info = numpy_g(loss, d, g, g_z)
        g = numpy_descend(g_optimizer, g, grads, g_memory, decay * RATE[g_optimizer])

        state, info = algorithms.train_chunk(spec, hparams, state, IMAGES, 1)
        # Float32 rounding, 1e-7 per sum, accumulates over at most 60 updates, and Adam's quotient
        # magnifies it where a gradient all but cancels.
        close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
        jax.tree.map(close, as_list(state.players["d"].params), d)
        jax.tree.map(close, as_list(state.players["g"].params), g)
        expected = {"step": step + 1, **d_info, **g_info}
        expected |= {"d_param_norm": norm(d), "g_param_norm": norm(g)}
        assert info.keys() == expected.keys()
        for name, value in expected.items():
            close(info[name], value, err_msg=name)
    for name, params in (("d", d), ("g", g)):
        begun = as_list(start.players[name].params)
        assert max(np.abs(a - b).max() for a, b in zip(params, begun, strict=True)) > 0.05


# One iteration


def dropping(**changes) -> GANSpec:
    """Every draw of a step matters: a relativistic loss and dropout."""
    network = MLP((6,), (), "relu", "linear", "uniform", 0.5, input_dropout=0.2, dropout=0.5)
    return make_spec(loss="relativistic_pairing", discriminator=network, **changes)


def draw(state, batch: Stream, z: Stream, key: Stream, number: int):
    return (
        minibatch(BATCH, state.key, IMAGES, number, batch),
        noise(make_spec(), stream_key(state.key, z, number), BATCH),
        stream_key(state.key, key, number),
    )


@pytest.mark.slow
def test_an_iteration_is_k_d_steps_then_a_g_step():
    spec = dropping(k=2)
    state = algorithms.init(spec, HPARAMS, 0, IMAGES)._replace(step=jnp.int32(3))
    expected = state
    for number in (6, 7):
        drawn = draw(state, Stream.BATCH, Stream.NOISE_D, Stream.STEP_D, number)
        expected, d_info = gan.d_step(spec, HPARAMS, expected, *drawn)
    drawn = draw(state, Stream.BATCH_G, Stream.NOISE_G, Stream.STEP_G, 3)
    expected, g_info = gan.g_step(spec, HPARAMS, expected, *drawn)
    actual, info = jax.jit(gan.step, static_argnums=0)(spec, HPARAMS, state, IMAGES)
    jax.tree.map(CLOSE, actual, expected._replace(step=jnp.int32(4)))
    jax.tree.map(CLOSE, info, d_info | g_info)


def test_simultaneous_steps_share_all_draws():
    spec = dropping(update="simultaneous")
    state = algorithms.init(spec, HPARAMS, 0, IMAGES)._replace(step=jnp.int32(3))
    drawn = draw(state, Stream.BATCH, Stream.NOISE_D, Stream.STEP_D, 3)
    d, d_info = gan.d_step(spec, HPARAMS, state, *drawn)
    g, g_info = gan.g_step(spec, HPARAMS, state, *drawn)
    actual, info = jax.jit(gan.step, static_argnums=0)(spec, HPARAMS, state, IMAGES)
    players = {"d": d.players["d"], "g": g.players["g"]}
    jax.tree.map(CLOSE, actual, state._replace(step=jnp.int32(4), players=players))
    jax.tree.map(CLOSE, info, d_info | g_info)


# One step


@pytest.mark.parametrize(("player", "step"), [("d", gan.d_step), ("g", gan.g_step)])
def test_a_step_changes_its_own_player(player, step):
    spec = make_spec(
        "adam",
        generator=MLP((5,), SHAPE, "relu", "sigmoid", "uniform", 0.5, batch_norm=True),
        discriminator=MLP((6,), (), "relu", "linear", "uniform", 0.5, spectral_norm=True),
    )
    state = algorithms.init(spec, HPARAMS, 0, IMAGES)
    new, _ = step(spec, HPARAMS, state, REAL, Z, KEY)
    old = state.players[player]
    assert_equal(new.replace_players(**{player: old}), state)
    assert_all_differ(new.players[player].params, old.params)
    assert old.stats
    same = jax.tree.map(np.array_equal, new.players[player].stats, old.stats)
    assert not all(jax.tree.leaves(same))


def test_batch_norm_uses_the_minibatch_in_steps_only():
    spec = make_spec(generator=MLP((5,), SHAPE, "relu", "sigmoid", "uniform", 0.5, batch_norm=True))
    state = algorithms.init(spec, HPARAMS, 0, IMAGES)
    d, g = (state.players[name].variables for name in "dg")
    fake, stats = networks.apply(spec.generator, g, Z, train=True)
    new, g_info = gan.g_step(spec, HPARAMS, state, REAL, Z, KEY)
    assert_equal(new.players["g"].stats, stats)
    logits = np.asarray(networks.apply(spec.discriminator, d, fake)[0], np.float64)
    _, d_info = gan.d_step(spec, HPARAMS, state, REAL, Z, KEY)
    CLOSE(d_info["d_fake"], sigmoid(logits).mean())
    CLOSE(g_info["g_loss"], -np.log(sigmoid(logits)).mean())
    samples = algorithms.generate(spec, state, Z)
    assert np.abs(samples - fake).max() > 0.01
    CLOSE(algorithms.generate(spec, state, Z[:2]), samples[:2])


# Steps with D(x) = w x and G(z) = z + b, b = 0: gradients by hand.

W = np.array([3.0, 0.0, -4.0])
X, M = np.random.default_rng(2).normal(size=(2, BATCH, 3))  # real examples and fakes
LINEAR = {"activation": "linear", "output": "linear", "initializer": "uniform", "init_scale": 1.0}
DRAWN = Batch(jnp.float32(X)), jnp.float32(M), KEY


def linear_game(**changes):
    spec = make_spec(
        generator=MLP((), (3,), **LINEAR), discriminator=MLP((), (), **LINEAR), **changes
    )
    state = algorithms.init(spec, HPARAMS, 0, Batch(jnp.zeros((1, 3))))
    params = {
        "d": {"Dense_0": {"kernel": jnp.float32(W)[:, None], "bias": jnp.zeros(1)}},
        "g": {"Dense_0": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}},
    }
    return spec, state.replace_players(
        **{name: state.players[name]._replace(params=p) for name, p in params.items()}
    )


def test_info_of_losses_without_probabilities():
    spec, state = linear_game(loss="wasserstein", penalties=(("r1", 1),))
    hparams = rates(0.01, 0.02, **{"penalties.r1.weight": 2.0})
    new, info = gan.d_step(spec, hparams, state, *DRAWN)
    CLOSE((info["d_real"], info["d_fake"]), (np.mean(X @ W), np.mean(M @ W)))
    CLOSE((info["d_loss"], info["d_penalty"]), (np.mean(M @ W) - np.mean(X @ W), 25))
    grad = M.mean(axis=0) - X.mean(axis=0) + 2 * W
    CLOSE(info["d_grad_norm"], norm([grad]))
    CLOSE(new.players["d"].params["Dense_0"]["kernel"][:, 0], W - 0.01 * grad)


def test_relativistic_generator_step_by_hand():
    spec, state = linear_game(loss="relativistic_pairing")
    new, info = gan.g_step(spec, HPARAMS, state, *DRAWN)
    gap = (X - M) @ W
    CLOSE(info["g_loss"], np.mean(np.logaddexp(0, gap)))
    by_bias = -np.mean(sigmoid(gap)) * W
    CLOSE(new.players["g"].params["Dense_0"]["bias"], -0.02 * by_bias)


def test_unrolled_generator_step_by_hand():
    # A D step on the Wasserstein loss is w <- w + rate (mean(x) - m) for m = mean(fakes) + b, so
    # that after n of them -w m has the gradient -w + n rate m with respect to b.
    spec, state = linear_game(loss="wasserstein", update="unrolled", unrolled_steps=3)
    new, info = gan.g_step(spec, HPARAMS, state, *DRAWN)
    m, ahead = M.mean(axis=0), 3 * 0.01
    w = W + ahead * (X.mean(axis=0) - m)
    CLOSE(info["g_loss"], -w @ m)
    CLOSE(new.players["g"].params["Dense_0"]["bias"], -0.02 * (ahead * m - w))
    assert_equal(new.players["d"], state.players["d"])


def test_weight_clip_bounds_d_only():
    bound = 0.05
    spec, state = make_spec(loss="wasserstein"), algorithms.init(make_spec(), HPARAMS, 0, IMAGES)
    clipped = rates(0.01, 0.02, weight_clip=bound)
    free, _ = gan.d_step(spec, HPARAMS, state, REAL, Z, KEY)
    new, _ = gan.d_step(spec, clipped, state, REAL, Z, KEY)
    expected = jax.tree.map(lambda x: np.clip(x, -bound, bound), free.players["d"].params)
    assert_equal(new.players["d"].params, expected)
    assert_all_differ(
        *(x["Dense_0"]["kernel"] for x in (free.players["d"].params, new.players["d"].params))
    )
    after, _ = gan.g_step(spec, clipped, state, REAL, Z, KEY)
    assert_equal(after, gan.g_step(spec, HPARAMS, state, REAL, Z, KEY)[0])


def test_ema_is_ramped_up_and_sampled():
    spec, hparams = make_spec(), rates(0.01, 0.02, ema=0.5)
    state = algorithms.init(spec, hparams, 0, IMAGES)
    assert_equal(state.averages, {"ema": state.players["g"].variables})
    for t in range(12):  # the decay reaches 0.5 at t = 8
        new, _ = algorithms.train_chunk(spec, hparams, state, IMAGES, 1)
        decay, g = min(0.5, (1 + t) / (10 + t)), new.players["g"].variables
        expected = jax.tree.map(
            lambda old, g, decay=decay: decay * old + (1 - decay) * g, state.averages["ema"], g
        )
        jax.tree.map(CLOSE, new.averages["ema"], expected)
        state = new
    averaged = state.players["g"]._replace(params=state.averages["ema"].params)
    plain = state.replace_players(g=averaged)._replace(averages={})
    assert_equal(algorithms.generate(spec, state, Z), algorithms.generate(spec, plain, Z))
    assert np.any(
        algorithms.generate(spec, state._replace(averages={}), Z)
        != algorithms.generate(spec, state, Z)
    )
    assert trainable(state)["ema"] is state.averages["ema"]


def test_generate_in_blocks(monkeypatch):
    state = algorithms.init(make_spec(), HPARAMS, 0, IMAGES)
    whole = algorithms.generate(make_spec(), state, Z)
    assert whole.shape == (BATCH, *SHAPE)
    monkeypatch.setattr(algorithms, "_BLOCK", 3)
    CLOSE(algorithms.generate(make_spec(), state, Z), whole)


def test_players_start_from_different_draws():
    twin = MLP((5,), (3,), "relu", "linear", "uniform", 1.0)
    state = algorithms.init(
        make_spec(generator=twin, discriminator=twin), HPARAMS, 0, Batch(jnp.zeros((1, 3)))
    )
    assert_all_differ(*(state.players[name].params["Dense_0"]["kernel"] for name in "dg"))


# Static and traced


OPTIONAL = tuple(name for name, field in COMMON.items() if field.optional)


def primitives(jaxpr) -> dict[str, int]:
    """How often each primitive stands in a jaxpr and the jaxprs inside it."""
    counts: dict[str, int] = {}
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        counts[name] = counts.get(name, 0) + 1
        for inner in jaxprs_in_params(equation.params):
            for name, count in primitives(inner).items():
                counts[name] = counts.get(name, 0) + count
    return counts


def trace(spec: GANSpec, hparams):
    state = algorithms.shapes(spec, hparams)
    return jax.make_jaxpr(gan.step, static_argnums=0)(spec, hparams, state, IMAGES)


def test_disabled_options_are_compiled_out():
    plain = trace(make_spec("adam"), HPARAMS)
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


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_option_adds_one_traced_number(name):
    spec = off_spec = make_spec()
    if name.startswith("penalties"):
        spec = make_spec(penalties=((name.split(".")[1], 1),))
    elif name == "ada_target":
        off_spec = make_spec(augment=("flip",))
        spec = off_spec._replace(adaptive=True)
    elif name == "consensus":
        spec, off_spec = make_spec(update="consensus"), make_spec(update="simultaneous")
    on, off = trace(spec, rates(0.01, 0.02, **{name: 0.1})), trace(off_spec, HPARAMS)
    averages = {"ema": 4, "ema_half_life": 4, "ada_target": 2}.get(name, 0)  # arrays
    assert len(on.jaxpr.invars) == len(off.jaxpr.invars) + 1 + averages
    assert sum(primitives(on.jaxpr).values()) > sum(primitives(off.jaxpr).values())


@pytest.mark.slow
def test_traced_numbers_share_one_compilation():
    def compilations(hparams, seed: int = 0, num_steps: int = 1) -> int:
        spec = make_spec(z_dim=2, penalties=(("r1", 1),))  # of no other test
        state = algorithms.init(spec, hparams, seed, IMAGES)
        state, _ = algorithms.train_chunk(spec, hparams, state, IMAGES, num_steps)
        algorithms.train_chunk(spec, hparams, state, IMAGES, num_steps)  # from its own output
        return algorithms.train_chunk._cache_size()

    traced = [name for name, field in COMMON.items() if field.traced]
    size = compilations(make_hparams(dict.fromkeys(traced, 0.1)))
    assert compilations(make_hparams(dict.fromkeys(traced, 0.2)), seed=9, num_steps=3) == size
    assert compilations(make_hparams(dict.fromkeys(traced, 0.2) | {"ema": 0.0})) == size + 1


@pytest.mark.parametrize(
    "changes", [{}, {"penalties": (("r1", 2),)}, {"update": "extragradient"}], ids=str
)
def test_info_names(changes):
    spec = make_spec(**changes)
    hparams = rates(0.01, 0.02, **{"penalties.r1.weight": 1.0})
    state = algorithms.shapes(spec, hparams)
    chunk = functools.partial(algorithms.train_chunk, spec)
    _, info = jax.eval_shape(chunk, hparams, state, IMAGES, 1)
    assert set(info) == {"step", *gan.info_names(spec)}
    assert ("d_penalty" in info) == bool(spec.penalties)


class ToySpec(NamedTuple):
    algorithm: str = "toy"
    schedules: tuple[Schedule, ...] = ()


def test_an_algorithm_is_four_functions(monkeypatch):
    """Gradient descent on |w - mean(x)|^2 / 2, of which its callers know nothing else."""

    def init(spec, hparams, seed, data):
        w = Player(jnp.zeros(2), {}, ())
        return State(jnp.int32(0), jax.random.key_data(jax.random.key(seed)), {"w": w}, {})

    def step(spec, hparams, state, data):
        w = state.players["w"]
        grad = w.params - data.x.mean(axis=0)
        new = state.replace_players(w=w._replace(params=w.params - hparams["rate"] * grad))
        return new._replace(step=state.step + 1), {"loss": jnp.sum(grad**2) / 2}

    def sample(spec, state, z):
        return z + state.players["w"].params

    toy = algorithms.Algorithm(init, step, sample, lambda spec: ("loss", "w_param_norm"))
    monkeypatch.setitem(algorithms.ALGORITHMS, "toy", toy)
    spec, hparams, data = ToySpec(), {"rate": 0.5}, Batch(jnp.float32([[2, 4], [4, 8]]))
    state = algorithms.init(spec, hparams, 0, data)
    state, info = algorithms.train_chunk(spec, hparams, state, data, 3)
    w = np.array([3, 6]) * (1 - 0.5**3)
    loss = norm([np.array([3, 6]) * 0.5**2]) ** 2 / 2
    jax.tree.map(CLOSE, info, {"step": 3, "loss": loss, "w_param_norm": norm([w])})
    CLOSE(algorithms.generate(spec, state, jnp.zeros((5, 2))), [w] * 5)


def test_ada_adapts_every_fourth_iteration():
    spec = make_spec(augment=("translation",), adaptive=True)
    hparams = rates(0.01, 0.02, ada_target=-2.0)  # below any mean sign
    state, seen = algorithms.init(spec, hparams, 0, IMAGES), []
    for _ in range(9):
        state, info = algorithms.train_chunk(spec, hparams, state, IMAGES, 1)
        seen.append(float(info["augment_probability"]))
    rise = 4 * spec.batch_size / 500_000
    CLOSE(seen, [0] * 4 + [rise] * 4 + [2 * rise])
    assert info.keys() == {"step", *gan.info_names(spec)}


# Divergence


def test_info_freezes_at_first_non_finite_iteration():
    # Unbounded players at an absurd learning rate outgrow float32 in a few iterations.
    spec = make_spec(
        k=3,
        generator=MLP((5,), SHAPE, "leaky_relu", "linear", "uniform", 1.0),
        discriminator=MLP((6,), (), "leaky_relu", "linear", "uniform", 1.0),
    )
    run = functools.partial(algorithms.train_chunk, spec, rates(30.0, 30.0))
    start = state = algorithms.init(spec, HPARAMS, 0, IMAGES)
    infos = []
    for _ in range(12):
        state, info = run(state, IMAGES, 1)
        infos.append({name: x for name, x in info.items() if not name.endswith("_norm")})
    first = next(i for i, x in enumerate(infos) if not np.isfinite(list(x.values())).all())
    assert 0 < first < 11  # neither at once nor at the end, or nothing is tested
    end, info = run(start, IMAGES, 12)
    assert_equal({name: info[name] for name in infos[0]}, infos[first])
    assert (int(info["step"]), int(end.step)) == (first + 1, 12)
    _, info = run(start, IMAGES, first)  # up to the iteration before, all is finite
    assert_equal({name: info[name] for name in infos[0]}, infos[first - 1])


@pytest.mark.parametrize("player", ["d", "g"])
def test_nan_parameters_are_reported(player):
    spec = make_spec("adam")
    state = algorithms.init(spec, HPARAMS, 0, IMAGES)
    state, _ = algorithms.train_chunk(spec, HPARAMS, state, IMAGES, 2)
    broken = state.players[player]
    params = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(jnp.nan), broken.params)
    state = state.replace_players(**{player: broken._replace(params=params)})
    state, info = algorithms.train_chunk(spec, HPARAMS, state, IMAGES, 5)
    assert (int(info["step"]), int(state.step)) == (3, 7)
    assert np.isnan([info["d_loss"], info["g_loss"], info[f"{player}_param_norm"]]).all()
