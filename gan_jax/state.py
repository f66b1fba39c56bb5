"""Training state: a pytree of arrays."""

from typing import Any, NamedTuple

import jax
import optax

from gan_jax.networks import Params, Stats, Variables

Info = dict[str, jax.Array]  # scalars measured during an iteration, by metrics.jsonl name


class Player(NamedTuple):
    """A network in training."""

    params: Params
    stats: Stats  # non-trainable collections such as batch statistics; {} for most networks
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        return Variables(self.params, self.stats)


def apply_gradients(
    player: Player, optimizer: optax.GradientTransformation, grads: Params, stats: Stats
) -> Player:
    """The player after one step of its optimizer, with new statistics."""
    updates, opt_state = optimizer.update(grads, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), stats, opt_state)


class State(NamedTuple):
    """Complete training state."""

    step: jax.Array  # completed iterations, int32 ()
    key: jax.Array  # root key data, uint32 (2,); constant, see `draws.stream_key`
    players: dict[str, Player]
    # What is carried over besides players: "ema" of G and "augmentation" of ADA (gan), "codes" with
    # their mean and covariance (autoencoder), "chains" of PCD (rbm); {} without any.
    averages: dict[str, Any]

    def replace_players(self, **players: Player) -> "State":
        return self._replace(players=self.players | players)


def trainable(state: State) -> dict[str, Any]:
    """Everything learned from data; `params_sha256` is its hash."""
    params = {name: player.params for name, player in state.players.items()}
    stats = {name: player.stats for name, player in state.players.items()}
    return params | {"stats": stats} | state.averages
