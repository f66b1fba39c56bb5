"""Statistics over seeds that rank the settings of a sweep, and how settings are labelled.

Follows Agarwal et al. 2021 (https://arxiv.org/abs/2108.13264): interquartile mean over seeds, its
bootstrap interval, and the probability of improvement. A member that diverged or whose score is
NaN is *unscored*. Where it needs a score it gets the worst possible one, so that a setting cannot
win by losing its bad seeds.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gan_jax.evaluation.metrics.intervals import Score
from gan_jax.evaluation.registry import lower_is_better

_RESAMPLES = 2000


class Results(NamedTuple):
    """Results of N members.

    settings: values of the swept fields, all with the same keys; [{}] if no field is swept.
    setting: (N,), each member's index into settings; every setting has a member.
    seed: (N,).
    steps: (T,), iterations at which anything was measured.
    names: Q quantities: training diagnostics and keys of METRICS.
    curves: float32 (N, T, Q), NaN where not measured and after divergence.
    diverged: (N,), the iteration at which a member diverged, or 0.
    samples: (N, n, height, width, channels) uint8, or points (N, n, d).
    params_sha256: N hashes, empty for members that diverged.
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
    """A setting's place in the ranking."""

    setting: int  # index into Results.settings
    scores: np.ndarray  # (seeds,), unscored members filled with the worst possible score
    unscored: int
    iqm: Score  # of all members
    mean: Score  # of scored members


def curve(results: Results, name: str) -> np.ndarray:
    """One quantity of every member over the steps: float32 (N, T)."""
    return results.curves[:, :, results.names.index(name)]


def quartiles(results: Results, name: str, setting: int) -> tuple[np.ndarray, np.ndarray]:
    """Quartiles of a quantity over the seeds of a setting that were measured at each step.

    Returns:
      The T steps at which any seed was measured, and float32 (3, T): the lower quartile, median and
      upper quartile, NaN where they are not finite.
    """
    values = curve(results, name)[results.setting == setting]
    measured = ~np.isnan(values).all(axis=0)
    if not measured.any():
        return results.steps[measured], np.empty((3, 0), np.float32)
    with np.errstate(invalid="ignore"):  # interpolation between infinities
        found = np.nanpercentile(values[:, measured], [25, 50, 75], axis=0)
    found[~np.isfinite(found)] = np.nan
    return results.steps[measured], found


def iqm(values: np.ndarray) -> np.ndarray:
    """Interquartile mean over the last axis: drops floor(n / 4) values at either end.

    Args:
      values: shape (..., n), possibly infinite. For n < 4 this is the mean.
    """
    n = values.shape[-1]
    return _mean(np.sort(values, axis=-1)[..., n // 4 : n - n // 4])


def _mean(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # inf - inf is NaN
        return np.asarray(values.mean(axis=-1, dtype=np.float64))


def _with_interval(value: float, replicates: np.ndarray) -> Score:
    """A value with the 2.5th and 97.5th percentiles of its replicates, shape (_RESAMPLES,).

    Order statistics: interpolating between a finite and an infinite replicate is undefined.
    """
    ordered, cut = np.sort(replicates), len(replicates) // 40
    return Score(value, float(ordered[cut]), float(ordered[-1 - cut]))


def bootstrap(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Score:
    """A statistic with its 95 % percentile bootstrap interval.

    Args:
      values: shape (n,), n >= 1. For n = 1 the interval is NaN.
      statistic: over the last axis.
    """
    n, value = len(values), float(statistic(values))
    if n == 1:
        return Score(value, math.nan, math.nan)
    indices = np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))
    return _with_interval(value, statistic(values[indices]))


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> Score:
    """P(X < Y) + P(X = Y) / 2 over all pairs: the probability that a seed of x beats one of y.

    The interval is a stratified bootstrap, which resamples x and y independently (Agarwal et al.,
    section 4.3); NaN if either has a single seed.

    Args:
      x: lower-is-better scores, shape (n,).
      y: lower-is-better scores, shape (m,).
    """
    wins = (x[:, None] < y) + (x[:, None] == y) / 2
    value = float(wins.mean())
    if min(wins.shape) == 1:
        return Score(value, math.nan, math.nan)
    rng = np.random.default_rng(0)
    # Resampling n values with replacement draws each of them a multinomial number of times.
    rows, columns = (rng.multinomial(n, np.full(n, 1 / n), _RESAMPLES) for n in wins.shape)
    return _with_interval(value, np.sum(rows @ wins * columns, axis=1) / wins.size)


def final_scores(results: Results, metric: str) -> tuple[np.ndarray, list[int]]:
    """Scores at the last evaluation that any surviving member reached.

    If num_steps is swept, that is the last evaluation among members with the same num_steps.

    Returns:
      Scores, shape (N,), NaN for unscored members; and the steps of these evaluations.
    """
    values, survived = curve(results, metric), results.diverged == 0
    ends = np.array([setting.get("num_steps", 0) for setting in results.settings])[results.setting]
    scores, steps = np.full(len(values), np.nan, values.dtype), []
    for end in np.unique(ends):
        members = survived & (ends == end)
        measured = np.flatnonzero(~np.isnan(values[members]).all(axis=0))
        if len(measured):
            scores[members] = values[members, measured[-1]]
            steps.append(int(results.steps[measured[-1]]))
    return scores, steps


def fill_unscored(scores: np.ndarray, metric: str) -> np.ndarray:
    """Replaces NaN by the worst possible score."""
    return np.where(np.isnan(scores), lower_is_better(metric, math.inf), scores)


def rank(results: Results, metric: str) -> list[Standing]:
    """Settings, best first.

    Sorted by the IQM of the sign-adjusted scores: for a metric with a target value, seeds above and
    below it do not cancel. Settings whose IQM is infinite or undefined come last, by the number of
    unscored seeds, then by the mean of the scored ones.
    """
    scores, _ = final_scores(results, metric)
    filled = fill_unscored(scores, metric)
    standings = []
    for setting in np.unique(results.setting).tolist():
        members = results.setting == setting
        scored = members & ~np.isnan(scores)
        mean = bootstrap(scores[scored], _mean) if scored.any() else Score(*[math.nan] * 3)
        unscored = int(members.sum() - scored.sum())
        iqm_score = bootstrap(filled[members], iqm)
        standings.append(Standing(setting, filled[members], unscored, iqm_score, mean))

    def key(standing: Standing) -> tuple[float, int, float]:
        middle = float(iqm(lower_is_better(metric, standing.scores)))
        mean = lower_is_better(metric, standing.mean.value)
        return _nan_last(middle), standing.unscored, _nan_last(mean)

    return sorted(standings, key=key)


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def variance_components(results: Results, metric: str) -> tuple[float, float]:
    """Standard deviations across seeds and across settings, by one-way analysis of variance.

    Finite scores only. Across seeds: pooled within settings. Across settings: that of the settings'
    means, minus the expected contribution of the seeds.

    Returns:
      (seed, setting). The first is NaN unless some setting has two scores (the second then still
      includes the seeds' contribution), the second unless two settings have a score.
    """
    scores, _ = final_scores(results, metric)
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
    from_seeds = within * np.mean([1 / len(group) for group in groups]) if freedom else 0
    means = [group.mean() for group in groups]
    return math.sqrt(within), math.sqrt(max(0, np.var(means, ddof=1) - from_seeds))


def extremes(results: Results, metric: str) -> dict[str, int]:
    """The best, median and worst scored members, without repetition.

    The first member if none is scored.
    """
    scores, _ = final_scores(results, metric)
    order = np.argsort(lower_is_better(metric, scores), kind="stable")  # NaN sorts last
    n = int(np.count_nonzero(~np.isnan(scores)))
    if n == 0:
        return {"first": 0}
    names = ("best", "median", "worst") if n > 2 else ("best", "worst")[:n]
    places = np.unique([0, n // 2, n - 1])
    return {name: int(order[place]) for name, place in zip(names, places, strict=True)}


# Labels, shared by the report and the figures


def format_number(x: float) -> str:
    """Four significant digits; "-" for NaN."""
    if not math.isfinite(x):
        return "-" if math.isnan(x) else "∞" if x > 0 else "-∞"
    return f"{x:.4g}"


def format_exact(value: Any) -> str:
    """A field's value with all digits; lists look like tuples, as JSON has no tuples."""
    return str(tuple(value)) if isinstance(value, list | tuple) else str(value)


def format_value(value: Any) -> str:
    """A field's value with floats rounded to four digits."""
    return format_number(value) if isinstance(value, float) else format_exact(value)


def fields(results: Results) -> list[str]:
    """Names of the swept fields."""
    return list(results.settings[0])


def setting_values(results: Results, setting: int) -> list[str]:
    return [format_value(results.settings[setting][field]) for field in fields(results)]


def setting_name(results: Results, setting: int) -> str:
    return ", ".join(setting_values(results, setting)) or "the only setting"


def is_number(value: Any) -> bool:
    """Whether a field's value belongs on a numeric axis; booleans do not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def field_values(results: Results, field: str) -> tuple[dict[str, Any], np.ndarray]:
    """A field's distinct values by exact text, numbers sorted; and each member's text, (N,)."""
    texts = [format_exact(setting[field]) for setting in results.settings]
    values = dict(zip(texts, (setting[field] for setting in results.settings), strict=True))
    if all(map(is_number, values.values())):
        values = dict(sorted(values.items(), key=lambda item: item[1]))
    return values, np.array(texts)[results.setting]
