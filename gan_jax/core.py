"""What a run is made of: its structure, its numbers, its state, and everything it draws.

What shapes the compiled program (`Game`) is static; what is only a number (`HParams`) is traced;
what training changes (`State`) is a pytree of arrays and nothing else.
"""

import enum
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import minibatch, networks
from gan_jax.networks import Network, Params, Stats, Variables
from gan_jax.optimizers import Optimizer, Rates

_BLOCK = 1000  # samples that `generate_in_blocks` makes at a time


class Prior(NamedTuple):
    """The distribution of z, independent in each component."""

    name: str  # "uniform" on [low, high), or "normal": mean 0, variance 1
    low: float = -1.0
    high: float = 1.0


class Game(NamedTuple):
    """The structure of a run: hashable, static, one compilation each."""

    loss: str  # a key of losses.LOSSES
    k: int  # discriminator steps in an iteration
    update: str  # "alternating", as Algorithm 1 is printed, "unrolled", or a key of updates.UPDATES
    batch_size: int  # m, examples and noise vectors in a minibatch
    z_dim: int
    prior: Prior
    generator: Network
    discriminator: Network
    d_optimizer: Optimizer
    g_optimizer: Optimizer
    pack: int = 1  # examples that D judges together, see `pack`
    unrolled_steps: int = 0  # of update "unrolled": D's steps that G's step looks ahead
    penalties: tuple[tuple[str, int], ...] = ()  # keys of penalties.PENALTIES, iterations between
    label_smoothing: bool = False  # whether HParams has one; likewise the next three
    weight_clip: bool = False
    ema: bool = False
    instance_noise: bool = False
    noise_steps: int = 0  # iterations in which instance noise fades, on a line; 0: it stays


class HParams(NamedTuple):
    """The numbers of a run: traced, so that changing one compiles nothing."""

    d: Rates
    g: Rates
    penalties: tuple[jax.Array | float, ...] = ()  # the weights of Game.penalties
    label_smoothing: jax.Array | float = 0.0  # D's target for real examples is 1 minus this
    weight_clip: jax.Array | float = 0.0  # D's parameters stay within plus and minus this
    ema: jax.Array | float = 0.0  # decay of the average of G's weights
    instance_noise: jax.Array | float = 0.0  # standard deviation of what is added to D's input
    consensus: jax.Array | float = 0.0  # weight of consensus optimisation


class Player(NamedTuple):
    params: Params
    stats: Stats  # what a network keeps besides parameters; {} for most
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        return Variables(self.params, self.stats)


class State(NamedTuple):
    """The whole truth about a run in progress: arrays and nothing else."""

    step: jax.Array  # iterations done, int32 ()
    key: jax.Array  # the root key's data, uint32 (2,); never advanced, see `role_key`
    d: Player
    g: Player
    ema: Variables | None  # the average of G over the iterations, where the game has one


Info = dict[str, jax.Array]  # scalars measured during a step, see `algorithm.info_names`


class Role(enum.IntEnum):
    """What a key is for. Every draw has a role and a number, so that no key serves twice."""

    INIT_D = 0
    INIT_G = 1
    BATCH = 2
    NOISE_D = 3
    NOISE_G = 4
    NOISE_SAMPLE = 5
    STEP_D = 6  # what a step itself draws: dropout masks, instance noise, points of a penalty
    STEP_G = 7
    EVALUATE = 8
    BATCH_G = 9  # the data that G's step sees, where it sees any


def role_key(root: jax.Array, role: Role, number: jax.Array | int = 0) -> jax.Array:
    """The key of the `number`-th draw for a role, from the root key's data."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(root), role), number)


def init(game: Game, hparams: HParams, seed: jax.Array | int, data: jax.Array) -> State:
    """The state before the first iteration.

    Args:
      game: static structure.
      hparams: traced numbers.
      seed: of every random draw.
      data: see `algorithm.train_chunk`; used where a network starts from the mean of the data.
    """
    key = jax.random.key_data(jax.random.key(seed))
    mean = jnp.mean(_scaled(data), axis=0)

    def player(network: Network, role: Role, x: jax.Array, opt: Optimizer, rates: Rates) -> Player:
        found = networks.init(network, role_key(key, role), x, mean)
        optimizer = opt.transformation(rates, 0, game.update == "optimistic")
        return Player(*found, optimizer.init(found.params))

    x = pack(game, jnp.stack([mean] * game.pack))
    z = jnp.zeros((1, game.z_dim))
    g = player(game.generator, Role.INIT_G, z, game.g_optimizer, hparams.g)
    return State(
        step=jnp.int32(0),
        key=key,
        d=player(game.discriminator, Role.INIT_D, x, game.d_optimizer, hparams.d),
        g=g,
        ema=g.variables if game.ema else None,
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


def _scaled(data: jax.Array) -> jax.Array:
    return data.astype(jnp.float32) / 255 if data.dtype == jnp.uint8 else data


def draw_real(
    game: Game, state: State, data: jax.Array, number: jax.Array, role: Role = Role.BATCH
) -> jax.Array:
    """The `number`-th minibatch of a run for a role, float32; uint8 images become [0, 1]."""
    index = minibatch.indices(role_key(state.key, role), number, game.batch_size, data.shape[0])
    return _scaled(data[index])


def pack(game: Game, x: jax.Array) -> jax.Array:
    """Examples, (batch, ...), as D judges them: (batch / pack, pack, ...), or as they are.

    PacGAN (Lin et al. 2018, https://arxiv.org/abs/1712.04086): several examples, all real or all
    generated, are one input of D, which so sees how much they differ.
    """
    return x if game.pack == 1 else x.reshape(-1, game.pack, *x.shape[1:])


def generator(state: State) -> Variables:
    """The generator to draw samples from: the average where there is one, else G itself."""
    return state.ema or state.g.variables


def learned(state: State) -> dict[str, object]:
    """Everything of a state that was learned from data: what params_sha256 is of."""
    stats = {"d": state.d.stats, "g": state.g.stats}
    return {"d": state.d.params, "g": state.g.params, "stats": stats, "ema": state.ema}


@functools.partial(jax.jit, static_argnames="game")
def generate(game: Game, g: Variables, z: jax.Array) -> jax.Array:
    """G(z): samples of shape (batch, *out_shape) from noise of shape (batch, z_dim)."""
    return networks.apply(game.generator, g, z)[0]


def generate_in_blocks(game: Game, g: Variables, z: jax.Array) -> np.ndarray:
    """G(z) of many z, a block at a time, which bounds the memory; on the host."""
    blocks = (z[i : i + _BLOCK] for i in range(0, len(z), _BLOCK))
    return np.concatenate([np.asarray(generate(game, g, block)) for block in blocks])
