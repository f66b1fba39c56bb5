"""The game: for each loss, what the discriminator and what the generator minimise.

Losses take logits and never probabilities: with D(x) = sigmoid(logit),
log D = -softplus(-logit) and log(1 - D) = -softplus(logit) are exact, and their gradients are
right, where sigmoid itself has long since rounded to 0 or 1. Where D is no probability, "logits"
are its plain outputs.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Of D's logits on data, (batch,), and on generated samples, (batch,): a scalar to minimise.
Part = Callable[[jax.Array, jax.Array], jax.Array]


class Loss(NamedTuple):
    """The two players' parts of one game; each returns a scalar to minimise.

    `output` makes of a logit what D says of an example: a probability, or the logit itself.
    """

    d: Part
    g: Part
    output: Callable[[jax.Array], jax.Array] = jax.nn.sigmoid


def value(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """V(G, D) = E[log D(x)] + E[log(1 - D(G(z)))], estimated on a minibatch.

    Equation 1 of Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.

    Args:
      real_logits: D's logits on data, shape (batch,).
      fake_logits: D's logits on generated samples, shape (batch,).

    Returns:
      A scalar in nats: what D ascends and, through its second term, G descends.
    """
    return -jnp.mean(jax.nn.softplus(-real_logits)) - jnp.mean(jax.nn.softplus(fake_logits))


def discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-V(G, D): the sum of two cross-entropies, with labels 1 for real and 0 for fake."""
    return -value(real_logits, fake_logits)


def minimax_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[log(1 - D(G(z)))], the zero-sum game's generator (Algorithm 1 of the paper).

    Its gradient with respect to a logit is -D / batch: it vanishes where D is sure of a fake.
    """
    return -jnp.mean(jax.nn.softplus(fake_logits))


def non_saturating_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-E[log D(G(z))], the paper's remedy (end of section 3): same fixed point, strong gradient.

    Its gradient with respect to a logit is -(1 - D) / batch: strongest where D is sure of a fake.
    """
    return jnp.mean(jax.nn.softplus(-fake_logits))


def wasserstein(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[D(G(z))] - E[D(x)]; minimised over 1-Lipschitz D it is minus the Wasserstein-1 distance.

    Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, equation 2.
    """
    return jnp.mean(fake_logits) - jnp.mean(real_logits)


def wasserstein_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-E[D(G(z))], of the Wasserstein and the hinge game."""
    return -jnp.mean(fake_logits)


def hinge(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))].

    Lim and Ye 2017, https://arxiv.org/abs/1705.02894.
    """
    return jnp.mean(jax.nn.relu(1 - real_logits)) + jnp.mean(jax.nn.relu(1 + fake_logits))


def least_squares(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2.

    Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9: labels 0 for fake, 1 for real.
    """
    return jnp.mean((real_logits - 1) ** 2) / 2 + jnp.mean(fake_logits**2) / 2


def least_squares_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[(D(G(z)) - 1)^2] / 2, of the same equation."""
    return jnp.mean((fake_logits - 1) ** 2) / 2


def relativistic_pairing(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[softplus(D(G(z)) - D(x))]: that a real example seems more real than a fake, in pairs.

    RpGAN, Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734; of R3GAN, Huang et al. 2024,
    https://arxiv.org/abs/2501.05441.
    """
    return jnp.mean(jax.nn.softplus(fake_logits - real_logits))


def relativistic_average(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """The two cross-entropies of D(x) - E[D(G(z))] and D(G(z)) - E[D(x)].

    RaGAN, the same paper; the averages are over the minibatch.
    """
    return discriminator(real_logits - jnp.mean(fake_logits), fake_logits - jnp.mean(real_logits))


def _swapped(part: Part) -> Part:
    """The generator's part of a relativistic game: real and fake change places."""
    return lambda real_logits, fake_logits: part(fake_logits, real_logits)


def f_gan(
    activation: Callable[[jax.Array], jax.Array], conjugate: Callable[[jax.Array], jax.Array]
) -> Loss:
    """The zero-sum game whose value, at the best D, is an f-divergence between the data and G.

    Nowozin et al. 2016, https://arxiv.org/abs/1606.00709: D ascends and G descends
    E[g(v(x))] - E[f*(g(v(G(z))))], where v is D's plain output.

    Args:
      activation: g, which maps any v into the domain of f*.
      conjugate: v -> f*(g(v)), written out, as the composition loses digits.
    """

    def d(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        return jnp.mean(conjugate(fake_logits)) - jnp.mean(activation(real_logits))

    def g(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        return -jnp.mean(conjugate(fake_logits))

    return Loss(d, g, _identity)


def _identity(x: jax.Array) -> jax.Array:
    return x


_LOG_2 = math.log(2)

LOSSES: dict[str, Loss] = {
    "minimax": Loss(discriminator, minimax_generator),
    "non_saturating": Loss(discriminator, non_saturating_generator),
    "least_squares": Loss(least_squares, least_squares_generator, _identity),
    "wasserstein": Loss(wasserstein, wasserstein_generator, _identity),
    "hinge": Loss(hinge, wasserstein_generator, _identity),
    "relativistic_pairing": Loss(relativistic_pairing, _swapped(relativistic_pairing), _identity),
    "relativistic_average": Loss(relativistic_average, _swapped(relativistic_average), _identity),
    # By their f(u) where u = p_data / p_G, tables 1 and 2 of the paper.
    "kl": f_gan(lambda v: v, lambda v: jnp.exp(v - 1)),  # u log u
    "reverse_kl": f_gan(lambda v: -jnp.exp(-v), lambda v: v - 1),  # -log u
    "pearson": f_gan(lambda v: v, lambda v: v**2 / 4 + v),  # (u - 1)^2
    "squared_hellinger": f_gan(lambda v: -jnp.expm1(-v), jnp.expm1),  # (sqrt(u) - 1)^2
    # u log u - (u + 1) log((u + 1) / 2): minimax up to constants.
    "js": f_gan(lambda v: _LOG_2 - jax.nn.softplus(-v), lambda v: jax.nn.softplus(v) - _LOG_2),
}
CROSS_ENTROPY = ("minimax", "non_saturating")  # whose D has labels, 1 for real and 0 for fake
# Whose parts are no mean over single fakes, as each is judged beside the mean of all of them.
NOT_MEANS = ("relativistic_average",)
