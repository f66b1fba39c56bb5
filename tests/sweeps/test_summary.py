import csv
import io
import itertools
import zipfile

import numpy as np
import pytest

from gan_jax.sweeps import ranking, summary
from tests.conftest import open_image
from tests.sweeps.conftest import make_results

NAN, INF = float("nan"), float("inf")


def rows_of(text: str, heading: str) -> list[list[str]]:
    """Cells of the last table of a section of the report, without its header."""
    section = text.split(f"## {heading}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    start = max(i for i, line in enumerate(lines) if line.startswith("| ---"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 1 :]]


def report(results, metric="fid") -> str:
    standings = ranking.rank(results, metric)
    return summary.summary_md(results, metric, "the command", "The note.", standings)


def test_results_csv():
    settings = [
        {"loss": "minimax", "generator.widths": (8, 4), "d_optimizer.learning_rate": 1e-3},
        {"d_optimizer.learning_rate": 0.1 + 0.2, "generator.widths": [16], "loss": 'a "b", c'},
    ]
    results = make_results([[0.1, 5], [INF, 7]], settings, diverged=[[0, 20], [0, 10]])
    first, second, third, fourth = csv.DictReader(
        io.StringIO(summary.results_csv(results).decode())
    )
    assert list(first) == [
        *("member", "setting", "seed"),
        *("loss", "generator.widths", "d_optimizer.learning_rate"),
        *("final_fid", "best_fid", "best_step_fid", "last_d_loss", "last_g_loss"),
        *("diverged_at", "params_sha256"),
    ]
    assert list(first.values()) == [
        *("0", "0", "0", "minimax", "(8, 4)", "0.001"),
        *("0.1", "0.1", "30", "2.0", "0.1", "", "0" * 64),
    ]
    assert list(second.values())[6:] == ["", "", "", "1.0", "0.1", "20", f"{1:064x}"]
    assert list(third.values())[:9] == [
        *("2", "1", "0", 'a "b", c', "(16,)", str(0.1 + 0.2)),
        *("inf", "inf", "20"),
    ]
    assert list(fourth.values())[6:] == ["", "", "", "", "", "10", f"{3:064x}"]
    assert float(third["d_optimizer.learning_rate"]) == 0.1 + 0.2


@pytest.mark.parametrize(
    ("metric", "final", "best", "step"),
    [("fid", 1.5, "1.5", "30"), ("recall", 1.5, "3.0", "20"), ("density", 0.5, "1.0", "20")],
)
def test_best_score_over_all_steps(metric, final, best, step):
    results = make_results([[final]], metric=metric)
    (row,) = csv.DictReader(io.StringIO(summary.results_csv(results).decode()))
    assert row[f"final_{metric}"] == str(final)
    assert (row[f"best_{metric}"], row[f"best_step_{metric}"]) == (best, step)


def test_curves_npz():
    results = make_results([[1, 2]], diverged=[[0, 20]])
    content = summary.curves_npz(results)
    read = np.load(io.BytesIO(content))
    assert read["names"].tolist() == ["d_loss", "g_loss", "fid"]
    for name in ("steps", "curves", "diverged"):
        np.testing.assert_array_equal(read[name], getattr(results, name))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # no time of writing
        assert {file.date_time for file in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_summary_of_a_grid():
    settings = [{"loss": a, "k": k} for a, k in itertools.product(("minimax", "a|b"), (2, 10, 1))]
    scores = [[5, 7], [6, 8], [1, 3], [2, 2], [20, 30], [9, 9]]
    diverged = [[0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [20, 0]]
    text = report(make_results(scores, settings, diverged=diverged))
    assert "\n    the command\n" in text
    assert "6 settings x 2 seeds: 12 members, 1 diverged." in text
    assert "Score: FID at iteration 30; lower is better. The note." in text
    text = text.replace("\\|", "/")
    ranked = rows_of(text, "Ranking")
    assert [row[1] for row in ranked] == ["2", "3", "0", "1", "4", "5"]
    assert [row[:1] + row[2:6] for row in ranked] == [
        ["1", "minimax", "1", "2", "0"],
        ["2", "a/b", "2", "2", "0"],
        ["3", "minimax", "2", "2", "0"],
        ["4", "minimax", "10", "2", "0"],
        ["5", "a/b", "10", "2", "0"],
        ["6", "a/b", "1", "2", "1"],
    ]
    assert ranked[2][6:] == ["6", "5 to 7", "6", "5 to 7"]
    assert ranked[5][6:] == ["∞", "9 to ∞", "9", "-"]
    compared = rows_of(text, "Probability of improvement")
    assert [row[:2] for row in compared] == [
        ["3: a/b, 2", "0.50"],
        *(["0: minimax, 2", "1.00"], ["1: minimax, 10", "1.00"]),
        *(["4: a/b, 10", "1.00"], ["5: a/b, 1", "1.00"]),
    ]
    assert compared[0][2] == "0 to 1"
    # The IQMs of 6 members and of 4 drop one at either end.
    assert rows_of(text, "Sources of variation") == [
        ["loss", "minimax", "6", "0", "5.25", "2"],
        ["loss", "a/b", "6", "1", "15.25", "2"],
        ["k", "1", "4", "1", "6", "2"],
        ["k", "2", "4", "0", "3.5", "2"],
        ["k", "10", "4", "0", "14", "7"],
    ]
    source = "loss (between the IQMs of its values, including the seeds' contribution)"
    assert f"| {source} | {10 / np.sqrt(2):.4g} |" in text


@pytest.mark.parametrize(("metric", "scores"), [("recall", [3, 1]), ("density", [1.25, 0.5])])
def test_improvement_respects_direction(metric, scores):
    text = report(make_results(np.repeat(scores, 2).reshape(2, 2), metric=metric), metric)
    assert rows_of(text, "Probability of improvement") == [["1: 2", "1.00", "1 to 1"]]


def test_fields_with_many_values_are_not_listed():
    text = report(make_results(np.arange(1, 14)[:, None]))
    (row,) = rows_of(text, "Sources of variation")
    assert row[:2] == ["k", "13 values, see hyperparameters.png"]


INFINITE = make_results([[INF, 1, 2], [NAN, -INF, INF]])
DIVERGED = make_results([[1, 2], [3, 4]], diverged=[[10, 20], [20, 30]])
CASES = {
    "one member, no swept field": make_results([[1]], [{}]),
    "one seed, points": make_results([[1], [2]])._replace(samples=np.full((2, 4, 2), [[0.5, NAN]])),
    "all diverged": DIVERGED,
    "some infinite or NaN": INFINITE,
}


@pytest.mark.parametrize("case", CASES)
def test_files_are_complete(case, tmp_path):
    summary.write(tmp_path, CASES[case], "fid", "python -m gan_jax.sweep", "")
    assert {file.name for file in tmp_path.iterdir()} == set(summary.FILES)
    for file in tmp_path.glob("*.png"):
        assert open_image(file).size > (100, 100)
    text = (tmp_path / "summary.md").read_text()
    assert {name for name in summary.FILES if f"({name})" in text} == {*summary.FILES[:-1]}


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        (make_results([[1, 2]], [{}]), ["| 1 | 0 | 2 | 0 | 1.5 | 1 to 2 | 1.5 | 1 to 2 |"]),
        (
            make_results([[1]], [{}]),
            ["| 1 | 0 | 1 | 0 | 1 | - | 1 | - |", "There is only one setting."],
        ),
        (make_results([[NAN, 1]], [{}]), ["| 1 | 0 | 2 | 1 | ∞ | 1 to ∞ | 1 | - |"]),
        (make_results([[NAN, NAN]], [{}]), ["| 1 | 0 | 2 | 2 | ∞ | ∞ to ∞ | - | - |"]),
        (make_results([[INF, 1]], [{}]), ["| 1 | 0 | 2 | 0 | ∞ | 1 to ∞ | ∞ | 1 to ∞ |"]),
        (
            DIVERGED,
            [
                "| 1 | 0 | 1 | 2 | 2 | ∞ | ∞ to ∞ | - | - |",
                "| 1: 2 | 0.50 | 0.5 to 0.5 |",
                "| k | 2 | 2 | 2 | ∞ | ∞ |",
            ],
        ),
        # The mean of both infinities is undefined.
        (
            INFINITE,
            [
                "| 1 | 0 | 1 | 3 | 0 | ∞ | 1 to ∞ | ∞ | 1 to ∞ |",
                "| 2 | 1 | 2 | 3 | 1 | - | - | - | - |",
            ],
        ),
    ],
)
def test_summary_of_few_or_no_scores(results, lines):
    text = report(results)
    for line in lines:
        assert f"\n{line}\n" in text
    assert "nan" not in text
    assert ("its score is optimistic" in text) == (len(results.settings) > 1)
    scored = ~np.isnan(ranking.final_scores(results, "fid")[0])
    assert ("is meaningless" in text) == (not scored.any())
    assert ("A single seed has no interval" in text) == (len(results.seed) == 1)
