"""Schedules of traced hyperparameters, as functions of the iteration."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax.spec import HParams, Schedule

# (start, schedule) -> value by iteration.
KINDS: dict[str, Callable[[Any, Schedule], optax.Schedule]] = {
    "linear": lambda start, s: optax.linear_schedule(start, s.end, s.steps),
    # optax's alpha = end / start would be 0 / 0 at start 0.
    "cosine": lambda start, s: (
        lambda step: s.end + (start - s.end) * optax.cosine_decay_schedule(1.0, s.steps)(step)
    ),
    # optax's end_value would be an upper bound at rate 1.
    "exponential": lambda start, s: (
        lambda step: jnp.maximum(optax.exponential_decay(start, s.steps, s.rate)(step), s.end)
    ),
}


def at(schedules: Sequence[Schedule], hparams: HParams, step: jax.Array | int) -> HParams:
    """The hyperparameters of an iteration, `step` of which are done before it."""
    for schedule in schedules:
        *groups, leaf = schedule.field.split(".")
        hparams = place = dict(hparams)
        for group in groups:
            place[group] = place = dict(place[group])
        place[leaf] = KINDS[schedule.kind](place[leaf], schedule)(step)
    return hparams
