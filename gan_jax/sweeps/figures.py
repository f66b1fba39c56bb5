"""The figures of a sweep."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax import plots
from gan_jax.evaluation.registry import METRICS, lower_is_better
from gan_jax.plots import STYLES, Line, Panel
from gan_jax.sweeps import ranking
from gan_jax.sweeps.ranking import Results, Standing, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LISTED = 12  # up to this many distinct values of a field are shown one by one
_RANKED = 30  # settings in ranking.png
_BLUE, _VERMILION = STYLES[0][0], STYLES[1][0]
CURVES = "Learning curves of the best settings (median and quartiles over seeds)"


def _figure(width: float, height: float, title: str, results: Results | None = None) -> "Figure":
    """A figure of a size in inches, without its title; with results this names the swept fields."""
    fields = ", ".join(ranking.fields(results)) if results else ""
    lines = [title, *textwrap.wrap(fields, int(11 * width))]  # about 11 characters per inch
    figure = plots.new_figure(width, height + 0.2 * len(lines))
    figure.suptitle("\n".join(lines), x=0.01, ha="left")
    return figure


def _finite(values: Any) -> np.ndarray:
    array = np.ravel(np.asarray(values, np.float64))
    return array[np.isfinite(array)]


def learning_curves(results: Results, metric: str, standings: list[Standing]) -> list[Panel]:
    """Medians and quartiles over seeds of the best settings, named by rank and final IQM.

    Of the metric, or of the losses if it was measured only once. Settings whose seeds all diverged
    before the first measurement are left out.
    """
    several = (~np.isnan(ranking.curve(results, metric))).any(axis=0).sum() > 1
    losses = [name for name in results.names if name in ("d_loss", "g_loss", "loss")]
    panels = []
    for quantity in [metric] if several or not losses else losses:
        lines = []
        for s in standings[: len(STYLES)]:
            steps, (low, median, high) = ranking.quartiles(results, quantity, s.setting)
            unscored = f", {s.unscored} of {len(s.scores)} unscored" if s.unscored else ""
            name = ranking.setting_name(results, s.setting)
            label = f"{s.setting}: {name} ({format_number(s.iqm.value)}{unscored})"
            if len(steps):
                lines.append(Line(label, steps, median, low, high))
        title = METRICS[quantity].title if quantity in METRICS else quantity
        panels.append(Panel(title, lines))
    return panels


@plots.style()
def curves_png(results: Results, metric: str, standings: list[Standing]) -> bytes:
    """Learning curves of the best settings; bands are quartiles."""
    panels = learning_curves(results, metric, standings)
    names = [line.name for line in panels[0].lines]
    rows = sum(textwrap.fill(name, 90).count("\n") + 1 for name in names)
    figure = _figure(8, 0.7 + 3.5 * len(panels) + 0.2 * rows, CURVES, results)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(grid, panels, strict=True):
        drawn = [np.empty(0)]
        for line, (color, style, marker) in zip(panel.lines, STYLES, strict=False):
            every = max(1, len(line.x) // 10)
            look = {"ls": style, "marker": marker, "markevery": every, "ms": 5, "lw": 1.5}
            axes.plot(line.x, line.y, color=color, label=textwrap.fill(line.name, 90), **look)
            axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.15, lw=0)
            drawn.append(_finite(line[2:]))
        plots.log_scale(axes, axes.yaxis, np.concatenate(drawn))
        axes.set_ylabel(panel.title)
        axes.grid(alpha=0.3)
    grid[-1].set_xlabel("iteration")
    title = f"setting (final IQM of {METRICS[metric].label})"
    handles = list(grid[0].lines)
    legend = figure.legend(handles=handles, title=title, loc="outside lower left", frameon=False)
    legend.set_alignment("left")
    return plots.figure_png(figure)


def _worst_end(metric: str, low: float, high: float) -> float:
    return high if lower_is_better(metric, math.inf) > 0 else low


def _mark_nonfinite(axes: "Axes", metric: str, x: np.ndarray, look: dict[str, Any]) -> None:
    """Marks scores that are not finite on the frame, at the worst end of the y axis."""
    if len(x):  # an empty line would still take up space in the legend
        y = np.full(len(x), _worst_end(metric, 0, 1))
        axes.plot(x, y, ls="", clip_on=False, transform=axes.get_xaxis_transform(), **look)


def _panel(
    axes: "Axes", metric: str, values: dict[str, Any], texts: np.ndarray, scores: np.ndarray
) -> None:
    """Final scores against one field.

    More than MAX_LISTED numbers get a numeric axis; anything else is categorical, with jitter.
    Distinct values are given by their text; texts and scores are those of the members, (N,).
    """
    numbers, few = all(map(ranking.is_number, values.values())), len(values) <= MAX_LISTED
    if numbers and not few:
        x = np.array([values[text] for text in texts], np.float64)
        plots.log_scale(axes, axes.xaxis, x)
    else:
        places = {text: i for i, text in enumerate(values)}
        x = np.array([places[text] for text in texts], np.float64)
        x += np.random.default_rng(0).uniform(-0.2, 0.2, len(x))
        axes.set_xlim(-0.5, len(values) - 0.5)
        labels = [ranking.format_value(value) for value in values.values()] if few else []
        slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(labels)), labels, **slant if sum(map(len, labels)) > 30 else {})
    finite = np.isfinite(scores)
    axes.plot(x[finite], scores[finite], "o", ms=4, mew=0, alpha=0.5, color=_BLUE, label="member")
    unscored = {"marker": "x", "color": _VERMILION, "label": "member without a finite score"}
    _mark_nonfinite(axes, metric, x[~finite], unscored)
    if few:
        iqms = np.array([ranking.iqm(scores[texts == text]) for text in values])
        at, known = np.arange(len(values)), np.isfinite(iqms)
        look: dict[str, Any] = {"marker": "D", "color": "black", "label": "IQM of all members"}
        style = "-" if numbers else ""  # categories are not connected
        axes.plot(at, np.where(known, iqms, np.nan), ls=style, lw=1, **look)
        _mark_nonfinite(axes, metric, at[~known], look)
    if not finite.any():
        axes.set_yticks([])
    plots.log_scale(axes, axes.yaxis, scores[finite])
    axes.grid(alpha=0.3)


@plots.style()
def hyperparameters_png(results: Results, metric: str) -> bytes:
    """The final score of every member against each swept field."""
    scores = ranking.fill_unscored(ranking.final_scores(results, metric)[0], metric)
    fields = {field: ranking.field_values(results, field) for field in ranking.fields(results)}
    if not fields:
        fields = {"no field is swept": ({"all": "all"}, np.full(len(scores), "all"))}
    columns = 2 if len(fields) == 4 else min(3, len(fields))
    rows = math.ceil(len(fields) / columns)
    title = "Final score by hyperparameter"
    figure = _figure(max(6, 4 * columns), 1 + 3.5 * rows, title)
    figure.supylabel(METRICS[metric].title, fontsize=10)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (field, (values, texts)) in zip(grid.flat, fields.items(), strict=False):
        _panel(axes, metric, values, texts, scores)
        count = "" if len(values) <= MAX_LISTED else f" ({len(values)} values)"
        axes.set_xlabel(f"{field}{count}")
    for axes in grid.flat[len(fields) :]:
        axes.axis("off")
    # From all panels: a field of many values has no IQM.
    handles = {
        label: handle
        for axes in grid.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", frameon=False)
    return plots.figure_png(figure)


@plots.style()
def ranking_png(results: Results, metric: str, standings: list[Standing]) -> bytes:
    """IQMs and their intervals of the best settings, best first."""
    shown = standings[:_RANKED]
    names = []
    for s in shown:
        unscored = f" ({s.unscored}/{len(s.scores)} unscored)" if s.unscored else ""
        names.append(textwrap.fill(ranking.setting_name(results, s.setting) + unscored, 60))
    best = f", best {len(shown)} of {len(standings)}" if len(shown) < len(standings) else ""
    row = 0.1 + 0.15 * max(name.count("\n") + 1 for name in names)
    figure = _figure(8, 1.3 + row * len(shown), f"Ranking of the settings{best}", results)
    axes = figure.subplots()
    middles = np.array([s.iqm.value for s in shown])
    ends = np.array([(s.iqm.low, s.iqm.high) for s in shown])
    finite = _finite([middles, *ends.T])
    plots.log_scale(axes, axes.xaxis, finite)
    if len(finite):  # fixes the limits before anything is clipped to them
        axes.plot(finite, np.zeros(len(finite)), ls="")
    else:
        axes.set_xticks([])
    low, high = axes.get_xlim()
    axes.set_xlim(low, high)
    y = np.arange(len(shown))
    known = np.isfinite(middles)
    axes.plot(middles[known], y[known], "o", color=_BLUE, label="IQM over seeds")
    lows, highs = np.clip(ends, low, high).T
    infinite = " (infinite if it reaches the frame)" if np.isinf(ends).any() else ""
    axes.hlines(y, lows, highs, color=_BLUE, lw=1.5, label=f"95 % interval{infinite}")
    if not known.all():
        edge = np.full((~known).sum(), _worst_end(metric, low, high))
        label = "infinite IQM (too many unscored members)"
        axes.plot(edge, y[~known], "x", color=_VERMILION, clip_on=False, label=label)
    figure.legend(loc="outside lower left", frameon=False)
    axes.set_yticks(y, names, fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(METRICS[metric].title)
    axes.grid(alpha=0.3, axis="x")
    return plots.figure_png(figure)


@plots.style()
def samples_png(results: Results, metric: str) -> bytes:
    """Samples of the best, the median and the worst scored member."""
    scores, _ = ranking.final_scores(results, metric)
    shown = ranking.extremes(results, metric)
    figure = _figure(max(7, 4 * len(shown)), 4.6, "Samples", results)
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, i) in zip(grid, shown.items(), strict=True):
        samples = results.samples[i]
        score = "unscored"
        if not np.isnan(scores[i]):
            score = f"{METRICS[metric].label} {format_number(scores[i])}"
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
