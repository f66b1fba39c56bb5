"""Algorithm 1 of Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661), as pure functions.

    for number of training iterations do
        for k steps do
            sample a minibatch of m examples and one of m noise vectors
            update the discriminator by ascending its stochastic gradient of V
        sample a minibatch of m noise vectors
        update the generator by descending its stochastic gradient of V

and the joint updates of `gan_jax.updates`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax import augment, networks, objectives
from gan_jax.data.pixels import to_float, to_unit
from gan_jax.draws import Batch, Stream, Window, condition, minibatch, noise, stream_key
from gan_jax.errors import InputError
from gan_jax.losses import LOSSES
from gan_jax.networks import Network, Params, Stats, Variables
from gan_jax.optimizers import OptimizerHParams, transformation
from gan_jax.spec import GANSpec, HParams
from gan_jax.state import Info, Player, State, apply_gradients
from gan_jax.updates import UPDATES, Gradient, Gradients

# Streams of each player's step: its minibatch, its noise and its own key.
D_STREAMS = (Stream.BATCH, Stream.NOISE_D, Stream.STEP_D)
G_STREAMS = (Stream.BATCH_G, Stream.NOISE_G, Stream.STEP_G)
_STATISTICS_BATCH = 1000  # noise vectors for recomputed batch statistics
STEP_INFO = ("d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm")


def info_names(spec: GANSpec) -> tuple[str, ...]:
    """Names of the quantities measured by `step`, and of the players' parameter norms."""
    options = ["d_penalty"] * bool(spec.penalties) + ["augment_probability"] * spec.adaptive
    return (*STEP_INFO, *options, "d_param_norm", "g_param_norm")


def minibatches(spec: GANSpec) -> dict[Stream, int]:
    """Minibatches that `step` draws from each stream."""
    if spec.update in UPDATES:
        return {Stream.BATCH: 1}
    return {Stream.BATCH: spec.k, Stream.BATCH_G: 1}


def init(spec: GANSpec, hparams: HParams, seed: jax.Array | int, data: Batch) -> State:
    """Initial state.

    Args:
      spec: static structure.
      hparams: traced numbers.
      seed: determines every random draw of the run.
      data: the data set; its mean sets the output bias of networks with output_bias "data_mean".
    """
    key = jax.random.key_data(jax.random.key(seed))
    mean = jnp.mean(to_float(data.x, spec.pixel_low), axis=0)

    def player(
        name: str, network: Network, stream: Stream, x: jax.Array, y: jax.Array | None
    ) -> Player:
        variables = networks.init(network, stream_key(key, stream), x, mean, y)
        return Player(*variables, _optimizer(spec, hparams, name).init(variables.params))

    # Not data: networks.init updates statistics with it, which must not depend on their placement.
    x = objectives.pack(jnp.zeros((spec.pack, *spec.example_shape)), spec.pack)
    z = jnp.zeros((1, spec.z_dim))
    y_d, y_g = None, None
    if spec.classes or spec.text:
        text = jnp.zeros((1, spec.pack, spec.text))
        y = text if spec.text else jnp.zeros((1, spec.pack), jnp.int32)
        y_d, y_g = condition(spec, y), condition(spec, y[:, :1])
    d = player("d", spec.discriminator, Stream.INIT_D, x, y_d)
    g = player("g", spec.generator, Stream.INIT_G, z, y_g)
    averages: dict[str, Any] = {"ema": g.variables} if _has_ema(hparams) else {}
    if spec.adaptive:
        averages["augmentation"] = {"probability": jnp.float32(0), "signs": jnp.float32(0)}
    return State(jnp.int32(0), key, {"d": d, "g": g}, averages)


def _optimizer(spec: GANSpec, hparams: HParams, player: str) -> optax.GradientTransformation:
    return transformation(
        {"d": spec.d_optimizer, "g": spec.g_optimizer}[player],
        OptimizerHParams(**hparams[f"{player}_optimizer"]),
        spec.update == "optimistic",
        spec.update == "unrolled",
    )


def _generate(
    spec: GANSpec, g: Variables, z: jax.Array, y: jax.Array | None, train: bool = True
) -> tuple[jax.Array, Stats]:
    return networks.apply(spec.generator, g, z, train=train, y=condition(spec, y))


def _has_ema(hparams: HParams) -> bool:
    return hparams["ema"] is not None or hparams["ema_half_life"] is not None


def _critic(spec: GANSpec, d: Variables, train: bool) -> objectives.Critic:
    return lambda batch, key: networks.apply(
        spec.discriminator, d, batch.x, key, train=train, y=condition(spec, batch.y)
    )


def _d_gradient(
    spec: GANSpec, hparams: HParams, state: State, real: Batch, z: jax.Array, key: jax.Array
) -> tuple[Gradient, Info]:
    hparams = _with_ada_probability(spec, hparams, state)
    d, g = state.players["d"], state.players["g"]
    fake = Batch(_generate(spec, g.variables, z, real.y)[0], real.y)

    def objective(params: Params) -> tuple[jax.Array, objectives.DTerms]:
        critic = _critic(spec, Variables(params, d.stats), train=True)
        return objectives.d_loss(spec, hparams, state.step, critic, real, fake, key)

    (_, terms), grads = jax.value_and_grad(objective, has_aux=True)(d.params)
    output = LOSSES[spec.loss].output
    info = {
        "d_loss": terms.loss,
        "d_real": jnp.mean(output(terms.real_logits)),
        "d_fake": jnp.mean(output(terms.fake_logits)),
        "d_grad_norm": optax.tree.norm(grads),
    }
    info |= {"d_penalty": terms.penalty} if spec.penalties else {}
    info |= {"d_sign": jnp.mean(jnp.sign(terms.real_logits))} if spec.adaptive else {}
    return Gradient(grads, terms.stats), info


def _g_gradient(
    spec: GANSpec, hparams: HParams, state: State, real: Batch, z: jax.Array, key: jax.Array
) -> tuple[Gradient, Info]:
    hparams = _with_ada_probability(spec, hparams, state)
    g = state.players["g"]
    # Metz et al. 2017, https://arxiv.org/abs/1611.02163: the loss under a D that has responded.
    ahead = spec.unrolled_steps if spec.update == "unrolled" else 0

    def objective(params: Params) -> tuple[jax.Array, Stats]:
        unrolled = state.replace_players(g=g._replace(params=params))
        for _ in range(ahead):
            unrolled, _ = d_step(spec, hparams, unrolled, real, z, key)
        players = unrolled.players
        critic = _critic(spec, players["d"].variables, train=False)

        def loss(y: jax.Array | None) -> tuple[jax.Array, Stats]:
            x, stats = _generate(spec, players["g"].variables, z, y)
            fake = Batch(x, y)
            return objectives.g_loss(spec, hparams, critic, real, fake, key), stats

        total, stats = loss(real.y)
        interpolation = hparams["condition"]["interpolation"]
        if interpolation is not None and real.y is not None:
            # Reed et al. 2016, https://arxiv.org/abs/1605.05396, equation 5: between two captions.
            between = (real.y + jnp.roll(real.y, 1, axis=0)) / 2
            total += interpolation * loss(between)[0]
        return total, stats

    (loss, stats), grads = jax.value_and_grad(objective, has_aux=True)(g.params)
    return Gradient(grads, stats), {"g_loss": loss, "g_grad_norm": optax.tree.norm(grads)}


def _apply_gradient(
    spec: GANSpec, hparams: HParams, state: State, name: str, gradient: Gradient
) -> Player:
    optimizer = _optimizer(spec, hparams, name)
    return apply_gradients(state.players[name], optimizer, gradient.params, gradient.stats)


def _apply_d(spec: GANSpec, hparams: HParams, state: State, gradient: Gradient) -> State:
    d = _apply_gradient(spec, hparams, state, "d", gradient)
    bound = hparams["weight_clip"]
    if bound is not None:  # Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875
        d = d._replace(params=jax.tree.map(lambda x: jnp.clip(x, -bound, bound), d.params))
    return state.replace_players(d=d)


def _apply_g(spec: GANSpec, hparams: HParams, state: State, gradient: Gradient) -> State:
    g = _apply_gradient(spec, hparams, state, "g", gradient)
    state = state.replace_players(g=g)
    if not _has_ema(hparams):
        return state
    if hparams["ema"] is not None:
        # Ramped up as in TensorFlow's ExponentialMovingAverage(num_updates=...), to forget the
        # start.
        decay = jnp.minimum(hparams["ema"], (1 + state.step) / (10 + state.step))
    else:
        decay = 0.5 ** (spec.batch_size / hparams["ema_half_life"])
    ema = optax.incremental_update(g.variables, state.averages["ema"], 1 - decay)
    return state._replace(averages=state.averages | {"ema": ema})


def _with_ada_probability(spec: GANSpec, hparams: HParams, state: State) -> HParams:
    """The hyperparameters with ADA's current probability of augmentation."""
    if not spec.adaptive:
        return hparams
    return {**hparams, "augment_probability": state.averages["augmentation"]["probability"]}


def _update_ada(spec: GANSpec, hparams: HParams, state: State, info: Info) -> tuple[State, Info]:
    """Adjusts ADA's probability after every ADA_INTERVAL iterations."""
    if not spec.adaptive:
        return state, info
    now = state.averages["augmentation"]
    signs = now["signs"] + info.pop("d_sign") / augment.ADA_INTERVAL
    due = (state.step + 1) % augment.ADA_INTERVAL == 0
    new = augment.adapt(now["probability"], signs, hparams["ada_target"], spec.batch_size)
    probability = jnp.where(due, new, now["probability"])
    averages = {"probability": probability, "signs": jnp.where(due, 0, signs)}
    info = info | {"augment_probability": now["probability"]}
    return state._replace(averages=state.averages | {"augmentation": averages}), info


@functools.partial(jax.jit, static_argnames="spec")
def d_step(
    spec: GANSpec, hparams: HParams, state: State, real: Batch, z: jax.Array, key: jax.Array
) -> tuple[State, Info]:
    """One discriminator update: gradient descent on the loss's d term.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: the state before; G is unchanged.
      real: minibatch of data, x of shape (batch, *example shape), whose labels fakes share.
      z: noise, shape (batch, z_dim).
      key: for dropout, instance noise and penalties.

    Returns:
      The new state; d_loss (without penalties), d_penalty (their weighted sum, if any), d_real
      (mean D(x)), d_fake (mean D(G(z))), d_sign (mean sign(D(x)), with ADA) and d_grad_norm (global
      l2 norm), all pre-update.
    """
    gradient, info = _d_gradient(spec, hparams, state, real, z, key)
    return _apply_d(spec, hparams, state, gradient), info


@functools.partial(jax.jit, static_argnames="spec")
def g_step(
    spec: GANSpec, hparams: HParams, state: State, real: Batch, z: jax.Array, key: jax.Array
) -> tuple[State, Info]:
    """One generator update: gradient descent on the loss's g term.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: the state before; D is unchanged.
      real: minibatch of data; only relativistic losses, unrolled steps and labels depend on it.
      z: noise, shape (batch, z_dim).
      key: as for `d_step`; the same key gives the same dropout masks on the same fakes.

    Returns:
      The new state; g_loss and g_grad_norm (global l2 norm), both pre-update.
    """
    gradient, info = _g_gradient(spec, hparams, state, real, z, key)
    return _apply_g(spec, hparams, state, gradient), info


def game_gradient(
    spec: GANSpec, hparams: HParams, state: State, real: Batch, z: jax.Array, key: jax.Array
) -> tuple[Gradients, Info]:
    """Gradients of both players at the same state, and their info; arguments as for `d_step`."""
    d, d_info = _d_gradient(spec, hparams, state, real, z, key)
    g, g_info = _g_gradient(spec, hparams, state, real, z, key)
    return {"d": d, "g": g}, d_info | g_info


def _draw(
    spec: GANSpec,
    state: State,
    data: Batch | Window,
    streams: tuple[Stream, Stream, Stream],
    number: jax.Array,
) -> tuple[Batch, jax.Array, jax.Array]:
    """The `number`-th minibatch, noise and key of a player's steps."""
    batch, z, key = streams
    return (
        minibatch(spec.batch_size, state.key, data, number, batch, spec.pixel_low),
        noise(spec, stream_key(state.key, z, number), spec.batch_size),
        stream_key(state.key, key, number),
    )


def _joint_step(
    spec: GANSpec, hparams: HParams, state: State, data: Batch | Window
) -> tuple[State, Info]:
    """Both players at once, on the same data, fakes and dropout masks."""
    draws = _draw(spec, state, data, D_STREAMS, state.step)

    def apply(state: State, gradients: Gradients) -> State:
        state = _apply_d(spec, hparams, state, gradients["d"])
        return _apply_g(spec, hparams, state, gradients["g"])

    def gradient(state: State) -> tuple[Gradients, Info]:
        return game_gradient(spec, hparams, state, *draws)

    return UPDATES[spec.update](gradient, apply, state, hparams["consensus"])


def step(spec: GANSpec, hparams: HParams, state: State, data: Batch | Window) -> tuple[State, Info]:
    """One iteration of Algorithm 1: k discriminator steps on fresh draws, then a generator step.

    Joint updates move both players at once instead.
    """

    def d_update(state: State, j: jax.Array) -> tuple[State, Info]:
        number = state.step * spec.k + j  # discriminator steps before this one
        return d_step(spec, hparams, state, *_draw(spec, state, data, D_STREAMS, number))

    if spec.update in UPDATES:
        state, info = _joint_step(spec, hparams, state, data)
    else:
        state, d_infos = jax.lax.scan(d_update, state, jnp.arange(spec.k))
        state, info = g_step(spec, hparams, state, *_draw(spec, state, data, G_STREAMS, state.step))
        info = {name: x[-1] for name, x in d_infos.items()} | info
    state, info = _update_ada(spec, hparams, state, info)
    return state._replace(step=state.step + 1), info


def sample(spec: GANSpec, state: State, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
    """G(z) by the EMA generator if there is one, with pixels from 0 to 1.

    Maps (batch, z_dim), and conditions (batch, ...) where G is conditional, to
    (batch, *example shape).

    Raises:
      InputError: y is None but G is conditional.
    """
    if y is None and (spec.classes or spec.text):
        raise InputError("samples of a conditional run need labels or text embeddings")
    x, _ = _generate(spec, sampling_variables(spec, state), z, y, train=False)
    return to_unit(x, spec.pixel_low)


def sampling_variables(spec: GANSpec, state: State) -> Variables:
    """The EMA generator if there is one, with the statistics to sample with."""
    g = state.averages.get("ema", state.players["g"].variables)
    others = noise(spec, stream_key(state.key, Stream.STATISTICS), _STATISTICS_BATCH)
    labels = jnp.arange(_STATISTICS_BATCH) % spec.classes if spec.classes else None
    stats = networks.sample_stats(spec.generator, g, others, condition(spec, labels))
    return g._replace(stats=stats)
