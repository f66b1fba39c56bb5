"""Variational autoencoder, Kingma and Welling 2014, https://arxiv.org/abs/1312.6114.

    maximise E_q(z|x)[log p(x | z)] - beta KL(q(z | x) || p(z))

with p(z) = N(0, I) and q(z | x) = N(mean(x), diag exp(log_variance(x))). beta = 1 is the evidence
lower bound (ELBO); others are of Higgins et al. 2017
(https://openreview.net/forum?id=Sy2fzU9gl). Samples are the means of p(x | z), z from p(z).
"""

import math

import jax
import jax.numpy as jnp

from gan_jax import networks
from gan_jax.algorithms import autoencoder
from gan_jax.algorithms.autoencoder import decode, log_likelihood
from gan_jax.draws import Batch, Stream, Window, noise, stream_key
from gan_jax.networks import Params, Stats, Variables
from gan_jax.spec import AutoencoderSpec, HParams
from gan_jax.state import Info, State

STEP_INFO = ("loss", "reconstruction", "kl", "grad_norm")
_LOG_2PI = math.log(2 * math.pi)
_SAMPLES = 100  # of q(z | x) per example, of `log_likelihoods`
_BLOCK = 1000  # examples at a time there, which bounds memory


def info_names(spec: AutoencoderSpec) -> tuple[str, ...]:
    """Names of the quantities measured by `step`, and of the players' parameter norms."""
    return (*STEP_INFO, *autoencoder.NORMS)


def init(spec: AutoencoderSpec, hparams: HParams, seed: jax.Array | int, data: Batch) -> State:
    """Initial state; arguments as for `gan.init`."""
    return autoencoder.init_players(spec, hparams, seed, data)


def posterior(
    spec: AutoencoderSpec,
    encoder: Variables,
    x: jax.Array,
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[jax.Array, jax.Array, Stats]:
    """Mean and log variance of q(z | x), each (batch, z_dim), and the updated statistics."""
    output, stats = networks.apply(spec.encoder, encoder, x, key, train)
    return *jnp.split(output, 2, axis=1), stats


def kl_divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, diag exp(log_variance)) || N(0, I)) in nats: (batch, d) to (batch,).

    Appendix B of the paper.
    """
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, axis=1)


def step(
    spec: AutoencoderSpec, hparams: HParams, state: State, data: Batch | Window
) -> tuple[State, Info]:
    """One iteration: gradient ascent on the bound, with one z per example of a minibatch.

    Returns:
      The new state; loss (the negative bound), reconstruction (-log p(x | z)) and kl (unweighted),
      averaged over the minibatch in nats and pre-update, and grad_norm (global l2 norm).
    """
    (x, *_), key = autoencoder.draw(spec, state, data)
    epsilon = noise(spec, stream_key(state.key, Stream.NOISE_G, state.step), len(x))

    def objective(params: dict[str, Params]) -> tuple[jax.Array, tuple[dict[str, Stats], Info]]:
        e, g = (Variables(params[n], state.players[n].stats) for n in ("encoder", "generator"))
        mean, log_variance, e_stats = posterior(spec, e, x, key, train=True)
        output, g_stats = decode(spec, g, mean + jnp.exp(log_variance / 2) * epsilon, train=True)
        info = {
            "reconstruction": -jnp.mean(log_likelihood(spec, hparams, x, output)),
            "kl": jnp.mean(kl_divergence(mean, log_variance)),
        }
        loss = info["reconstruction"] + hparams["kl_weight"] * info["kl"]
        return loss, ({"encoder": e_stats, "generator": g_stats}, info)

    state, info = autoencoder.gradient_step(spec, hparams, state, objective)
    return state._replace(step=state.step + 1), info


def sample(
    spec: AutoencoderSpec, state: State, z: jax.Array, y: jax.Array | None = None
) -> jax.Array:
    """The means of p(x | z), with pixels from 0 to 1, of z (batch, z_dim)."""
    return autoencoder.sample_decoded(spec, state, z)


def log_weights(
    spec: AutoencoderSpec,
    hparams: HParams,
    state: State,
    x: jax.Array,
    key: jax.Array,
    samples: int,
) -> jax.Array:
    """The log weights log p(x, z) - log q(z | x) of z from q(z | x): (samples, batch).

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: training state.
      x: examples with pixels from spec.pixel_low to 1, (batch, *example shape).
      key: of the samples.
      samples: per example.
    """
    e, g = (state.players[name].variables for name in ("encoder", "generator"))
    mean, log_variance, _ = posterior(spec, e, x)

    def weight(key: jax.Array) -> jax.Array:
        epsilon = jax.random.normal(key, mean.shape)
        z = mean + jnp.exp(log_variance / 2) * epsilon
        output, _ = decode(spec, g, z, train=False)
        log_prior = -0.5 * jnp.sum(z**2 + _LOG_2PI, axis=1)
        log_posterior = -0.5 * jnp.sum(epsilon**2 + log_variance + _LOG_2PI, axis=1)
        return log_likelihood(spec, hparams, x, output) + log_prior - log_posterior

    return jax.lax.map(weight, jax.random.split(key, samples))


def log_likelihoods(
    spec: AutoencoderSpec, hparams: HParams, state: State, x: jax.Array
) -> dict[str, jax.Array]:
    """Lower bounds of log p(x) in nats, (batch,) each, from 100 samples of q(z | x).

    "elbo" is the mean of the log weights, "importance_weighted" the logarithm of the mean of the
    weights, which is tighter: Burda et al. 2016, https://arxiv.org/abs/1509.00519, equation 8.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: training state.
      x: examples with pixels from spec.pixel_low to 1, (batch, *example shape).
    """

    def one(example: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        x, key = example
        log_w = log_weights(spec, hparams, state, x[None], key, _SAMPLES)[:, 0]
        tighter = jax.nn.logsumexp(log_w) - math.log(_SAMPLES)
        return {"elbo": jnp.mean(log_w), "importance_weighted": tighter}

    keys = jax.random.split(stream_key(state.key, Stream.EVALUATE), len(x))
    return jax.lax.map(one, (x, keys), batch_size=_BLOCK)


def reconstruct(
    spec: AutoencoderSpec, state: State, x: jax.Array, y: jax.Array | None = None
) -> jax.Array:
    """Means of p(x | z) at the means of q(z | x); as `autoencoder.reconstruct`."""
    mean, _, _ = posterior(spec, state.players["encoder"].variables, x)
    return autoencoder.sample_decoded(spec, state, mean)
