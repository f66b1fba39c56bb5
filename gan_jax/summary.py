"""What a sweep found: every member in a table, the settings ranked, and four figures.

The statistics are those of Agarwal et al. 2021 (arXiv 2108.13264): the interquartile mean over
seeds, its bootstrap interval, and the probability that one setting beats another. A member that
diverged, or whose score is NaN, has no score; where it must have one it counts as the worst
possible, so that a setting cannot gain by losing its bad seeds.
"""

import csv
import io
import math
import pathlib
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gan_jax import plots
from gan_jax.metrics.bootstrap import Score
from gan_jax.scores import METRICS, cost
from gan_jax.writers import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RESAMPLES = 2000
_FEW = 12  # distinct values of a field that are still told one by one
_RIVALS = 5  # settings that the best is compared with
_RANKED = 30  # settings in ranking.png
# Of Okabe and Ito, with a line and a marker each for print without colours.
_STYLES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", ":", "D"),
    ("#E69F00", (0, (6, 1, 1, 1, 1, 1)), "v"),
)
_BLUE, _VERMILION = _STYLES[0][0], _STYLES[1][0]


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


# Statistics


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


def final(results: Results, name: str) -> tuple[np.ndarray, int | None]:
    """The final scores: at the last step where a member that did not diverge was measured.

    Returns:
      Shape (N,), NaN for a member without a score; and the step, None if there is none.
    """
    curve = results.curves[:, :, results.names.index(name)]
    survived = results.diverged == 0
    measured = np.flatnonzero(~np.isnan(curve[survived]).all(axis=0))
    if not len(measured):
        return np.full(len(curve), np.nan), None
    last = measured[-1]
    return np.where(survived, curve[:, last], np.nan), int(results.steps[last])


def worst_for_lost(scores: np.ndarray, metric: str) -> np.ndarray:
    """The scores, (N,), with the worst possible instead of NaN."""
    return np.where(np.isnan(scores), cost(metric, math.inf), scores)


def rank(results: Results, metric: str) -> list[Standing]:
    """The settings, best first.

    By the IQM; those whose IQM is infinite or not defined follow, by how many members have no
    score, then by the mean of the rest.
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
        values = (cost(metric, score.value) for score in (standing.iqm, standing.mean))
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


# Text


def _text(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list | tuple) else str(value)


def _better(name: str) -> str:
    better = METRICS[name].better
    return f"{better} is better" if isinstance(better, str) else f"{better} is best"


def _number(x: float) -> str:
    if not math.isfinite(x):
        return "-" if math.isnan(x) else "∞" if x > 0 else "-∞"
    return f"{x:.4g}"


def _interval(score: Score) -> str:
    if math.isnan(score.low) or math.isnan(score.high):
        return "-"
    return f"{_number(score.low)} to {_number(score.high)}"


def _title(name: str) -> str:
    return f"{METRICS[name].label}, {_better(name)}"


def _fields(results: Results) -> list[str]:
    return list(results.settings[0])


def _brief(results: Results, setting: int) -> list[str]:
    """A setting's values to be read: floats to 4 digits, as random ones have too many."""
    values = (results.settings[setting][field] for field in _fields(results))
    return [_number(x) if isinstance(x, float) else _text(x) for x in values]


def _name(results: Results, setting: int) -> str:
    return ", ".join(_brief(results, setting)) or "the only setting"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _values(results: Results, field: str) -> tuple[dict[str, Any], np.ndarray]:
    """A field's values by their text, numbers in order; and each member's text, (N,)."""
    texts = [_text(setting[field]) for setting in results.settings]
    values = {text: s[field] for text, s in zip(texts, results.settings, strict=True)}
    if all(map(_is_number, values.values())):
        values = dict(sorted(values.items(), key=lambda item: item[1]))
    return values, np.array(texts)[results.setting]


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def _measured(results: Results, i: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A member's values of a quantity where it was measured, and the steps."""
    curve = results.curves[i, :, results.names.index(name)]
    at = ~np.isnan(curve)
    return curve[at], results.steps[at]


def results_csv(results: Results) -> str:
    """A row a member; an empty cell is what there is not, and floats read back as they were.

    Of each metric: the final score; the best over the steps and its step, which flatters, as it
    is chosen by the metric itself. Of other quantities: the last value before the end.
    """
    metrics = [name for name in results.names if name in METRICS]
    others = [name for name in results.names if name not in METRICS]
    finals = {name: final(results, name)[0] for name in metrics}
    scored = (f"{kind}_{name}" for name in metrics for kind in ("final", "best", "best_step"))
    last = (f"last_{name}" for name in others)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    header = ["member", "setting", "seed", *_fields(results), *scored, *last]
    writer.writerow([*header, "diverged_at", "params_sha256"])
    for i, setting in enumerate(results.setting.tolist()):
        row = [i, setting, results.seed[i]]
        row += [_text(results.settings[setting][field]) for field in _fields(results)]
        for name in metrics:
            values, steps = _measured(results, i, name)
            row.append("" if np.isnan(finals[name][i]) else finals[name][i])
            best = np.argmin(cost(name, values)) if len(values) else None
            row += ["", ""] if best is None else [values[best], steps[best]]
        for name in others:
            values, _ = _measured(results, i, name)
            row.append(values[-1] if len(values) else "")
        writer.writerow([*row, results.diverged[i] or "", results.params_sha256[i]])
    return buffer.getvalue()


def curves_npz(results: Results) -> bytes:
    """The arrays steps, names, curves and diverged, see Results."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        steps=results.steps,
        names=np.array(results.names, np.str_),
        curves=results.curves,
        diverged=results.diverged,
    )
    return buffer.getvalue()


def _ranking_text(results: Results, metric: str, standings: list[Standing]) -> str:
    rows = []
    for place, s in enumerate(standings, 1):
        scores = [text for x in (s.iqm, s.mean) for text in (_number(x.value), _interval(x))]
        rows.append(
            [str(place), *_brief(results, s.setting), str(len(s.scores)), str(s.lost), *scores]
        )
    header = ["", *_fields(results), "seeds", "no score"]
    header += ["IQM", "its 95 %", "mean of the rest", "its 95 %"]
    paragraphs = [
        "A member that diverged, or whose score is NaN, has no score. The IQM (interquartile mean, "
        "[Agarwal et al. 2021](https://arxiv.org/abs/2108.13264)) counts it as the worst possible, "
        "so that the IQM is infinite where more than a quarter of the seeds have none (any, below "
        "4 seeds); the mean leaves it out. Settings are in the order of the IQM; those whose IQM "
        "is infinite, by how many seeds have no score, then by the mean."
    ]
    if min(len(s.scores) for s in standings) == 1:
        paragraphs.append(
            "A setting of one seed has no interval: how much another seed would change is unknown."
        )
    if max(len(s.scores) for s in standings) > 1:
        paragraphs.append(
            "Intervals: percentiles of a bootstrap over seeds, too narrow where seeds are few: of "
            "normally distributed scores, they hold the truth 48, 75, 90 and 93 times of 100 with "
            "2, 3, 5 and 8 seeds, not 95 times."
        )
    if len(standings) > 1:
        paragraphs.append(
            "The first place is chosen by these very numbers, hence flattered: before it is "
            "reported, the setting should be run again with new seeds."
        )
    return "\n".join([_table(header, rows), *(f"{p}\n" for p in paragraphs)])


def _improvement_text(results: Results, metric: str, standings: list[Standing]) -> str:
    best, *rivals = standings[: 1 + _RIVALS]
    if not rivals:
        return "There is only one setting.\n"
    rows = []
    for place, rival in enumerate(rivals, 2):
        found = improvement(*(cost(metric, s.scores) for s in (best, rival)))
        against = f"{place}: {_name(results, rival.setting)}"
        rows.append([against, f"{found.value:.2f}", _interval(found)])
    return (
        f"The probability that a seed of {_name(results, best.setting)} beats one of another "
        "setting, half of it where they tie (as two members without a score do); 0.5 is no "
        "difference.\n\n"
    ) + _table(["against", "probability", "95 %"], rows)


def _marginal_text(results: Results, metric: str, standings: list[Standing]) -> str:
    scores, _ = final(results, metric)
    filled = worst_for_lost(scores, metric)
    rows, costs = [], []
    for field in _fields(results):
        values, own = _values(results, field)
        if len(values) > _FEW:
            rows.append([field, f"{len(values)} values, see hyperparameters.png", *[""] * 4])
            continue
        marginals = []
        for text in values:
            mask = own == text
            marginals.append(float(iqm(filled[mask])))
            # Tuned: what the field costs somebody who chooses the others as well.
            tuned = next(
                s.iqm.value for s in standings if _text(results.settings[s.setting][field]) == text
            )
            lost = str(int(np.isnan(scores[mask]).sum()))
            numbers = [_number(marginals[-1]), _number(tuned)]
            rows.append([field, text, str(int(mask.sum())), lost, *numbers])
        if len(marginals) > 1:
            finite = np.isfinite(marginals).all()
            costs.append([field, _number(float(np.std(marginals, ddof=1)) if finite else math.inf)])
    within, between = spreads(results, metric)
    share = "" if math.isnan(within) else ", less the seeds' share"
    costs = [
        ["the seed (within a setting, pooled)", _number(within)],
        [f"the setting (between the means of settings{share})", _number(between)],
        *([f"{field} (between the IQMs of its values)", number] for field, number in costs),
    ]
    tables = [
        "Standard deviations of the score; of the seed and the setting by finite scores only.\n",
        _table(["what varies", "standard deviation"], costs),
    ]
    if rows:
        header = ["field", "value", "members", "no score", "IQM of all members", "of the best"]
        tables += [
            "Each value over everything else: the IQM of all members that have it, and that of "
            "the best setting that has it.\n",
            _table(header, rows),
        ]
    return "\n".join(tables)


def summary_md(results: Results, metric: str, command: str, standings: list[Standing]) -> str:
    """The report, in Markdown."""
    _, step = final(results, metric)
    seeds = sorted({len(s.scores) for s in standings})
    each = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    members = len(results.setting)
    diverged = int(np.count_nonzero(results.diverged))
    score = f"{METRICS[metric].label} at step {step}" if step is not None else METRICS[metric].label
    none = "" if step is not None else " No member has a score: the order below means nothing.\n"
    return f"""# Sweep by {METRICS[metric].label}

    {command}

{len(standings)} settings of {each} seeds: {members} members, of which {diverged} diverged. \
The score is {score}; {_better(metric)}.
{none}
Every member is in [results.csv](results.csv), with all digits, and its curves are in \
[curves.npz](curves.npz).

## Which setting is best?

![Ranking](ranking.png)

{_ranking_text(results, metric, standings)}
## Is it better than the next?

{_improvement_text(results, metric, standings)}
## What does a seed cost, and what a setting?

{_marginal_text(results, metric, standings)}
![Hyperparameters](hyperparameters.png)

## How did the best get there?

![Curves](curves.png)

## What do they draw?

![Samples](samples.png)
"""


# Figures


def _wide(values: np.ndarray) -> bool:
    """Whether finite numbers are all positive and span more than a decade: for a log axis."""
    return len(values) > 0 and values.min() > 0 and values.max() > 10 * values.min()


def _finite(values: Any) -> np.ndarray:
    array = np.ravel(np.asarray(values, np.float64))
    return array[np.isfinite(array)]


def curves_png(results: Results, metric: str, standings: list[Standing]) -> bytes:
    """The metric of the best settings over the steps, or the losses if it was measured only once.

    A line is the median over the seeds measured at that step, a band their quartiles.
    """
    measured = ~np.isnan(results.curves).all(axis=0)
    several = measured[:, results.names.index(metric)].sum() > 1
    losses = [name for name in ("d_loss", "g_loss") if name in results.names]
    shown = [metric] if several or not losses else losses
    figure = plots.new_figure(8, 2 + 3.5 * len(shown))
    figure.suptitle(
        "How did the best settings get there? (median and quartiles over seeds)", x=0.01, ha="left"
    )
    grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(grid, shown, strict=True):
        q, drawn = results.names.index(name), []
        for standing, (color, style, marker) in zip(standings, _STYLES, strict=False):
            curve = results.curves[results.setting == standing.setting, :, q]
            at = ~np.isnan(curve).all(axis=0)
            if not at.any():  # every seed diverged before anything was measured
                continue
            with np.errstate(invalid="ignore"):  # between infinite ones; NaN is not drawn
                bands = np.nanpercentile(curve[:, at], [25, 50, 75], axis=0)
            bands[~np.isfinite(bands)] = np.nan
            low, median, high = bands
            label = f"{_name(results, standing.setting)} ({_number(standing.iqm.value)})"
            if standing.lost:
                label += f", {standing.lost} of {len(standing.scores)} without a score"
            every = max(1, at.sum() // 10)
            look = {"ls": style, "marker": marker, "markevery": every, "ms": 5, "lw": 1.5}
            axes.plot(results.steps[at], median, color=color, label=label, **look)
            axes.fill_between(results.steps[at], low, high, color=color, alpha=0.15, lw=0)
            drawn.append(_finite(bands))
        if _wide(np.concatenate([[], *drawn])):
            axes.set_yscale("log")
        axes.set_ylabel(_title(name) if name in METRICS else f"{name} (nats)")
        axes.grid(alpha=0.3)
    grid[-1].set_xlabel("iteration")
    title = f"{', '.join(_fields(results))} (final IQM of {METRICS[metric].label})".lstrip()
    handles, labels = grid[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, title=title, loc="outside lower left", frameon=False)
    legend.set_alignment("left")
    return plots.figure_png(figure)


def _edge(metric: str, low: float, high: float) -> float:
    """Of the two ends of an axis that where the scores are worst."""
    return high if cost(metric, math.inf) > 0 else low


def _panel(
    axes: "Axes", metric: str, values: dict[str, Any], own: np.ndarray, scores: np.ndarray
) -> None:
    """The final scores by one field.

    Args:
      axes: to draw in.
      metric: of the scores.
      values: of the field, by their text.
      own: each member's text, shape (N,).
      scores: shape (N,), the worst possible for a member without one.
    """
    numbers, few = all(map(_is_number, values.values())), len(values) <= _FEW
    log = numbers and _wide(np.array(list(values.values()), np.float64))
    places = {text: float(i) for i, text in enumerate(values)}
    if log:
        places = {text: math.log10(value) for text, value in values.items()}
    elif numbers and not few:
        places = {text: float(value) for text, value in values.items()}
    at = np.array(list(places.values()))
    x = np.array([places[text] for text in own])
    if few:  # members beside one another, not one on the other
        x += np.random.default_rng(0).uniform(-0.2, 0.2, len(x)) * min(np.diff(at), default=1.0)
    if log:
        axes.set_xscale("log")
        at, x = 10**at, 10**x
    finite = np.isfinite(scores)
    axes.plot(x[finite], scores[finite], "o", ms=4, mew=0, alpha=0.5, color=_BLUE, label="a member")
    # At the edge of the panel, whatever its scale.
    axes.plot(
        x[~finite],
        np.full((~finite).sum(), _edge(metric, 0.02, 0.98)),
        "x",
        color=_VERMILION,
        transform=axes.get_xaxis_transform(),
        label="a member that diverged, or whose score is NaN or infinite",
    )
    if few:
        middles = np.array([iqm(scores[own == text]) for text in values])
        middles[~np.isfinite(middles)] = np.nan  # not drawn
        axes.plot(at, middles, "D-", ms=6, lw=1, color="black", label="IQM of all members")
        axes.minorticks_off()
        axes.set_xticks(at, values)
        if sum(map(len, values)) > 30:
            axes.tick_params(axis="x", labelrotation=30)
    if _wide(scores[finite]):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)


def hyperparameters_png(results: Results, metric: str) -> bytes:
    """The final score of every member by each swept field."""
    scores = worst_for_lost(final(results, metric)[0], metric)
    fields = {field: _values(results, field) for field in _fields(results)}
    if not fields:
        fields = {"no field is swept": ({"all": "all"}, np.full(len(scores), "all"))}
    columns = min(3, len(fields))
    rows = math.ceil(len(fields) / columns)
    figure = plots.new_figure(max(6, 4 * columns), 1 + 3.5 * rows)
    figure.suptitle("What does each hyperparameter do to the final score?", x=0.01, ha="left")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (field, (values, own)) in zip(grid.flat, fields.items(), strict=False):
        _panel(axes, metric, values, own, scores)
        axes.set_xlabel(field)
    for axes in grid.flat[len(fields) :]:
        axes.axis("off")
    for axes in grid[:, 0]:
        axes.set_ylabel(_title(metric))
    # Of all panels, as a field of many values has no IQM.
    keys = {
        text: handle
        for axes in grid.flat
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(keys.values(), keys.keys(), loc="outside lower left", frameon=False, ncols=2)
    return plots.figure_png(figure)


def ranking_png(results: Results, metric: str, standings: list[Standing]) -> bytes:
    """The IQM and its interval of the best settings, best first."""
    shown = standings[:_RANKED]
    figure = plots.new_figure(8, 2 + 0.25 * len(shown))
    of = f"the best {len(shown)} of {len(standings)}; " if len(shown) < len(standings) else ""
    title = f"Which setting is best? ({of}IQM over seeds and its 95 % interval)"
    fields = textwrap.fill(", ".join(_fields(results)), 90)
    figure.suptitle(f"{title}\n{fields}".rstrip(), x=0.01, ha="left")
    axes = figure.subplots()
    middles = np.array([s.iqm.value for s in shown])
    ends = np.array([(s.iqm.low, s.iqm.high) for s in shown])
    finite = _finite([middles, *ends.T])
    if _wide(finite):
        axes.set_xscale("log")
    if len(finite):  # what the axis has to hold, before anything reaches to its ends
        axes.plot(finite, np.zeros(len(finite)), ls="")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high)
    y = np.arange(len(shown))
    lows, highs = np.clip(ends, low, high).T  # an infinite end is that of the axis
    axes.hlines(y, lows, highs, color=_BLUE, lw=1.5)
    known = np.isfinite(middles)
    axes.plot(middles[known], y[known], "o", color=_BLUE, label="IQM")
    if not known.all():
        edge = np.full((~known).sum(), _edge(metric, low, high))
        label = "infinite: too many members without a score"
        axes.plot(edge, y[~known], "x", color=_VERMILION, clip_on=False, label=label)
        figure.legend(loc="outside lower left", frameon=False, ncols=2)
    names = [
        _name(results, s.setting) + (f" ({s.lost}/{len(s.scores)} no score)" if s.lost else "")
        for s in shown
    ]
    axes.set_yticks(y, names, fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(_title(metric))
    axes.grid(alpha=0.3, axis="x")
    return plots.figure_png(figure)


def extremes(results: Results, metric: str) -> dict[str, int]:
    """The best, the median and the worst of the members that have a score, as far as they differ.

    Without any score it is the first member.
    """
    scores, _ = final(results, metric)
    order = np.argsort([cost(metric, x) for x in scores], kind="stable")  # NaN is last
    n = int((~np.isnan(scores)).sum())
    if n == 0:
        return {"first": 0}
    places = {"best": 0, "median": n // 2, "worst": n - 1}
    if n < 3:
        del places["median"]
    if n < 2:
        del places["worst"]
    return {name: int(order[place]) for name, place in places.items()}


def samples_png(results: Results, metric: str) -> bytes:
    """Samples of the best, the median and the worst member."""
    scores, _ = final(results, metric)
    shown = extremes(results, metric)
    figure = plots.new_figure(max(7, 4 * len(shown)), 5)
    title = f"What do members draw? ({METRICS[metric].label}, of members with a score)"
    figure.suptitle(title, x=0.01, ha="left")
    for axes, (name, i) in zip(
        figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True
    ):
        samples = results.samples[i]
        score = "no score" if np.isnan(scores[i]) else _number(scores[i])
        setting = textwrap.fill(_name(results, int(results.setting[i])), 45)
        title = f"{name}: member {i}, {score}\n{setting}"
        if samples.ndim == 4:
            side = math.ceil(math.sqrt(len(samples)))
            plots.show_grid(axes, samples, side, side, title)
        else:
            axes.plot(samples[:, 0], samples[:, -1], "o", ms=3, mew=0, color=_BLUE)
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_aspect("equal", adjustable="datalim")
    return plots.figure_png(figure)


def write(directory: pathlib.Path, results: Results, metric: str, command: str) -> None:
    """Writes results.csv, curves.npz, four figures and, last, the summary.md that links to them.

    The same results give the same bytes.

    Args:
      directory: exists; of each file what it held is replaced.
      results: at least one member.
      metric: key of METRICS that ranks, one of results.names.
      command: that repeats the sweep.
    """
    standings = rank(results, metric)
    files = {
        "results.csv": results_csv(results).encode(),
        "curves.npz": curves_npz(results),
        "ranking.png": ranking_png(results, metric, standings),
        "hyperparameters.png": hyperparameters_png(results, metric),
        "curves.png": curves_png(results, metric, standings),
        "samples.png": samples_png(results, metric),
        "summary.md": summary_md(results, metric, command, standings).encode(),
    }
    for name, content in files.items():
        write_whole(directory / name, content)
