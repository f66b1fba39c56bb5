"""Tests of gan_jax.schedules: values by iteration, worked out by hand."""

import functools
import math

import jax
import numpy as np
import pytest

from gan_jax import schedules
from gan_jax.spec import Schedule

LINEAR = Schedule("o.rate", "linear", 0.01, 100)
COSINE = LINEAR._replace(kind="cosine")
EXPONENTIAL = LINEAR._replace(kind="exponential", rate=0.5)


@functools.partial(jax.jit, static_argnums=0)
def value(schedule, start, step):
    hparams = {"o": {"rate": start, "other": 3.0}, "own": 2.0}
    new = schedules.at((schedule,), hparams, step)
    assert hparams["o"]["rate"] is start
    assert (new["own"], new["o"]["other"]) == (2.0, 3.0)
    return new["o"]["rate"]


@pytest.mark.parametrize(
    ("schedule", "expected"),  # from 0.1
    [
        (LINEAR, {0: 0.1, 50: 0.055, 99: 0.0109, 100: 0.01, 10**6: 0.01}),
        (
            COSINE,
            {0: 0.1, 25: 0.01 + 0.09 * (1 + math.sqrt(0.5)) / 2, 50: 0.055, 100: 0.01, 10**6: 0.01},
        ),
        # 400: 0.00625 without the lower bound
        (EXPONENTIAL, {0: 0.1, 50: 0.1 * math.sqrt(0.5), 100: 0.05, 300: 0.0125, 400: 0.01}),
        (EXPONENTIAL._replace(rate=1.0), {0: 0.1, 10**6: 0.1}),
    ],
    ids=["linear", "cosine", "exponential", "no decay"],
)
def test_values_at_start_middle_and_end(schedule, expected):
    # The relative error of a float32 power is 1e-7 times the exponent, here at most 12.
    actual = [value(schedule, 0.1, step) for step in expected]
    np.testing.assert_allclose(actual, list(expected.values()), rtol=1e-5)


@pytest.mark.parametrize("kind", schedules.KINDS)
def test_from_zero_to_zero_stays_zero(kind):
    assert value(Schedule("o.rate", kind, 0.0, 100), 0.0, 50) == 0


def test_several_fields():
    both = (LINEAR, Schedule("own", "linear", 1.0, 10))
    new = schedules.at(both, {"o": {"rate": 0.1}, "own": 2.0}, 5)
    np.testing.assert_allclose([new["o"]["rate"], new["own"]], [0.0955, 1.5])
