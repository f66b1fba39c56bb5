"""Adversarial losses: what the discriminator D and the generator G minimise.

Each term maps logits on data and on generated samples, both (batch,), to a scalar to minimise.
Losses take logits for numerical stability: log D(x) = -softplus(-logit) and
log(1 - D(x)) = -softplus(logit) stay accurate where sigmoid(logit) rounds to 0 or 1. Where D is not
a probability, "logits" are its raw outputs.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

# (real_logits (batch,), fake_logits (batch,)) -> scalar to minimise.
LossTerm = Callable[[jax.Array, jax.Array], jax.Array]


def _identity(x: jax.Array) -> jax.Array:
    return x


class Loss(NamedTuple):
    """The two terms of an adversarial loss."""

    d: LossTerm  # minimised by the discriminator
    g: LossTerm  # minimised by the generator
    output: Callable[[jax.Array], jax.Array] = _identity  # from a logit to D(x), for reports


def value(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Minibatch estimate of V(G, D) = E[log D(x)] + E[log(1 - D(G(z)))].

    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1.
    """
    return -jnp.mean(jax.nn.softplus(-real_logits)) - jnp.mean(jax.nn.softplus(fake_logits))


def minimax_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-V(G, D): the sum of two cross-entropies, with labels 1 for real and 0 for fake.

    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1.
    """
    return -value(real_logits, fake_logits)


def minimax_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[log(1 - D(G(z)))], the generator's loss of Algorithm 1.

    Its gradient with respect to a logit, -D / batch, vanishes on fakes that D rejects confidently.
    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
    """
    return -jnp.mean(jax.nn.softplus(fake_logits))


def non_saturating_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-E[log D(G(z))]: the same fixed point as minimax, without its vanishing gradient.

    Its gradient with respect to a logit, -(1 - D) / batch, is largest on fakes that D rejects.
    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, end of section 3.
    """
    return jnp.mean(jax.nn.softplus(-fake_logits))


def least_squares_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2.

    LSGAN, Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9.
    """
    return jnp.mean((real_logits - 1) ** 2) / 2 + jnp.mean(fake_logits**2) / 2


def least_squares_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[(D(G(z)) - 1)^2] / 2.

    LSGAN, Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9.
    """
    return jnp.mean((fake_logits - 1) ** 2) / 2


def wasserstein_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[D(G(z))] - E[D(x)]; over 1-Lipschitz D, its minimum is minus the Wasserstein-1 distance.

    WGAN, Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, equation 2.
    """
    return jnp.mean(fake_logits) - jnp.mean(real_logits)


def wasserstein_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-E[D(G(z))]; also the generator loss of hinge GANs.

    WGAN, Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, equation 2.
    """
    return -jnp.mean(fake_logits)


def hinge_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))].

    Geometric GAN, Lim and Ye 2017, https://arxiv.org/abs/1705.02894.
    """
    return jnp.mean(jax.nn.relu(1 - real_logits)) + jnp.mean(jax.nn.relu(1 + fake_logits))


def relativistic_pairing(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[softplus(D(G(z)) - D(x))], over pairs of a real and a generated example.

    RpGAN, Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734, as in R3GAN, Huang et al.
    2024, https://arxiv.org/abs/2501.05441.
    """
    return jnp.mean(jax.nn.softplus(fake_logits - real_logits))


def relativistic_average(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Cross-entropies of D(x) - mean D(G(z)), labelled 1, and D(G(z)) - mean D(x), labelled 0.

    RaGAN, Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734. Means are over the minibatch.
    """
    return minimax_discriminator(
        real_logits - jnp.mean(fake_logits), fake_logits - jnp.mean(real_logits)
    )


def _swapped(term: LossTerm) -> LossTerm:
    """The generator's term of a relativistic game: real and fake exchange places."""
    return lambda real_logits, fake_logits: term(fake_logits, real_logits)


def f_gan(
    activation: Callable[[jax.Array], jax.Array], conjugate: Callable[[jax.Array], jax.Array]
) -> Loss:
    """The zero-sum game that estimates an f-divergence between the data and G.

    D maximises and G minimises E[g(v(x))] - E[f*(g(v(G(z))))], where v is D's raw output.
    f-GAN, Nowozin et al. 2016, https://arxiv.org/abs/1606.00709.

    Args:
      activation: g, from any real number into the domain of f*.
      conjugate: v -> f*(g(v)), simplified by hand, as evaluating the composition loses precision.

    Returns:
      Both terms of the game.
    """

    def d(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        return jnp.mean(conjugate(fake_logits)) - jnp.mean(activation(real_logits))

    def g(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        return -jnp.mean(conjugate(fake_logits))

    return Loss(d, g)


_LOG_2 = math.log(2)

LOSSES: dict[str, Loss] = {
    "minimax": Loss(minimax_discriminator, minimax_generator, jax.nn.sigmoid),
    "non_saturating": Loss(minimax_discriminator, non_saturating_generator, jax.nn.sigmoid),
    "least_squares": Loss(least_squares_discriminator, least_squares_generator),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator),
    "hinge": Loss(hinge_discriminator, wasserstein_generator),
    "relativistic_pairing": Loss(relativistic_pairing, _swapped(relativistic_pairing)),
    "relativistic_average": Loss(relativistic_average, _swapped(relativistic_average)),
    # f-GANs, with f(u) at u = p_data / p_G: tables 1 and 2 of the paper.
    "kl": f_gan(_identity, lambda v: jnp.exp(v - 1)),  # u log u
    "reverse_kl": f_gan(lambda v: -jnp.exp(-v), lambda v: v - 1),  # -log u
    "pearson": f_gan(_identity, lambda v: v**2 / 4 + v),  # (u - 1)^2
    "squared_hellinger": f_gan(lambda v: -jnp.expm1(-v), jnp.expm1),  # (sqrt(u) - 1)^2
    # u log u - (u + 1) log((u + 1) / 2): minimax up to constants.
    "js": f_gan(lambda v: _LOG_2 - jax.nn.softplus(-v), lambda v: jax.nn.softplus(v) - _LOG_2),
}
CROSS_ENTROPY = ("minimax", "non_saturating")  # D classifies: labels 1 for real, 0 for fake
# Not a mean over fakes: the term of one depends on the others in its minibatch.
BATCH_COUPLED = ("relativistic_average",)
