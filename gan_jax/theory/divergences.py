"""The value of the GAN game, its optimal discriminator, and the divergences G then minimises.

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 4.1, and the f-divergences of
Nowozin et al. 2016, https://arxiv.org/abs/1606.00709.

Distributions are arrays of probabilities of any shape, one entry per point; `quadrature` turns
densities into such arrays. Everything is computed by NumPy in float64, in nats. `losses.value` is
the differentiable minibatch estimate of V.

Probabilities must sum to 1 within `TOLERANCE` and are renormalised, so that identities and bounds
hold up to rounding. Every function raises InputError for invalid distributions or mismatched
shapes.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError

TOLERANCE = 1e-6  # largest deviation from 1 of a sum of probabilities
LOG_2 = math.log(2)


def distribution(name: str, x: npt.ArrayLike) -> np.ndarray:
    """Probabilities of any shape as float64 with sum 1; `name` is for error messages.

    Raises:
      InputError: a value is negative or not finite, or the sum is not 1.
    """
    p = np.asarray(x, np.float64)
    valid = np.isfinite(p) & (p >= 0)
    if not valid.all():
        raise InputError(f"{name} must be finite and non-negative; got {p[~valid][0]:.6g}")
    total = p.sum()
    if abs(total - 1) > TOLERANCE:
        raise InputError(f"{name} must sum to 1 (within {TOLERANCE:g}); got {total:.8g}")
    return p / total


def _pair(**named: npt.ArrayLike) -> list[np.ndarray]:
    p, q = (distribution(name, x) for name, x in named.items())
    if p.shape != q.shape:
        names = " and ".join(named)
        raise InputError(f"{names} must have the same shape; got {p.shape} and {q.shape}")
    return [p, q]


def _like(name: str, x: npt.ArrayLike, p: np.ndarray) -> np.ndarray:
    array = np.asarray(x, np.float64)
    if array.shape != p.shape:
        raise InputError(f"{name} must have p_data's shape, {p.shape}; got {array.shape}")
    return array


def _expectation(p: np.ndarray, x: np.ndarray) -> float:
    """E_p[x], with 0 * inf = 0."""
    return float(np.sum(p[p > 0] * x[p > 0]))


def value(p_data: npt.ArrayLike, p_g: npt.ArrayLike, logits: npt.ArrayLike) -> float:
    """V(G, D) = E_{p_data}[log D] + E_{p_g}[log(1 - D)], where D = sigmoid(logits).

    Goodfellow et al. 2014, equations 1 and 3; G need not be invertible. Logits of -inf and inf
    stand for D = 0 and D = 1; V is -inf if such a D is wrong.

    Raises:
      InputError: a logit is NaN.
    """
    p_data, p_g = _pair(p_data=p_data, p_g=p_g)
    x = _like("logits", logits, p_data)
    if np.isnan(x).any():
        raise InputError("logits must not be NaN")
    return _expectation(p_data, -np.logaddexp(0, -x)) + _expectation(p_g, -np.logaddexp(0, x))


def value_from_probs(p_data: npt.ArrayLike, p_g: npt.ArrayLike, d: npt.ArrayLike) -> float:
    """V(G, D) for D given as probabilities d, of p_data's shape.

    For the optimal D, use `value` with `optimal_logits`: as a probability, D* may round to 1, where
    V is -inf.

    Raises:
      InputError: d is not in [0, 1].
    """
    x = _like("d", d, np.asarray(p_data))
    if not np.all((x >= 0) & (x <= 1)):
        raise InputError(f"d must be in [0, 1]; got values from {x.min():.6g} to {x.max():.6g}")
    with np.errstate(divide="ignore"):
        return value(p_data, p_g, np.log(x) - np.log1p(-x))


def optimal_logits(p_data: npt.ArrayLike, p_g: npt.ArrayLike) -> np.ndarray:
    """Logits of D*, log p_data - log p_g: infinite where one is 0, and 0 where both are."""
    p_data, p_g = _pair(p_data=p_data, p_g=p_g)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((p_data == 0) & (p_g == 0), 0, np.log(p_data) - np.log(p_g))


def optimal_discriminator(p_data: npt.ArrayLike, p_g: npt.ArrayLike) -> np.ndarray:
    """D* = p_data / (p_data + p_g), the maximiser of V for fixed G.

    Goodfellow et al. 2014, proposition 1 (equation 2). Where both are 0, D* is arbitrary; this
    returns 1/2.
    """
    p_data, p_g = _pair(p_data=p_data, p_g=p_g)
    total = p_data + p_g
    return np.divide(p_data, total, out=np.full_like(total, 0.5), where=total > 0)


def criterion(p_data: npt.ArrayLike, p_g: npt.ArrayLike) -> float:
    """C(G) = max_D V(G, D) = V(G, D*), the generator's objective against an optimal D.

    Goodfellow et al. 2014, equation 4. Equals 2 JSD(p_data, p_g) - log 4 (equation 6), from -log 4
    if and only if p_g = p_data (theorem 1) to 0 for disjoint supports.
    """
    return value(p_data, p_g, optimal_logits(p_data, p_g))


def softmax(logits: npt.ArrayLike) -> np.ndarray:
    """The distribution of a tabular generator with these logits, of the same shape.

    Raises:
      InputError: there are no logits, or one is not finite.
    """
    return np.exp(_log_softmax("logits", np.asarray(logits, np.float64)))


def _log_softmax(name: str, x: np.ndarray) -> np.ndarray:
    if not x.size or not np.isfinite(x).all():
        raise InputError(f"{name} must be finite and non-empty")
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def best_response_round(
    p_data: npt.ArrayLike, g_logits: npt.ArrayLike, learning_rate: float, steps: int = 1
) -> np.ndarray:
    """Replaces D by D*, then takes gradient steps of a tabular G on V(., D*).

    The scheme of proposition 2 of Goodfellow et al. 2014. D* is not recomputed between steps, and
    the gradient of V(., D*) equals that of C(G) only at the G for which D* is optimal. One small
    step therefore lowers the JSD, whereas many steps move all of G's mass to the maximum of D*.

    Args:
      p_data: data distribution.
      g_logits: G's logits, same shape; p_g = softmax(g_logits).
      learning_rate: learning rate of G's gradient descent.
      steps: gradient steps of G against the same D*.

    Returns:
      G's new logits.

    Raises:
      InputError: a logit is not finite.
    """
    p_data = distribution("p_data", p_data)
    x = _like("g_logits", g_logits, p_data)
    log_p_g = _log_softmax("g_logits", x)
    with np.errstate(divide="ignore"):
        log_p_data = np.log(p_data)
    cost = log_p_g - np.logaddexp(log_p_data, log_p_g)  # log(1 - D*), finite even if D* rounds to 1
    for _ in range(steps):
        p_g = softmax(x)
        # Gradient of sum(p_g * cost), by d p_g[i] / d x[j] = p_g[i] ([i = j] - p_g[j]).
        x = x - learning_rate * p_g * (cost - np.sum(p_g * cost))
    return x


def kl(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """KL(p || q) = E_p[log(p / q)]; infinite where q is 0 and p is not."""
    return f_divergence("kl", p, q)


def jsd(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Jensen-Shannon divergence, (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2.

    Goodfellow et al. 2014, equations 5 and 6. Symmetric, between 0 and log 2.
    """
    return min(f_divergence("js", p, q) / 2, LOG_2)  # not computed from m, which may underflow


# (p, q, log u) -> divergence, with u = p / q, which may overflow. Keys and f are those of
# losses.LOSSES.
DIVERGENCES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "kl": lambda p, q, log_u: _expectation(p, log_u),
    "reverse_kl": lambda p, q, log_u: -_expectation(q, log_u),
    # Of ((p - q) / sqrt(q))^2, as p / q may overflow where it does not; nan: p = q = 0.
    "pearson": lambda p, q, log_u: float(np.nansum(((p - q) / np.sqrt(q)) ** 2)),
    "squared_hellinger": lambda p, q, log_u: float(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2)),
    "js": lambda p, q, log_u: (
        _expectation(p, LOG_2 - np.logaddexp(0, -log_u))
        + _expectation(q, LOG_2 - np.logaddexp(0, log_u))
    ),
}


def f_divergence(name: str, p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """D_f(p || q) = E_q[f(p / q)] >= 0, where f is convex and f(1) = 0.

    Nowozin et al. 2016, section 2.1 and table 1. Their "js" is 2 JSD; "reverse_kl" is KL(q || p).
    With p the data and q the generator, it is the maximum over D of minus the D loss of the same
    name in `losses.LOSSES`.
    """
    p, q = _pair(p=p, q=q)
    with np.errstate(all="ignore"):  # overflow to inf and underflow to 0 are the limits
        return max(0.0, DIVERGENCES[name](p, q, optimal_logits(p, q)))
