"""Which of a sweep's settings is best: statistics over seeds, and what settings are called.

The statistics are those of Agarwal et al. 2021 (arXiv 2108.13264): the interquartile mean over
seeds, its bootstrap interval, and the probability that one setting beats another. A member that
diverged, or whose score is NaN, has no score; where it must have one it counts as the worst
possible, so that a setting cannot gain by losing its bad seeds.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics.bootstrap import Score
from gan_jax.scores import METRICS, cost

_RESAMPLES = 2000


class Results(NamedTuple):
    """What became of N members: settings times seeds.

    settings: of each setting the values of the swept fields, all with the same keys; [{}] if none
      is swept. Each has a member.
    setting: (N,), each member's index into settings.
    seed: (N,).
    steps: (T,), the iterations at which anything was measured.
    names: of Q quantities: losses and such, and keys of METRICS.
    curves: float32 (N, T, Q), NaN where not measured and after a member diverged.
    diverged: (N,), the step at which a member diverged, 0 if it did not.
    samples: (N, n, height, width, channels) uint8, or points (N, n, d).
    params_sha256: N of them.
    """

    settings: list[dict[str, Any]]
    setting: np.ndarray
    seed: np.ndarray
    steps: np.ndarray
    names: tuple[str, ...]
    curves: np.ndarray
    diverged: np.ndarray
    samples: np.ndarray
    params_sha256: list[str]


class Standing(NamedTuple):
    """How a setting did."""

    setting: int  # index into Results.settings
    scores: np.ndarray  # of its members: (seeds,), the worst possible for those without one
    lost: int  # members without a score
    iqm: Score  # of all members
    mean: Score  # of those with a score


def curve(results: Results, name: str) -> np.ndarray:
    """A quantity of every member over the steps: float32 (N, T)."""
    return results.curves[:, :, results.names.index(name)]


def iqm(values: np.ndarray) -> np.ndarray:
    """The interquartile mean: of what is left without a quarter, rounded down, at either end.

    Args:
      values: shape (..., n); infinite ones may be among them. Below n = 4 it is the mean.

    Returns:
      Shape (...).
    """
    n = values.shape[-1]
    kept = np.sort(values, axis=-1)[..., n // 4 : n - n // 4]
    return _mean(kept)


def _mean(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # inf - inf: NaN, as it should be
        return np.asarray(values.mean(axis=-1, dtype=np.float64))


def _between(value: float, replicates: np.ndarray) -> Score:
    """A value with the 2.5th and 97.5th percentile of its replicates, shape (_RESAMPLES,).

    They are replicates themselves: between a finite and an infinite one there is nothing.
    """
    ordered, cut = np.sort(replicates), len(replicates) // 40
    return Score(value, float(ordered[cut]), float(ordered[-1 - cut]))


def bootstrap(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Score:
    """A statistic of seeds' scores with its 95 % percentile interval.

    Args:
      values: shape (n,), at least one.
      statistic: of the last axis.

    Returns:
      Of a single value, which says nothing of others, the ends of the interval are NaN.
    """
    n, value = len(values), float(statistic(values))
    if n == 1:
        return Score(value, math.nan, math.nan)
    drawn = np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))
    return _between(value, statistic(values[drawn]))


def improvement(x: np.ndarray, y: np.ndarray) -> Score:
    """The probability that a member of x beats one of y: P(X < Y) + P(X = Y) / 2 of all pairs.

    Its interval resamples x and y each by itself (Agarwal et al., section 4.3); without a second
    seed in both its ends are NaN.

    Args:
      x: costs (the lower, the better), shape (n,).
      y: costs, shape (m,).
    """
    wins = (x[:, None] < y) + (x[:, None] == y) / 2
    value = float(wins.mean())
    if min(wins.shape) == 1:
        return Score(value, math.nan, math.nan)
    rng = np.random.default_rng(0)
    # How often each member is drawn.
    rows, columns = (rng.multinomial(n, np.full(n, 1 / n), _RESAMPLES) for n in wins.shape)
    return _between(value, np.sum(rows @ wins * columns, axis=1) / wins.size)


def final(results: Results, name: str) -> tuple[np.ndarray, list[int]]:
    """The final scores: at the last step where a member that did not diverge was measured.

    Where num_steps is swept, that is the last step among members of the same num_steps.

    Returns:
      Shape (N,), NaN for a member without a score; and the steps, none if there is no score.
    """
    values, survived = curve(results, name), results.diverged == 0
    ends = np.array([setting.get("num_steps", 0) for setting in results.settings])[results.setting]
    scores, steps = np.full(len(values), np.nan, values.dtype), []
    for end in np.unique(ends):
        own = survived & (ends == end)
        measured = np.flatnonzero(~np.isnan(values[own]).all(axis=0))
        if len(measured):
            scores[own] = values[own, measured[-1]]
            steps.append(int(results.steps[measured[-1]]))
    return scores, steps


def worst_for_lost(scores: np.ndarray, metric: str) -> np.ndarray:
    """The scores, (N,), with the worst possible instead of NaN."""
    return np.where(np.isnan(scores), cost(metric, math.inf), scores)


def rank(results: Results, metric: str) -> list[Standing]:
    """The settings, best first.

    By the IQM of the scores' costs, so that what is best at a value has nothing from a seed above
    it and one below; those whose IQM is infinite or not defined follow, by how many members have
    no score, then by the mean of the rest.
    """
    scores, _ = final(results, metric)
    filled = worst_for_lost(scores, metric)
    standings = []
    for setting in np.unique(results.setting).tolist():
        own = results.setting == setting
        scored = own & ~np.isnan(scores)
        mean = bootstrap(scores[scored], _mean) if scored.any() else Score(*[math.nan] * 3)
        lost = int(own.sum() - scored.sum())
        standings.append(Standing(setting, filled[own], lost, bootstrap(filled[own], iqm), mean))

    def key(standing: Standing) -> tuple[float, int, float]:
        values = float(iqm(cost(metric, standing.scores))), cost(metric, standing.mean.value)
        first, last = (math.inf if math.isnan(value) else value for value in values)
        return first, standing.lost, last

    return sorted(standings, key=key)


def spreads(results: Results, metric: str) -> tuple[float, float]:
    """What a seed costs and what a setting costs: the components of the variance of the scores.

    Of finite scores only, by the one-way analysis of variance: within settings, pooled; and
    between the settings' means, less what the seeds let these vary.

    Returns:
      Two standard deviations; NaN without a setting of two scores, without two settings. Where
      only the first is NaN the second still has the seeds' share.
    """
    scores, _ = final(results, metric)
    finite = np.isfinite(scores)
    groups = [
        scores[finite & (results.setting == setting)].astype(np.float64)
        for setting in np.unique(results.setting[finite])
    ]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(((group - group.mean()) ** 2).sum() for group in groups)
    within = squares / freedom if freedom else math.nan
    if len(groups) < 2:
        return math.sqrt(within), math.nan
    share = within * np.mean([1 / len(group) for group in groups]) if freedom else 0
    means = [group.mean() for group in groups]
    return math.sqrt(within), math.sqrt(max(0, np.var(means, ddof=1) - share))


def extremes(results: Results, metric: str) -> dict[str, int]:
    """The best, the median and the worst of the members that have a score, as far as they differ.

    Without any score it is the first member.
    """
    scores, _ = final(results, metric)
    order = np.argsort(cost(metric, scores), kind="stable")  # NaN is last
    n = int(np.count_nonzero(~np.isnan(scores)))
    if n == 0:
        return {"first": 0}
    places = {"best": 0, "median": n // 2, "worst": n - 1}
    if n < 3:
        del places["median"]
    if n < 2:
        del places["worst"]
    return {name: int(order[place]) for name, place in places.items()}


# What things are called, in the report and in its figures


def number(x: float) -> str:
    """A number to be read: to 4 digits."""
    if not math.isfinite(x):
        return "-" if math.isnan(x) else "∞" if x > 0 else "-∞"
    return f"{x:.4g}"


def text(value: Any) -> str:
    """A field's value in full: the same for a list and a tuple, as JSON has no tuples."""
    return str(tuple(value)) if isinstance(value, list | tuple) else str(value)


def brief(value: Any) -> str:
    """A field's value to be read: floats to 4 digits, as random ones have too many."""
    return number(value) if isinstance(value, float) else text(value)


def better(metric: str) -> str:
    """Which of its values are better."""
    way = METRICS[metric].better
    return f"{way} is better" if isinstance(way, str) else f"{way} is best"


def fields(results: Results) -> list[str]:
    """The swept fields."""
    return list(results.settings[0])


def setting_values(results: Results, setting: int) -> list[str]:
    """A setting's value of each field, to be read."""
    return [brief(results.settings[setting][field]) for field in fields(results)]


def setting_name(results: Results, setting: int) -> str:
    """A setting's values in one line."""
    return ", ".join(setting_values(results, setting)) or "the only setting"


def is_number(value: Any) -> bool:
    """Whether a field's value has a place on an axis; True and False have none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def field_values(results: Results, field: str) -> tuple[dict[str, Any], np.ndarray]:
    """A field's values by their text, numbers in order; and each member's text, (N,)."""
    texts = [text(setting[field]) for setting in results.settings]
    values = dict(zip(texts, (setting[field] for setting in results.settings), strict=True))
    if all(map(is_number, values.values())):
        values = dict(sorted(values.items(), key=lambda item: item[1]))
    return values, np.array(texts)[results.setting]
