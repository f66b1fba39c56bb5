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


def transformation(
    name: str,
    hparams: OptimizerHParams,
    optimistic: bool = False,
    differentiable: bool = False,
) -> optax.GradientTransformation:
    """The optax transformation of one iteration; its state does not depend on `hparams`.

    Args:
      name: key of OPTIMIZERS.
      hparams: traced hyperparameters of this iteration.
      optimistic: update by 2 u_t - u_(t-1), where u are the optimizer's updates: Daskalakis et al.
        2018, https://arxiv.org/abs/1711.00141; its algorithm 1 for Adam.
      differentiable: keep derivatives of the update finite, for unrolled steps. A second moment of
        0, of a parameter that never had a gradient, has a root without a derivative: Adam adds
        1e-36 under the root, RMSProp max(eps^2, 1e-24) in place of eps outside it.
    """
    optimizer = OPTIMIZERS[name](hparams, differentiable)
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
