"""The figures of a sweep: each asks one question."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax import plots
from gan_jax.scores import METRICS, cost
from gan_jax.sweeps import ranking
from gan_jax.sweeps.ranking import Results, Standing, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

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


def _figure(width: float, height: float, title: str, results: Results | None = None) -> "Figure":
    """A figure under a title; with results also under the fields that its settings are named by.

    Its size is in inches, without the title.
    """
    fields = ", ".join(ranking.fields(results)) if results else ""
    lines = [title, *textwrap.wrap(fields, int(11 * width))]  # characters, by their usual width
    figure = plots.new_figure(width, height + 0.2 * len(lines))
    figure.suptitle("\n".join(lines), x=0.01, ha="left")
    return figure


def _label(metric: str) -> str:
    return f"{METRICS[metric].label}, {ranking.better(metric)}"


def _finite(values: Any) -> np.ndarray:
    array = np.ravel(np.asarray(values, np.float64))
    return array[np.isfinite(array)]


def _scale(axes: "Axes", axis: "Axis", values: np.ndarray) -> None:
    """A log axis where finite values are all positive and span more than a decade.

    Its ticks are plain numbers, the fewer to a decade the more decades there are.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    if not len(values) or values.min() <= 0 or values.max() <= 10 * values.min():
        return
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    decades = round(math.log10(values.max() / values.min()))
    subs = {1: (1, 2, 5), 2: (1, 3)}.get(decades, (1,))
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def curves_png(results: Results, metric: str, standings: list[Standing]) -> bytes:
    """The metric of the best settings over the steps, or the losses if it was measured only once.

    A line is the median over the seeds measured at that step, a band their quartiles.
    """
    several = (~np.isnan(ranking.curve(results, metric))).any(axis=0).sum() > 1
    losses = [name for name in ("d_loss", "g_loss") if name in results.names]
    shown = [metric] if several or not losses else losses
    labels = []
    for s in standings[: len(_STYLES)]:
        lost = f", {s.lost} of {len(s.scores)} without a score" if s.lost else ""
        label = f"{ranking.setting_name(results, s.setting)} ({number(s.iqm.value)}{lost})"
        labels.append(textwrap.fill(label, 90))
    title = "How did the best settings get there? (median and quartiles over seeds)"
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = _figure(8, 0.7 + 3.5 * len(shown) + 0.2 * lines, title, results)
    grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(grid, shown, strict=True):
        drawn = [np.empty(0)]
        for s, label, (color, style, marker) in zip(standings, labels, _STYLES, strict=False):
            curve = ranking.curve(results, name)[results.setting == s.setting]
            at = ~np.isnan(curve).all(axis=0)
            if not at.any():  # every seed diverged before anything was measured
                continue
            with np.errstate(invalid="ignore"):  # between infinite ones; NaN is not drawn
                bands = np.nanpercentile(curve[:, at], [25, 50, 75], axis=0)
            bands[~np.isfinite(bands)] = np.nan
            low, median, high = bands
            every = max(1, at.sum() // 10)
            look = {"ls": style, "marker": marker, "markevery": every, "ms": 5, "lw": 1.5}
            axes.plot(results.steps[at], median, color=color, label=label, **look)
            axes.fill_between(results.steps[at], low, high, color=color, alpha=0.15, lw=0)
            drawn.append(_finite(bands))
        _scale(axes, axes.yaxis, np.concatenate(drawn))
        axes.set_ylabel(_label(name) if name in METRICS else f"{name} (nats)")
        axes.grid(alpha=0.3)
    grid[-1].set_xlabel("iteration")
    title = f"setting (final IQM of {METRICS[metric].label})"
    handles = list(grid[0].lines)
    legend = figure.legend(handles=handles, title=title, loc="outside lower left", frameon=False)
    legend.set_alignment("left")
    return plots.figure_png(figure)


def _edge(metric: str, low: float, high: float) -> float:
    """Of the two ends of an axis that where the scores are worst."""
    return high if cost(metric, math.inf) > 0 else low


def _on_frame(axes: "Axes", metric: str, x: np.ndarray, look: dict[str, Any]) -> None:
    """Marks on the frame, which no score reaches, for scores that are not finite."""
    if len(x):  # else an empty line would take its place in the layout
        y = np.full(len(x), _edge(metric, 0, 1))
        axes.plot(x, y, ls="", clip_on=False, transform=axes.get_xaxis_transform(), **look)


def _panel(
    axes: "Axes", metric: str, values: dict[str, Any], own: np.ndarray, scores: np.ndarray
) -> None:
    """The final scores by one field.

    Numbers, if many, are at their place on the axis; anything else stands side by side.

    Args:
      axes: to draw in.
      metric: of the scores.
      values: of the field, by their text.
      own: each member's text, shape (N,).
      scores: shape (N,), the worst possible for a member without one.
    """
    numbers, few = all(map(ranking.is_number, values.values())), len(values) <= FEW
    if numbers and not few:
        x = np.array([values[text] for text in own], np.float64)
        _scale(axes, axes.xaxis, x)
    else:
        places = {text: i for i, text in enumerate(values)}
        x = np.array([places[text] for text in own], np.float64)
        x += np.random.default_rng(0).uniform(-0.2, 0.2, len(x))  # not one on the other
        axes.set_xlim(-0.5, len(values) - 0.5)
        labels = [ranking.brief(value) for value in values.values()] if few else []
        slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(labels)), labels, **slant if sum(map(len, labels)) > 30 else {})
    finite = np.isfinite(scores)
    axes.plot(x[finite], scores[finite], "o", ms=4, mew=0, alpha=0.5, color=_BLUE, label="a member")
    lost = {"marker": "x", "color": _VERMILION, "label": "a member without a finite score"}
    _on_frame(axes, metric, x[~finite], lost)
    if few:
        middles = np.array([ranking.iqm(scores[own == text]) for text in values])
        at, known = np.arange(len(values)), np.isfinite(middles)
        look: dict[str, Any] = {"marker": "D", "color": "black", "label": "IQM of all members"}
        style = "-" if numbers else ""  # between names there is nothing
        axes.plot(at, np.where(known, middles, np.nan), ls=style, lw=1, **look)
        _on_frame(axes, metric, at[~known], look)
    if not finite.any():
        axes.set_yticks([])
    _scale(axes, axes.yaxis, scores[finite])
    axes.grid(alpha=0.3)


def hyperparameters_png(results: Results, metric: str) -> bytes:
    """The final score of every member by each swept field."""
    scores = ranking.worst_for_lost(ranking.final(results, metric)[0], metric)
    fields = {field: ranking.field_values(results, field) for field in ranking.fields(results)}
    if not fields:
        fields = {"no field is swept": ({"all": "all"}, np.full(len(scores), "all"))}
    columns = 2 if len(fields) == 4 else min(3, len(fields))
    rows = math.ceil(len(fields) / columns)
    title = "What does each hyperparameter do to the final score?"
    figure = _figure(max(6, 4 * columns), 1 + 3.5 * rows, title)
    figure.supylabel(_label(metric), fontsize=10)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (field, (values, own)) in zip(grid.flat, fields.items(), strict=False):
        _panel(axes, metric, values, own, scores)
        few = "" if len(values) <= FEW else f" ({len(values)} values)"
        axes.set_xlabel(f"{field}{few}")
    for axes in grid.flat[len(fields) :]:
        axes.axis("off")
    # Of all panels, as a field of many values has no IQM.
    keys = {
        text: handle
        for axes in grid.flat
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(keys.values(), keys.keys(), loc="outside lower left", frameon=False)
    return plots.figure_png(figure)


def ranking_png(results: Results, metric: str, standings: list[Standing]) -> bytes:
    """The IQM and its interval of the best settings, best first."""
    shown = standings[:_RANKED]
    names = []
    for s in shown:
        lost = f" ({s.lost}/{len(s.scores)} no score)" if s.lost else ""
        names.append(textwrap.fill(ranking.setting_name(results, s.setting) + lost, 60))
    of = f" (the best {len(shown)} of {len(standings)})" if len(shown) < len(standings) else ""
    row = 0.1 + 0.15 * max(name.count("\n") + 1 for name in names)
    figure = _figure(8, 1.3 + row * len(shown), f"Which setting is best?{of}", results)
    axes = figure.subplots()
    middles = np.array([s.iqm.value for s in shown])
    ends = np.array([(s.iqm.low, s.iqm.high) for s in shown])
    finite = _finite([middles, *ends.T])
    _scale(axes, axes.xaxis, finite)
    if len(finite):  # what the axis has to hold, before anything reaches to its ends
        axes.plot(finite, np.zeros(len(finite)), ls="")
    else:
        axes.set_xticks([])
    low, high = axes.get_xlim()
    axes.set_xlim(low, high)
    y = np.arange(len(shown))
    known = np.isfinite(middles)
    axes.plot(middles[known], y[known], "o", color=_BLUE, label="IQM over seeds")
    lows, highs = np.clip(ends, low, high).T  # an infinite end is that of the axis
    label = "its 95 % interval" + (" (to the frame: infinite)" if np.isinf(ends).any() else "")
    axes.hlines(y, lows, highs, color=_BLUE, lw=1.5, label=label)
    if not known.all():
        edge = np.full((~known).sum(), _edge(metric, low, high))
        label = "infinite IQM: too many members without a score"
        axes.plot(edge, y[~known], "x", color=_VERMILION, clip_on=False, label=label)
    figure.legend(loc="outside lower left", frameon=False)
    axes.set_yticks(y, names, fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(_label(metric))
    axes.grid(alpha=0.3, axis="x")
    return plots.figure_png(figure)


def samples_png(results: Results, metric: str) -> bytes:
    """Samples of the best, the median and the worst of the members that have a score."""
    scores, _ = ranking.final(results, metric)
    shown = ranking.extremes(results, metric)
    figure = _figure(max(7, 4 * len(shown)), 4.6, "What do members draw?", results)
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, i) in zip(grid, shown.items(), strict=True):
        samples = results.samples[i]
        score = "no score"
        if not np.isnan(scores[i]):
            score = f"{METRICS[metric].label} {number(scores[i])}"
        setting = ranking.setting_name(results, int(results.setting[i]))
        lines = f"{name}: member {i}, {score}", setting
        title = "\n".join(textwrap.fill(line, 45) for line in lines)
        axes.set_anchor("NW")  # the layout makes room for a title above there
        if samples.ndim == 4:
            side = math.ceil(math.sqrt(len(samples)))
            plots.show_grid(axes, samples, side, side, title)
        else:
            axes.plot(samples[:, 0], samples[:, -1], "o", ms=3, mew=0, color=_BLUE)
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_aspect("equal", adjustable="datalim")
    return plots.figure_png(figure)
