"""Penalties on the gradient of D with respect to its input, which D's loss adds with a weight.

Each takes D as a function of examples, (batch, ...) to logits (batch,), which must judge each
example by itself; both minibatches as D sees them; and a key. Each returns a scalar.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Critic = Callable[[jax.Array], jax.Array]
Penalty = Callable[[Critic, jax.Array, jax.Array, jax.Array], jax.Array]


def _gradients(critic: Critic, x: jax.Array) -> jax.Array:
    """The gradient of each example's logit with respect to the example, (batch, components)."""
    return jax.grad(lambda x: jnp.sum(critic(x)))(x).reshape(x.shape[0], -1)


def _away_from_one(critic: Critic, x: jax.Array) -> jax.Array:
    # A gradient of 0, as of ReLUs that are all off, has a norm without a gradient: 0 is as good.
    norms = optax.safe_norm(_gradients(critic, x), 1e-12, axis=1)
    return jnp.mean((norms - 1) ** 2)


def _one_each(key: jax.Array, x: jax.Array) -> jax.Array:
    """A number from [0, 1) for each example, to multiply it by."""
    return jax.random.uniform(key, (x.shape[0],) + (1,) * (x.ndim - 1))


def gradient_penalty(critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """E[(|grad D(x)| - 1)^2] at random points between real and generated examples.

    WGAN-GP, Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, equation 3; weight 10 there.
    """
    return _away_from_one(critic, fake + _one_each(key, real) * (real - fake))


def r1(critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """E[|grad D(x)|^2] / 2 on real examples.

    Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 9; the weight is gamma.
    """
    return jnp.mean(jnp.sum(_gradients(critic, real) ** 2, axis=1)) / 2


def r2(critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """E[|grad D(x)|^2] / 2 on generated examples: equation 10 there."""
    return r1(critic, fake, real, key)


def dragan(critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """E[(|grad D(x)| - 1)^2] around real examples.

    Kodali et al. 2017, https://arxiv.org/abs/1705.07215; perturbed as in the authors' code: by up
    to half the minibatch's standard deviation, upwards only.
    """
    key_away, key_share = jax.random.split(key)
    away = jnp.std(real) / 2 * jax.random.uniform(key_away, real.shape)
    return _away_from_one(critic, real + _one_each(key_share, real) * away)


PENALTIES: dict[str, Penalty] = {
    "gradient_penalty": gradient_penalty,
    "r1": r1,
    "r2": r2,
    "dragan": dragan,
}
