"""Exact quantities of runs on a line with a monotone generator.

If z is standard normal and G increases, the distribution function of p_G is Phi(G^-1(x)). V, its
maximum over D, the JSD, and the distance of D from D* are then computed on a grid instead of being
estimated from samples.
"""

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.special import expit, ndtr  # in float64, unlike jax.scipy

from gan_jax import algorithms, networks, plots
from gan_jax.data.mixtures import MIXTURES, Mixture
from gan_jax.losses import CROSS_ENTROPY
from gan_jax.networks import Network, Variables
from gan_jax.networks.toy import Monotone
from gan_jax.spec import GANSpec, HParams, Spec
from gan_jax.state import State
from gan_jax.theory import divergences
from gan_jax.theory.quadrature import Grid, grid_1d

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELLS = 400
_MAX_Z = 8.0  # standard deviations; float32 normals stay below 6
_BISECTIONS = 30  # to 1e-8
_LOGIT_LOSSES = (*CROSS_ENTROPY, "js", "reverse_kl")  # the optimal D outputs the logit of D*


class Line(NamedTuple):
    """The curves of the paper's figure 1."""

    grid: Grid
    p_data: np.ndarray  # cell probabilities, (n,)
    p_g: np.ndarray  # cell probabilities, (n,)
    logits: np.ndarray | None  # D's at the cell centres, (n,); see `curves`
    z: np.ndarray  # increasing latents, (m,)
    g_of_z: np.ndarray  # (m,)


def known_mixture(dataset: str, spec: Spec) -> Mixture | None:
    """The data distribution of a run with known p_data and p_G, None for other runs."""
    return MIXTURES.get(dataset) if isinstance(getattr(spec, "generator", None), Monotone) else None


@functools.partial(jax.jit, static_argnames="generator")
def _inverse(generator: Network, g: Variables, x: jax.Array) -> jax.Array:
    """G^-1(x) by bisection, clipped to [-_MAX_Z, _MAX_Z]; shape (n,)."""

    def bisect(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        above = networks.apply(generator, g, middle[:, None])[0][:, 0] > x
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    ends = jnp.full_like(x, -_MAX_Z), jnp.full_like(x, _MAX_Z)
    return jax.lax.fori_loop(0, _BISECTIONS, bisect, ends)[1]


def _cell_probabilities(cdf: np.ndarray) -> np.ndarray:
    """From the distribution function at the inner edges, tails included."""
    return np.diff(cdf, prepend=0.0, append=1.0)


def curves(spec: Spec, hparams: HParams, state: State, mixture: Mixture) -> Line:
    """Densities and D of a run with a monotone generator, its average if the run keeps one.

    `logits` is None where the optimal D does not output the logit of D*: for losses other than
    minimax, non_saturating, js and reverse_kl, with label smoothing, instance noise, or dropout of
    D's input.

    The grid extends 6 standard deviations beyond the outer means, and its end cells include the
    tails. V is therefore exact only while G stays inside.
    """
    assert isinstance(spec, GANSpec)  # see `known_mixture`
    means, sigma = mixture.means[:, 0], mixture.sigma
    grid = grid_1d(means.min() - 6 * sigma, means.max() + 6 * sigma, _CELLS)
    edges = (grid.points[1:] + grid.points[:-1]) / 2
    points, z = jnp.float32(grid.points)[:, None], np.linspace(-2.5, 2.5, 41)
    g = state.averages.get("ema", state.players["g"].variables)
    logits = networks.apply(spec.discriminator, state.players["d"].variables, points)[0]
    perturbed = (
        hparams["label_smoothing"] is not None
        or hparams["instance_noise"]["std"] is not None
        or spec.discriminator.input_dropout > 0
    )
    return Line(
        grid,
        _cell_probabilities(np.mean([ndtr((edges - mean) / sigma) for mean in means], axis=0)),
        _cell_probabilities(
            ndtr(np.asarray(_inverse(spec.generator, g, jnp.float32(edges)), np.float64))
        ),
        np.asarray(logits, np.float64) if spec.loss in _LOGIT_LOSSES and not perturbed else None,
        z,
        algorithms.generate(spec, state, jnp.float32(z)[:, None])[:, 0],
    )


def measure(known: Line) -> dict[str, float]:
    """Exact metrics: v_best, V(G, D*), and jsd, JSD(p_data, p_G), in nats.

    With logits also v, V(G, D), and d_gap, the mean of |D - D*| over equally many real and
    generated examples.
    """
    p_data, p_g, logits = known.p_data, known.p_g, known.logits
    metrics = {"v_best": divergences.criterion(p_data, p_g), "jsd": divergences.jsd(p_data, p_g)}
    if logits is None:
        return metrics
    gap = np.abs(expit(logits) - divergences.optimal_discriminator(p_data, p_g))
    return metrics | {
        "v": divergences.value(p_data, p_g, logits),
        "d_gap": float(np.sum((p_data + p_g) / 2 * gap)),
    }


@plots.style()
def image(known: Line, step: int) -> Image.Image:
    """`draw` as an image."""
    import matplotlib

    matplotlib.rcParams["text.parse_math"] = True  # no user-provided text
    return plots.figure_image(draw(known, step))


def draw(known: Line, step: int) -> "Figure":
    """Figure 1 of the paper after `step` iterations: both densities, D, D* and the map from z to x.

    D is left out if its logits are None.
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
    best = divergences.optimal_discriminator(known.p_data, known.p_g)
    seen = p_data + p_g > 1e-4  # D has no effect on V elsewhere
    right.plot(x[seen], best[seen], "-.", color="#D55E00", lw=1.5, label="$D^*$")
    right.set_ylim(0, 1.05)
    right.set_ylabel("D(x)")
    metrics = measure(known)
    v = f" {metrics['v']:.4f}," if "v" in metrics else ""
    axes.set_title(
        "$p_{data}$, $p_G$ and D, as in figure 1 of Goodfellow et al. 2014\n"
        f"iteration {step}: JSD {metrics['jsd']:.4f} nats, V{v} at D* {metrics['v_best']:.4f}",
        loc="left",
        fontsize=10,
    )
    handles = [*axes.get_lines(), *right.get_lines()]
    axes.legend(handles, [h.get_label() for h in handles], frameon=False, ncols=4, loc="upper left")
    starts = np.interp(z, (z[0], z[-1]), (x[0], x[-1]))  # spread over the width of the axes
    below.plot([known.g_of_z, starts], [1, 0], "-", color="0.4", lw=0.7)
    below.set(xlim=(x[0], x[-1]), ylim=(0, 1), yticks=[0, 1], yticklabels=["z", "x"])
    below.set_xlabel(f"x = G(z), of z from {z[0]:g} to {z[-1]:g}")
    return figure
