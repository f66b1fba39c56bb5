"""The figures of a sweep: each asks one question."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax import plots, ranking
from gan_jax.ranking import Results, Standing, number
from gan_jax.scores import METRICS, cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 12  # distinct values of a field that are still told one by one
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


def _title(name: str) -> str:
    return f"{METRICS[name].label}, {ranking.better(name)}"


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
        drawn = []
        for standing, (color, style, marker) in zip(standings, _STYLES, strict=False):
            curve = ranking.curve(results, name)[results.setting == standing.setting]
            at = ~np.isnan(curve).all(axis=0)
            if not at.any():  # every seed diverged before anything was measured
                continue
            with np.errstate(invalid="ignore"):  # between infinite ones; NaN is not drawn
                bands = np.nanpercentile(curve[:, at], [25, 50, 75], axis=0)
            bands[~np.isfinite(bands)] = np.nan
            low, median, high = bands
            label = (
                f"{ranking.setting_name(results, standing.setting)} ({number(standing.iqm.value)})"
            )
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
    title = f"{', '.join(ranking.fields(results))} (final IQM of {METRICS[metric].label})".lstrip()
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
    numbers, few = all(map(ranking.is_number, values.values())), len(values) <= FEW
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
        middles = np.array([ranking.iqm(scores[own == text]) for text in values])
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
    scores = ranking.worst_for_lost(ranking.final(results, metric)[0], metric)
    fields = {field: ranking.field_values(results, field) for field in ranking.fields(results)}
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
    fields = textwrap.fill(", ".join(ranking.fields(results)), 90)
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
        ranking.setting_name(results, s.setting)
        + (f" ({s.lost}/{len(s.scores)} no score)" if s.lost else "")
        for s in shown
    ]
    axes.set_yticks(y, names, fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(_title(metric))
    axes.grid(alpha=0.3, axis="x")
    return plots.figure_png(figure)


def samples_png(results: Results, metric: str) -> bytes:
    """Samples of the best, the median and the worst member."""
    scores, _ = ranking.final(results, metric)
    shown = ranking.extremes(results, metric)
    figure = plots.new_figure(max(7, 4 * len(shown)), 5)
    title = f"What do members draw? ({METRICS[metric].label}, of members with a score)"
    figure.suptitle(title, x=0.01, ha="left")
    for axes, (name, i) in zip(
        figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True
    ):
        samples = results.samples[i]
        score = "no score" if np.isnan(scores[i]) else number(scores[i])
        setting = textwrap.fill(ranking.setting_name(results, int(results.setting[i])), 45)
        title = f"{name}: member {i}, {score}\n{setting}"
        if samples.ndim == 4:
            side = math.ceil(math.sqrt(len(samples)))
            plots.show_grid(axes, samples, side, side, title)
        else:
            axes.plot(samples[:, 0], samples[:, -1], "o", ms=3, mew=0, color=_BLUE)
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_aspect("equal", adjustable="datalim")
    return plots.figure_png(figure)
