"""Algorithm 1 of Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661), as pure functions.

    for number of training iterations do
        for k steps do
            sample a minibatch of m examples and one of m noise vectors
            update the discriminator by ascending its stochastic gradient of V
        sample a minibatch of m noise vectors
        update the generator by descending its stochastic gradient of V

What shapes the compiled program (`Game`) is static; what is only a number (`HParams`) is traced.
"""

import enum
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import minibatch, networks
from gan_jax.losses import LOSSES
from gan_jax.networks import MLP, Params
from gan_jax.optimizers import Optimizer, Rates

Info = dict[str, jax.Array]  # scalars measured during a step: "step" and those of STEP_INFO
_BLOCK = 1000  # samples that `generate_in_blocks` makes at a time
STEP_INFO = ("d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm")


class Prior(NamedTuple):
    """The distribution of z, independent in each component."""

    name: str  # "uniform" on [low, high), or "normal": mean 0, variance 1
    low: float = -1.0
    high: float = 1.0


class Game(NamedTuple):
    """The structure of a run: hashable, static, one compilation each."""

    loss: str  # a key of LOSSES
    k: int  # discriminator steps in an iteration
    update: str  # "alternating", as Algorithm 1 is printed, or "simultaneous", see `train_step`
    batch_size: int  # m, examples and noise vectors in a minibatch
    z_dim: int
    prior: Prior
    generator: MLP
    discriminator: MLP
    d_optimizer: Optimizer
    g_optimizer: Optimizer


class HParams(NamedTuple):
    """The numbers of a run: traced, so that changing one compiles nothing."""

    d: Rates
    g: Rates


class Player(NamedTuple):
    params: Params
    opt_state: optax.OptState


class State(NamedTuple):
    """The whole truth about a run in progress: arrays and nothing else."""

    step: jax.Array  # iterations done, int32 ()
    key: jax.Array  # the root key's data, uint32 (2,); never advanced, see `role_key`
    d: Player
    g: Player


class Role(enum.IntEnum):
    """What a key is for. Every draw has a role and a number, so that no key serves twice."""

    INIT_D = 0
    INIT_G = 1
    BATCH = 2
    NOISE_D = 3
    NOISE_G = 4
    NOISE_SAMPLE = 5
    STEP_D = 6  # what a step itself draws: dropout masks
    STEP_G = 7
    EVALUATE = 8


def role_key(root: jax.Array, role: Role, number: jax.Array | int = 0) -> jax.Array:
    """The key of the `number`-th draw for a role, from the root key's data."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(root), role), number)


def init(game: Game, hparams: HParams, seed: jax.Array | int, data: jax.Array) -> State:
    """The state before the first iteration.

    Args:
      game: static structure.
      hparams: traced numbers.
      seed: of every random draw.
      data: see `train_chunk`; used where a network starts from the mean of the data.
    """
    key = jax.random.key_data(jax.random.key(seed))
    mean = jnp.mean(_scaled(data), axis=0)

    def player(network: MLP, role: Role, x: jax.Array, opt: Optimizer, rates: Rates) -> Player:
        params = networks.init(network, role_key(key, role), x, mean)
        return Player(params, opt.transformation(rates, 0).init(params))

    x = mean[None]
    z = jnp.zeros((1, game.z_dim))
    return State(
        step=jnp.int32(0),
        key=key,
        d=player(game.discriminator, Role.INIT_D, x, game.d_optimizer, hparams.d),
        g=player(game.generator, Role.INIT_G, z, game.g_optimizer, hparams.g),
    )


def shapes(game: Game, hparams: HParams) -> State:
    """The shapes and types of a state, as jax.eval_shape gives them; nothing is computed."""
    data = jax.ShapeDtypeStruct((1, *game.generator.out_shape), jnp.float32)
    return jax.eval_shape(functools.partial(init, game, hparams), 0, data)


def sample_noise(game: Game, key: jax.Array, num: int) -> jax.Array:
    """Draws z from the prior, shape (num, z_dim)."""
    shape = (num, game.z_dim)
    if game.prior.name == "normal":
        return jax.random.normal(key, shape)
    return jax.random.uniform(key, shape, minval=game.prior.low, maxval=game.prior.high)


def discriminate(game: Game, d_params: Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
    """D's logits, shape (batch,), for examples of shape (batch, *example shape).

    With a key D drops out what it drops; with None it uses everything.
    """
    return networks.apply(game.discriminator, d_params, x, key)


@functools.partial(jax.jit, static_argnames="game")
def generate(game: Game, g_params: Params, z: jax.Array) -> jax.Array:
    """G(z): samples of shape (batch, *out_shape) from noise of shape (batch, z_dim)."""
    return networks.apply(game.generator, g_params, z)


def generate_in_blocks(game: Game, g_params: Params, z: jax.Array) -> np.ndarray:
    """G(z) of many z, a block at a time, which bounds the memory; on the host."""
    blocks = (z[i : i + _BLOCK] for i in range(0, len(z), _BLOCK))
    return np.concatenate([np.asarray(generate(game, g_params, block)) for block in blocks])


def _descend(
    player: Player, grads: Params, optimizer: Optimizer, rates: Rates, step: jax.Array
) -> Player:
    updates, opt_state = optimizer.transformation(rates, step).update(
        grads, player.opt_state, player.params
    )
    return Player(optax.apply_updates(player.params, updates), opt_state)


@functools.partial(jax.jit, static_argnames="game")
def d_step(
    game: Game,
    hparams: HParams,
    state: State,
    real: jax.Array,
    noise: jax.Array,
    key: jax.Array,
) -> tuple[State, Info]:
    """One discriminator update: D ascends V, as descent on the loss's d part.

    Args:
      game: static structure.
      hparams: traced numbers.
      state: the state before; G stays as it is.
      real: minibatch of data, shape (batch, *example shape), in G's range.
      noise: minibatch of z, shape (batch, z_dim).
      key: of the step's own draws, dropout masks.

    Returns:
      The state with the new D, and d_loss, d_real (mean D(x)), d_fake (mean D(G(z))) and
      d_grad_norm (global l2 norm), all of them before the update.
    """
    fake = generate(game, state.g.params, noise)
    key_real, key_fake = jax.random.split(key)

    def loss(d_params: Params) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        logits = (
            discriminate(game, d_params, real, key_real),
            discriminate(game, d_params, fake, key_fake),
        )
        return LOSSES[game.loss].d(*logits), logits

    (d_loss, logits), grads = jax.value_and_grad(loss, has_aux=True)(state.d.params)
    d_real, d_fake = (jnp.mean(jax.nn.sigmoid(x)) for x in logits)
    d = _descend(state.d, grads, game.d_optimizer, hparams.d, state.step)
    return state._replace(d=d), {
        "d_loss": d_loss,
        "d_real": d_real,
        "d_fake": d_fake,
        "d_grad_norm": optax.tree.norm(grads),
    }


@functools.partial(jax.jit, static_argnames="game")
def g_step(
    game: Game, hparams: HParams, state: State, noise: jax.Array, key: jax.Array
) -> tuple[State, Info]:
    """One generator update: G descends the loss's g part.

    Args:
      game: static structure.
      hparams: traced numbers.
      state: the state before; D stays as it is.
      noise: minibatch of z, shape (batch, z_dim).
      key: of the step's own draws; given d_step's, D drops out the same in these fakes.

    Returns:
      The state with the new G, and g_loss and g_grad_norm (global l2 norm), before the update.
    """
    _, key_fake = jax.random.split(key)

    def loss(g_params: Params) -> jax.Array:
        fake = generate(game, g_params, noise)
        return LOSSES[game.loss].g(discriminate(game, state.d.params, fake, key_fake))

    g_loss, grads = jax.value_and_grad(loss)(state.g.params)
    g = _descend(state.g, grads, game.g_optimizer, hparams.g, state.step)
    return state._replace(g=g), {"g_loss": g_loss, "g_grad_norm": optax.tree.norm(grads)}


def _scaled(data: jax.Array) -> jax.Array:
    return data.astype(jnp.float32) / 255 if data.dtype == jnp.uint8 else data


def draw_real(game: Game, state: State, data: jax.Array, number: jax.Array) -> jax.Array:
    """The `number`-th minibatch of a run, float32; uint8 images become [0, 1]."""
    index = minibatch.indices(
        role_key(state.key, Role.BATCH), number, game.batch_size, data.shape[0]
    )
    return _scaled(data[index])


def train_step(game: Game, hparams: HParams, state: State, data: jax.Array) -> tuple[State, Info]:
    """One iteration of Algorithm 1: k discriminator steps, each on fresh draws, then G's.

    With simultaneous updates (k is 1) G's gradient is taken at the same two players as D's, from
    the same noise, so the same fakes, and with the same dropout masks: as the code of the 2014
    paper did it, https://github.com/goodfeli/adversarial.
    """

    def draw(noise: Role, step: Role, number: jax.Array) -> tuple[jax.Array, jax.Array]:
        z = sample_noise(game, role_key(state.key, noise, number), game.batch_size)
        return z, role_key(state.key, step, number)

    def d_update(state: State, j: jax.Array) -> tuple[State, Info]:
        number = state.step * game.k + j  # discriminator steps before this one
        real = draw_real(game, state, data, number)
        return d_step(game, hparams, state, real, *draw(Role.NOISE_D, Role.STEP_D, number))

    if game.update == "simultaneous":
        fakes = draw(Role.NOISE_D, Role.STEP_D, state.step)
        after, d_info = d_step(
            game, hparams, state, draw_real(game, state, data, state.step), *fakes
        )
        moved, g_info = g_step(game, hparams, state, *fakes)
        state = after._replace(step=state.step + 1, g=moved.g)
    else:
        state, d_infos = jax.lax.scan(d_update, state, jnp.arange(game.k))
        d_info = jax.tree.map(lambda x: x[-1], d_infos)
        fakes = draw(Role.NOISE_G, Role.STEP_G, state.step)
        state, g_info = g_step(game, hparams, state, *fakes)
        state = state._replace(step=state.step + 1)
    return state, {"step": state.step, **d_info, **g_info}


@functools.partial(jax.jit, static_argnames="game")
def train_chunk(
    game: Game, hparams: HParams, state: State, data: jax.Array, num_steps: jax.Array | int
) -> tuple[State, Info]:
    """`num_steps` (traced, at least 1) iterations without a word to the host.

    Args:
      game: static structure.
      hparams: traced numbers.
      state: the state before.
      data: the data set, shape (n, *example shape), uint8 images or float32 points.
      num_steps: how many; another number compiles nothing.

    Returns:
      The state after, and the info of its last iteration (or, if a quantity was not finite, of
      the first iteration where that was so, which names the step), with the parameters' norms.
    """

    def body(_: Any, carry: tuple[State, Info]) -> tuple[State, Info]:
        state, info = carry
        state, new = train_step(game, hparams, state, data)
        finite = jnp.all(jnp.isfinite(jnp.stack(jax.tree.leaves(info))))
        return state, jax.tree.map(functools.partial(jnp.where, finite), new, info)

    shapes = jax.eval_shape(functools.partial(train_step, game), hparams, state, data)[1]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    state, info = jax.lax.fori_loop(0, num_steps, body, (state, zeros))
    norms = {f"{name}_param_norm": optax.tree.norm(getattr(state, name).params) for name in "dg"}
    return state, info | norms
