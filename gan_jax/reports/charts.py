"""Vega-Lite specification of a chart (https://vega.github.io/vega-lite/docs/).

Untrusted names appear only as data values, never as field names or expressions.
"""

from typing import Any

import numpy as np

from gan_jax.plots import STYLES, Line, Panel, is_log_scale

_COLORS = [color.replace("#000000", "currentColor") for color, *_ in STYLES]
_DASHES = ([1, 0], [6, 3], [9, 3, 2, 3], [2, 2], [9, 2, 2, 2, 2, 2])
_MAX_POINTS = 400  # of a line
_FEW = 20  # points that are marked one by one
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    # Screen readers read the table with the same numbers instead of thousands of marks.
    "mark": {"aria": False},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "tickCount": 5},
    "legend": {
        **{"title": None, "orient": "bottom", "columns": 1, "labelFontSize": 12, "labelLimit": 300},
        **{"symbolType": "stroke", "symbolSize": 400, "symbolStrokeWidth": 2, "symbolOpacity": 1},
    },
}


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


def spec(panel: Panel, kind: str) -> dict[str, Any]:
    """A chart of lines over iterations; the nearest point is shown on hovering.

    Args:
      panel: its lines; their looks repeat after len(STYLES).
      kind: what a line is: the name of a field, not from outside.
    """
    data = [_points(line, kind) for line in panel.lines]
    ends = [x for line in panel.lines for x in (line.y, line.low, line.high) if x is not None]
    values = np.concatenate(ends)
    log = is_log_scale(values[np.isfinite(values)])
    scale: dict[str, Any] = {"type": "log"} if log else {"zero": False}
    if panel.chance is not None:
        scale = {"domain": [0, 1]}
    x = {"field": "iteration", "type": "quantitative", "axis": {"format": ",d"}}
    y = {"field": "value", "type": "quantitative", "title": None, "scale": scale}
    y |= {"axis": {"format": ".4~g"}}
    # Legends of the same domain are merged.
    names = [line.name for line in panel.lines]
    color, dash = (
        {"field": kind, "scale": {"domain": names, "range": looks}} for looks in (_COLORS, _DASHES)
    )
    lines = {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": {"strokeDash": dash}}
    band = {
        "mark": {"type": "area", "opacity": 0.15},
        "encoding": {"y": {"field": "low"}, "y2": {"field": "high"}},
    }
    chance = {
        "data": {"values": [{"value": panel.chance}]},
        "mark": {"type": "rule", "strokeDash": [2, 2], "color": "gray"},
        "encoding": {"x": None, "color": None},
    }
    hover = {"type": "point", "fields": ["iteration", kind], "on": "pointerover", "nearest": True}
    shown = int(max(map(len, data), default=0) <= _FEW)
    points = {
        "params": [{"name": "hover", "select": hover}],
        "mark": {"type": "circle", "size": 50, "tooltip": {"content": "data"}},
        "encoding": {
            "opacity": {"condition": {"param": "hover", "empty": False, "value": 1}, "value": shown}
        },
    }
    banded = any(line.low is not None for line in panel.lines)
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "config": _CONFIG,
        "description": f"{panel.title} over iterations",
        "width": "container",
        "height": 200,
        "data": {"values": [point for points in data for point in points]},
        "encoding": {"x": x, "y": y, "color": color},
        "layer": [*[chance] * (panel.chance is not None), *[band] * banded, lines, points],
    }
