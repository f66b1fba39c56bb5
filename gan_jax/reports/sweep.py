"""The report of a sweep."""

import math
import pathlib
import re
import shlex

import numpy as np

from gan_jax import config as config_lib
from gan_jax import plots, workdir
from gan_jax.evaluation.registry import METRICS, lower_is_better
from gan_jax.reports import page
from gan_jax.reports.page import Block, Charts, Code, Figures, Interval, Page, Table, Text
from gan_jax.sweeps import figures, merge, ranking, summary
from gan_jax.sweeps.ranking import Results, Standing

_MAX_ROWS = 1000  # of a table


def _positions(standings: list[Standing]) -> np.ndarray:
    """Finite IQMs and their intervals, clipped to all finite numbers: (n, 3) in per cent."""
    scores = np.array([s.iqm for s in standings], np.float64)
    scores[~np.isfinite(scores[:, 0])] = np.nan
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return scores
    ends = np.array([finite.min(), finite.max()])
    scores = np.clip(scores, *ends)
    if plots.is_log_scale(finite):
        scores, ends = np.log(scores), np.log(ends)
    return 100 * (scores - ends[0]) / (np.ptp(ends) or 1)


def _ranking(results: Results, metric: str, standings: list[Standing]) -> list[Block]:
    """The settings by their IQM over seeds."""
    header, *rows = summary.ranking_rows(results, standings)
    at = header.index("95 % interval")
    drawn: list[list[str | Interval]] = [
        [*row[:at], Interval(row[at], *position), *row[at + 1 :]]
        for row, position in zip(rows[:_MAX_ROWS], _positions(standings).tolist(), strict=False)
    ]
    caption = (
        f"{len(drawn)} of {len(rows)} settings, best first: "
        f"interquartile mean (IQM) of {METRICS[metric].title}"
    )
    notes = (
        re.sub(r"\[([^]]*)\]\(([^)]*)\)", r"\1, \2", note).replace("*", "")
        for note in summary.ranking_notes(standings)
    )
    table = Table(caption, header, drawn, numeric=True, sortable=True)
    return [table, *map(Text, notes)]


def _sheet(results: Results, metric: str, numbers: list[int]) -> Figures:
    """Samples of the best, the median and the worst scored member."""
    scores, _ = ranking.final_scores(results, metric)
    shown = []
    for name, i in ranking.extremes(results, metric).items():
        samples = np.nan_to_num(results.samples[i], posinf=0, neginf=0)  # of a diverged one
        side = math.ceil(math.sqrt(len(samples)))
        setting = ranking.setting_name(results, int(results.setting[i]))
        score = f"{METRICS[metric].label} {ranking.format_number(float(scores[i]))}"
        caption = f"{name}: member {numbers[i]}, {score}; {setting}, seed {results.seed[i]}"
        image = plots.sample_image(samples, side, side)
        shown.append(page.figure(image, f"samples of the {name} member", caption))
    return Figures(shown)


def _members(results: Results, metric: str, numbers: list[int]) -> Table:
    """A row per member, best first."""
    metrics = [name for name in results.names if name in METRICS]
    scores = {name: ranking.final_scores(results, name)[0] for name in metrics}
    order = np.argsort(lower_is_better(metric, scores[metric]), kind="stable")  # NaN sorts last
    rows = [
        [
            str(numbers[i]),
            *ranking.setting_values(results, results.setting[i]),
            str(results.seed[i]),
            *(ranking.format_number(float(scores[name][i])) for name in metrics),
            str(results.diverged[i] or "-"),
        ]
        for i in order[:_MAX_ROWS].tolist()
    ]
    header = ["member", *ranking.fields(results), "seed"]
    header += [*(METRICS[name].label for name in metrics), "diverged at"]
    caption = f"{len(rows)} of {len(order)} members, best first, with their final scores"
    return Table(caption, header, rows, numeric=True, sortable=True)


def report(directory: pathlib.Path) -> Page:
    """The report of a sweep, of the members of the units that are finished.

    Raises:
      InputError: not a sweep, or a damaged file.
    """
    spec = merge.read_spec(directory)
    record = workdir.read_json(directory / "run.json", missing_ok=True)
    base, status = config_lib.override(spec.config, ()), page.run_status(directory, record)
    metric = base.eval_metrics[0]
    units = merge.unit_members(directory, spec)
    done = {unit: numbers for unit, numbers in units.items() if (unit / "result.npz").exists()}
    state = f"{len(done)} of {len(units)} units finished"
    asked = {
        "settings": len(spec.settings),
        "seeds per setting": spec.seeds,
        "members": len(spec.settings) * spec.seeds,
        "ranked by": METRICS[metric].label,
        "scored with": f"{base.eval_num} samples against {base.dataset} {base.validation_split}",
    }
    sections: dict[str, list[Block]] = {
        "Config": [page.pairs("The sweep", asked), *page.config_blocks(base)]
    }
    if done:
        results = merge.join(spec, [merge.read_result(*unit) for unit in done.items()])
        numbers = sorted(number for part in done.values() for number in part)
        standings = ranking.rank(results, metric)
        state += f", {int((results.diverged > 0).sum())} of {len(numbers)} members diverged"
        panels = figures.learning_curves(results, metric, standings)
        curves = [page.chart(panel, "setting") for panel in panels if panel.lines]
        sections |= {
            "Ranking": _ranking(results, metric, standings),
            "Curves": [Text(f"{figures.CURVES}."), Charts(curves)]
            if curves
            else [Text("Nothing has been measured.")],
            "Samples": [_sheet(results, metric, numbers)],
            "Members": [_members(results, metric, numbers)],
        }
    first = min(number for numbers in units.values() for number in numbers)
    rerun = ["python", "-m", "gan_jax.sweep", f"--workdir={directory}", f"--rerun={first}"]
    sections |= {
        "Provenance": page.provenance_blocks(record),
        "Reproduce": [
            Code(spec.command, "Train the sweep, or resume it"),
            Code(shlex.join(rerun), "Train one member again and compare its parameters"),
        ],
    }
    return Page(f"Sweep of {base.dataset}", status, state, len(done) / len(units), sections)
