"""Penalties on the gradient of D with respect to its input, added to D's loss.

All take the same arguments:
  critic: maps examples, shape (batch, ...), to logits, shape (batch,), each example on its own.
  real, fake: the minibatches as D sees them, shape (batch, ...).
  key: PRNG key of the points at which the gradient is taken; unused by r1 and r2.
They return an unweighted scalar.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

LogitFn = Callable[[jax.Array], jax.Array]  # a critic with its dropout key fixed
Penalty = Callable[[LogitFn, jax.Array, jax.Array, jax.Array], jax.Array]


def _gradients(critic: LogitFn, x: jax.Array) -> jax.Array:
    """Gradient of each logit with respect to its own example, flattened: (batch, size)."""
    return jax.grad(lambda x: jnp.sum(critic(x)))(x).reshape(x.shape[0], -1)


def _unit_norm(critic: LogitFn, x: jax.Array) -> jax.Array:
    """E[(|grad D(x)| - 1)^2]."""
    # The norm is not differentiable at 0, where dead ReLUs put it; there, 0 is a subgradient.
    norms = optax.safe_norm(_gradients(critic, x), 1e-12, axis=1)
    return jnp.mean((norms - 1) ** 2)


def _uniform(key: jax.Array, x: jax.Array) -> jax.Array:
    """One number in [0, 1) per example, of a shape that broadcasts against x."""
    return jax.random.uniform(key, (x.shape[0],) + (1,) * (x.ndim - 1))


def gradient_penalty(
    critic: LogitFn, real: jax.Array, fake: jax.Array, key: jax.Array
) -> jax.Array:
    """E[(|grad D(x)| - 1)^2] at random points between real and generated examples.

    WGAN-GP, Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, equation 3; weight 10 there.
    """
    return _unit_norm(critic, fake + _uniform(key, real) * (real - fake))


def r1(critic: LogitFn, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """E[|grad D(x)|^2] / 2 on real examples.

    Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 9; the weight is gamma.
    """
    return jnp.mean(jnp.sum(_gradients(critic, real) ** 2, axis=1)) / 2


def r2(critic: LogitFn, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """E[|grad D(x)|^2] / 2 on generated examples.

    Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 10.
    """
    return r1(critic, fake, real, key)


def dragan(critic: LogitFn, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """E[(|grad D(x)| - 1)^2] around real examples.

    DRAGAN, Kodali et al. 2017, https://arxiv.org/abs/1705.07215. As in the authors' code, the
    perturbation is non-negative and at most half the minibatch's standard deviation.
    """
    key_direction, key_length = jax.random.split(key)
    direction = jnp.std(real) / 2 * jax.random.uniform(key_direction, real.shape)
    return _unit_norm(critic, real + _uniform(key_length, real) * direction)


PENALTIES: dict[str, Penalty] = {
    "gradient_penalty": gradient_penalty,
    "r1": r1,
    "r2": r2,
    "dragan": dragan,
}
