"""Runs on a line whose p_G is known: what the theory says of them as they train.

A monotone G of one normal number has the distribution function Phi(G^-1(x)), so that V, its
maximum over D, the divergence that G minimises and D's distance from D* are computed, not estimated
from samples. They are sums over the cells of a grid, see `theory`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import expit, ndtr  # in float64, which jax's own are not

from gan_jax import core, networks, plots, theory
from gan_jax.core import Game, State
from gan_jax.losses import CROSS_ENTROPY
from gan_jax.mixtures import MIXTURES, Mixture
from gan_jax.networks import Monotone, Variables
from gan_jax.theory import Grid

_CELLS = 400
_REACH = 8.0  # standard deviations of z, beyond which float32 has nothing of it
_HALVINGS = 30  # of that interval: to 1e-8
_LOGIT = (*CROSS_ENTROPY, "js", "reverse_kl")  # losses for which the best output is D*'s logit


class Line(NamedTuple):
    """The curves of the paper's figure 1 on the cells of a grid."""

    grid: Grid
    p_data: np.ndarray  # probabilities, (n,)
    p_g: np.ndarray  # likewise
    logits: np.ndarray | None  # of D at the cells' centres, (n,); see `line`
    z: np.ndarray  # some noise, in order, (m,)
    g_of_z: np.ndarray  # (m,)


def known_mixture(dataset: str, game: Game) -> Mixture | None:
    """What the data are drawn from, where that is known and p_G as well."""
    return MIXTURES.get(dataset) if isinstance(game.generator, Monotone) else None


@functools.partial(jax.jit, static_argnames="game")
def _inverse(game: Game, g: Variables, x: jax.Array) -> jax.Array:
    """The z with G(z) = x, by bisection; within +-_REACH. Shape (n,)."""

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        above = networks.apply(game.generator, g, middle[:, None])[0][:, 0] > x
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    ends = jnp.full_like(x, -_REACH), jnp.full_like(x, _REACH)
    return jax.lax.fori_loop(0, _HALVINGS, halve, ends)[1]


def _masses(cumulative: np.ndarray) -> np.ndarray:
    """The cells' probabilities from the distribution function at their inner edges.

    What lies beyond the grid counts to the cells at its ends.
    """
    return np.diff(cumulative, prepend=0.0, append=1.0)


def line(game: Game, state: State, mixture: Mixture) -> Line:
    """The densities and D of a run whose G is monotone, from a mixture of one dimension.

    Under the losses of 2014 and the f-GANs js and reverse_kl, the best that D can put out at x is
    the logit of D*(x), from which a penalty only holds it back. With another loss, label smoothing,
    instance noise or dropout of D's input it is something else, and the line has no logits.

    The grid reaches 6 standard deviations beyond the outermost means. What G puts further out
    counts to the cells at its ends, so that V is exact only of a G that stays within.
    """
    means, sigma = mixture.means[:, 0], mixture.sigma
    grid = theory.grid_1d(means.min() - 6 * sigma, means.max() + 6 * sigma, _CELLS)
    edges = (grid.points[1:] + grid.points[:-1]) / 2
    g, d = core.generator(state), game.discriminator
    points, z = jnp.float32(grid.points)[:, None], np.linspace(-2.5, 2.5, 41)
    outputs = networks.apply(d, state.d.variables, points)[0]
    blurred = game.label_smoothing or game.instance_noise or d.input_dropout
    return Line(
        grid,
        _masses(np.mean([ndtr((edges - mean) / sigma) for mean in means], axis=0)),
        _masses(ndtr(np.asarray(_inverse(game, g, jnp.float32(edges)), np.float64))),
        np.asarray(outputs, np.float64) if game.loss in _LOGIT and not blurred else None,
        z,
        np.asarray(core.generate(game, g, jnp.float32(z)[:, None]))[:, 0],
    )


def measure(known: Line) -> dict[str, float]:
    """What the theory says of a state.

    Returns:
      v_best (V(G, D*) in nats) and jsd (of p_data and p_G, in nats); and, where the line has D's
      logits, v (V(G, D)) and d_gap (the mean of |D - D*| over examples, half of them real).
    """
    p_data, p_g, logits = known.p_data, known.p_g, known.logits
    found = {"v_best": theory.criterion(p_data, p_g), "jsd": theory.jsd(p_data, p_g)}
    if logits is None:
        return found
    best = theory.optimal_discriminator(p_data, p_g)
    gap = np.abs(expit(logits) - best)
    return found | {
        "v": theory.value(p_data, p_g, logits),
        "d_gap": float(np.sum((p_data + p_g) / 2 * gap)),
    }


def picture(known: Line, step: int) -> Image.Image:
    """`draw` as an image."""
    return plots.figure_image(draw(known, step))


def draw(known: Line, step: int) -> Figure:
    """Figure 1 of the paper after `step` iterations: how z becomes x, both densities, D and D*.

    Without D where the line has no logits of it.
    """
    x, sizes, z = known.grid.points, known.grid.weights, known.z
    p_data, p_g = known.p_data / sizes, known.p_g / sizes
    figure = plots.new_figure(7, 5)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    axes.plot(x, p_data, ":", color="black", lw=2, label="$p_{data}$")
    axes.plot(x, p_g, "-", color="#009E73", lw=2, label="$p_G$")
    axes.set_ylim(0, 1.3 * p_data.max())
    axes.set_ylabel("density")
    right = axes.twinx()
    if known.logits is not None:
        right.plot(x, expit(known.logits), "--", color="#0072B2", lw=2, label="$D$")
    best = theory.optimal_discriminator(known.p_data, known.p_g)
    seen = p_data + p_g > 1e-4  # elsewhere any D is as good
    right.plot(x[seen], best[seen], "-.", color="#D55E00", lw=1.5, label="$D^*$")
    right.set_ylim(0, 1.05)
    right.set_ylabel("D(x)")
    found = measure(known)
    v = f" {found['v']:.4f}," if "v" in found else ""
    axes.set_title(
        f"How near is $p_G$ to $p_{{data}}$?\niteration {step}: JSD {found['jsd']:.4f} nats, "
        f"V{v} at D* {found['v_best']:.4f}",
        loc="left",
        fontsize=10,
    )
    handles = [*axes.get_lines(), *right.get_lines()]
    axes.legend(handles, [h.get_label() for h in handles], frameon=False, ncols=4, loc="upper left")
    starts = np.interp(z, (z[0], z[-1]), (x[0], x[-1]))  # drawn over the same width
    below.plot([known.g_of_z, starts], [1, 0], "-", color="0.4", lw=0.7)
    below.set(xlim=(x[0], x[-1]), ylim=(0, 1), yticks=[0, 1], yticklabels=["z", "x"])
    below.set_xlabel(f"x = G(z), of z from {z[0]:g} to {z[-1]:g}")
    return figure
