"""Algorithm 1 of Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661), as pure functions.

    for number of training iterations do
        for k steps do
            sample a minibatch of m examples and one of m noise vectors
            update the discriminator by ascending its stochastic gradient of V
        sample a minibatch of m noise vectors
        update the generator by descending its stochastic gradient of V

and, where a game says so, the other ways to update that followed from it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax import networks
from gan_jax.core import (
    Game,
    HParams,
    Info,
    Player,
    Role,
    State,
    draw_real,
    pack,
    role_key,
    sample_noise,
)
from gan_jax.errors import InputError
from gan_jax.losses import LOSSES, NOT_MEANS, Part
from gan_jax.networks import Params, Stats, Variables
from gan_jax.optimizers import Optimizer, Rates
from gan_jax.penalties import PENALTIES
from gan_jax.updates import UPDATES, Gradient, Gradients

_OWN = 2**31  # what a step draws from its keys is numbered from here, above dropout's layers
# What each player's step draws: its minibatch, its noise, and its own key.
D_DRAWS = (Role.BATCH, Role.NOISE_D, Role.STEP_D)
G_DRAWS = (Role.BATCH_G, Role.NOISE_G, Role.STEP_G)
STEP_INFO = ("d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm")


def info_names(game: Game) -> tuple[str, ...]:
    """What `train_chunk` measures, besides the step."""
    return (*STEP_INFO, *["d_penalty"] * bool(game.penalties), "d_param_norm", "g_param_norm")


def _view(game: Game, hparams: HParams, step: jax.Array, x: jax.Array, key: jax.Array) -> jax.Array:
    """Examples as D sees them: with instance noise (Sonderby et al. 2017,
    https://arxiv.org/abs/1610.04490), which fades, and in packs.
    """
    if game.instance_noise:
        fade = jnp.maximum(0, 1 - step / game.noise_steps) if game.noise_steps else 1
        noise = jax.random.normal(jax.random.fold_in(key, _OWN), x.shape)
        x = x + hparams.instance_noise * fade * noise
    return pack(game, x)


def _expect(
    game: Game, g_params: Params, part: Part, on_real: jax.Array, on_fake: jax.Array
) -> jax.Array:
    """A part of the loss on a minibatch; where G's distribution is known, its expectation.

    A fake at a time, as likely as it is: exact for whatever is a mean over fakes.

    Raises:
      InputError: G's distribution is known, and the loss is no mean over fakes.
    """
    probabilities = networks.probabilities(game.generator, g_params)
    if probabilities is None:
        return part(on_real, on_fake)
    if game.loss in NOT_MEANS:
        raise InputError(f"loss {game.loss} is no mean over fakes, as a Tabular generator needs")
    return probabilities @ jax.vmap(lambda logit: part(on_real, logit[None]))(on_fake)


def _penalty(
    game: Game,
    hparams: HParams,
    step: jax.Array,
    judge: Callable[[jax.Array, jax.Array], jax.Array],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """The weighted sum of the game's penalties on D, which is `judge` with a key of its own."""
    total = jnp.float32(0)
    for i, (name, interval) in enumerate(game.penalties):
        key_points, key_masks = jax.random.split(jax.random.fold_in(key, _OWN + 1 + i))
        critic = functools.partial(judge, key_masks)
        value = functools.partial(PENALTIES[name], critic, real, fake, key_points)
        # Every `interval` iterations, times `interval` (lazy regularisation, Karras et al. 2020,
        # https://arxiv.org/abs/1912.04958, without their change of Adam's rates). Due where the
        # number of the iteration is a multiple, as the lines of metrics.jsonl are.
        due = (step + 1) % interval == 0
        now = jax.lax.cond(due, value, lambda: jnp.float32(0)) if interval > 1 else value()
        total += hparams.penalties[i] * interval * now
    return total


def _d_gradient(
    game: Game, hparams: HParams, state: State, real: jax.Array, noise: jax.Array, key: jax.Array
) -> tuple[Gradient, Info]:
    """D's gradient, its network's new statistics, and what `d_step` measures."""
    key_real, key_fake = jax.random.split(key)
    fake, _ = networks.apply(game.generator, state.g.variables, noise, train=True)
    real = _view(game, hparams, state.step, real, key_real)
    fake = _view(game, hparams, state.step, fake, key_fake)

    def objective(params: Params) -> tuple[jax.Array, tuple[Any, ...]]:
        def judge(x: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
            d = Variables(params, state.d.stats)
            return networks.apply(game.discriminator, d, x, key, train=True)

        (on_real, stats), (on_fake, _) = judge(real, key_real), judge(fake, key_fake)
        loss = _expect(game, state.g.params, LOSSES[game.loss].d, on_real, on_fake)
        if game.label_smoothing:  # as the cross-entropy with target 1 - s is softplus(-x) + s x
            loss += hparams.label_smoothing * jnp.mean(on_real)
        penalty = _penalty(
            game, hparams, state.step, lambda key, x: judge(x, key)[0], real, fake, key_real
        )
        return loss + penalty, (loss, penalty, on_real, on_fake, stats)

    (_, aux), grads = jax.value_and_grad(objective, has_aux=True)(state.d.params)
    loss, penalty, on_real, on_fake, stats = aux
    output = LOSSES[game.loss].output
    info = {
        "d_loss": loss,
        "d_real": jnp.mean(output(on_real)),
        "d_fake": _expect(
            game, state.g.params, lambda _, fake: jnp.mean(output(fake)), on_real, on_fake
        ),
        "d_grad_norm": optax.tree.norm(grads),
    }
    return Gradient(grads, stats), info | ({"d_penalty": penalty} if game.penalties else {})


def _g_gradient(
    game: Game, hparams: HParams, state: State, real: jax.Array, noise: jax.Array, key: jax.Array
) -> tuple[Gradient, Info]:
    """G's gradient, its network's new statistics, and what `g_step` measures."""
    key_real, key_fake = jax.random.split(key)
    # Metz et al. 2017, https://arxiv.org/abs/1611.02163: G meets the D that would answer it.
    ahead = game.unrolled_steps if game.update == "unrolled" else 0

    def objective(params: Params) -> tuple[jax.Array, Stats]:
        now = state._replace(g=state.g._replace(params=params))
        for _ in range(ahead):
            now, _ = d_step(game, hparams, now, real, noise, key)
        fake, stats = networks.apply(game.generator, now.g.variables, noise, train=True)

        def judge(x: jax.Array, key: jax.Array) -> jax.Array:
            seen = _view(game, hparams, state.step, x, key)
            return networks.apply(game.discriminator, now.d.variables, seen, key)[0]

        on_real, on_fake = judge(real, key_real), judge(fake, key_fake)
        return _expect(game, params, LOSSES[game.loss].g, on_real, on_fake), stats

    (loss, stats), grads = jax.value_and_grad(objective, has_aux=True)(state.g.params)
    return Gradient(grads, stats), {"g_loss": loss, "g_grad_norm": optax.tree.norm(grads)}


def _descend(
    game: Game,
    player: Player,
    gradient: Gradient,
    optimizer: Optimizer,
    rates: Rates,
    step: jax.Array,
) -> Player:
    transformation = optimizer.transformation(
        rates, step, game.update == "optimistic", game.update == "unrolled"
    )
    updates, opt_state = transformation.update(gradient.params, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), gradient.stats, opt_state)


def _move_d(game: Game, hparams: HParams, state: State, gradient: Gradient) -> State:
    d = _descend(game, state.d, gradient, game.d_optimizer, hparams.d, state.step)
    if game.weight_clip:  # Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875
        bound = hparams.weight_clip
        d = d._replace(params=jax.tree.map(lambda x: jnp.clip(x, -bound, bound), d.params))
    return state._replace(d=d)


def _move_g(game: Game, hparams: HParams, state: State, gradient: Gradient) -> State:
    g = _descend(game, state.g, gradient, game.g_optimizer, hparams.g, state.step)
    if state.ema is None:
        return state._replace(g=g)
    # Grows with the steps, as TensorFlow's ExponentialMovingAverage(num_updates=...) does, so that
    # the start is soon forgotten.
    decay = jnp.minimum(hparams.ema, (1 + state.step) / (10 + state.step))
    ema = optax.incremental_update(g.variables, state.ema, 1 - decay)
    return state._replace(g=g, ema=ema)


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
      key: of the step's own draws, such as dropout masks.

    Returns:
      The state with the new D, and d_loss (without penalties, whose weighted sum is d_penalty),
      d_real (mean D(x)), d_fake (mean D(G(z))) and d_grad_norm (global l2 norm), all of them
      before the update.
    """
    gradient, info = _d_gradient(game, hparams, state, real, noise, key)
    return _move_d(game, hparams, state, gradient), info


@functools.partial(jax.jit, static_argnames="game")
def g_step(
    game: Game,
    hparams: HParams,
    state: State,
    real: jax.Array,
    noise: jax.Array,
    key: jax.Array,
) -> tuple[State, Info]:
    """One generator update: G descends the loss's g part.

    Args:
      game: static structure.
      hparams: traced numbers.
      state: the state before; D stays as it is.
      real: minibatch of data, as d_step's; only relativistic losses and unrolled steps look at it.
      noise: minibatch of z, shape (batch, z_dim).
      key: of the step's own draws; given d_step's, D drops out the same in these fakes.

    Returns:
      The state with the new G, and g_loss and g_grad_norm (global l2 norm), before the update.
    """
    gradient, info = _g_gradient(game, hparams, state, real, noise, key)
    return _move_g(game, hparams, state, gradient), info


def field(
    game: Game, hparams: HParams, state: State, real: jax.Array, noise: jax.Array, key: jax.Array
) -> tuple[Gradients, Info]:
    """What `d_step` and `g_step` would go down, both from the same state, and what they measure."""
    d, d_info = _d_gradient(game, hparams, state, real, noise, key)
    g, g_info = _g_gradient(game, hparams, state, real, noise, key)
    return Gradients(d, g), d_info | g_info


def _draw(
    game: Game, state: State, data: jax.Array, roles: tuple[Role, Role, Role], number: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The `number`-th minibatch and noise for a player's step, and the step's key."""
    batch, noise, step = roles
    z = sample_noise(game, role_key(state.key, noise, number), game.batch_size)
    real = draw_real(game, state, data, number, batch)
    return real, z, role_key(state.key, step, number)


def _both(game: Game, hparams: HParams, state: State, data: jax.Array) -> tuple[State, Info]:
    """Both players at once, from gradients at the same point, as `UPDATES` has the game's update.

    On the same data, noise (so the same fakes) and dropout masks.
    """
    drawn = _draw(game, state, data, D_DRAWS, state.step)

    def at(state: State) -> tuple[Gradients, Info]:
        return field(game, hparams, state, *drawn)

    def move(state: State, gradients: Gradients) -> State:
        state = _move_d(game, hparams, state, gradients.d)
        return _move_g(game, hparams, state, gradients.g)

    return UPDATES[game.update](at, move, state, hparams.consensus)


def train_step(game: Game, hparams: HParams, state: State, data: jax.Array) -> tuple[State, Info]:
    """One iteration of Algorithm 1: k discriminator steps, each on fresh draws, then G's.

    Where `UPDATES` has the game's update, both players step at once instead.
    """

    def d_update(state: State, j: jax.Array) -> tuple[State, Info]:
        number = state.step * game.k + j  # of D's steps before this one
        return d_step(game, hparams, state, *_draw(game, state, data, D_DRAWS, number))

    if game.update in UPDATES:
        state, info = _both(game, hparams, state, data)
    else:
        state, d_infos = jax.lax.scan(d_update, state, jnp.arange(game.k))
        state, info = g_step(game, hparams, state, *_draw(game, state, data, G_DRAWS, state.step))
        info = {name: x[-1] for name, x in d_infos.items()} | info
    state = state._replace(step=state.step + 1)
    return state, {"step": state.step, **info}


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
