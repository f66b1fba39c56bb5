"""The report of a sweep."""

import math
import pathlib
import re
import shlex

import numpy as np

from gan_jax import config as config_lib
from gan_jax import plots, workdir
from gan_jax.evaluation.registry import METRICS, lower_is_better
from gan_jax.reports import charts, page
from gan_jax.reports.charts import MAX_LINES, Line
from gan_jax.reports.page import Block, Chart, Charts, Code, Figures, Page, Table, Text
from gan_jax.sweeps import figures, merge, ranking, summary
from gan_jax.sweeps.ranking import Results, Standing

_MAX_ROWS = 1000  # of a table
_RANKED = 30  # settings in the chart of the ranking


def _ranking(results: Results, metric: str, standings: list[Standing]) -> list[Block]:
    """The settings by their IQM over seeds."""
    header, *rows = summary.ranking_rows(results, standings)
    iqm = header.index("IQM")
    drawn = [
        (place, ranking.setting_name(results, s.setting), f"{row[iqm]} ({row[iqm + 1]})", s.iqm)
        for place, (s, row) in enumerate(zip(standings, rows, strict=True), 1)
    ]
    x = f"IQM of {METRICS[metric].label} ({ranking.direction(metric)})"
    caption = f"{min(_MAX_ROWS, len(rows))} of {len(rows)} settings, best first: {x}"
    table = Table(caption, header, rows[:_MAX_ROWS], True, True)
    notes = (
        re.sub(r"\[([^]]*)\]\(([^)]*)\)", r"\1, \2", note).replace("*", "")
        for note in summary.ranking_notes(standings)
    )
    title = f"The best {min(_RANKED, len(rows))} of {len(rows)} settings, as far as finite"
    chart = Chart(title, charts.intervals(drawn[:_RANKED], x), None)
    return [Charts([chart]), table, *map(Text, notes)]


def _bands(results: Results, metric: str, standings: list[Standing]) -> list[Chart]:
    """Medians and quartiles over seeds of the best settings."""
    found = []
    for name in figures.learning_curves(results, metric):
        lines = []
        for place, s in enumerate(standings[:MAX_LINES], 1):
            steps, (low, median, high) = ranking.quartiles(results, name, s.setting)
            if len(steps):
                label = f"{place}: {ranking.setting_name(results, s.setting)}"
                lines.append(Line(label, steps, median, low, high))
        if lines:
            title = METRICS[name].label if name in METRICS else name
            found.append(page.chart(f"{title}: median and quartiles over seeds", lines, "setting"))
    return found


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
    return Table(caption, header, rows, True, True)


def report(directory: pathlib.Path) -> Page:
    """The report of a sweep, of the members of the units that are finished.

    Raises:
      InputError: not a sweep, or a damaged file.
    """
    spec, path = merge.read_spec(directory), directory / "run.json"
    record = workdir.read_json(path) if path.exists() else {}
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
        curves = _bands(results, metric, standings)
        sections |= {
            "Ranking": _ranking(results, metric, standings),
            "Curves": [Charts(curves)] if curves else [Text("Nothing has been measured.")],
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
