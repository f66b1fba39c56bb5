"""Tests of gan_jax.algorithm: conformance to Algorithm 1 by plain NumPy, and what the steps are."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import io_callback

from gan_jax import algorithm, checkpoint, core, losses, minibatch, networks
from gan_jax.algorithm import train_chunk
from gan_jax.core import Game, HParams, Prior, Role, State
from gan_jax.networks import MLP
from gan_jax.optimizers import Optimizer, Rates

N, BATCH, SHAPE = 20, 8, (4, 4, 1)  # 8 does not divide 20
RATES = Rates(0.01, 0.5, 0.9, 1e-8)
HPARAMS = HParams(RATES, RATES._replace(learning_rate=0.02))
KEY = jax.random.key(7)


def game(optimizer: str = "adam", **changes) -> Game:
    fields = {
        "loss": "non_saturating",
        "k": 1,
        "update": "alternating",
        "batch_size": BATCH,
        "z_dim": 3,
        "prior": Prior("uniform"),
        "generator": MLP((5,), SHAPE, "relu", "sigmoid", "uniform", 0.5),
        "discriminator": MLP((6,), (), "relu", "linear", "uniform", 0.5),
        "d_optimizer": Optimizer(optimizer),
        "g_optimizer": Optimizer(optimizer),
    }
    return Game(**fields | changes)


def images() -> jax.Array:
    return jnp.float32(np.random.default_rng(0).uniform(size=(N, *SHAPE)))


def assert_equal(actual, expected) -> None:
    """Two pytrees have the same bits."""
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def assert_all_differ(actual, expected) -> None:
    """No array of one pytree is that of the other."""
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
    """Gradients by the parameters and by the input, from that by the last layer's output."""
    grads = []
    for i in reversed(range(len(inputs))):
        grads = [inputs[i].T @ grad, grad.sum(axis=0), *grads]
        grad = grad @ params[2 * i].T
        if i:
            grad = grad * (inputs[i] > 0)
    return grads, grad


def numpy_d(d: list, g: list, real: np.ndarray, noise: np.ndarray) -> tuple[list, dict]:
    """D's gradient of -(mean log D(x) + mean log(1 - D(G(z)))), and the info."""
    fake = sigmoid(forward(g, noise)[0])
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


def numpy_g(loss: str, d: list, g: list, noise: np.ndarray) -> tuple[list, dict]:
    """G's gradient of mean log(1 - D(G(z))), or of -mean log D(G(z)), and the info."""
    before, g_inputs = forward(g, noise)
    fake = sigmoid(before)
    logits, d_inputs = forward(d, fake)
    d_fake = sigmoid(logits)
    g_loss, grad = {
        "minimax": (np.mean(np.log(1 - d_fake)), -d_fake),
        "non_saturating": (-np.mean(np.log(d_fake)), d_fake - 1),
    }[loss]
    _, grad = backward(d, d_inputs, grad / len(noise))
    grads, _ = backward(g, g_inputs, grad * fake * (1 - fake))
    return grads, {"g_loss": g_loss, "g_grad_norm": norm(grads)}


def numpy_descend(optimizer: str, params: list, grads: list, memory: dict, rate: float) -> list:
    """SGD, or Adam, whose moments and count live in `memory`."""
    if optimizer == "sgd":
        return [p - rate * x for p, x in zip(params, grads, strict=True)]
    t = memory["t"] = memory.get("t", 0) + 1
    old_m, old_v = memory.get("m", [0] * len(grads)), memory.get("v", [0] * len(grads))
    m = [RATES.b1 * a + (1 - RATES.b1) * x for a, x in zip(old_m, grads, strict=True)]
    v = [RATES.b2 * a + (1 - RATES.b2) * x**2 for a, x in zip(old_v, grads, strict=True)]
    memory.update(m=m, v=v)
    return [
        p - rate * (a / (1 - RATES.b1**t)) / (np.sqrt(b / (1 - RATES.b2**t)) + RATES.eps)
        for p, a, b in zip(params, m, v, strict=True)
    ]


# Large enough that in 15 steps the parameters move by a tenth of their size.
RATE = {"sgd": 0.3, "adam": 0.02}


def as_list(params) -> list:
    """The parameters of flax as layers in turn, in float64."""
    layers = [params[f"Dense_{i}"] for i in range(len(params))]
    return [np.asarray(layer[x], np.float64) for layer in layers for x in ("kernel", "bias")]


@functools.cache
def draws(k: int, steps: int) -> list[np.ndarray]:
    """For each step, by gan_jax's own numbers: k minibatches, k noises for D, and G's noise."""
    structure, data = game(k=k), images()
    state = core.init(structure, HPARAMS, 0, images())

    def noise(role: Role, number: jax.Array) -> jax.Array:
        key = core.role_key(state.key, role, number)
        return core.sample_noise(structure, key, BATCH)

    real = jax.vmap(lambda number: core.draw_real(structure, state, data, number))
    d_noise, g_noise = (jax.vmap(functools.partial(noise, r)) for r in (Role.NOISE_D, Role.NOISE_G))
    numbers = jnp.arange(steps * k)
    out = [jax.jit(real)(numbers), jax.jit(d_noise)(numbers), jax.jit(g_noise)(jnp.arange(steps))]
    reals, d_noises, g_noises = (np.asarray(x, np.float64) for x in out)
    return list(zip(np.split(reals, steps), np.split(d_noises, steps), g_noises, strict=True))


@pytest.mark.parametrize(
    ("loss", "k", "d_optimizer", "g_optimizer"),
    [
        ("minimax", 1, "adam", "sgd"),
        ("minimax", 3, "sgd", "adam"),
        ("non_saturating", 1, "sgd", "adam"),
        ("non_saturating", 3, "adam", "sgd"),
    ],
)
def test_training_is_algorithm_1_step_by_step(loss, k, d_optimizer, g_optimizer):
    structure = game(
        loss=loss,
        k=k,
        # The schedule counts iterations, whatever k is.
        d_optimizer=Optimizer(d_optimizer, "linear", decay_steps=20),
        g_optimizer=Optimizer(g_optimizer, "linear", decay_steps=20),
    )
    hparams = HParams(
        *(RATES._replace(learning_rate=RATE[name]) for name in (d_optimizer, g_optimizer))
    )
    state, data = core.init(structure, hparams, 0, images()), images()
    d, g = as_list(state.d.params), as_list(state.g.params)
    d_memory, g_memory = {}, {}
    jax_state = state
    for step, (reals, d_noises, g_noise) in enumerate(draws(k, 15)):
        decay = 1 - step / 20
        for real, noise in zip(reals, d_noises, strict=True):
            grads, d_info = numpy_d(d, g, real, noise)
            rate = decay * hparams.d.learning_rate
            d = numpy_descend(d_optimizer, d, grads, d_memory, rate)
        grads, g_info = numpy_g(loss, d, g, g_noise)
        g = numpy_descend(g_optimizer, g, grads, g_memory, decay * hparams.g.learning_rate)

        jax_state, info = train_chunk(structure, hparams, jax_state, data, 1)
        # NumPy is in float64: the difference is float32's rounding, 1e-7 a sum, gathered over at
        # most 60 updates, and Adam's quotient magnifies it where a gradient all but cancels.
        close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
        jax.tree.map(close, as_list(jax_state.d.params), d)
        jax.tree.map(close, as_list(jax_state.g.params), g)
        expected = {"step": step + 1, **d_info, **g_info}
        expected |= {"d_param_norm": norm(d), "g_param_norm": norm(g)}
        assert info.keys() == expected.keys()
        for name, value in expected.items():
            close(info[name], value, err_msg=name)
    assert max(np.abs(a - b).max() for a, b in zip(d, as_list(state.d.params), strict=True)) > 0.05
    assert max(np.abs(a - b).max() for a, b in zip(g, as_list(state.g.params), strict=True)) > 0.05


# What a step sees.


@pytest.fixture(scope="module", params=[1, 3], ids=["k=1", "k=3"])
def record(request) -> tuple[int, list]:
    """Every call of d_step and g_step in training, in order: k, and (role, state, inputs, new)."""
    k, calls = request.param, []

    def recorded(role, step):
        def run(game, hparams, state, *inputs):
            new, info = step(game, hparams, state, *inputs)
            inputs = (*inputs[:-1], jax.random.key_data(inputs[-1]))
            io_callback(lambda *x: calls.append((role, *x)), None, state, inputs, new, ordered=True)
            return new, info

        return run

    structure = game(k=k)
    # Each image is its own index, so that what was drawn can be read off.
    data = jnp.broadcast_to(jnp.arange(N, dtype=jnp.float32)[:, None, None, None], (N, *SHAPE))
    state = core.init(structure, HPARAMS, 0, images())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(algorithm, "d_step", recorded("d", algorithm.d_step))
        patch.setattr(algorithm, "g_step", recorded("g", algorithm.g_step))
        step = jax.jit(functools.partial(algorithm.train_step, structure))
        for _ in range(15):
            state, _ = step(HPARAMS, state, data)
        jax.block_until_ready(state)
        jax.effects_barrier()
    return k, [(role, *jax.tree.map(np.asarray, rest)) for role, *rest in calls]


def test_an_iteration_is_k_discriminator_steps_and_then_one_of_the_generator(record):
    k, calls = record
    assert "".join(role for role, *_ in calls) == ("d" * k + "g") * 15


def test_each_step_starts_from_what_the_step_before_left(record):
    # In particular G's step sees the D just updated, and all k of D's steps the same G.
    _, calls = record
    for (_, _, _, before), (_, state, _, _) in itertools.pairwise(calls):
        assert_equal((state.d, state.g), (before.d, before.g))


def test_steps_carry_the_number_of_their_iteration(record):
    k, calls = record
    steps = [int(state.step) for _, state, _, _ in calls]
    assert steps == [i // (k + 1) for i in range(len(calls))]


def test_every_discriminator_step_gets_a_fresh_minibatch_and_an_epoch_sees_each_image_once(record):
    k, calls = record
    minibatches = np.array([x[0][:, 0, 0, 0] for role, _, x, _ in calls if role == "d"])
    assert minibatches.shape == (15 * k, BATCH)
    assert len(np.unique(minibatches, axis=0)) == 15 * k
    epochs = minibatches.reshape(-1, N)  # 120 or 360 examples: six epochs or eighteen
    np.testing.assert_array_equal(np.sort(epochs), np.broadcast_to(np.arange(N), epochs.shape))
    assert len(np.unique(epochs, axis=0)) == len(epochs)


def test_no_noise_vector_is_used_twice_across_roles_steps_and_k(record):
    k, calls = record
    noise = np.array([x[-2] for _, _, x, _ in calls])
    assert noise.shape == (15 * (k + 1), BATCH, 3)
    vectors = noise.reshape(-1, 3)
    assert len(np.unique(vectors, axis=0)) == len(vectors)


def test_no_key_of_a_step_is_used_twice(record):
    keys = np.array([x[-1] for _, _, x, _ in record[1]])
    assert len(np.unique(keys, axis=0)) == len(keys)


def test_every_role_and_number_has_a_key_of_its_own():
    root = core.init(game(), HPARAMS, 0, images()).key
    role, number = (x.ravel() for x in jnp.meshgrid(jnp.array(list(Role)), jnp.arange(50)))
    keys = jax.vmap(functools.partial(core.role_key, root))(role, number)
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == 50 * len(Role.__members__)


@pytest.mark.parametrize(
    ("prior", "mean", "std"),
    [
        (Prior("uniform"), 0.0, 2 / np.sqrt(12)),
        (Prior("uniform", 2.0, 3.0), 2.5, 1 / np.sqrt(12)),
        (Prior("normal"), 0.0, 1.0),
    ],
)
def test_noise_has_the_distribution_of_the_prior(prior, mean, std):
    z = np.asarray(core.sample_noise(game(prior=prior), jax.random.key(0), 10_000))
    assert z.shape == (10_000, 3)
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=5 * std / 100)
    np.testing.assert_allclose(z.std(axis=0), std, rtol=5 / np.sqrt(20_000))
    np.testing.assert_allclose(np.corrcoef(z.T) - np.eye(3), 0, atol=0.05)
    if prior.name == "uniform":
        assert prior.low <= z.min() < z.max() < prior.high


def test_bytes_become_numbers_from_0_to_1_and_numbers_stay_as_they_are():
    state = core.init(game(), HPARAMS, 0, images())
    data = np.arange(N * 16, dtype=np.uint8).reshape(N, *SHAPE)
    from_bytes = core.draw_real(game(), state, jnp.asarray(data), 3)
    from_floats = core.draw_real(game(), state, jnp.asarray(data, jnp.float32), 3)
    assert from_bytes.dtype == jnp.float32
    np.testing.assert_allclose(from_bytes, np.asarray(from_floats) / 255, rtol=1e-6)


# One step alone.


@pytest.fixture(scope="module")
def fixed():
    """A game played with SGD, its state, and a fixed minibatch."""
    structure = game("sgd")
    noise = core.sample_noise(structure, jax.random.key(5), BATCH)
    return structure, core.init(structure, HPARAMS, 0, images()), images()[:BATCH], noise


def test_d_step_changes_nothing_but_the_discriminator(fixed):
    _, _, real, noise = fixed
    state = core.init(game(), HPARAMS, 0, images())
    new, _ = algorithm.d_step(game(), HPARAMS, state, real, noise, KEY)
    assert_equal(new._replace(d=state.d), state)
    assert_all_differ(new.d, state.d)


def test_g_step_changes_nothing_but_the_generator(fixed):
    noise = fixed[3]
    state = core.init(game(), HPARAMS, 0, images())
    new, _ = algorithm.g_step(game(), HPARAMS, state, images()[:BATCH], noise, KEY)
    assert_equal(new._replace(g=state.g), state)
    assert_all_differ(new.g, state.g)


def rates(learning_rate: float) -> HParams:
    return HParams(*[RATES._replace(learning_rate=learning_rate)] * 2)


def test_a_small_d_step_raises_the_value_by_rate_times_squared_gradient(fixed):
    structure, state, real, noise = fixed
    fake = core.generate(structure, state.g.variables, noise)

    def value(state: State) -> float:
        logits = [
            networks.apply(structure.discriminator, state.d.variables, x)[0] for x in (real, fake)
        ]
        return float(losses.value(*logits))

    new, info = algorithm.d_step(structure, rates(1e-2), state, real, noise, KEY)
    np.testing.assert_allclose(info["d_loss"], -value(state), rtol=1e-5)
    # To first order; the second is in the rate, and a fifth leaves it room.
    np.testing.assert_allclose(value(new) - value(state), 1e-2 * info["d_grad_norm"] ** 2, rtol=0.2)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_a_small_g_step_lowers_its_loss_by_rate_times_squared_gradient(fixed, loss):
    structure, state, real, noise = fixed
    structure = structure._replace(loss=loss)
    new, info = algorithm.g_step(structure, rates(1e-1), state, real, noise, KEY)
    _, after = algorithm.g_step(structure, rates(1e-1), new, real, noise, KEY)
    fall = info["g_loss"] - after["g_loss"]
    np.testing.assert_allclose(fall, 1e-1 * info["g_grad_norm"] ** 2, rtol=0.2)


def test_info_is_measured_before_the_update(fixed):
    structure, state, real, noise = fixed
    _, info = algorithm.d_step(structure, rates(1.0), state, real, noise, KEY)
    _, frozen = algorithm.d_step(structure, rates(0.0), state, real, noise, KEY)
    assert_equal(info, frozen)


# Simultaneous updates and dropout, as in the paper's code.


def dropping(**changes) -> Game:
    return game("sgd", discriminator=MLP((6,), (), "relu", "linear", "uniform", 0.5, **changes))


def test_simultaneous_steps_share_players_noise_and_masks():
    structure = dropping(input_dropout=0.2, dropout=0.5)._replace(update="simultaneous")
    data, state = images(), core.init(structure, HPARAMS, 0, images())
    for number in range(3):
        noise_key, key = (
            core.role_key(state.key, role, number) for role in (Role.NOISE_D, Role.STEP_D)
        )
        noise = core.sample_noise(structure, noise_key, BATCH)
        real = core.draw_real(structure, state, data, jnp.int32(number))
        d, d_info = algorithm.d_step(structure, HPARAMS, state, real, noise, key)
        g, g_info = algorithm.g_step(structure, HPARAMS, state, real, noise, key)
        both, info = jax.jit(algorithm.train_step, static_argnums=0)(
            structure, HPARAMS, state, data
        )
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
        jax.tree.map(close, (both.d, both.g), (d.d, g.g))
        jax.tree.map(close, {n: info[n] for n in algorithm.STEP_INFO}, d_info | g_info)
        assert int(both.step) == number + 1
        state = both


def test_simultaneous_is_not_alternating():
    data, state = images(), core.init(game(), HPARAMS, 0, images())
    one, other = (
        train_chunk(game(update=update), HPARAMS, state, data, 1)[0]
        for update in ("alternating", "simultaneous")
    )
    assert_equal(one.d, other.d)
    assert_all_differ(one.g.params, other.g.params)


def test_with_d_steps_key_the_generator_meets_the_fakes_that_d_step_judged():
    # D's mean output on the fakes, from d_step, and by G's loss, -log of it for a single fake.
    structure = dropping(input_dropout=0.5, dropout=0.5)
    state = core.init(structure, HPARAMS, 0, images())
    noise = core.sample_noise(structure, jax.random.key(5), 1)
    losses_g, losses_d = [], []
    for seed in range(5):
        key = jax.random.key(seed)
        _, d_info = algorithm.d_step(structure, HPARAMS, state, images()[:1], noise, key)
        _, g_info = algorithm.g_step(structure, HPARAMS, state, images()[:1], noise, key)
        losses_d.append(-np.log(d_info["d_fake"]))
        losses_g.append(g_info["g_loss"])
    np.testing.assert_allclose(losses_g, losses_d, rtol=1e-5)
    assert len(np.unique(losses_g)) > 1  # other masks, another D, in G's gradient too


def test_real_and_fake_have_masks_of_their_own():
    structure = dropping(input_dropout=0.5)
    state = core.init(structure, HPARAMS, 0, images())
    noise = core.sample_noise(structure, jax.random.key(5), 1)
    fake = core.generate(structure, state.g.variables, noise)
    _, info = algorithm.d_step(structure, HPARAMS, state, fake, noise, KEY)
    assert info["d_real"] != info["d_fake"]
    _, info = algorithm.d_step(dropping(), HPARAMS, state, fake, noise, KEY)
    assert info["d_real"] == info["d_fake"]


def test_half_the_rate_on_the_sum_is_the_rate_on_half_the_sum():
    # configs/goodfellow2014.py stands for the paper's D loss, half of ours, by half the rate.
    structure = game("momentum", d_optimizer=Optimizer("momentum", "exponential", 9, 0.5, 1e-3))
    data, start = images(), core.init(structure, HPARAMS, 0, images())
    halved = losses.LOSSES["non_saturating"]._replace(
        d=lambda real, fake: losses.discriminator(real, fake) / 2
    )

    def run(rate: float, floor: float) -> State:
        optimizer = structure.d_optimizer._replace(end_learning_rate=floor)
        hparams = HPARAMS._replace(d=HPARAMS.d._replace(learning_rate=rate))
        ours = structure._replace(d_optimizer=optimizer)
        return train_chunk(ours, hparams, start, data, 4)[0]

    ours = run(0.05, 5e-4)
    algorithm.d_step.clear_cache()  # where the loss has been looked up already
    train_chunk.clear_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(losses.LOSSES, "non_saturating", halved)
        theirs = run(0.1, 1e-3)
    algorithm.d_step.clear_cache()  # where the loss has been looked up already
    train_chunk.clear_cache()
    assert_equal((ours.d, ours.g), (theirs.d, theirs.g))
    assert_all_differ(ours.d.params, start.d.params)


# What was added to the game since, one step at a time: G hands on its noise, D is linear.


def handed_on(w, **changes) -> tuple[Game, State]:
    """A game in which G(z) = z, of three components, and D(x) = w x; both descend by SGD."""
    w = jnp.float32(w)
    linear = {"activation": "linear", "output": "linear", "initializer": "uniform"}
    structure = game(
        "sgd",
        z_dim=3,
        generator=MLP((), (3,), init_scale=1.0, **linear),
        discriminator=MLP((), (), init_scale=1.0, **linear),
        **changes,
    )
    state = core.init(structure, HPARAMS, 0, jnp.zeros((1, 3)))
    d = {"Dense_0": {"kernel": w[:, None], "bias": jnp.zeros(1)}}
    g = {"Dense_0": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}}
    state = state._replace(d=state.d._replace(params=d), g=state.g._replace(params=g))
    assert jax.tree.map(jnp.shape, state) == core_shapes(structure)
    return structure, state


def core_shapes(structure: Game) -> State:
    return jax.tree.map(lambda x: x.shape, core.shapes(structure, HPARAMS))


W = np.array([3.0, 0.0, -4.0])  # of length 5
POINTS = np.random.default_rng(2).normal(size=(2, BATCH, 3))  # real, and fakes
CLOSE = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6)


def kinds(counts: tuple[int, ...]) -> jax.Array:
    """Examples of three kinds, one-hot, so that a linear D is a table of logits."""
    return jnp.eye(3)[np.repeat(np.arange(3), counts)]


@pytest.mark.parametrize("loss", losses.CROSS_ENTROPY)
def test_smoothed_labels_are_soft_targets_for_real_examples_alone(loss):
    p, q, s = np.array([5, 2, 1]) / 8, np.array([1, 3, 4]) / 8, 0.2
    # d/dv of p ((1 - s) softplus(-v) + s softplus(v)) + q softplus(v) is 0 there.
    best = np.log((1 - s) * p / (s * p + q))
    structure, state = handed_on(best, loss=loss, label_smoothing=True)
    step = functools.partial(
        algorithm.d_step, structure, HPARAMS._replace(label_smoothing=s), state, key=KEY
    )
    _, info = step(real=kinds((5, 2, 1)), noise=kinds((1, 3, 4)))
    d = sigmoid(best)
    entropy = -np.sum(p * ((1 - s) * np.log(d) + s * np.log(1 - d))) - np.sum(q * np.log(1 - d))
    CLOSE(info["d_loss"], entropy)
    assert info["d_grad_norm"] < 1e-6


def test_instance_noise_has_its_size_fades_on_its_line_and_is_drawn_for_each_side():
    std, n = 0.5, 2000
    structure, state = handed_on(W, loss="wasserstein", instance_noise=True, noise_steps=10)
    hparams = HPARAMS._replace(instance_noise=std)
    nothing = jnp.zeros((BATCH, 3))  # so that D's means are of the noise alone

    @functools.partial(jax.jit, static_argnums=0)
    def means(structure: Game, step: int) -> list[jax.Array]:
        """D's mean output on real and on fakes, and G's loss, by many keys."""
        now = state._replace(step=step)

        def one(key: jax.Array) -> list[jax.Array]:
            _, d = algorithm.d_step(structure, hparams, now, nothing, nothing, key)
            _, g = algorithm.g_step(structure, hparams, now, nothing, nothing, key)
            return [d["d_real"], d["d_fake"], g["g_loss"]]

        return jax.vmap(one)(jax.random.split(KEY, n))

    for step, fade in ((0, 1), (5, 0.5), (10, 0), (15, 0)):
        real, fake, g_loss = means(structure, step)
        size = std * fade * np.linalg.norm(W) / np.sqrt(BATCH)
        for x in (real, fake):
            np.testing.assert_allclose(np.std(x), size, rtol=5 / np.sqrt(2 * n))
            np.testing.assert_allclose(np.mean(x), 0, atol=5 * size / np.sqrt(n))
        CLOSE(g_loss, -fake)  # by one key, both players see the same noise on the fakes
        if fade:
            assert abs(np.corrcoef(real, fake)[0, 1]) < 5 / np.sqrt(n)
    stays = means(structure._replace(noise_steps=0), 1000)[0]
    np.testing.assert_allclose(np.std(stays), std * 5 / np.sqrt(BATCH), rtol=5 / np.sqrt(2 * n))


def test_packs_are_judged_as_one_and_their_order_is_no_matter():
    w = np.array([1.0, -2.0, 0.5, 0.3, 1.5, -1.0])
    structure, state = handed_on(w, pack=2)
    real, fake = POINTS

    def measured(real: np.ndarray) -> tuple[dict, dict]:
        x = jnp.float32(real), jnp.float32(fake), KEY
        return tuple(
            step(structure, HPARAMS, state, *x)[1] for step in (algorithm.d_step, algorithm.g_step)
        )

    d, g = measured(real)
    on_real, on_fake = (sigmoid(x.reshape(BATCH // 2, 6) @ w) for x in POINTS)
    CLOSE(d["d_loss"], -np.mean(np.log(on_real)) - np.mean(np.log(1 - on_fake)))
    CLOSE((d["d_real"], d["d_fake"]), (on_real.mean(), on_fake.mean()))
    CLOSE(g["g_loss"], -np.mean(np.log(on_fake)))
    packs = real.reshape(-1, 2, 3)
    CLOSE(measured(packs[::-1].reshape(BATCH, 3))[0]["d_loss"], d["d_loss"])
    within = measured(packs[:, ::-1].reshape(BATCH, 3))[0]["d_loss"]
    assert abs(within - d["d_loss"]) > 1e-3


def test_what_g_meets_beside_its_fakes_is_noised_as_well():
    # Both sides are noise alone: softplus(r - f) - softplus(f - r) = r - f.
    structure, state = handed_on(W, loss="relativistic_pairing", instance_noise=True)
    hparams, zeros = HPARAMS._replace(instance_noise=0.5), jnp.zeros((BATCH, 3))
    _, d = algorithm.d_step(structure, hparams, state, zeros, zeros, KEY)
    _, g = algorithm.g_step(structure, hparams, state, zeros, zeros, KEY)
    assert abs(d["d_real"] - d["d_fake"]) > 0.1
    CLOSE(g["g_loss"] - d["d_loss"], d["d_real"] - d["d_fake"], rtol=1e-4)


def test_penalties_are_taken_at_the_examples_that_d_sees(fixed):
    structure, state, real, noise = fixed
    structure = structure._replace(penalties=(("r1", 1),), instance_noise=True)

    def penalty(std: float) -> float:
        hparams = HPARAMS._replace(penalties=(1.0,), instance_noise=std)
        return float(algorithm.d_step(structure, hparams, state, real, noise, KEY)[1]["d_penalty"])

    assert penalty(0.0) > 0
    assert abs(penalty(2.0) / penalty(0.0) - 1) > 1e-3


def test_penalties_add_up_each_with_its_weight():
    # Equal examples on both sides: the loss itself has no gradient.
    rate, weights = HPARAMS.d.learning_rate, (0.3, 2.0)
    structure, state = handed_on(
        W, loss="wasserstein", penalties=(("gradient_penalty", 1), ("r2", 1))
    )
    x = jnp.float32(POINTS[0])
    new, info = algorithm.d_step(structure, HPARAMS._replace(penalties=weights), state, x, x, KEY)
    CLOSE(info["d_penalty"], 0.3 * (5 - 1) ** 2 + 2 * 5**2 / 2)
    CLOSE(info["d_loss"], 0)
    grad = 0.3 * 2 * (5 - 1) * W / 5 + 2 * W
    CLOSE(info["d_grad_norm"], np.linalg.norm(grad))
    CLOSE(new.d.params["Dense_0"]["kernel"][:, 0], W - rate * grad)


def test_a_lazy_penalty_is_as_rare_as_its_interval_and_as_heavy(fixed):
    structure, state, real, noise = fixed

    def steps(interval: int) -> tuple[list, list]:
        """d_penalty, and where D goes, from one state at six iterations."""
        lazy = structure._replace(penalties=(("r1", interval),))
        hparams = HPARAMS._replace(penalties=(2.0,))
        found = [
            algorithm.d_step(lazy, hparams, state._replace(step=jnp.int32(step)), real, noise, KEY)
            for step in range(6)
        ]
        moved = [jax.tree.map(lambda a, b: a - b, new.d.params, state.d.params) for new, _ in found]
        return [float(info["d_penalty"]) for _, info in found], moved

    (lazy, moves), (always, others) = steps(3), steps(1)
    assert always[0] > 0
    CLOSE(lazy, [0, 0, 3 * always[0]] * 2)
    mean = functools.partial(jax.tree.map, lambda *x: np.mean(x, axis=0))
    jax.tree.map(functools.partial(CLOSE, rtol=1e-4), mean(*moves[:3]), mean(*others[:3]))


def test_clipped_weights_are_ds_and_stay_within_the_bound(fixed):
    structure, state, real, noise = fixed
    structure, bound = structure._replace(loss="wasserstein"), 0.05
    clipped = structure._replace(weight_clip=True)
    hparams = HPARAMS._replace(weight_clip=bound)
    # Biases start at 0, within the bound.
    state = state._replace(
        d=state.d._replace(params=jax.tree.map(lambda x: x + 0.2, state.d.params))
    )
    free, _ = algorithm.d_step(structure, hparams, state, real, noise, KEY)
    new, _ = algorithm.d_step(clipped, hparams, state, real, noise, KEY)
    assert_equal(new.d.params, jax.tree.map(lambda x: np.clip(x, -bound, bound), free.d.params))
    assert max(np.abs(x).max() for x in jax.tree.leaves(free.d.params)) > bound
    after, _ = algorithm.g_step(clipped, hparams, state, real, noise, KEY)
    assert_equal(after.d, state.d)
    assert max(np.abs(x).max() for x in jax.tree.leaves(after.g.params)) > bound


def test_the_average_of_g_follows_it_with_a_decay_that_grows():
    structure, hparams = game(ema=True), HPARAMS._replace(ema=0.5)
    state = core.init(structure, hparams, 0, images())
    assert_equal(state.ema, state.g.variables)
    for t in range(12):  # the decay reaches 0.5 at t = 8
        new, _ = algorithm.train_chunk(structure, hparams, state, images(), 1)
        decay = min(0.5, (1 + t) / (10 + t))
        expected = jax.tree.map(
            lambda old, g, decay=decay: decay * old + (1 - decay) * g, state.ema, new.g.variables
        )
        jax.tree.map(functools.partial(CLOSE, rtol=1e-5, atol=1e-7), new.ema, expected)
        assert core.generator(new) is new.ema
        moved = new._replace(ema=state.ema)
        assert checkpoint.sha256(core.learned(moved)) != checkpoint.sha256(core.learned(new))
        state = new


def test_a_relativistic_generator_is_judged_beside_real_examples():
    structure, state = handed_on(W / 5, loss="relativistic_pairing")
    real, fake = POINTS
    x = jnp.float32(real), jnp.float32(fake), KEY
    new, info = algorithm.g_step(structure, HPARAMS, state, *x)
    gap = (real - fake) @ W / 5
    CLOSE(info["g_loss"], np.mean(np.logaddexp(0, gap)))
    by_bias = -np.mean(sigmoid(gap)) * W / 5
    CLOSE(new.g.params["Dense_0"]["bias"], -HPARAMS.g.learning_rate * by_bias)
    _, info = algorithm.d_step(structure, HPARAMS, state, *x)
    CLOSE(info["d_loss"], np.mean(np.logaddexp(0, -gap)))
    CLOSE((info["d_real"], info["d_fake"]), (np.mean(real @ W) / 5, np.mean(fake @ W) / 5))


def test_an_unrolled_generator_meets_the_d_that_would_answer_it_and_knows_how_it_would():
    # Of D the Wasserstein loss asks w' = w + rate (mean of data - m), where m is the mean of fakes,
    # so that after n steps -w m has by G's bias the gradient -w + n rate m.
    changes = {"loss": "wasserstein", "update": "unrolled", "unrolled_steps": 3}
    structure, state = handed_on(W, **changes)
    real, fake = POINTS
    x, m = (jnp.float32(real), jnp.float32(fake), KEY), fake.mean(axis=0)
    new, info = algorithm.g_step(structure, HPARAMS, state, *x)
    ahead = 3 * HPARAMS.d.learning_rate
    w = W + ahead * (real.mean(axis=0) - m)
    CLOSE(info["g_loss"], -w @ m)
    CLOSE(new.g.params["Dense_0"]["bias"], -HPARAMS.g.learning_rate * (ahead * m - w))
    assert_equal(new.d, state.d)
    # Nothing but the game's update unrolls.
    both = [
        algorithm.field(structure._replace(update=update, unrolled_steps=n), HPARAMS, state, *x)
        for update, n in (("simultaneous", 3), ("unrolled", 0))
    ]
    assert_equal(*both)


def test_the_generators_minibatches_are_a_stream_of_their_own(record):
    _, calls = record
    of_g, of_d = (
        np.array([x[0][:, 0, 0, 0] for role, _, x, _ in calls if role == player]) for player in "gd"
    )
    epochs = of_g.reshape(-1, N)  # 120 examples: six epochs
    np.testing.assert_array_equal(np.sort(epochs), np.broadcast_to(np.arange(N), epochs.shape))
    assert not {x.tobytes() for x in of_g} & {x.tobytes() for x in of_d}


def test_each_players_statistics_are_learned_in_its_own_step(fixed):
    _, _, real, noise = fixed
    structure = game(
        "sgd",
        generator=MLP((5,), SHAPE, "relu", "sigmoid", "uniform", 0.5, batch_norm=True),
        discriminator=MLP((6,), (), "relu", "linear", "uniform", 0.5, spectral_norm=True),
    )
    state = core.init(structure, HPARAMS, 0, images())
    for player, step in (("d", algorithm.d_step), ("g", algorithm.g_step)):
        new, _ = step(structure, HPARAMS, state, real, noise, KEY)
        own = getattr(state, player)
        assert_equal(new._replace(**{player: own}), state)
        assert own.stats
        same = jax.tree.map(np.array_equal, getattr(new, player).stats, own.stats)
        # flax starts from normalised weights, whose largest singular value is 1 before and after.
        assert not all(jax.tree.leaves(same)), same
    # Fakes are normalised by their minibatch in both steps, samples by what was learned.
    fake, stats = networks.apply(structure.generator, state.g.variables, noise, train=True)
    assert_equal(new.g.stats, stats)
    judged, _ = networks.apply(structure.discriminator, state.d.variables, fake)
    _, info = algorithm.d_step(structure, HPARAMS, state, real, noise, KEY)
    CLOSE(info["d_fake"], np.mean(sigmoid(np.asarray(judged))))
    samples = core.generate(structure, state.g.variables, noise)
    assert np.abs(samples - fake).max() > 0.01
    CLOSE(core.generate(structure, state.g.variables, noise[:2]), samples[:2])


def test_what_is_measured_is_what_info_names_says():
    for changes in ({}, {"penalties": (("r1", 2),)}, {"update": "extragradient"}):
        structure = game(**changes)
        hparams = HPARAMS._replace(penalties=(1.0,) * len(structure.penalties))
        state = core.shapes(structure, hparams)
        _, info = jax.eval_shape(
            functools.partial(train_chunk, structure), hparams, state, images(), 1
        )
        assert set(info) == {"step", *algorithm.info_names(structure)}
        assert ("d_penalty" in info) == bool(structure.penalties)


# What a game does not have costs nothing.


def compiled(structure: Game, hparams: HParams = HPARAMS) -> tuple[str, float, int]:
    """The program of a chunk, its floating-point operations, and the leaves of its state."""
    state = core.shapes(structure, hparams)
    program = train_chunk.lower(structure, hparams, state, images(), 3).compile()
    return program.as_text(), program.cost_analysis()["flops"], len(jax.tree.leaves(state))


def parameters(text: str) -> int:
    """How many arrays a compiled program takes."""
    entry = text[text.index("ENTRY ") :]
    return len(re.findall(r"= \S+ parameter\(\d+\)", entry))


def by_hand(structure: Game, rates: tuple[Rates, Rates], state, data, num_steps: int):
    """Algorithm 1 for k = 1 as it stood before there was more to a game."""

    def logits(params, x):
        return networks.apply(structure.discriminator, networks.Variables(params, {}), x)[0]

    def fakes(params, z):
        return networks.apply(structure.generator, networks.Variables(params, {}), z)[0]

    def descend(player, grads, optimizer, rates, step):
        params, opt_state = player
        updates, opt_state = optimizer.transformation(rates, step).update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def body(_, carry):
        (step, key, d, g), info = carry

        def own(role, number):
            return core.role_key(key, role, number)

        index = minibatch.indices(own(Role.BATCH, 0), step, BATCH, len(data))
        fake = fakes(g[0], core.sample_noise(structure, own(Role.NOISE_D, step), BATCH))

        def d_loss(params):
            on_real, on_fake = logits(params, data[index]), logits(params, fake)
            loss = losses.discriminator(on_real, on_fake)
            return loss, (jnp.mean(jax.nn.sigmoid(on_real)), jnp.mean(jax.nn.sigmoid(on_fake)))

        (loss, outputs), grads = jax.value_and_grad(d_loss, has_aux=True)(d[0])
        d = descend(d, grads, structure.d_optimizer, rates[0], step)
        z = core.sample_noise(structure, own(Role.NOISE_G, step), BATCH)

        def g_loss(params):
            return losses.non_saturating_generator(fake[0], logits(d[0], fakes(params, z)))

        loss_g, grads_g = jax.value_and_grad(g_loss)(g[0])
        g = descend(g, grads_g, structure.g_optimizer, rates[1], step)
        new = [step + 1, loss, *outputs, optax.tree.norm(grads), loss_g, optax.tree.norm(grads_g)]
        finite = jnp.all(jnp.isfinite(jnp.stack(info)))
        info = [jnp.where(finite, a, b) for a, b in zip(new, info, strict=True)]
        return (step + 1, key, d, g), info

    info = [jnp.int32(0), *[jnp.float32(0)] * 6]
    state, info = jax.lax.fori_loop(0, num_steps, body, (state, info))
    return state, info, [optax.tree.norm(player[0]) for player in state[2:]]


def test_a_game_with_nothing_added_is_the_program_of_algorithm_1_alone():
    structure = game()
    text, flops, leaves = compiled(structure)
    state = core.init(structure, HPARAMS, 0, images())
    plain = (state.step, state.key, *((p.params, p.opt_state) for p in (state.d, state.g)))
    ours = jax.jit(by_hand, static_argnums=0).lower(structure, HPARAMS[:2], plain, images(), 3)
    ours = ours.compile()
    # Forward: G twice and D three times, two products each. Backward, where a product with D's
    # single output is none: two with respect to D's weights, on real and on fake, then one through
    # D to the fakes, and G's three.
    products = [len(re.findall(r" dot\(", x)) for x in (text, ours.as_text())]
    assert products == [2 * (2 + 3) + 2 * 2 + 1 + 3] * 2
    np.testing.assert_allclose(flops, ours.cost_analysis()["flops"], rtol=0.01)
    # Step, key, and for each player four arrays of parameters, Adam's two of each, and its count.
    assert leaves == len(jax.tree.leaves(plain)) == 2 + 2 * (3 * 4 + 1)
    # Data, number of steps, four rates a player, and five numbers that the program never reads.
    assert parameters(text) == leaves + 2 + 2 * 4 + 5
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        train_chunk(structure, HPARAMS, state, images(), 3)[0].g.params,
        jax.jit(by_hand, static_argnums=0)(structure, HPARAMS[:2], plain, images(), 3)[0][3][0],
    )


def test_each_addition_keeps_what_it_needs_and_nothing_more():
    plain, flops, leaves = compiled(game())
    for changes, own in (({"label_smoothing": True}, 0), ({"ema": True}, 4)):
        text, more, with_own = compiled(game(**changes))
        assert parameters(text) == parameters(plain) + own
        assert with_own == leaves + own
        assert flops < more < 1.05 * flops


# Purity and structure.


def test_chunks_join_bit_for_bit():
    data = images()
    run = functools.partial(train_chunk, game(k=3), HPARAMS)
    start = core.init(game(k=3), HPARAMS, 0, images())
    whole = run(start, data, 7)
    assert_equal(run(run(start, data, 3)[0], data, 4), whole)
    state = start
    for _ in range(7):
        state, info = run(state, data, 1)
    assert_equal((state, info), whole)
    assert int(state.step) == 7
    assert_equal(state.key, start.key)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others():
    def run(seed: int) -> State:
        state, _ = train_chunk(
            game(), HPARAMS, core.init(game(), HPARAMS, seed, images()), images(), 3
        )
        return state

    assert_equal(run(1), run(1))
    one, two = run(1), run(2)
    assert_all_differ((one.key, one.d.params, one.g.params), (two.key, two.d.params, two.g.params))


def test_players_start_from_different_draws():
    twins = game(
        generator=MLP((5,), (3,), "relu", "linear", "uniform", 1.0),
        discriminator=MLP((5,), (3,), "relu", "linear", "uniform", 1.0),
    )
    state = core.init(twins, HPARAMS, 0, jnp.zeros((1, 3)))
    kernels = [x["Dense_0"]["kernel"] for x in (state.d.params, state.g.params)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1


def test_numbers_compile_nothing_and_structure_compiles_once():
    data, structure = images(), game(z_dim=2)  # a game that no other test plays

    def run(structure: Game, hparams: HParams, seed: int = 0, num_steps: int = 1) -> int:
        state = core.init(structure, hparams, seed, images())
        state, _ = train_chunk(structure, hparams, state, data, num_steps)
        train_chunk(structure, hparams, state, data, num_steps)  # from its own output
        return train_chunk._cache_size()

    size = run(structure, HPARAMS)
    for other in (
        rates(0.5),
        HPARAMS._replace(d=Rates(1e-4, 0.1, 0.99, 1e-6)),
        HPARAMS._replace(g=Rates(1e-4, 0.1, 0.99, 1e-6)),
    ):
        assert run(structure, other) == size
    assert run(structure, HPARAMS, seed=9, num_steps=4) == size
    assert run(structure._replace(loss="minimax"), HPARAMS) == size + 1
    assert run(structure._replace(loss="minimax"), rates(0.5)) == size + 1


def test_a_population_of_seeds_and_rates_runs_as_its_members_do_alone():
    data = images()

    def run(state: State, rate: jax.Array) -> tuple[State, dict]:
        return train_chunk(game(), rates(rate), state, data, 5)

    starts = [core.init(game(), HPARAMS, seed, images()) for seed in range(3)]
    learning_rates = [1e-3, 1e-2, 3e-2]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *starts)
    population = jax.vmap(run)(stacked, jnp.array(learning_rates))
    for i in range(3):
        alone = run(starts[i], learning_rates[i])
        member = jax.tree.map(lambda x, i=i: x[i], population)
        # Batched products are summed in another order.
        close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
        jax.tree.map(close, member, alone)


# Divergence.


def is_finite(info: dict) -> bool:
    return all(np.isfinite(x) for x in info.values())


def test_info_of_a_chunk_freezes_at_the_first_step_that_is_not_finite():
    # Unbounded players at an absurd rate: they outgrow float32 in a few steps.
    structure = game(
        "sgd",
        k=3,
        generator=MLP((5,), SHAPE, "leaky_relu", "linear", "uniform", 1.0),
        discriminator=MLP((6,), (), "leaky_relu", "linear", "uniform", 1.0),
    )
    data, hparams = images(), rates(30.0)
    start = state = core.init(structure, hparams, 0, images())
    infos = []
    for _ in range(12):
        state, info = train_chunk(structure, hparams, state, data, 1)
        infos.append({name: x for name, x in info.items() if "param_norm" not in name})
    first = next(i for i, info in enumerate(infos) if not is_finite(info))
    assert 0 < first < 11  # neither at once nor at the end, or nothing is shown
    end, info = train_chunk(structure, hparams, start, data, 12)
    assert_equal({name: info[name] for name in infos[0]}, infos[first])
    assert int(info["step"]) == first + 1
    assert int(end.step) == 12
    # up to the step before, nothing is wrong yet
    _, info = train_chunk(structure, hparams, start, data, first)
    assert_equal({name: info[name] for name in infos[0]}, infos[first - 1])


@pytest.mark.parametrize("player", ["d", "g"])
def test_a_nan_in_the_parameters_is_reported_at_once_and_not_replaced(player):
    structure, data = game(), images()
    state, _ = train_chunk(structure, HPARAMS, core.init(structure, HPARAMS, 0, images()), data, 2)
    broken = getattr(state, player)
    params = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(jnp.nan), broken.params)
    state, info = train_chunk(
        structure, HPARAMS, state._replace(**{player: broken._replace(params=params)}), data, 5
    )
    assert int(info["step"]) == 3
    assert np.isnan(info["g_loss"])
    assert np.isnan(info["d_loss"])
    assert np.isnan(info[f"{player}_param_norm"])
    assert int(state.step) == 7
