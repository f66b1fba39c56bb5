"""Joint updates of all players, from gradients taken at the same state.

With v(w) the concatenated gradients of all players at parameters w, each update steps along -v or
a correction of it. Arguments:

  game_gradient: maps a state to v and the info measured there.
  apply: applies gradients, by each player's own optimizer.
  state: the state before.
  weight: strength of the consensus term, None for other updates.

Each returns the state after and the info of the state before.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from gan_jax.networks import Params, Stats
from gan_jax.state import Info, State


class Gradient(NamedTuple):
    """Gradient of one player's objective."""

    params: Params  # gradient with respect to the parameters
    stats: Stats  # the network's updated statistics


Gradients = dict[str, Gradient]  # by player
GameGradient = Callable[[State], tuple[Gradients, Info]]
Apply = Callable[[State, Gradients], State]
Update = Callable[[GameGradient, Apply, State, jax.Array | None], tuple[State, Info]]


def simultaneous(
    game_gradient: GameGradient, apply: Apply, state: State, weight: jax.Array | None
) -> tuple[State, Info]:
    """Steps to w - rate v(w).

    As in the code of Goodfellow et al. 2014, https://github.com/goodfeli/adversarial.
    """
    gradients, info = game_gradient(state)
    return apply(state, gradients), info


def extragradient(
    game_gradient: GameGradient, apply: Apply, state: State, weight: jax.Array | None
) -> tuple[State, Info]:
    """Steps to w - rate v(w - rate v(w)), by the gradient at an extrapolated point.

    Korpelevich 1976; Gidel et al. 2019, https://arxiv.org/abs/1802.10551, algorithm 4, whose
    optimizers also accumulate both gradients. Both gradients use the same minibatch.
    """
    gradients, info = game_gradient(state)
    extrapolated = apply(state, gradients)
    gradients, _ = game_gradient(extrapolated)
    origin = state.replace_players(
        **{
            name: player._replace(opt_state=extrapolated.players[name].opt_state)
            for name, player in state.players.items()
        }
    )
    return apply(origin, gradients), info


def consensus(
    game_gradient: GameGradient, apply: Apply, state: State, weight: jax.Array | None
) -> tuple[State, Info]:
    """Steps to w - rate (v(w) + weight grad |v(w)|^2 / 2): also descends the gradient norm.

    Mescheder et al. 2017, https://arxiv.org/abs/1705.10461, algorithm 2.
    """

    def energy(params: dict[str, Params]) -> tuple[jax.Array, tuple[Gradients, Info]]:
        players = {name: state.players[name]._replace(params=p) for name, p in params.items()}
        gradients, info = game_gradient(state.replace_players(**players))
        v = {name: gradient.params for name, gradient in gradients.items()}
        return optax.tree.norm(v, squared=True) / 2, (gradients, info)

    params = {name: player.params for name, player in state.players.items()}
    correction, (gradients, info) = jax.grad(energy, has_aux=True)(params)
    corrected = {
        name: gradient._replace(
            params=jax.tree.map(lambda v, c: v + weight * c, gradient.params, correction[name])
        )
        for name, gradient in gradients.items()
    }
    return apply(state, corrected), info


UPDATES: dict[str, Update] = {
    "simultaneous": simultaneous,
    "optimistic": simultaneous,  # the optimizers look back, see optimizers.transformation
    "extragradient": extragradient,
    "consensus": consensus,
}
