"""Tests of gan_jax.theory.tabular: equilibrium, expectations and steps by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.errors import InputError
from gan_jax.losses import BATCH_COUPLED, LOSSES
from gan_jax.theory import divergences, tabular
from gan_jax.theory.tabular import TabularGame

P_DATA = np.array([1, 2, 3, 4, 5, 6, 7, 12]) / 40


def game(loss: str) -> TabularGame:
    return TabularGame(loss, d_optimizer=optax.sgd(2.0), g_optimizer=optax.sgd(0.5))


d_step, g_step = (
    jax.jit(step, static_argnames="game") for step in (tabular.d_step, tabular.g_step)
)


def test_convergence_to_the_proven_equilibrium():
    state = tabular.init(game("minimax"), jax.random.key(0), 8)
    assert divergences.jsd(P_DATA, divergences.softmax(state.g)) > 0.05
    state = tabular.train(game("minimax"), P_DATA, state, k=1, num_steps=3000)
    p_g = divergences.softmax(state.g)
    np.testing.assert_allclose(p_g, P_DATA, atol=1e-3)
    np.testing.assert_allclose(jax.nn.sigmoid(state.d), 0.5, atol=1e-3)
    v = divergences.value(P_DATA, p_g, state.d)
    np.testing.assert_allclose(v, -math.log(4), atol=1e-3)
    assert divergences.jsd(P_DATA, p_g) < 1e-6


@pytest.mark.parametrize("name", sorted(set(LOSSES) - set(BATCH_COUPLED)))
def test_expectation_by_pairs(name):
    counts, fake_counts = np.array([2, 5, 3]), np.array([6, 1, 3])
    logits = jnp.array([0.3, -1.0, 2.0])
    real, fake = np.repeat(np.arange(3), counts), np.repeat(np.arange(3), fake_counts)
    real, fake = logits[np.repeat(real, 10)], logits[np.tile(fake, 10)]
    for term in (LOSSES[name].d, LOSSES[name].g):
        found = jax.jit(tabular.expectation, static_argnums=0)(
            term, counts / 10, fake_counts / 10, logits
        )
        np.testing.assert_allclose(found, jax.jit(term)(real, fake), rtol=1e-5)


def test_steps_by_hand():
    sgd = TabularGame("minimax", optax.sgd(2.0), optax.sgd(4.0))
    p_data, g = jnp.array([0.75, 0.25]), jnp.zeros(2)
    state = tabular.init(sgd, jax.random.key(0), 2)
    np.testing.assert_array_equal(state.g, jax.random.normal(jax.random.key(0), (2,)))
    state = state._replace(g=g)
    state, info = d_step(sgd, p_data, state)
    # D = 1/2, so dV/dlogit = (p_data - p_g) / 2.
    np.testing.assert_allclose(info["d_loss"], math.log(4), rtol=1e-6)
    np.testing.assert_allclose(state.d, [0.25, -0.25], rtol=1e-6)
    np.testing.assert_array_equal(state.g, g)
    moved, info = g_step(sgd, p_data, state)
    cost = -np.logaddexp(0, [0.25, -0.25])  # log(1 - D)
    np.testing.assert_allclose(info["g_loss"], cost.mean(), rtol=1e-6)
    np.testing.assert_allclose(moved.g, -(cost - cost.mean()) * 2, rtol=1e-5)
    np.testing.assert_array_equal(moved.d, state.d)


def test_iterations_of_k_d_steps_and_a_g_step():
    adam = TabularGame("hinge", optax.adam(0.1), optax.adam(0.05))
    state = expected = tabular.init(adam, jax.random.key(1), 8)
    for _ in range(2):
        for _ in range(3):
            expected, _ = d_step(adam, P_DATA, expected)
        expected, _ = g_step(adam, P_DATA, expected)
    found = tabular.train(adam, P_DATA, state, k=3, num_steps=2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    assert (found.d_opt_state[0].count, found.g_opt_state[0].count) == (6, 2)


def test_batch_coupled_losses():
    for name in BATCH_COUPLED:
        state = tabular.init(game(name), jax.random.key(0), 8)
        for step in (tabular.d_step, tabular.g_step):
            with pytest.raises(InputError, match=f"^loss {name} depends on the whole minibatch"):
                step(game(name), P_DATA, state)
