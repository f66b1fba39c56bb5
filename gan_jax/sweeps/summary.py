"""The report of a sweep: all members in a table, the settings ranked, and four figures."""

import io
import math
import pathlib

import numpy as np

from gan_jax.evaluation.metrics.intervals import Score
from gan_jax.evaluation.registry import METRICS, lower_is_better
from gan_jax.sweeps import figures, ranking
from gan_jax.sweeps.ranking import Results, Standing, format_number
from gan_jax.writers import csv_bytes, write_whole

_NUM_COMPARED = 5  # settings that the best one is compared with
FILES = (
    *("results.csv", "curves.npz", "ranking.png", "hyperparameters.png", "curves.png"),
    *("samples.png", "summary.md"),
)


def _interval(score: Score) -> str:
    if math.isnan(score.low) or math.isnan(score.high):
        return "-"
    return f"{format_number(score.low)} to {format_number(score.high)}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def _measured(results: Results, i: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A member's measurements of one quantity, and the steps at which they were made."""
    values = ranking.curve(results, name)[i]
    at = ~np.isnan(values)
    return values[at], results.steps[at]


def results_csv(results: Results) -> bytes:
    """One row per member; missing values are empty and floats round-trip.

    For each metric: the final score, the best over the steps and its step (optimistic, as it is
    selected by the metric itself). For each training diagnostic: the last value before the end.
    """
    metrics = [name for name in results.names if name in METRICS]
    diagnostics = [name for name in results.names if name not in METRICS]
    finals = {name: ranking.final_scores(results, name)[0] for name in metrics}
    fields = ranking.fields(results)
    header = ["member", "setting", "seed", *fields]
    header += [f"{kind}_{name}" for name in metrics for kind in ("final", "best", "best_step")]
    header += [f"last_{name}" for name in diagnostics]
    rows = [[*header, "diverged_at", "params_sha256"]]
    for i, setting in enumerate(results.setting.tolist()):
        row = [i, setting, results.seed[i]]
        row += [ranking.format_exact(results.settings[setting][field]) for field in fields]
        for name in metrics:
            values, steps = _measured(results, i, name)
            row.append("" if np.isnan(finals[name][i]) else finals[name][i])
            best = np.argmin(lower_is_better(name, values)) if len(values) else None
            row += ["", ""] if best is None else [values[best], steps[best]]
        for name in diagnostics:
            values, _ = _measured(results, i, name)
            row.append(values[-1] if len(values) else "")
        rows.append([*row, results.diverged[i] or "", results.params_sha256[i]])
    return csv_bytes(rows)


def curves_npz(results: Results) -> bytes:
    """The arrays steps, names, curves and diverged of Results."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        steps=results.steps,
        names=np.array(results.names, np.str_),
        curves=results.curves,
        diverged=results.diverged,
    )
    return buffer.getvalue()


def ranking_rows(results: Results, standings: list[Standing]) -> list[list[str]]:
    """A header, and a row per setting."""
    rows = [
        [
            *(str(place), str(s.setting), *ranking.setting_values(results, s.setting)),
            *(str(len(s.scores)), str(s.unscored)),
            *(format_number(s.iqm.value), _interval(s.iqm)),
            *(format_number(s.mean.value), _interval(s.mean)),
        ]
        for place, s in enumerate(standings, 1)
    ]
    header = ["rank", "setting", *ranking.fields(results), "seeds", "unscored"]
    return [[*header, "IQM", "95 % interval", "mean of scored", "95 % interval"], *rows]


def ranking_notes(standings: list[Standing]) -> list[str]:
    """Paragraphs of Markdown on how to read the ranking."""
    paragraphs = [
        "Members that diverged or have a NaN score are *unscored*. The IQM (interquartile mean, "
        "[Agarwal et al. 2021](https://arxiv.org/abs/2108.13264)) counts them as worst possible: "
        "it is infinite if more than a quarter of the seeds are unscored or, with fewer than 4 "
        "seeds, if any is. The mean excludes them. Settings are sorted by IQM; those with an "
        "infinite IQM by the number of unscored seeds, then by the mean."
    ]
    if len(standings[0].scores) == 1:
        paragraphs.append("A single seed has no interval: the variance across seeds is unknown.")
    else:
        paragraphs.append(
            "Intervals are percentile bootstraps over seeds, which are too narrow for few seeds. "
            "For normally distributed scores and 2, 3, 5 and 8 seeds, their actual coverage is "
            "50, 75, 90 and 93 % for the IQM, and 50, 75, 84 and 88 % for the mean."
        )
    if len(standings) > 1:
        paragraphs.append(
            "The top setting was selected by these same scores, so its score is optimistic. Train "
            "it with new seeds before reporting it."
        )
    return paragraphs


def _ranking_text(results: Results, standings: list[Standing]) -> str:
    header, *rows = ranking_rows(results, standings)
    return "\n".join([_table(header, rows), *(f"{p}\n" for p in ranking_notes(standings))])


def _improvement_text(results: Results, metric: str, standings: list[Standing]) -> str:
    best, *rivals = standings[: 1 + _NUM_COMPARED]
    if not rivals:
        return "There is only one setting.\n"
    rows = []
    for rival in rivals:
        x, y = (lower_is_better(metric, s.scores) for s in (best, rival))
        found = ranking.probability_of_improvement(x, y)
        name = ranking.setting_name(results, rival.setting)
        rows.append([f"{rival.setting}: {name}", f"{found.value:.2f}", _interval(found)])
    return (
        f"Probability that a seed of setting {best.setting} "
        f"({ranking.setting_name(results, best.setting)}) beats a seed of another setting, "
        "numbered as in the ranking; 0.5 means no difference. Ties, such as two unscored members, "
        "count as one half.\n\n"
    ) + _table(["compared with", "probability", "95 % interval"], rows)


def _variance_text(results: Results, metric: str, standings: list[Standing]) -> str:
    scores, _ = ranking.final_scores(results, metric)
    filled = ranking.fill_unscored(scores, metric)
    seed, setting = ranking.variance_components(results, metric)
    minus = "" if math.isnan(seed) else ", minus the seeds' contribution"
    deviations = [
        ["seed (within settings, pooled)", format_number(seed)],
        [f"setting (between setting means{minus})", format_number(setting)],
    ]
    rows = []
    for field in ranking.fields(results):
        values, texts = ranking.field_values(results, field)
        if len(values) > figures.MAX_LISTED:
            rows.append([field, f"{len(values)} values, see hyperparameters.png", *[""] * 4])
            continue
        marginals = []
        for text in values:
            members = texts == text
            marginals.append(float(ranking.iqm(filled[members])))
            tuned = next(s.iqm.value for s in standings if s.setting in results.setting[members])
            counts = np.count_nonzero(members), np.count_nonzero(np.isnan(scores[members]))
            numbers = format_number(marginals[-1]), format_number(tuned)
            rows.append([field, text, *map(str, counts), *numbers])
        if len(marginals) > 1:
            finite = np.isfinite(marginals).all()
            deviation = float(np.std(marginals, ddof=1)) if finite else math.inf
            source = f"{field} (between the IQMs of its values, including the seeds' contribution)"
            deviations.append([source, format_number(deviation)])
    tables = [
        "Standard deviation of the score. Those of seed and setting use finite scores only.\n",
        _table(["source of variation", "standard deviation"], deviations),
    ]
    if rows:
        header = ["field", "value", "members", "unscored", "IQM of all members"]
        tables += [
            "Marginal effect of each value: the IQM of all members with this value, and the IQM of "
            "the best setting with it (the other fields tuned).\n",
            _table([*header, "IQM of the best setting"], rows),
        ]
    return "\n".join(tables)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def summary_md(
    results: Results, metric: str, command: str, note: str, standings: list[Standing]
) -> str:
    """The report, in Markdown."""
    _, steps = ranking.final_scores(results, metric)
    label = METRICS[metric].label
    score = f"{label} at iteration {', '.join(map(str, steps))}" if steps else label
    none = "" if steps else " No member has a score, so the order below is meaningless.\n"
    return f"""# Sweep ranked by {label}

    {command}

{_count(len(standings), "setting")} x {_count(len(standings[0].scores), "seed")}: \
{_count(len(results.setting), "member")}, {np.count_nonzero(results.diverged)} diverged. \
Score: {score}; {METRICS[metric].direction}. {note}
{none}
[results.csv](results.csv) has one row per member, [curves.npz](curves.npz) the learning curves.

## Ranking

![Ranking](ranking.png)

{_ranking_text(results, standings)}
## Probability of improvement

{_improvement_text(results, metric, standings)}
## Sources of variation

{_variance_text(results, metric, standings)}
![Hyperparameters](hyperparameters.png)

## Learning curves

![Curves](curves.png)

## Samples

![Samples](samples.png)
"""


def write(directory: pathlib.Path, results: Results, metric: str, command: str, note: str) -> None:
    """Writes FILES, the summary.md that links to the others last. Deterministic.

    Args:
      directory: where existing files of these names are replaced.
      results: results of at least one member.
      metric: ranks the settings.
      command: reproduces the sweep.
      note: how members were scored.
    """
    standings = ranking.rank(results, metric)
    files = {
        "results.csv": results_csv(results),
        "curves.npz": curves_npz(results),
        "ranking.png": figures.ranking_png(results, metric, standings),
        "hyperparameters.png": figures.hyperparameters_png(results, metric),
        "curves.png": figures.curves_png(results, metric, standings),
        "samples.png": figures.samples_png(results, metric),
        "summary.md": summary_md(results, metric, command, note, standings).encode(),
    }
    for name, content in files.items():
        write_whole(directory / name, content)
