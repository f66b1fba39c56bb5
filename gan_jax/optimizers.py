"""optax optimizers by name, with traced hyperparameters: one compilation serves all values.

The transformation is rebuilt from its hyperparameters at every update, which is free once compiled;
the optimizer state is that of the plain optax optimizer.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class OptimizerHParams(NamedTuple):
    """Traced hyperparameters of an optimizer; scalars."""

    learning_rate: jax.Array | float
    b1: jax.Array | float  # decay of the first moment: Adam's beta_1, momentum's coefficient
    b2: jax.Array | float  # decay of the second moment: Adam's beta_2, RMSProp's decay
    eps: jax.Array | float  # added to the root of the second moment: Adam, RMSProp


class Optimizer(NamedTuple):
    """Static structure of an optimizer; hashable."""

    name: str  # a key of OPTIMIZERS
    schedule: str = "constant"  # a key of SCHEDULES
    decay_steps: int = 1  # iterations until end_learning_rate; exponential: per decay_rate
    decay_rate: float = 1.0  # exponential: the factor by which the learning rate decays
    end_learning_rate: float = 0.0  # final learning rate; exponential: its lower bound
    b1_steps: int = 0  # iterations over which b1 moves linearly to end_b1; 0: constant
    end_b1: float = 0.0

    def transformation(
        self,
        hparams: OptimizerHParams,
        step: jax.Array | int,
        optimistic: bool = False,
        differentiable: bool = False,
    ) -> optax.GradientTransformation:
        """The optax transformation of one iteration.

        Args:
          hparams: traced hyperparameters.
          step: iterations done before this one, int32 ().
          optimistic: update by 2 u_t - u_(t-1), where u are the optimizer's updates: Daskalakis et
            al. 2018, https://arxiv.org/abs/1711.00141; its algorithm 1 for Adam.
          differentiable: keep derivatives of the update finite, for unrolled steps. A second moment
            of 0, of a parameter that never had a gradient, has a root without a derivative: Adam
            adds 1e-36 under the root, RMSProp max(eps^2, 1e-24) in place of eps outside it.

        Returns:
          A transformation whose state does not depend on `step` or `hparams`.
        """
        learning_rate = SCHEDULES[self.schedule](self, hparams.learning_rate)(step)
        b1 = hparams.b1
        if self.b1_steps:
            b1 = optax.linear_schedule(b1, self.end_b1, self.b1_steps)(step)
        optimizer = OPTIMIZERS[self.name](
            hparams._replace(learning_rate=learning_rate, b1=b1), differentiable
        )
        if optimistic:
            return optax.chain(optimizer, optax.scale_by_optimistic_gradient())
        return optimizer


# (hparams, differentiable) -> transformation.
OPTIMIZERS: dict[str, Callable[[OptimizerHParams, bool], optax.GradientTransformation]] = {
    "sgd": lambda h, _: optax.sgd(h.learning_rate),
    # v <- b1 v - learning_rate * gradient, as in the 2014 paper's code. optax.sgd multiplies v by
    # the learning rate instead, which differs under a schedule.
    "momentum": lambda h, _: optax.chain(
        optax.scale_by_learning_rate(h.learning_rate), optax.trace(h.b1)
    ),
    "adam": lambda h, differentiable: optax.adam(
        h.learning_rate, b1=h.b1, b2=h.b2, eps=h.eps, eps_root=1e-36 if differentiable else 0.0
    ),
    "rmsprop": lambda h, differentiable: optax.rmsprop(
        h.learning_rate,
        decay=h.b2,
        eps=jnp.maximum(h.eps**2, 1e-24) if differentiable else h.eps,
        eps_in_sqrt=differentiable,
    ),
}

# (optimizer, initial learning rate) -> schedule.
SCHEDULES: dict[str, Callable[[Optimizer, jax.Array | float], optax.Schedule]] = {
    "constant": lambda o, rate: optax.constant_schedule(rate),
    "linear": lambda o, rate: optax.linear_schedule(rate, o.end_learning_rate, o.decay_steps),
    # optax's alpha = end / start would be 0 / 0 at learning rate 0.
    "cosine": lambda o, rate: (
        lambda step: (
            o.end_learning_rate
            + (rate - o.end_learning_rate) * optax.cosine_decay_schedule(1.0, o.decay_steps)(step)
        )
    ),
    # optax's end_value would be an upper bound at decay_rate 1.
    "exponential": lambda o, rate: (
        lambda step: jnp.maximum(
            optax.exponential_decay(rate, o.decay_steps, o.decay_rate)(step), o.end_learning_rate
        )
    ),
}
