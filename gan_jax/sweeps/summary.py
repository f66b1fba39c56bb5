"""What a sweep found: every member in a table, the settings ranked, and four figures."""

import csv
import io
import math
import pathlib

import numpy as np

from gan_jax.metrics.bootstrap import Score
from gan_jax.scores import METRICS, cost
from gan_jax.sweeps import figures, ranking
from gan_jax.sweeps.ranking import Results, Standing, number
from gan_jax.writers import write_whole

_RIVALS = 5  # settings that the best is compared with


def _interval(score: Score) -> str:
    if math.isnan(score.low) or math.isnan(score.high):
        return "-"
    return f"{number(score.low)} to {number(score.high)}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def _measured(results: Results, i: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A member's values of a quantity where it was measured, and the steps."""
    values = ranking.curve(results, name)[i]
    at = ~np.isnan(values)
    return values[at], results.steps[at]


def results_csv(results: Results) -> str:
    """A row a member; an empty cell is what there is not, and floats read back as they were.

    Of each metric: the final score; the best over the steps and its step, which flatters, as it
    is chosen by the metric itself. Of other quantities: the last value before the end.
    """
    metrics = [name for name in results.names if name in METRICS]
    others = [name for name in results.names if name not in METRICS]
    finals = {name: ranking.final(results, name)[0] for name in metrics}
    scored = (f"{kind}_{name}" for name in metrics for kind in ("final", "best", "best_step"))
    last = (f"last_{name}" for name in others)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    header = ["member", "setting", "seed", *ranking.fields(results), *scored, *last]
    writer.writerow([*header, "diverged_at", "params_sha256"])
    for i, setting in enumerate(results.setting.tolist()):
        row = [i, setting, results.seed[i]]
        row += [ranking.text(results.settings[setting][field]) for field in ranking.fields(results)]
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
    rows = [
        [
            *(str(place), str(s.setting), *ranking.setting_values(results, s.setting)),
            *(str(len(s.scores)), str(s.lost)),
            *(number(s.iqm.value), _interval(s.iqm), number(s.mean.value), _interval(s.mean)),
        ]
        for place, s in enumerate(standings, 1)
    ]
    header = ["", "setting", *ranking.fields(results), "seeds", "no score"]
    header += ["IQM", "its 95 %", "mean of those with a score", "its 95 %"]
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
            "normally distributed scores with 2, 3, 5 and 8 seeds, those of the IQM hold the truth "
            "50, 75, 90 and 93 times of 100, those of the mean 50, 75, 84 and 88, not 95 times."
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
        found = ranking.improvement(*(cost(metric, s.scores) for s in (best, rival)))
        against = f"{place}: {ranking.setting_name(results, rival.setting)}"
        rows.append([against, f"{found.value:.2f}", _interval(found)])
    first = ranking.setting_name(results, best.setting)
    return (
        f"The probability that a seed of {first} beats one of another setting, half of it where "
        "they tie (as two members without a score do); 0.5 is no difference.\n\n"
    ) + _table(["against", "probability", "95 %"], rows)


def _marginal_text(results: Results, metric: str, standings: list[Standing]) -> str:
    scores, _ = ranking.final(results, metric)
    filled = ranking.worst_for_lost(scores, metric)
    within, between = ranking.spreads(results, metric)
    share = "" if math.isnan(within) else ", less the seeds' share"
    costs = [
        ["the seed (within a setting, pooled)", number(within)],
        [f"the setting (between the means of settings{share})", number(between)],
    ]
    rows = []
    for field in ranking.fields(results):
        values, own = ranking.field_values(results, field)
        if len(values) > figures.FEW:
            rows.append([field, f"{len(values)} values, see hyperparameters.png", *[""] * 4])
            continue
        marginals = []
        for text in values:
            mask = own == text
            marginals.append(float(ranking.iqm(filled[mask])))
            # What the value costs somebody who chooses the other fields as well.
            tuned = next(s.iqm.value for s in standings if s.setting in results.setting[mask])
            counts = np.count_nonzero(mask), np.count_nonzero(np.isnan(scores[mask]))
            rows.append([field, text, *map(str, counts), number(marginals[-1]), number(tuned)])
        if len(marginals) > 1:
            finite = np.isfinite(marginals).all()
            spread = float(np.std(marginals, ddof=1)) if finite else math.inf
            what = f"{field} (between the IQMs of its values, the seeds' share included)"
            costs.append([what, number(spread)])
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


def summary_md(
    results: Results, metric: str, command: str, note: str, standings: list[Standing]
) -> str:
    """The report, in Markdown."""
    _, steps = ranking.final(results, metric)
    seeds = sorted({len(s.scores) for s in standings})
    each = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    members = len(results.setting)
    diverged = int(np.count_nonzero(results.diverged))
    label = METRICS[metric].label
    score = f"{label} at step {', '.join(map(str, steps))}" if steps else label
    none = "" if steps else " No member has a score: the order below means nothing.\n"
    return f"""# Sweep by {label}

    {command}

{len(standings)} settings of {each} seeds: {members} members, of which {diverged} diverged. \
The score is {score}; {ranking.better(metric)}. {note}
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


def write(directory: pathlib.Path, results: Results, metric: str, command: str, note: str) -> None:
    """Writes results.csv, curves.npz, four figures and, last, the summary.md that links to them.

    The same results give the same bytes.

    Args:
      directory: exists; of each file what it held is replaced.
      results: at least one member.
      metric: key of METRICS that ranks, one of results.names.
      command: that repeats the sweep.
      note: on how it was scored.
    """
    standings = ranking.rank(results, metric)
    files = {
        "results.csv": results_csv(results).encode(),
        "curves.npz": curves_npz(results),
        "ranking.png": figures.ranking_png(results, metric, standings),
        "hyperparameters.png": figures.hyperparameters_png(results, metric),
        "curves.png": figures.curves_png(results, metric, standings),
        "samples.png": figures.samples_png(results, metric),
        "summary.md": summary_md(results, metric, command, note, standings).encode(),
    }
    for name, content in files.items():
        write_whole(directory / name, content)
