"""Optimizers by name, through optax, with every rate traced: one compilation serves every number.

The transformation is built anew from the rates at each update. That costs nothing once compiled,
and the optimizer state is that of the plain optax optimizer.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class Rates(NamedTuple):
    """The numbers of an optimizer; scalars, traced."""

    learning_rate: jax.Array | float
    b1: jax.Array | float  # decay of the first moment: Adam's beta_1, momentum's momentum
    b2: jax.Array | float  # decay of the second moment: Adam's beta_2, RMSProp's decay
    eps: jax.Array | float  # added to the root of the second moment: Adam, RMSProp


class Optimizer(NamedTuple):
    """The structure of an optimizer; hashable, static."""

    name: str  # a key of OPTIMIZERS
    schedule: str = "constant"  # a key of SCHEDULES
    decay_steps: int = 1  # iterations that the schedule takes, or for one factor of decay_rate
    decay_rate: float = 1.0  # exponential: the factor
    end_learning_rate: float = 0.0  # where the schedule ends
    b1_steps: int = 0  # iterations in which b1 goes, on a line, to end_b1; 0: it stays
    end_b1: float = 0.0

    def transformation(
        self,
        rates: Rates,
        step: jax.Array | int,
        optimistic: bool = False,
        differentiable: bool = False,
    ) -> optax.GradientTransformation:
        """The optax transformation at iteration `step` (0 before any).

        Optimistic: w + 2 u_t - u_(t-1), where u is what the optimizer would add (Daskalakis et al.
        2018, https://arxiv.org/abs/1711.00141; its algorithm 1 for Adam).
        Differentiable, for unrolled steps: a parameter that never had a gradient has a second
        moment of 0, whose root has no derivative. Adam adds 1e-36 to it, and RMSProp its eps under
        the root, squared and at least 1e-24.
        """
        learning_rate = SCHEDULES[self.schedule](self, rates.learning_rate)(step)
        b1 = rates.b1
        if self.b1_steps:
            b1 = optax.linear_schedule(b1, self.end_b1, self.b1_steps)(step)
        optimizer = OPTIMIZERS[self.name](
            rates._replace(learning_rate=learning_rate, b1=b1), differentiable
        )
        if optimistic:
            return optax.chain(optimizer, optax.scale_by_optimistic_gradient())
        return optimizer


OPTIMIZERS: dict[str, Callable[[Rates, bool], optax.GradientTransformation]] = {
    "sgd": lambda r, _: optax.sgd(r.learning_rate),
    # The rate inside the velocity, v <- b1 v - rate * gradient, as the paper's code had it;
    # optax.sgd has it outside, which differs where the rate has a schedule.
    "momentum": lambda r, _: optax.chain(
        optax.scale_by_learning_rate(r.learning_rate), optax.trace(r.b1)
    ),
    "adam": lambda r, smooth: optax.adam(
        r.learning_rate, b1=r.b1, b2=r.b2, eps=r.eps, eps_root=1e-36 if smooth else 0.0
    ),
    "rmsprop": lambda r, smooth: optax.rmsprop(
        r.learning_rate,
        decay=r.b2,
        eps=jnp.maximum(r.eps**2, 1e-24) if smooth else r.eps,
        eps_in_sqrt=smooth,
    ),
}

SCHEDULES: dict[str, Callable[[Optimizer, jax.Array | float], optax.Schedule]] = {
    "constant": lambda o, rate: optax.constant_schedule(rate),
    "linear": lambda o, rate: optax.linear_schedule(rate, o.end_learning_rate, o.decay_steps),
    # Not by optax's alpha, a share of the rate: 0 / 0 at rate 0.
    "cosine": lambda o, rate: (
        lambda step: (
            o.end_learning_rate
            + (rate - o.end_learning_rate) * optax.cosine_decay_schedule(1.0, o.decay_steps)(step)
        )
    ),
    # Not by optax's end_value, which is a ceiling where decay_rate is 1.
    "exponential": lambda o, rate: (
        lambda step: jnp.maximum(
            optax.exponential_decay(rate, o.decay_steps, o.decay_rate)(step), o.end_learning_rate
        )
    ),
}
