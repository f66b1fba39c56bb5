"""Ways to move both players at once, from the gradients of both at the same point.

With v(w) = (D's gradient, G's gradient) at w, the parameters of both, all of them step along -v or
a correction of it. Each function takes

- field: v, and what was measured, at a state;
- move: the state with its players moved along the gradients given, each by its optimizer;
- state: where they are;
- weight: `HParams.consensus`;

and returns the state after, and what was measured at the state before.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from gan_jax.core import Info, State
from gan_jax.networks import Params, Stats


class Gradient(NamedTuple):
    """What a step takes from a player."""

    params: Params  # the gradient with respect to them
    stats: Stats  # its network's new statistics


class Gradients(NamedTuple):
    d: Gradient
    g: Gradient


Field = Callable[[State], tuple[Gradients, Info]]
Move = Callable[[State, Gradients], State]
Update = Callable[[Field, Move, State, jax.Array | float], tuple[State, Info]]


def simultaneous(
    field: Field, move: Move, state: State, weight: jax.Array | float
) -> tuple[State, Info]:
    """The step w - rate v(w): both players step at once, as the code of the 2014 paper did,
    https://github.com/goodfeli/adversarial.
    """
    gradients, info = field(state)
    return move(state, gradients), info


def extragradient(
    field: Field, move: Move, state: State, weight: jax.Array | float
) -> tuple[State, Info]:
    """The step w - rate v(w - rate v(w)): the gradient of where a first step would lead.

    Korpelevich 1976; for GANs Gidel et al. 2019, https://arxiv.org/abs/1802.10551, whose optimizers
    learn from both gradients (algorithm 4), as ours do. Both gradients are of one minibatch.
    """
    gradients, info = field(state)
    ahead = move(state, gradients)
    gradients, _ = field(ahead)
    back = state._replace(
        d=state.d._replace(opt_state=ahead.d.opt_state),
        g=state.g._replace(opt_state=ahead.g.opt_state),
    )
    return move(back, gradients), info


def consensus(
    field: Field, move: Move, state: State, weight: jax.Array | float
) -> tuple[State, Info]:
    """The step w - rate (v(w) + weight grad |v(w)|^2 / 2): both also seek where neither would move.

    Mescheder et al. 2017, https://arxiv.org/abs/1705.10461, algorithm 2.
    """

    def energy(d: Params, g: Params) -> tuple[jax.Array, tuple[Gradients, Info]]:
        here = state._replace(d=state.d._replace(params=d), g=state.g._replace(params=g))
        gradients, info = field(here)
        squared = optax.tree.norm((gradients.d.params, gradients.g.params), squared=True)
        return squared / 2, (gradients, info)

    def pulled(gradient: Gradient, pull: Params) -> Gradient:
        summed = jax.tree.map(lambda v, p: v + weight * p, gradient.params, pull)
        return gradient._replace(params=summed)

    (pull_d, pull_g), (gradients, info) = jax.grad(energy, argnums=(0, 1), has_aux=True)(
        state.d.params, state.g.params
    )
    return move(state, Gradients(pulled(gradients.d, pull_d), pulled(gradients.g, pull_g))), info


UPDATES: dict[str, Update] = {
    "simultaneous": simultaneous,
    # The look back is the optimizers', see optimizers.Optimizer.transformation.
    "optimistic": simultaneous,
    "extragradient": extragradient,
    "consensus": consensus,
}
