"""What the paper proves, computable: the value of the game, its best D, and what G then minimises.

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 4.1; and the divergences that the
losses of f-GAN bound, Nowozin et al. 2016, https://arxiv.org/abs/1606.00709.

A distribution is an array of probabilities, one for each point, of any shape. A density becomes
one on a grid of cells (`grid_1d` or `grid_2d`, then `masses`), and every integral of the paper a
sum. All is in nats, and in NumPy, whose float64 needs no switch; the V that has gradients is
`losses.value`.

Probabilities must sum to 1 within `TOLERANCE`, and are then divided by their sum, so that
identities and bounds hold to rounding. Every function raises InputError where an argument is no
number, array of numbers or distribution, as it should be, or two are not of one shape; what else it
refuses, its docstring says.
"""

import contextlib
import math
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError

TOLERANCE = 1e-6  # how far from 1 a sum of probabilities, or an integral, may be
LOG_2 = math.log(2)


class Grid(NamedTuple):
    """Equal cells that cover an interval or a square: the midpoint rule.

    For smooth densities that have died out at its ends it converges faster than any power of the
    cells' size. Of mixtures of Gaussians the JSD is right to 1e-5 with cells of half the least
    standard deviation, and to 1e-9 with a quarter. A KL needs more: to 1e-6 an eighth and to 1e-11
    a sixteenth where it is of order 1, and far smaller cells where q has a valley between narrow
    modes (an error of 1e-4 of 64 nats with an eighth), and a grid that is not so wide that it is
    infinite, see `masses`. It is exact for steps on the cells' edges, and of second order for what
    is cut off.
    """

    points: np.ndarray  # the cells' centres, (n,) or (n, n, 2)
    weights: np.ndarray  # the cells' sizes, (n,) or (n, n)


def grid_1d(low: float, high: float, n: int) -> Grid:
    """Covers [low, high] by n cells.

    Raises:
      InputError: ends that are not finite or not in order, or no whole number of cells.
    """
    low, high, n = _number("low", low), _number("high", high), _number("n", n, 1, whole=True)
    if not low < high:
        raise InputError(f"low must be less than high, not low = {low}, high = {high}")
    size = (high - low) / n
    return Grid(low + size * (np.arange(n) + 0.5), np.full(n, size))


def grid_2d(low: float, high: float, n: int) -> Grid:
    """Covers the square [low, high]^2 by n by n cells; `points[i, j]` is (x_i, y_j).

    Raises:
      InputError: as `grid_1d`.
    """
    side = grid_1d(low, high, n)
    points = np.stack(np.meshgrid(side.points, side.points, indexing="ij"), axis=-1)
    return Grid(points, np.multiply.outer(side.weights, side.weights))


def masses(density: Callable[[np.ndarray], npt.ArrayLike], grid: Grid) -> np.ndarray:
    """The probabilities of a grid's cells, of `grid.weights`' shape.

    Args:
      density: of (n,) points to (n,), or of (n, n, 2) to (n, n); normalised.
      grid: holds all of the density but `TOLERANCE`. Where a density is 0 in float64, it is off
        the support for all functions here: a Gaussian is so from 38 standard deviations on.

    Raises:
      InputError: no function, no grid, or a density that is negative, not finite, of another shape
        than the grid, or whose integral over the grid is not 1.
    """
    if not callable(density):
        raise InputError(f"density must be a function of points, not {_shown(density)}")
    if not isinstance(grid, Grid):
        raise InputError(f"grid must be a Grid, as of grid_1d, not {_shown(grid)}")
    values = _numbers("density", density(grid.points.copy()), grid.weights.shape)
    return _distribution("density", values, grid.weights)


def _shown(x: Any) -> str:
    return textwrap.shorten(repr(x), 60)


def _number(name: str, x: Any, least: float = -math.inf, whole: bool = False) -> Any:
    with contextlib.suppress(ValueError):  # of lists that make no array
        array = np.asarray(x)
        kinds = "iu" if whole else "iuf"
        if array.ndim == 0 and array.dtype.kind in kinds and least <= array and np.isfinite(array):
            return array.item()
    rule = "whole" if whole else "finite"
    rule += " number" if least == -math.inf else f" number, at least {least:g}"
    raise InputError(f"{name} must be a {rule}, not {_shown(x)}")


def _numbers(name: str, x: npt.ArrayLike, shape: tuple[int, ...] | None = None) -> np.ndarray:
    try:
        # Of this casting neither text that reads as a number nor a complex number becomes one.
        array = np.asarray(x).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of numbers") from None
    if shape is not None and array.shape != shape:
        raise InputError(
            f"{name} must have the shape {shape}, one for each point, not {array.shape}"
        )
    return array


def _check(name: str, array: np.ndarray, fine: np.ndarray, rule: str) -> None:
    if not fine.all():
        raise InputError(f"{name} must be {rule}, and has {array[~fine][0]:.6g}")


def _distribution(name: str, x: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> np.ndarray:
    p = _numbers(name, x)
    _check(name, p, np.isfinite(p) & (p >= 0), "finite and not negative")
    rule, why = "sum to 1", ""
    if weights is not None:
        p = p * weights
        rule = "integrate to 1 over the grid"
        why = ": it lacks its normaliser, or the grid is too short or too coarse for it"
    total = p.sum()
    if not abs(total - 1) <= TOLERANCE:  # of NaN neither is true
        raise InputError(f"{name} must {rule} (within {TOLERANCE:g}), not to {total:.8g}{why}")
    return p / total


def _pair(**named: npt.ArrayLike) -> list[np.ndarray]:
    p, q = (_distribution(name, x) for name, x in named.items())
    if p.shape != q.shape:
        names = " and ".join(named)
        raise InputError(f"{names} must be on the same points, not of shapes {p.shape}, {q.shape}")
    return [p, q]


def _expectation(p: np.ndarray, x: np.ndarray) -> float:
    """The expectation of x under p, where 0 times infinity is 0."""
    return float(np.sum(p[p > 0] * x[p > 0]))


def value(p_data: npt.ArrayLike, p_g: npt.ArrayLike, logits: npt.ArrayLike) -> float:
    """V(G, D) = sum of p_data log D + p_g log(1 - D), with D = sigmoid(logits), in nats.

    Equations 1 and 3 of Goodfellow et al. 2014. p_g is the distribution of G(z), whatever G: the
    expectation over z of a function of G(z) is one over p_g, and no inverse of G is needed.

    Args:
      p_data: the data's distribution.
      p_g: the generator's, of the same shape.
      logits: D's, of the same shape; infinite ones are D = 0 and D = 1.

    Returns:
      At most 2 JSD - log 4; -inf where D is wholly sure and wrong.

    Raises:
      InputError: also if a logit is NaN.
    """
    p_data, p_g = _pair(p_data=p_data, p_g=p_g)
    x = _numbers("logits", logits, p_data.shape)
    _check("logits", x, ~np.isnan(x), "numbers or infinite")
    return _expectation(p_data, -np.logaddexp(0, -x)) + _expectation(p_g, -np.logaddexp(0, x))


def value_of_d(p_data: npt.ArrayLike, p_g: npt.ArrayLike, d: npt.ArrayLike) -> float:
    """V(G, D) of D's probabilities d, in [0, 1] and of p_data's shape, in nats.

    For D* use `value(..., optimal_logits(...))`: as a probability it may round to 1, and V is then
    -inf.

    Raises:
      InputError: also if d is not within [0, 1].
    """
    x = _numbers("d", d, _pair(p_data=p_data, p_g=p_g)[0].shape)
    _check("d", x, (x >= 0) & (x <= 1), "in [0, 1]")
    with np.errstate(divide="ignore"):
        return value(p_data, p_g, np.log(x) - np.log1p(-x))


def optimal_logits(p_data: npt.ArrayLike, p_g: npt.ArrayLike) -> np.ndarray:
    """The logits of D*, log p_data - log p_g: infinite where one is 0, and 0 where both are."""
    p_data, p_g = _pair(p_data=p_data, p_g=p_g)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((p_data == 0) & (p_g == 0), 0, np.log(p_data) - np.log(p_g))


def optimal_discriminator(p_data: npt.ArrayLike, p_g: npt.ArrayLike) -> np.ndarray:
    """D*(x) = p_data / (p_data + p_g), which maximises V for a given G.

    Proposition 1 (equation 2) of Goodfellow et al. 2014. Where both are 0 any value serves, as
    the point has no part in V: it is 1/2 there.
    """
    p_data, p_g = _pair(p_data=p_data, p_g=p_g)
    total = p_data + p_g
    return np.divide(p_data, total, out=np.full_like(total, 0.5), where=total > 0)


def criterion(p_data: npt.ArrayLike, p_g: npt.ArrayLike) -> float:
    """C(G) = max over D of V(G, D) = V(G, D*), what G minimises against the best D, in nats.

    Equation 4 of Goodfellow et al. 2014. It is 2 JSD(p_data || p_g) - log 4 (equation 6): from
    -log 4, which only p_g = p_data reaches (theorem 1), to 0, on disjoint supports.
    """
    return value(p_data, p_g, optimal_logits(p_data, p_g))


def softmax(logits: npt.ArrayLike) -> np.ndarray:
    """The distribution of a G that is a table of logits, as `networks.Tabular`; of their shape.

    Raises:
      InputError: also if a logit is not finite, or there is none.
    """
    return np.exp(_log_softmax("logits", _numbers("logits", logits)))


def _log_softmax(name: str, x: np.ndarray) -> np.ndarray:
    if x.size == 0:
        raise InputError(f"{name} must be at least one")
    _check(name, x, np.isfinite(x), "finite")
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def best_response_round(
    p_data: npt.ArrayLike, g_logits: npt.ArrayLike, rate: float, steps: int = 1
) -> np.ndarray:
    """One round of the scheme that the paper proves: D becomes D*, and G then descends V(., D*).

    Proposition 2 of Goodfellow et al. 2014 lets D reach its optimum for G before each of G's
    updates. D is then fixed: G descends V(., D*), which has the gradient of C(G) where D* is of
    this G and nowhere else. So one small step lowers the JSD; many steps against the same D
    lead to where D is largest, whatever the data.

    Args:
      p_data: the data's distribution.
      g_logits: of G, p_g = softmax(g_logits); of p_data's shape.
      rate: of G's gradient descent, at least 0.
      steps: of G, against the one D.

    Returns:
      G's logits after the round.

    Raises:
      InputError: also if a logit or the rate is not finite, or the rate or steps negative.
    """
    rate, steps = _number("rate", rate, 0), _number("steps", steps, 0, whole=True)
    p_data = _distribution("p_data", p_data)
    x = _numbers("g_logits", g_logits, p_data.shape)
    log_p_g = _log_softmax("g_logits", x)
    with np.errstate(divide="ignore"):
        log_p_data = np.log(p_data)
    cost = log_p_g - np.logaddexp(log_p_data, log_p_g)  # log(1 - D*), finite even where D* is 1
    for _ in range(steps):
        p_g = softmax(x)
        # Of sum p_g cost by the logits, as d p_g[i] / d x[j] = p_g[i] ([i = j] - p_g[j]).
        x = x - rate * p_g * (cost - np.sum(p_g * cost))
    return x


def kl(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """KL(p || q) = sum of p log(p / q), in nats: infinite where q is 0 and p is not."""
    return f_divergence("kl", p, q)


def jsd(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """(KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in nats, from 0 to log 2.

    The Jensen-Shannon divergence, of equations 5 and 6 of Goodfellow et al. 2014.
    """
    return min(f_divergence("js", p, q) / 2, LOG_2)  # not by m, which may underflow


def total_variation(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Half the sum of |p - q|, from 0 to 1.

    With as many fakes as real examples, D* thresholded at 1/2 classifies a share (1 + TV) / 2
    correctly; no classifier does better.
    """
    p, q = _pair(p=p, q=q)
    return min(float(np.sum(np.abs(p - q))) / 2, 1.0)


class Divergence(NamedTuple):
    """The sum of q f(p / q), with f convex and f(1) = 0, and the v that f-GAN's D should find."""

    # Of p, q and log p - log q, which float64 holds where it does not hold p / q.
    total: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    v: Callable[[np.ndarray], np.ndarray]  # the v where g(v) = f'(u), of log u


# Keys, f and g as in losses.LOSSES.
DIVERGENCES: dict[str, Divergence] = {
    "kl": Divergence(lambda p, q, log_u: _expectation(p, log_u), lambda log_u: 1 + log_u),
    "reverse_kl": Divergence(lambda p, q, log_u: -_expectation(q, log_u), lambda log_u: log_u),
    "pearson": Divergence(  # of roots, as p / q may be too great where the sum is not
        lambda p, q, log_u: float(np.nansum(((p - q) / np.sqrt(q)) ** 2)),  # nan: p = q = 0
        lambda log_u: 2 * np.expm1(log_u),
    ),
    "squared_hellinger": Divergence(
        lambda p, q, log_u: float(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2)), lambda log_u: log_u / 2
    ),
    "js": Divergence(
        lambda p, q, log_u: (
            _expectation(p, LOG_2 - np.logaddexp(0, -log_u))
            + _expectation(q, LOG_2 - np.logaddexp(0, log_u))
        ),
        lambda log_u: log_u,
    ),
}


def _divergence(name: str) -> Divergence:
    if not isinstance(name, str) or name not in DIVERGENCES:
        raise InputError(f"name must be one of {', '.join(DIVERGENCES)}, not {_shown(name)}")
    return DIVERGENCES[name]


def f_divergence(name: str, p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """D_f(P || Q) = sum of q f(p / q), at least 0; in nats where f has a logarithm.

    Nowozin et al. 2016, section 2.1 and table 1. Their "js" is 2 JSD, by its f; "reverse_kl" is
    KL(q || p). With P the data and Q the generator, the loss of the same name in `losses.LOSSES`
    is at least minus this for every D.

    Raises:
      InputError: also if the name is no key of `DIVERGENCES`.
    """
    divergence, (p, q) = _divergence(name), _pair(p=p, q=q)
    with np.errstate(all="ignore"):  # what is beyond float64 is infinite, or 0
        return max(0.0, divergence.total(p, q, optimal_logits(p, q)))  # which rounding may miss


def optimal_v(name: str, p: npt.ArrayLike, q: npt.ArrayLike) -> np.ndarray:
    """The best v, f-GAN's D before its activation g, at which its loss is -D_f(P || Q).

    Nowozin et al. 2016, section 2.2: the bound is tight at g(v(x)) = f'(p(x) / q(x)). It is a
    function of log(p / q), the logit of D*, of p's shape, and may be infinite where one is 0.

    Raises:
      InputError: also if the name is no key of `DIVERGENCES`.
    """
    divergence, (p, q) = _divergence(name), _pair(p=p, q=q)
    with np.errstate(over="ignore"):
        return divergence.v(optimal_logits(p, q))
