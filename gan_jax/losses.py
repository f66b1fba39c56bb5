"""The game: for each loss, what the discriminator and what the generator minimise.

Losses take logits and never probabilities: with D(x) = sigmoid(logit),
log D = -softplus(-logit) and log(1 - D) = -softplus(logit) are exact, and their gradients are
right, where sigmoid itself has long since rounded to 0 or 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Loss(NamedTuple):
    """The two players' parts of one game; each returns a scalar to minimise."""

    d: Callable[[jax.Array, jax.Array], jax.Array]  # (real logits, fake logits)
    g: Callable[[jax.Array], jax.Array]  # (fake logits)


def value(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """V(D, G) = E[log D(x)] + E[log(1 - D(G(z)))], estimated on a minibatch.

    Equation 1 of Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.

    Args:
      real_logits: D's logits on data, shape (batch,).
      fake_logits: D's logits on generated samples, shape (batch,).

    Returns:
      A scalar in nats: what D ascends and, through its second term, G descends.
    """
    return -jnp.mean(jax.nn.softplus(-real_logits)) - jnp.mean(jax.nn.softplus(fake_logits))


def discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-V(D, G): the sum of two cross-entropies, with labels 1 for real and 0 for fake."""
    return -value(real_logits, fake_logits)


def minimax_generator(fake_logits: jax.Array) -> jax.Array:
    """E[log(1 - D(G(z)))], the zero-sum game's generator (Algorithm 1 of the paper).

    Its gradient by a logit is -D / batch: it vanishes where D is sure of a fake.
    """
    return -jnp.mean(jax.nn.softplus(fake_logits))


def non_saturating_generator(fake_logits: jax.Array) -> jax.Array:
    """-E[log D(G(z))], the paper's remedy (end of section 3): same fixed point, strong gradient.

    Its gradient by a logit is -(1 - D) / batch: it is strongest where D is sure of a fake.
    """
    return jnp.mean(jax.nn.softplus(-fake_logits))


LOSSES: dict[str, Loss] = {
    "minimax": Loss(d=discriminator, g=minimax_generator),
    "non_saturating": Loss(d=discriminator, g=non_saturating_generator),
}
