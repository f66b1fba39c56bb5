"""Adversarial autoencoder, Makhzani et al. 2015, https://arxiv.org/abs/1511.05644.

    for each minibatch x do
        reconstruction: encoder and generator descend on -log p(x | z), z = E(x)
        regularisation: the discriminator learns to tell samples of the prior from codes E(x)
                        the encoder learns to prevent it

Samples decode z from the prior. Codes are deterministic. With labels, the decoder also sees y, and
the encoder and discriminator do not (section 4): codes then hold what labels do not tell.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax import networks
from gan_jax.algorithms import autoencoder
from gan_jax.draws import Batch, Stream, Window, noise, stream_key
from gan_jax.losses import LOSSES
from gan_jax.networks import Params, Stats, Variables
from gan_jax.optimizers import OptimizerHParams, transformation
from gan_jax.spec import AutoencoderSpec, HParams
from gan_jax.state import Info, Player, State

STEP_INFO = (
    *autoencoder.STEP_INFO,
    *("d_loss", "g_loss", "d_prior", "d_codes", "d_grad_norm", "g_grad_norm"),
)


def info_names(spec: AutoencoderSpec) -> tuple[str, ...]:
    """Names of the quantities measured by `step`, and of the players' parameter norms."""
    return (*STEP_INFO, *autoencoder.NORMS, "discriminator_param_norm")


def init(spec: AutoencoderSpec, hparams: HParams, seed: jax.Array | int, data: Batch) -> State:
    """Initial state; arguments as for `gan.init`."""
    state = autoencoder.init_players(spec, hparams, seed, data)
    assert spec.discriminator is not None
    key, z = stream_key(state.key, Stream.INIT_D), jnp.zeros((1, spec.z_dim))
    d = networks.init(spec.discriminator, key, z, jnp.zeros(()))
    e = state.players["encoder"]
    return state.replace_players(
        discriminator=Player(*d, _optimizer(spec.d_optimizer, hparams, "d").init(d.params)),
        encoder=e._replace(opt_state=_optimizer(spec.e_optimizer, hparams, "e").init(e.params)),
    )


def _optimizer(name: str, hparams: HParams, player: str) -> optax.GradientTransformation:
    return transformation(name, OptimizerHParams(**hparams[f"{player}_optimizer"]))


def _descended(
    player: Player, optimizer: optax.GradientTransformation, grads: Params, stats: Stats
) -> Player:
    """The player after a step along its gradients, with new statistics."""
    updates, opt_state = optimizer.update(grads, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), stats, opt_state)


def _logits(
    spec: AutoencoderSpec, d: Variables, z: jax.Array, key: jax.Array, train: bool
) -> tuple[jax.Array, Stats]:
    assert spec.discriminator is not None
    return networks.apply(spec.discriminator, d, z, key, train)


def d_step(
    spec: AutoencoderSpec,
    hparams: HParams,
    state: State,
    x: jax.Array,
    z: jax.Array,
    key: jax.Array,
) -> tuple[State, Info]:
    """One discriminator update: gradient descent on the loss's d term.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: the state before; the other players are unchanged.
      x: examples with pixels from spec.pixel_low to 1, (batch, *example shape).
      z: samples of the prior, (batch, z_dim).
      key: of dropout.

    Returns:
      The new state; d_loss, d_prior and d_codes (mean outputs of D) and d_grad_norm (global l2
      norm), all pre-update.
    """
    d, loss = state.players["discriminator"], LOSSES[spec.loss]
    codes, _ = networks.apply(spec.encoder, state.players["encoder"].variables, x, train=True)
    keys = jax.random.split(key)

    def objective(params: Params) -> tuple[jax.Array, Any]:
        on_prior, stats = _logits(spec, Variables(params, d.stats), z, keys[0], train=True)
        on_codes, stats = _logits(spec, Variables(params, stats), codes, keys[1], train=True)
        return loss.d(on_prior, on_codes), (on_prior, on_codes, stats)

    (value, (on_prior, on_codes, stats)), grads = jax.value_and_grad(objective, has_aux=True)(
        d.params
    )
    new = _descended(d, _optimizer(spec.d_optimizer, hparams, "d"), grads, stats)
    return state.replace_players(discriminator=new), {
        "d_loss": value,
        "d_prior": jnp.mean(loss.output(on_prior)),
        "d_codes": jnp.mean(loss.output(on_codes)),
        "d_grad_norm": optax.tree.norm(grads),
    }


def encoder_step(
    spec: AutoencoderSpec,
    hparams: HParams,
    state: State,
    x: jax.Array,
    z: jax.Array,
    key: jax.Array,
) -> tuple[State, Info]:
    """One adversarial update of the encoder: gradient descent on the loss's g term.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: the state before; the other players are unchanged.
      x: examples with pixels from spec.pixel_low to 1, (batch, *example shape).
      z: samples of the prior, (batch, z_dim); only relativistic losses depend on them.
      key: of dropout.

    Returns:
      The new state; g_loss and g_grad_norm (global l2 norm), both pre-update.
    """
    e, d = state.players["encoder"], state.players["discriminator"].variables
    keys = jax.random.split(key)

    def objective(params: Params) -> tuple[jax.Array, Stats]:
        codes, stats = networks.apply(spec.encoder, Variables(params, e.stats), x, train=True)
        on_prior, _ = _logits(spec, d, z, keys[0], train=False)
        on_codes, _ = _logits(spec, d, codes, keys[1], train=False)
        return LOSSES[spec.loss].g(on_prior, on_codes), stats

    (value, stats), grads = jax.value_and_grad(objective, has_aux=True)(e.params)
    new = _descended(e, _optimizer(spec.e_optimizer, hparams, "e"), grads, stats)
    info = {"g_loss": value, "g_grad_norm": optax.tree.norm(grads)}
    return state.replace_players(encoder=new), info


def step(
    spec: AutoencoderSpec, hparams: HParams, state: State, data: Batch | Window
) -> tuple[State, Info]:
    """One iteration: reconstruction, discriminator and encoder steps on one minibatch."""
    batch, key = autoencoder.draw(spec, state, data)
    x = batch.x
    z = noise(spec, stream_key(state.key, Stream.NOISE_D, state.step), len(x))
    key_d = stream_key(state.key, Stream.STEP_D, state.step)
    state, info = autoencoder.reconstruction_step(spec, hparams, state, batch, key)
    info.pop("codes")
    state, d_info = d_step(spec, hparams, state, x, z, key_d)
    state, e_info = encoder_step(spec, hparams, state, x, z, key_d)
    return state._replace(step=state.step + 1), info | d_info | e_info


def sample(
    spec: AutoencoderSpec, state: State, z: jax.Array, y: jax.Array | None = None
) -> jax.Array:
    """Examples with pixels from 0 to 1, from samples z of the prior, (batch, z_dim), and labels."""
    return autoencoder.sample_decoded(spec, state, z, y)
