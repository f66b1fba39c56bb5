"""Tests of the RBM: energies and chains against enumeration, steps against NumPy, and runs."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import algorithms, config, data, train
from gan_jax.algorithms import rbm
from gan_jax.draws import Batch, Stream, minibatch, stream_key
from gan_jax.errors import InputError
from tests.conftest import tiny_config, train_digests

RNG = np.random.default_rng(0)
CLOSE = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
PARAMS = {
    "weights": jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32),
    "visible": jnp.asarray(RNG.normal(size=5), jnp.float32),
    "hidden": jnp.asarray(RNG.normal(size=3), jnp.float32),
}
VISIBLE = np.array(list(itertools.product((0.0, 1.0), repeat=5)))


def exact():
    """Log of the unnormalised p(v), summed over hidden units, of each of VISIBLE."""
    w, b, c = (np.float64(PARAMS[name]) for name in ("weights", "visible", "hidden"))
    hidden = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
    energies = VISIBLE @ w @ hidden.T + (VISIBLE @ b)[:, None] + hidden @ c
    return np.log(np.sum(np.exp(energies), axis=1))


def tiny(changes=None):
    fixed = {"algorithm": "rbm", "z_dim": 6, "k": 2, "sample_steps": 20}
    return config.replace(tiny_config(), fixed | (changes or {}))


def test_free_energy():
    CLOSE(rbm.free_energy(PARAMS, jnp.float32(VISIBLE)), -exact())


def test_annealed_importance_sampling():
    log_z = np.log(np.sum(np.exp(exact())))
    log_partition = jax.jit(rbm.log_partition, static_argnums=(2, 3))
    found = log_partition(PARAMS, jax.random.key(0), 500, 200)
    np.testing.assert_allclose(found, log_z, atol=0.02)
    # Z itself is estimated without bias, also by a single temperature.
    keys = jax.random.split(jax.random.key(1), 4000)
    estimates = np.exp(jax.vmap(lambda key: log_partition(PARAMS, key, 1, 1))(keys))
    error = np.std(estimates) / len(keys) ** 0.5
    np.testing.assert_allclose(np.mean(estimates), np.exp(log_z), atol=4 * error)
    assert error < 0.1 * np.exp(log_z)


def test_gibbs_chain_is_stationary():
    n = 40_000
    v = np.zeros((n, 5), np.float32)
    step = jax.jit(lambda seed, v: rbm.gibbs_step(PARAMS, jax.random.key(seed), v))
    for i in range(60):
        v = step(i, v)
    counts = np.bincount(np.int32(v) @ 2 ** np.arange(5)[::-1], minlength=32)
    p = np.exp(exact() - np.log(np.sum(np.exp(exact()))))
    assert np.sum((counts - n * p) ** 2 / (n * p)) < 62.5  # chi square, 31 degrees: 0.07 %


def test_samples_and_likelihoods_of_the_model():
    c = config.replace({}, {"algorithm": "rbm", "z_dim": 3, "sample_steps": 60})
    spec, hparams = config.spec(c, (5,)), config.hparams(c)
    state = algorithms.init(spec, hparams, 0, Batch(jnp.float32(VISIBLE)))
    state = state.replace_players(rbm=state.players["rbm"]._replace(params=PARAMS))
    found = algorithms.log_likelihoods(spec, hparams, state, np.float32(VISIBLE))["log_likelihood"]
    np.testing.assert_allclose(found, exact() - np.log(np.sum(np.exp(exact()))), atol=0.02)
    z = jnp.float32(np.random.default_rng(2).uniform(-1, 1, (20_000, 3)))
    samples = algorithms.generate(spec, state, z)
    p = np.exp(exact() - np.log(np.sum(np.exp(exact()))))
    np.testing.assert_allclose(samples.mean(axis=0), p @ VISIBLE, atol=0.015)
    assert len(np.unique(samples, axis=0)) == 8  # means given each of the hidden states
    halves = samples.reshape(2, -1, 5)
    assert np.abs(np.corrcoef(halves[0, :, 0], halves[1, :, 0])[0, 1]) < 0.05


@jax.jit
def drawn(root, x, number):
    """A minibatch of 8, and uniform numbers for it and for two steps of the chains."""
    key_data, key_chain = jax.random.split(stream_key(root, Stream.STEP_G, number))
    keys = (jax.random.split(jax.random.fold_in(key_chain, step)) for step in range(2))
    chain = [(jax.random.uniform(h, (8, 3)), jax.random.uniform(v, (8, 5))) for h, v in keys]
    return minibatch(8, root, x, number).x, jax.random.uniform(key_data, (8, 5)), chain


@pytest.mark.parametrize("persistent", [True, False], ids=["PCD", "CD"])
def test_training_follows_numpy(persistent):
    x = Batch(jnp.asarray(RNG.uniform(size=(20, 5)), jnp.float32))
    changes = {"persistent": persistent, "optimizer.name": "sgd", "optimizer.learning_rate": 0.3}
    c = tiny({"batch_size": 8, "z_dim": 3} | changes)
    spec, hparams = config.spec(c, (5,)), config.hparams(c)
    state = algorithms.init(spec, hparams, 3, x)
    w, b, c = (np.float64(state.players["rbm"].params[n]) for n in ("weights", "visible", "hidden"))
    np.testing.assert_allclose(1 / (1 + np.exp(-b)), np.mean(x.x, axis=0), rtol=1e-5)

    def draw(u, logits):
        return np.float64(u < 1 / (1 + np.exp(-logits)))

    chains = np.float64(state.averages["chains"]) if persistent else None
    for number in range(4):
        batch, u, chain = jax.device_get(drawn(state.key, x, number))
        v = np.float64(u < batch)
        chains = chains if persistent else v
        for u_h, u_v in chain:
            chains = draw(u_v, draw(u_h, chains @ w + c) @ w.T + b)
        h, h_chain = (1 / (1 + np.exp(-(u @ w + c))) for u in (v, chains))
        logits = h @ w.T + b
        state, info = algorithms.train_chunk(spec, hparams, state, x, 1)
        cross_entropy = np.sum(np.log1p(np.exp(logits)) - v * logits, axis=1).mean()
        CLOSE(info["reconstruction"], cross_entropy)
        w = w + 0.3 * (v.T @ h - chains.T @ h_chain) / 8
        b = b + 0.3 * (v - chains).mean(axis=0)
        c = c + 0.3 * (h - h_chain).mean(axis=0)
    params = state.players["rbm"].params
    for name, expected in (("weights", w), ("visible", b), ("hidden", c)):
        CLOSE(params[name], expected)


@pytest.mark.slow
def test_resume_is_bitwise_identical():
    c, dataset = tiny({"persistent": True}), data.load("digits")
    expected = train_digests(c, dataset, (3, 5), (9,))
    assert train_digests(c, dataset, (5,), (4, 9)) == expected[1:]


def test_gibbs_steps_are_not_minibatches():
    assert tiny({"k": 2**30}).k == 2**30


def test_refuses_points_beyond_0_and_1():
    c = tiny({"dataset": "gaussian1d"})
    with pytest.raises(InputError, match="algorithm is 'rbm', with range 0 to 1"):
        train.check(c, data.load("gaussian1d"))
