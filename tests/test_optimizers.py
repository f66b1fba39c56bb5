"""Tests of gan_jax.optimizers: updates and schedules against values worked out by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, OptimizerHParams

HPARAMS = OptimizerHParams(learning_rate=0.1, b1=0.5, b2=0.75, eps=0.5)
GRADS = (1.5, -1.0)


@functools.partial(jax.jit, static_argnames=("optimizer", "options"))
def updates(optimizer: Optimizer, hparams, grads=GRADS, step=0, options=()) -> jax.Array:
    """One parameter's updates for a sequence of gradients, all numbers traced."""
    param = jnp.zeros(())
    # Rebuilt at each step, as in training: the state must carry over.
    state, out = optimizer.transformation(hparams, step, *options).init(param), []
    for i, grad in enumerate(grads):
        transformation = optimizer.transformation(hparams, step + i, *options)
        update, state = transformation.update(jnp.float32(grad), state, param)
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
    actual = updates(Optimizer(name), HPARAMS)
    np.testing.assert_allclose(actual, BY_HAND[name], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimistic_updates_extrapolate_by_hand(name):
    # Of the optimizer's own updates, as Adam's are not linear in the gradients; none precedes u_0.
    first, second = BY_HAND[name]
    actual = updates(Optimizer(name), HPARAMS, options=(True,))
    np.testing.assert_allclose(actual, [first, 2 * second - first], rtol=1e-6)


@pytest.mark.parametrize("eps", [0.5, 1e-24])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_differentiable_updates_have_derivatives(name, eps):
    hparams = HPARAMS._replace(eps=eps)

    def total(grad: jax.Array) -> jax.Array:
        return jnp.sum(updates(Optimizer(name), hparams, (0.0, grad), options=(False, True)))

    assert np.isfinite(jax.grad(total)(0.0))
    if eps == 0.5:
        actual = updates(Optimizer(name), hparams, options=(False, True))
        # RMSProp's eps is then under the root, squared.
        rmsprop = [-0.15 / math.sqrt(0.5625 + 0.25), 0.1 / math.sqrt(0.671875 + 0.25)]
        expected = BY_HAND | {"rmsprop": rmsprop}
        np.testing.assert_allclose(actual, expected[name], rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_hyperparameters_are_traced(name, schedule):
    updates.clear_cache()
    optimizer = Optimizer(name, schedule, 10, 0.5, 1e-4)
    several = [
        updates(optimizer, OptimizerHParams(rate, b1, b2, 1e-3), step=step).tobytes()
        for rate, b1, b2, step in [(0.1, 0.9, 0.99, 0), (0.2, 0.5, 0.9, 7), (1e-3, 0.0, 0.5, 3)]
    ]
    assert updates._cache_size() == 1
    assert len(set(several)) == 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_that_of_optax(name):
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    plain = {
        "sgd": optax.sgd(0.1),
        "momentum": optax.chain(optax.scale(-0.1), optax.trace(0.5)),
        "adam": optax.adam(0.1),
        "rmsprop": optax.rmsprop(0.1),
    }[name]
    ours = Optimizer(name).transformation(HPARAMS, 0).init(params)
    assert jax.tree.structure(ours) == jax.tree.structure(plain.init(params))


LINEAR = Optimizer("sgd", "linear", decay_steps=100, end_learning_rate=0.01)
COSINE = LINEAR._replace(schedule="cosine")
EXPONENTIAL = LINEAR._replace(schedule="exponential", decay_rate=0.5)
# The paper's code: 0.1 / 1.000004^t, at least 1e-6. Float32 holds 1 / 1.000004 only to 1 % of its
# distance from 1, but the same decay per 250,000 steps accurately.
PAPER = Optimizer("sgd", "exponential", 250_000, 1.000004**-250_000, 1e-6)
PAPER_STEPS = (0, 1, 500, 10**5, 10**6, 2_878_000, 10**7)


@pytest.mark.parametrize(
    ("optimizer", "expected"),  # learning rates by step, from 0.1
    [
        (Optimizer("sgd"), {0: 0.1, 10**6: 0.1}),
        (LINEAR, {0: 0.1, 50: 0.055, 99: 0.0109, 100: 0.01, 10**6: 0.01}),
        (
            COSINE,
            {0: 0.1, 25: 0.01 + 0.09 * (1 + math.sqrt(0.5)) / 2, 50: 0.055, 100: 0.01, 10**6: 0.01},
        ),
        # 400: 0.00625 without the lower bound
        (EXPONENTIAL, {0: 0.1, 50: 0.1 * math.sqrt(0.5), 100: 0.05, 300: 0.0125, 400: 0.01}),
        (EXPONENTIAL._replace(decay_rate=1.0), {0: 0.1, 10**6: 0.1}),
        (PAPER, {t: max(0.1 / 1.000004**t, 1e-6) for t in PAPER_STEPS}),
    ],
    ids=["constant", "linear", "cosine", "exponential", "no decay", "paper"],
)
def test_schedules_at_start_middle_and_end(optimizer, expected):
    by_step = jax.vmap(lambda step: updates(optimizer, HPARAMS, (1.0,), step)[0])
    # Float32 costs the power 1e-7 times its exponent, which is 12 at most.
    actual = -by_step(jnp.array(list(expected)))
    np.testing.assert_allclose(actual, list(expected.values()), rtol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_zero_learning_rate_stays_zero(schedule):
    hparams = HPARAMS._replace(learning_rate=0.0)
    optimizer = Optimizer("sgd", schedule, decay_steps=100)
    assert updates(optimizer, hparams, (1.0,), 50) == 0


@pytest.mark.parametrize(("step", "b1"), [(0, 0.5), (50, 0.6), (100, 0.7), (10**6, 0.7)])
def test_b1_moves_linearly_to_its_end(step, b1):
    optimizer = Optimizer("momentum", b1_steps=100, end_b1=0.7)
    opt = optimizer.transformation(HPARAMS, step)
    _, state = opt.update(jnp.float32(1.0), opt.init(jnp.float32(0.0)))
    update, _ = opt.update(jnp.float32(0.0), state)  # what is left of the velocity
    np.testing.assert_allclose(update, -0.1 * b1, rtol=1e-6)


def test_momentum_scales_each_gradient_by_its_own_rate():
    # v <- b1 v - rate * gradient: 0.5 * -0.1 * 1.5 - 0.01 * -1, as the rate falls to 0.01.
    optimizer = Optimizer("momentum", "linear", decay_steps=1, end_learning_rate=0.01)
    np.testing.assert_allclose(updates(optimizer, HPARAMS)[1], 0.5 * -0.15 + 0.01, rtol=1e-6)


def test_half_the_rate_is_half_the_loss():
    # As configs/goodfellow2014.py has it; exact, as it only halves powers of two.
    optimizer = Optimizer("momentum", "exponential", 2, 0.5, 0.04)
    halved = optimizer._replace(end_learning_rate=0.02)
    grads = (1.5, -1.0, 0.3, 0.7)
    np.testing.assert_array_equal(
        updates(halved, HPARAMS._replace(learning_rate=0.05), grads),
        updates(optimizer, HPARAMS, tuple(x / 2 for x in grads)),
    )
