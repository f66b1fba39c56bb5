"""Scores as tables and lines of text."""

from collections.abc import Iterable
from typing import Any

from gan_jax.evaluation.registry import METRICS, Entry

_LIKELIHOODS = {
    "elbo": "at least {} nats (ELBO)",
    "importance_weighted": "at least {} nats (importance-weighted bound)",
    "log_likelihood": "{} nats (partition function by annealed importance sampling)",
}


def _number(x: float) -> str:
    if x % 1 == 0:
        return f"{x:.0f}"
    return f"{x:.1f}" if abs(x) >= 100 else f"{x:#.3g}"


def _interval(entry: Entry) -> str:
    if not entry["low"] < entry["high"]:
        return "-"
    return f"{_number(entry['low'])} to {_number(entry['high'])}"


def rows(
    entries: dict[str, Entry], baselines: dict[str, dict[str, Entry | None]], num: int
) -> list[list[str]]:
    """A header, and per metric its value, 95 % interval, baselines and which values are better.

    Args:
      entries: by metric, see scoring.score.
      baselines: by baseline and metric, see baselines.baselines.
      num: number of samples; the header of a baseline with fewer says how many.
    """
    counts = {row: {e["samples"] for e in found.values() if e} for row, found in baselines.items()}
    heads = (" of ".join([row, *map(str, n - {num})]) for row, n in counts.items())
    found = [["", "this run", "95 % interval", *heads, "better"]]
    for name, entry in entries.items():
        others = (row[name] for row in baselines.values())
        better, real = METRICS[name].better, entry.get("samples_of_data")
        found.append(
            [
                f"{METRICS[name].label}, n = {num}, {real}" if real else METRICS[name].label,
                _number(entry["value"]),
                _interval(entry),
                *("-" if other is None else _number(other["value"]) for other in others),
                better if isinstance(better, str) else f"{better:.3g}",
            ]
        )
    return found


def interval_notes(names: Iterable[str]) -> list[str]:
    """What the intervals of metrics mean, and which ones have coverage outside 93 to 97 %."""
    labels: dict[str, list[str]] = {}
    for name in names:
        labels.setdefault(METRICS[name].interval, []).append(METRICS[name].label)
    labels.pop("", None)
    return [
        "intervals: sampling noise around the expected value at this number of samples",
        *(f"{', '.join(found)}: {note}" for note, found in labels.items()),
    ]


def table(
    entries: dict[str, Entry], baselines: dict[str, dict[str, Entry | None]], num: int
) -> list[str]:
    """Lines of text: the aligned `rows` and the `interval_notes`."""
    cells = rows(entries, baselines, num)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])]
    meaning, *notes = interval_notes(entries)
    lines = ["  ".join(aligned).format(*row) for row in cells]
    return [*lines, meaning, *(f"  {note}" for note in notes)]


def likelihoods_and_errors(result: dict[str, Any]) -> list[str]:
    """Lines of text: log-likelihoods and classification error in evaluation.json, if any."""
    lines, split = [], result["test_split"]
    for name, bound in result.get("log_likelihood", {}).items():
        value = f"{bound['value']:.2f} ± {bound['standard_error']:.2f}"
        lines.append(f"log-likelihood of {split}: {_LIKELIHOODS[name].format(value)}")
    if error := result.get("classification"):
        by = error["clusters_labelled_by"]
        how = f"trained with {error['labelled']} labels"
        if by:
            used = f"{error['categories_used']} of {error['categories']}"
            how = f"{used} clusters in use, labelled by {by}"
        lines.append(
            f"classification error on {split}: {error['value']:.2%} ({error['low']:.2%} to "
            f"{error['high']:.2%}), {how}"
        )
    return lines
