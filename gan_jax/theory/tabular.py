"""Algorithm 1 on a finite support, with exact expectations in place of minibatches.

The setting in which Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661, section 4) prove
convergence: D and G are unconstrained at each of n points. D is a table of logits, and p_G is the
softmax of another.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan_jax.errors import InputError
from gan_jax.losses import BATCH_COUPLED, LOSSES, Loss, LossTerm

Info = dict[str, jax.Array]


class TabularGame(NamedTuple):
    """Static, hashable structure of a tabular game."""

    loss: str  # a key of losses.LOSSES, not in losses.BATCH_COUPLED
    d_optimizer: optax.GradientTransformation
    g_optimizer: optax.GradientTransformation


class TabularState(NamedTuple):
    d: jax.Array  # D's logits, (n,)
    g: jax.Array  # G's logits, (n,); p_G = softmax(g)
    d_opt_state: optax.OptState
    g_opt_state: optax.OptState


def init(game: TabularGame, key: jax.Array, n: int) -> TabularState:
    """D = 1/2 on all n points, and standard normal logits for G."""
    d, g = jnp.zeros(n), jax.random.normal(key, (n,))
    return TabularState(d, g, game.d_optimizer.init(d), game.g_optimizer.init(g))


def expectation(term: LossTerm, p_data: jax.Array, p_g: jax.Array, logits: jax.Array) -> jax.Array:
    """E[term(D(x), D(x'))] over independent x ~ p_data and x' ~ p_g, all of shape (n,).

    The exact expectation of the minibatch estimate, where `term` is a mean over real examples,
    fakes, or pairs of both.
    """

    def of_pair(real: jax.Array, fake: jax.Array) -> jax.Array:
        return term(real[None], fake[None])

    of_pairs = jax.vmap(jax.vmap(of_pair, (None, 0)), (0, None))(logits, logits)  # (real, fake)
    return p_data @ of_pairs @ p_g


def _loss(game: TabularGame) -> Loss:
    if game.loss in BATCH_COUPLED:
        raise InputError(
            f"loss {game.loss} depends on the whole minibatch and has no exact expectation here; "
            "use another loss"
        )
    return LOSSES[game.loss]


def d_step(game: TabularGame, p_data: jax.Array, state: TabularState) -> tuple[TabularState, Info]:
    """One discriminator update; `d_loss` is measured before it.

    Raises:
      InputError: the loss couples the examples of a minibatch; likewise `g_step`.
    """
    p_g = jax.nn.softmax(state.g)
    objective = functools.partial(expectation, _loss(game).d, p_data, p_g)
    loss, gradient = jax.value_and_grad(objective)(state.d)
    update, opt_state = game.d_optimizer.update(gradient, state.d_opt_state, state.d)
    return state._replace(d=state.d + update, d_opt_state=opt_state), {"d_loss": loss}


def g_step(game: TabularGame, p_data: jax.Array, state: TabularState) -> tuple[TabularState, Info]:
    """One generator update; `g_loss` is measured before it."""

    def objective(g: jax.Array) -> jax.Array:
        return expectation(_loss(game).g, p_data, jax.nn.softmax(g), state.d)

    loss, gradient = jax.value_and_grad(objective)(state.g)
    update, opt_state = game.g_optimizer.update(gradient, state.g_opt_state, state.g)
    return state._replace(g=state.g + update, g_opt_state=opt_state), {"g_loss": loss}


@functools.partial(jax.jit, static_argnames="game")
def train(
    game: TabularGame,
    p_data: jax.Array,
    state: TabularState,
    k: jax.Array | int,
    num_steps: jax.Array | int,
) -> TabularState:
    """Runs `num_steps` iterations of k discriminator steps and one generator step."""

    def iteration(_: int, state: TabularState) -> TabularState:
        state = jax.lax.fori_loop(0, k, lambda _, state: d_step(game, p_data, state)[0], state)
        return g_step(game, p_data, state)[0]

    return jax.lax.fori_loop(0, num_steps, iteration, state)
