"""Vega-Lite specifications of a report's charts (https://vega.github.io/vega-lite/docs/).

Untrusted names appear only as data values, never as field names or expressions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gan_jax.evaluation.metrics.intervals import Score
from gan_jax.plots import is_log_scale

# Of Okabe and Ito, with dashes for print without colours.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ([1, 0], [6, 3], [9, 3, 2, 3], [2, 2], [12, 3], [9, 2, 2, 2, 2, 2], [4, 6])
MAX_LINES = len(_COLORS)
_MAX_POINTS = 400  # of a line
_FEW = 20  # points that are marked one by one
_BASE: dict[str, Any] = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "width": "container",
    "config": {
        "font": "system-ui, sans-serif",
        "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
        "legend": {"labelFontSize": 12},
    },
}
# Screen readers read the table with the same numbers instead of thousands of marks.
_ARIA_HIDDEN = {"aria": False}


class Line(NamedTuple):
    """A line of a chart: (n,) each, NaN where not measured."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None  # of a band around it
    high: np.ndarray | None = None


def evenly(n: int, most: int) -> list[int]:
    """At most `most` evenly spaced indices out of n, both ends included."""
    indices: list[int] = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()
    return indices


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _points(line: Line, kind: str) -> list[dict[str, Any]]:
    """The finite points of a line, thinned; tooltips show all of their fields."""
    known = np.flatnonzero(np.isfinite(line.y))
    points: list[dict[str, Any]] = []
    for i in known[evenly(len(known), _MAX_POINTS)].tolist():
        point = {"iteration": int(line.x[i]), kind: line.name, "value": _rounded(line.y[i])}
        if line.low is not None and line.high is not None:
            point |= {"low": _rounded(line.low[i]), "high": _rounded(line.high[i])}
        points.append(point)
    return points


def _axis(field: str, title: str | None, values: np.ndarray) -> dict[str, Any]:
    """A numeric axis, logarithmic if its values are positive and span more than a decade."""
    log = is_log_scale(values[np.isfinite(values)])
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"type": "log"} if log else {"zero": False},
        "axis": {"tickCount": 5, "format": ".4~g"},
    }


def curves(
    lines: Sequence[Line], kind: str, description: str, chance: float | None = None
) -> dict[str, Any]:
    """Lines over iterations; the nearest point is shown on hovering.

    Args:
      lines: their looks repeat after MAX_LINES.
      kind: what a line is: the name of a field, not from outside.
      description: for screen readers.
      chance: height of a dotted horizontal line, on an axis from 0 to 1.
    """
    data = [_points(line, kind) for line in lines]
    ends = [x for line in lines for x in (line.y, line.low, line.high) if x is not None]
    iteration = {"tickCount": 5, "format": ",d"}
    x = {"field": "iteration", "type": "quantitative", "axis": iteration}
    y = _axis("value", None, np.concatenate(ends))
    if chance is not None:
        y["scale"] = {"domain": [0, 1]}
    legend = {"title": None, "orient": "bottom", "columns": 1, "labelLimit": 300}
    legend |= {
        "symbolType": "stroke",
        "symbolSize": 400,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
    }
    names = [line.name for line in lines]

    def by_name(looks: Sequence[Any]) -> dict[str, Any]:
        scale = {"domain": names, "range": [looks[i % len(looks)] for i in range(len(names))]}
        return {"field": kind, "type": "nominal", "scale": scale, "legend": legend}

    line_encoding = {"x": x, "y": y, "color": by_name(_COLORS), "strokeDash": by_name(_DASHES)}
    line_mark = {"type": "line", "strokeWidth": 1.5, **_ARIA_HIDDEN}
    layers: list[dict[str, Any]] = [{"mark": line_mark, "encoding": line_encoding}]
    if any(line.low is not None for line in lines):
        band = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}
        area = {"type": "area", "opacity": 0.15, **_ARIA_HIDDEN}
        layers.insert(0, {"mark": area, "encoding": {**band, "color": by_name(_COLORS)}})
    if chance is not None:
        rule = {"type": "rule", "strokeDash": [2, 2], "color": "#666", **_ARIA_HIDDEN}
        layers.insert(0, {"mark": rule, "encoding": {"y": {"datum": chance}}})
    few = max(map(len, data), default=0) <= _FEW
    select = {"type": "point", "fields": ["iteration", kind], "on": "pointerover", "nearest": True}
    hovered = {"condition": {"param": "hover", "empty": False, "value": 1}, "value": int(few)}
    layers.append(
        {
            "params": [{"name": "hover", "select": select}],
            "mark": {"type": "circle", "size": 50, "tooltip": {"content": "data"}, **_ARIA_HIDDEN},
            "encoding": {"x": x, "y": y, "color": by_name(_COLORS), "opacity": hovered},
        }
    )
    return {
        **_BASE,
        "description": description,
        "height": 200,
        "data": {"values": [point for points in data for point in points]},
        "layer": layers,
    }


def intervals(rows: Sequence[tuple[int, str, str, Score]], x: str) -> dict[str, Any]:
    """Scores with their intervals by rank; names and exact values are shown on hovering.

    Args:
      rows: rank, name, score and interval in words, and the score. Only finite ones are drawn, and
        their intervals end at the last finite number.
      x: label of the axis.
    """
    scores = np.array([score for *_, score in rows], np.float64).reshape(-1, 3)
    finite = scores[np.isfinite(scores)]
    if len(finite):
        ends = {"posinf": finite.max(), "neginf": finite.min()}
        scores[:, 1:] = np.nan_to_num(scores[:, 1:], nan=np.nan, **ends)
    data = [
        {"r": rank, "s": name, "t": text, "v": value, "l": low, "h": high}
        for (rank, name, text, _), (value, low, high) in zip(
            rows, ([_rounded(x) for x in score] for score in scores), strict=True
        )
        if value is not None
    ]
    blue = {"color": _COLORS[0], **_ARIA_HIDDEN}
    between = {"x": {"field": "l", "type": "quantitative"}, "x2": {"field": "h"}}
    return {
        **_BASE,
        "description": x,
        "height": 18 * len(data),
        "data": {"values": data},
        "encoding": {
            "x": _axis("v", x, finite),
            "y": {"field": "r", "type": "ordinal", "title": "rank"},
            "tooltip": [
                {"field": "s", "type": "nominal", "title": "setting"},
                {"field": "t", "type": "nominal", "title": "IQM"},
            ],
        },
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 2, **blue}, "encoding": between},
            {"mark": {"type": "circle", "size": 60, "opacity": 1, **blue}},
        ],
    }
