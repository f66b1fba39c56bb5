"""Tests of gan_jax.optimizers: updates against values worked out by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import schedules
from gan_jax.optimizers import OPTIMIZERS, OptimizerHParams, transformation
from gan_jax.spec import Schedule

HPARAMS = OptimizerHParams(learning_rate=0.1, b1=0.5, b2=0.75, eps=0.5)
GRADS = (1.5, -1.0)


@functools.partial(jax.jit, static_argnames=("name", "schedules_", "options"))
def updates(name: str, hparams, grads=GRADS, schedules_=(), options=()) -> jax.Array:
    """One parameter's updates for a sequence of gradients, all numbers traced."""
    param = jnp.zeros(())
    # Rebuilt at each step, as in training: the state must carry over.
    state, out = transformation(name, hparams, *options).init(param), []
    for i, grad in enumerate(grads):
        now = schedules.at(schedules_, {"o": hparams._asdict()}, i)["o"]
        update, state = transformation(name, OptimizerHParams(**now), *options).update(
            jnp.float32(grad), state, param
        )
        out.append(update)
    return jnp.stack(out)


# Adam: m = 0.75, then 0.5 * 0.75 - 0.5 * 1 = -0.125; v = 0.5625, then 0.671875.
# Corrected by 1 - 0.5^t and 1 - 0.75^t: 1.5 and -1/6; 2.25 and 0.671875 / 0.4375.
BY_HAND = {
    "sgd": [-0.15, 0.1],
    "momentum": [-0.15, -0.1 * (0.5 * 1.5 - 1.0)],
    "adam": [-0.1 * 1.5 / (1.5 + 0.5), 0.1 / 6 / (math.sqrt(0.671875 / 0.4375) + 0.5)],
    "rmsprop": [-0.1 * 1.5 / (0.75 + 0.5), 0.1 / (math.sqrt(0.671875) + 0.5)],
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_by_hand(name):
    actual = updates(name, HPARAMS)
    np.testing.assert_allclose(actual, BY_HAND[name], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimistic_updates_by_hand(name):
    # Extrapolates updates, not gradients: Adam is nonlinear in these. No update precedes the first.
    first, second = BY_HAND[name]
    actual = updates(name, HPARAMS, options=(True,))
    np.testing.assert_allclose(actual, [first, 2 * second - first], rtol=1e-6)


@pytest.mark.parametrize("eps", [0.5, 1e-24])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_differentiable_updates(name, eps):
    hparams = HPARAMS._replace(eps=eps)

    def total(grad: jax.Array) -> jax.Array:
        return jnp.sum(updates(name, hparams, (0.0, grad), options=(False, True)))

    assert np.isfinite(jax.grad(total)(0.0))
    if eps == 0.5:
        actual = updates(name, hparams, options=(False, True))
        # RMSProp's eps is then under the root, squared.
        rmsprop = [-0.15 / math.sqrt(0.5625 + 0.25), 0.1 / math.sqrt(0.671875 + 0.25)]
        expected = BY_HAND | {"rmsprop": rmsprop}
        np.testing.assert_allclose(actual, expected[name], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_matches_optax(name):
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    plain = {
        "sgd": optax.sgd(0.1),
        "momentum": optax.chain(optax.scale(-0.1), optax.trace(0.5)),
        "adam": optax.adam(0.1),
        "rmsprop": optax.rmsprop(0.1),
    }[name]
    ours = transformation(name, HPARAMS).init(params)
    assert jax.tree.structure(ours) == jax.tree.structure(plain.init(params))


def test_momentum_with_a_schedule_by_hand():
    # v <- b1 v - rate * gradient: 0.5 * -0.1 * 1.5 - 0.01 * -1, as the rate falls to 0.01.
    falling = (Schedule("o.learning_rate", "linear", 0.01, 1),)
    actual = updates("momentum", HPARAMS, schedules_=falling)
    np.testing.assert_allclose(actual[1], 0.5 * -0.15 + 0.01, rtol=1e-6)
