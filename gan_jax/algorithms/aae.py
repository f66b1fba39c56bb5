"""Adversarial autoencoder, Makhzani et al. 2015, https://arxiv.org/abs/1511.05644.

    for each minibatch x do
        reconstruction: update encoder and generator on -log p(x | E(x))
        regularisation: update the discriminator to tell samples of the prior from codes E(x)
                        update the encoder to fool it

Samples decode z from the prior; codes are deterministic. With labels (section 4), only the decoder
sees y, so that codes represent what y does not: style.

With inferred classes, the encoder also outputs logits of y, whose softmax conditions the decoder. A
second discriminator compares the softmax with one-hot samples of a uniform categorical. If some
examples are labelled, the encoder also minimises their cross-entropy (section 5); otherwise classes
are clusters (section 6).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax import networks
from gan_jax.algorithms import autoencoder
from gan_jax.data.pixels import to_float
from gan_jax.draws import Batch, Stream, Window, noise, stream_key
from gan_jax.errors import InputError
from gan_jax.losses import LOSSES
from gan_jax.networks import Params, Stats, Variables
from gan_jax.optimizers import OptimizerHParams, transformation
from gan_jax.spec import AutoencoderSpec, HParams
from gan_jax.state import Info, Player, State, apply_gradients

STEP_INFO = (
    *autoencoder.STEP_INFO,
    *("d_loss", "g_loss", "d_prior", "d_codes", "d_grad_norm", "g_grad_norm"),
)

DInputs = dict[str, jax.Array]  # by name of the discriminator, (batch, d)


def _input_dims(spec: AutoencoderSpec) -> dict[str, int]:
    """The dimension of what each discriminator sees."""
    categories = {"category_discriminator": spec.classes} if spec.infers_classes else {}
    return {"discriminator": spec.z_dim} | categories


def info_names(spec: AutoencoderSpec) -> tuple[str, ...]:
    """Names of the quantities measured by `step`, and of the players' parameter norms."""
    labelled = ("cross_entropy",) if spec.num_labelled else ()
    norms = (f"{name}_param_norm" for name in _input_dims(spec))
    return (*STEP_INFO, *labelled, *autoencoder.NORMS, *norms)


def init(spec: AutoencoderSpec, hparams: HParams, seed: jax.Array | int, data: Batch) -> State:
    """Initial state; arguments as for `gan.init`."""
    state = autoencoder.init_players(spec, hparams, seed, data)
    assert spec.discriminator is not None
    e = state.players["encoder"]
    players = {"encoder": e._replace(opt_state=_optimizer(spec, hparams, "e").init(e.params))}
    for number, (name, size) in enumerate(_input_dims(spec).items()):
        key = stream_key(state.key, Stream.INIT_D, number)
        d = networks.init(spec.discriminator, key, jnp.zeros((1, size)), jnp.zeros(()))
        players[name] = Player(*d, _optimizer(spec, hparams, "d").init(d.params))
    return state.replace_players(**players)


def _optimizer(
    spec: AutoencoderSpec, hparams: HParams, player: str
) -> optax.GradientTransformation:
    name = {"d": spec.d_optimizer, "e": spec.e_optimizer}[player]
    return transformation(name, OptimizerHParams(**hparams[f"{player}_optimizer"]))


def _logits(
    spec: AutoencoderSpec, d: Variables, z: jax.Array, key: jax.Array, train: bool
) -> tuple[jax.Array, Stats]:
    assert spec.discriminator is not None
    return networks.apply(spec.discriminator, d, z, key, train=train)


def _keys(key: jax.Array, number: int) -> jax.Array:
    """Keys of dropout in a discriminator's passes over samples of the prior and over codes."""
    key = jax.random.fold_in(key, number) if number else key  # the only discriminator's
    return jax.random.split(key)


def _discriminator_inputs(
    spec: AutoencoderSpec, e: Variables, x: jax.Array
) -> tuple[DInputs, Stats]:
    codes, logits, stats = autoencoder.encode(spec, e, x, train=True)
    inferred = {} if logits is None else {"category_discriminator": jax.nn.softmax(logits)}
    return {"discriminator": codes} | inferred, stats


def d_step(
    spec: AutoencoderSpec,
    hparams: HParams,
    state: State,
    x: jax.Array,
    prior: DInputs,
    key: jax.Array,
) -> tuple[State, Info]:
    """One update of each discriminator: gradient descent on the loss's d term.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: the state before; the other players are unchanged.
      x: examples with pixels from spec.pixel_low to 1, (batch, *example shape).
      prior: samples of each discriminator's prior, (batch, d).
      key: of dropout.

    Returns:
      The new state; d_loss, summed over discriminators, d_prior and d_codes (mean outputs of the
      discriminator of codes, on samples of the prior and on codes) and d_grad_norm (global l2 norm
      over all discriminators), all pre-update.
    """
    loss, optimizer = LOSSES[spec.loss], _optimizer(spec, hparams, "d")
    inputs, _ = _discriminator_inputs(spec, state.players["encoder"].variables, x)
    values, gradients, players = [], {}, {}
    info: Info = {}
    for number, name in enumerate(prior):
        d = state.players[name]
        keys = _keys(key, number)

        def objective(
            params: Params, name: str = name, d: Player = d, keys: jax.Array = keys
        ) -> tuple[jax.Array, Any]:
            before = Variables(params, d.stats)
            on_prior, stats = _logits(spec, before, prior[name], keys[0], train=True)
            after = Variables(params, stats)
            on_codes, stats = _logits(spec, after, inputs[name], keys[1], train=True)
            return loss.d(on_prior, on_codes), (on_prior, on_codes, stats)

        step = jax.value_and_grad(objective, has_aux=True)
        (value, (on_prior, on_codes, stats)), gradients[name] = step(d.params)
        players[name] = apply_gradients(d, optimizer, gradients[name], stats)
        values.append(value)
        if not info:
            outputs = {"d_prior": on_prior, "d_codes": on_codes}
            info = {key: jnp.mean(loss.output(logits)) for key, logits in outputs.items()}
    info |= {"d_loss": sum(values[1:], values[0]), "d_grad_norm": optax.tree.norm(gradients)}
    return state.replace_players(**players), info


def encoder_step(
    spec: AutoencoderSpec,
    hparams: HParams,
    state: State,
    x: jax.Array,
    prior: DInputs,
    key: jax.Array,
    labelled: Batch | None = None,
) -> tuple[State, Info]:
    """One update of the encoder: gradient descent on the loss's g terms and the cross-entropy.

    The cross-entropy is added to the adversarial loss; the paper alternates the two.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: the state before; the other players are unchanged.
      x: examples with pixels from spec.pixel_low to 1, (batch, *example shape).
      prior: samples of the priors; only relativistic losses depend on them.
      key: of dropout.
      labelled: examples and their classes, for semi-supervised learning.

    Returns:
      The new state; g_loss, summed over discriminators, cross_entropy of labelled examples and
      g_grad_norm (global l2 norm), all pre-update.
    """
    e = state.players["encoder"]

    def objective(params: Params) -> tuple[jax.Array, tuple[Info, Stats]]:
        inputs, stats = _discriminator_inputs(spec, Variables(params, e.stats), x)
        terms = []
        for number, name in enumerate(prior):
            d = state.players[name].variables
            keys = _keys(key, number)
            on_prior, _ = _logits(spec, d, prior[name], keys[0], train=False)
            on_codes, _ = _logits(spec, d, inputs[name], keys[1], train=False)
            terms.append(LOSSES[spec.loss].g(on_prior, on_codes))
        info = {"g_loss": sum(terms[1:], terms[0])}
        if labelled is None:
            return info["g_loss"], (info, stats)
        _, logits, stats = autoencoder.encode(
            spec, Variables(params, stats), labelled.x, train=True
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labelled.y)
        info["cross_entropy"] = jnp.mean(losses)
        return info["g_loss"] + info["cross_entropy"], (info, stats)

    (_, (info, stats)), grads = jax.value_and_grad(objective, has_aux=True)(e.params)
    new = apply_gradients(e, _optimizer(spec, hparams, "e"), grads, stats)
    return state.replace_players(encoder=new), info | {"g_grad_norm": optax.tree.norm(grads)}


def _labelled(spec: AutoencoderSpec, state: State, data: Batch | Window) -> Batch | None:
    """A minibatch of the data set's first `spec.num_labelled` examples, drawn with replacement."""
    if not spec.num_labelled:
        return None
    assert isinstance(data, Batch)
    assert data.y is not None
    key = stream_key(state.key, Stream.BATCH_G, state.step)
    index = jax.random.randint(key, (spec.batch_size,), 0, spec.num_labelled)
    return Batch(to_float(data.x[index], spec.pixel_low), data.y[index])


def step(
    spec: AutoencoderSpec, hparams: HParams, state: State, data: Batch | Window
) -> tuple[State, Info]:
    """One iteration: reconstruction, discriminator and encoder steps on one minibatch."""
    batch, key = autoencoder.draw(spec, state, data)
    x = batch.x
    prior = {
        "discriminator": noise(spec, stream_key(state.key, Stream.NOISE_D, state.step), len(x))
    }
    if spec.infers_classes:
        key_y = stream_key(state.key, Stream.NOISE_G, state.step)
        y = jax.random.randint(key_y, (len(x),), 0, spec.classes)
        prior["category_discriminator"] = jax.nn.one_hot(y, spec.classes)
    key_d = stream_key(state.key, Stream.STEP_D, state.step)
    state, info = autoencoder.reconstruction_step(spec, hparams, state, batch, key)
    info.pop("codes")
    state, d_info = d_step(spec, hparams, state, x, prior, key_d)
    labelled = _labelled(spec, state, data)
    state, e_info = encoder_step(spec, hparams, state, x, prior, key_d, labelled)
    return state._replace(step=state.step + 1), info | d_info | e_info


def sample(
    spec: AutoencoderSpec, state: State, z: jax.Array, y: jax.Array | None = None
) -> jax.Array:
    """Examples with pixels from 0 to 1, from samples z of the prior, (batch, z_dim), and labels.

    Without labels, inferred classes are drawn in equal numbers.
    """
    if y is None and spec.infers_classes:
        y = jnp.arange(z.shape[0]) % spec.classes
    return autoencoder.sample_decoded(spec, state, z, y)


def classify(spec: AutoencoderSpec, state: State, x: jax.Array) -> jax.Array:
    """Probabilities of the classes that the encoder infers, (batch, classes).

    Raises:
      InputError: it infers none.
    """
    _, logits, _ = autoencoder.encode(spec, state.players["encoder"].variables, x)
    if logits is None:
        raise InputError("the encoder infers no classes (config.num_categories)")
    return jax.nn.softmax(logits)
