"""Tests of gan_jax.optimizers: updates and schedules against numbers worked out by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, Rates

RATES = Rates(learning_rate=0.1, b1=0.5, b2=0.75, eps=0.5)
GRADS = (1.5, -1.0)


def updates(name: str, rates: Rates, grads=GRADS) -> list[float]:
    """The updates of one parameter for a sequence of its gradients, the rates traced."""

    @jax.jit
    def run(rates: Rates) -> list[jax.Array]:
        param = jnp.zeros(())
        state, out = Optimizer(name).transformation(rates, 0).init(param), []
        for step, grad in enumerate(grads):
            # Built anew at each step, as training does it: the state must carry over.
            update, state = (
                Optimizer(name).transformation(rates, step).update(jnp.float32(grad), state, param)
            )
            out.append(update)
        return out

    return run(rates)


# Adam: m = 0.75, then 0.5 * 0.75 - 0.5 * 1 = -0.125; v = 0.5625, then 0.671875.
# Corrected by 1 - 0.5^t and 1 - 0.75^t: 1.5 and -1/6; 2.25 and 0.671875 / 0.4375.
ADAM = [-0.1 * 1.5 / (1.5 + 0.5), 0.1 / 6 / (math.sqrt(0.671875 / 0.4375) + 0.5)]


@pytest.mark.parametrize(
    ("name", "rates", "expected"),
    [
        ("sgd", RATES, [-0.15, 0.1]),
        ("momentum", RATES, [-0.15, -0.1 * (0.5 * 1.5 - 1.0)]),
        ("adam", RATES, ADAM),
        ("rmsprop", RATES, [-0.1 * 1.5 / (0.75 + 0.5), 0.1 / (math.sqrt(0.671875) + 0.5)]),
    ],
)
def test_first_two_updates_by_hand(name, rates, expected):
    np.testing.assert_allclose(updates(name, rates), expected, rtol=1e-6)


def test_adam_first_step_is_the_learning_rate_whatever_the_gradient():
    # The bias correction at work: without it the first step would be 3.16 times as long.
    rates = Rates(1e-3, 0.9, 0.999, 1e-8)
    for grad in (1e-3, 1.0, -1e3):
        expected = -math.copysign(1e-3, grad)
        np.testing.assert_allclose(updates("adam", rates, (grad,)), [expected], rtol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_rates_are_traced_and_several_values_compile_once(name):
    traces = 0

    @jax.jit
    def update(rates: Rates, step: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        opt, param = Optimizer(name).transformation(rates, step), jnp.ones(2)
        return opt.update(jnp.array(GRADS), opt.init(param), param)[0]

    different = [
        update(Rates(lr, b1, b2, 1e-3), step)
        for lr, b1, b2, step in [(0.1, 0.9, 0.99, 0), (0.2, 0.5, 0.9, 7), (1e-5, 0.0, 0.5, 10**6)]
    ]
    assert traces == 1
    assert len({x.tobytes() for x in map(np.asarray, different)}) == 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rates_can_be_vmapped(name):
    def update(rate: jax.Array) -> jax.Array:
        opt, param = Optimizer(name).transformation(RATES._replace(learning_rate=rate), 0), 1.0
        return opt.update(jnp.float32(2.0), opt.init(jnp.float32(param)), jnp.float32(param))[0]

    rates = jnp.array([0.1, 0.2, 0.4])
    np.testing.assert_allclose(jax.vmap(update)(rates), [update(rate) for rate in rates], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_that_of_the_plain_optax_optimizer(name):
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    plain = {
        "sgd": optax.sgd(0.1),
        "momentum": optax.chain(optax.scale(-0.1), optax.trace(0.5)),
        "adam": optax.adam(0.1),
        "rmsprop": optax.rmsprop(0.1),
    }[name]
    ours = Optimizer(name).transformation(RATES, 0).init(params)
    assert jax.tree.structure(ours) == jax.tree.structure(plain.init(params))


LINEAR = Optimizer("sgd", "linear", decay_steps=100, end_learning_rate=0.01)
COSINE = LINEAR._replace(schedule="cosine")
EXPONENTIAL = LINEAR._replace(schedule="exponential", decay_rate=0.5)
# The paper's code: 0.1 / 1.000004^t, floor 1e-6. Float32 holds 1 / 1.000004 only to 1 % of its
# distance from 1; the same decay over 250,000 steps it holds well.
PAPER = Optimizer("sgd", "exponential", 250_000, 1.000004**-250_000, 1e-6)
PAPER_STEPS = (0, 1, 500, 10**5, 10**6, 2_878_000, 10**7)


@pytest.mark.parametrize(
    ("optimizer", "rates"),  # by step, from 0.1
    [
        (Optimizer("sgd"), {0: 0.1, 10**6: 0.1}),
        (LINEAR, {0: 0.1, 50: 0.055, 99: 0.0109, 100: 0.01, 10**6: 0.01}),
        (
            COSINE,
            {0: 0.1, 25: 0.01 + 0.09 * (1 + math.sqrt(0.5)) / 2, 50: 0.055, 100: 0.01, 10**6: 0.01},
        ),
        # 400: 0.00625 without the floor
        (EXPONENTIAL, {0: 0.1, 50: 0.1 * math.sqrt(0.5), 100: 0.05, 300: 0.0125, 400: 0.01}),
        (EXPONENTIAL._replace(decay_rate=1.0), {0: 0.1, 10**6: 0.1}),
        (PAPER, {t: max(0.1 / 1.000004**t, 1e-6) for t in PAPER_STEPS}),
    ],
    ids=["constant", "linear", "cosine", "exponential", "no decay", "paper"],
)
def test_schedules_at_start_middle_end_and_floor(optimizer, rates):
    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def update(rate: jax.Array, step: jax.Array) -> jax.Array:
        opt = optimizer.transformation(RATES._replace(learning_rate=rate), step)
        return opt.update(jnp.float32(1.0), opt.init(jnp.float32(0.0)))[0]

    # Float32 costs the power 1e-7 times its exponent, which is 12 at the most.
    np.testing.assert_allclose(
        -update(0.1, jnp.array(list(rates))), list(rates.values()), rtol=1e-5
    )


@pytest.mark.parametrize(("step", "b1"), [(0, 0.5), (50, 0.6), (100, 0.7), (10**6, 0.7)])
def test_b1_goes_on_a_line_to_its_end(step, b1):
    optimizer = Optimizer("momentum", b1_steps=100, end_b1=0.7)
    opt = optimizer.transformation(RATES, step)
    _, state = opt.update(jnp.float32(1.0), opt.init(jnp.float32(0.0)))
    update, _ = opt.update(jnp.float32(0.0), state)  # what is left of the velocity
    np.testing.assert_allclose(update, -0.1 * b1, rtol=1e-6)


def test_momentum_keeps_the_rate_that_a_gradient_came_with():
    # v <- b1 v - rate * gradient: 0.5 * -0.1 * 1.5 - 0.01 * -1, when the rate falls to a tenth.
    before, after = (
        Optimizer("momentum").transformation(RATES._replace(learning_rate=rate), 0)
        for rate in (0.1, 0.01)
    )
    _, state = before.update(jnp.float32(GRADS[0]), before.init(jnp.float32(0.0)))
    update, _ = after.update(jnp.float32(GRADS[1]), state)
    np.testing.assert_allclose(update, 0.5 * -0.1 * 1.5 + 0.01, rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_drives_every_optimizer(schedule):
    @jax.jit
    def updates(step: jax.Array) -> list[jax.Array]:
        opts = [
            Optimizer(n, schedule, 10, 0.5, 0.02).transformation(RATES, step) for n in OPTIMIZERS
        ]
        zero = jnp.float32(0.0)
        return [opt.update(jnp.float32(1.5), opt.init(zero))[0] for opt in opts]

    ratio = 1.0 if schedule == "constant" else 0.02 / 0.1  # of the schedule's end to its start
    np.testing.assert_allclose(updates(1000), ratio * np.array(updates(0)), rtol=1e-5)


def test_a_player_at_rate_zero_stands_still_under_every_schedule():
    for schedule in SCHEDULES:
        optimizer = Optimizer("sgd", schedule, decay_steps=100)
        update = jax.jit(
            lambda rate, optimizer=optimizer: optimizer.transformation(
                RATES._replace(learning_rate=rate), 50
            ).update(jnp.float32(1.0), optimizer.transformation(RATES, 0).init(0.0))[0]
        )
        assert update(0.0) == 0
