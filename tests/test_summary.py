import csv
import io
import itertools
import zipfile

import numpy as np
import pytest

from gan_jax.sweeps import ranking, summary
from tests.conftest import picture, sweep

NAN, INF = float("nan"), float("inf")
FILES = ("curves.npz", "curves.png", "hyperparameters.png", "ranking.png", "results.csv")
FILES = (*FILES, "samples.png", "summary.md")


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the last table of a section of the report, without its header."""
    section = text.split(f"## {heading}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    start = max(i for i, line in enumerate(lines) if line.startswith("| ---"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 1 :]]


def test_the_table_of_members_has_what_went_in():
    settings = [
        {"loss": "minimax", "generator.widths": (8, 4), "d_optimizer.learning_rate": 1e-3},
        {"d_optimizer.learning_rate": 0.1 + 0.2, "generator.widths": [16], "loss": 'a "b", c'},
    ]
    results = sweep([[0.1, 5], [INF, 7]], settings, diverged=[[0, 20], [0, 10]])
    first, second, third, fourth = csv.DictReader(io.StringIO(summary.results_csv(results)))
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
    ("metric", "best", "step"), [("fid", "1.5", "30"), ("recall", "3.0", "20")]
)
def test_the_best_of_a_member_is_over_all_steps(metric, best, step):
    (row,) = csv.DictReader(io.StringIO(summary.results_csv(sweep([[1.5]], metric=metric))))
    assert row[f"final_{metric}"] == "1.5"
    assert (row[f"best_{metric}"], row[f"best_step_{metric}"]) == (best, step)


def test_the_curves_read_back():
    results = sweep([[1, 2]], diverged=[[0, 20]])
    read = np.load(io.BytesIO(summary.curves_npz(results)))
    assert read["names"].tolist() == ["d_loss", "g_loss", "fid"]
    for name in ("steps", "curves", "diverged"):
        np.testing.assert_array_equal(read[name], getattr(results, name))
    with zipfile.ZipFile(io.BytesIO(summary.curves_npz(results))) as archive:
        assert {file.date_time for file in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_report_ranks_compares_and_averages():
    settings = [{"loss": a, "k": k} for a, k in itertools.product(("minimax", "a|b"), (2, 10, 1))]
    scores = [[5, 7], [6, 8], [1, 3], [2, 2], [20, 30], [9, 9]]
    diverged = [[0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [20, 0]]
    results = sweep(scores, settings, diverged=diverged)
    text = summary.summary_md(results, "fid", "the command", "", ranking.rank(results, "fid"))
    assert "\n    the command\n" in text
    assert "6 settings of 2 seeds: 12 members, of which 1 diverged" in text
    assert "The score is FID at step 30; lower is better." in text
    text = text.replace("\\|", "/")
    ranked = rows_of(text, "Which setting is best?")
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
    compared = rows_of(text, "Is it better than the next?")
    assert [row[:2] for row in compared] == [
        ["2: a/b, 2", "0.50"],
        *(["3: minimax, 2", "1.00"], ["4: minimax, 10", "1.00"]),
        *(["5: a/b, 10", "1.00"], ["6: a/b, 1", "1.00"]),
    ]
    assert compared[0][2] == "0 to 1"
    # Of 6 members the quarter is 1 at either end, of 4 also.
    assert rows_of(text, "What does a seed cost, and what a setting?") == [
        ["loss", "minimax", "6", "0", "5.25", "2"],
        ["loss", "a/b", "6", "1", "15.25", "2"],
        ["k", "1", "4", "1", "6", "2"],
        ["k", "2", "4", "0", "3.5", "2"],
        ["k", "10", "4", "0", "14", "7"],
    ]
    what = "loss (between the IQMs of its values, the seeds' share included)"
    assert f"| {what} | {10 / np.sqrt(2):.4g} |" in text


def test_a_metric_that_is_best_at_a_value_is_ranked_by_the_distance_to_it():
    results = sweep([[0.5, 0.5], [1.75, 2], [1.25, 0.75]], metric="density")
    standings = ranking.rank(results, "density")
    assert [s.setting for s in standings] == [2, 0, 1]
    text = summary.summary_md(results, "density", "", "", standings)
    found = rows_of(text, "Is it better than the next?")
    assert [row[1] for row in found] == ["1.00", "1.00"]
    row = next(csv.DictReader(io.StringIO(summary.results_csv(results))))
    assert (row["final_density"], row["best_density"], row["best_step_density"]) == (
        "0.5",
        "1.0",
        "20",
    )


def test_the_probability_in_the_report_heeds_which_way_is_better():
    results = sweep([[1, 2], [3, 4]], metric="recall")
    text = summary.summary_md(results, "recall", "", "", ranking.rank(results, "recall"))
    assert rows_of(text, "Is it better than the next?") == [["2: 1", "1.00", "1 to 1"]]


def test_a_field_of_many_values_is_not_told_one_by_one():
    results = sweep(np.arange(1, 14)[:, None])
    text = summary.summary_md(results, "fid", "", "", ranking.rank(results, "fid"))
    (row,) = rows_of(text, "What does a seed cost, and what a setting?")
    assert row[:2] == ["k", "13 values, see hyperparameters.png"]
    assert "has no interval" in text


INFINITE = sweep([[INF, 1, 2], [NAN, -INF, INF]])
DIVERGED = sweep([[1, 2], [3, 4]], diverged=[[10, 20], [20, 30]])
CASES = {
    "one member, no swept field": sweep([[1]], [{}]),
    "one seed, points": sweep([[1], [2]])._replace(samples=np.full((2, 4, 2), [[0.5, NAN]])),
    "all diverged": DIVERGED,
    "some infinite or NaN": INFINITE,
}


@pytest.mark.parametrize("case", CASES)
def test_every_file_is_there_and_opens(case, tmp_path):
    summary.write(tmp_path, CASES[case], "fid", "python -m gan_jax.sweep", "")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)
    for name in FILES:
        if name.endswith(".png"):
            assert picture(tmp_path / name).size > (100, 100)
    text = (tmp_path / "summary.md").read_text()
    assert {name for name in FILES if f"({name})" in text} == set(FILES) - {"summary.md"}


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        (sweep([[1, 2]], [{}]), ["| 1 | 0 | 2 | 0 | 1.5 | 1 to 2 | 1.5 | 1 to 2 |"]),
        (sweep([[1]], [{}]), ["| 1 | 0 | 1 | 0 | 1 | - | 1 | - |", "There is only one setting."]),
        (sweep([[NAN, 1]], [{}]), ["| 1 | 0 | 2 | 1 | ∞ | 1 to ∞ | 1 | - |"]),
        (sweep([[NAN, NAN]], [{}]), ["| 1 | 0 | 2 | 2 | ∞ | ∞ to ∞ | - | - |"]),
        (sweep([[INF, 1]], [{}]), ["| 1 | 0 | 2 | 0 | ∞ | 1 to ∞ | ∞ | 1 to ∞ |"]),
        (DIVERGED, ["| 1 | 0 | 1 | 2 | 2 | ∞ | ∞ to ∞ | - | - |", "| 2: 2 | 0.50 | 0.5 to 0.5 |"]),
        # The mean of both infinities is none.
        (
            INFINITE,
            [
                "| 1 | 0 | 1 | 3 | 0 | ∞ | 1 to ∞ | ∞ | 1 to ∞ |",
                "| 2 | 1 | 2 | 3 | 1 | - | - | - | - |",
            ],
        ),
    ],
)
def test_what_the_report_says_where_there_is_little_to_say(results, lines):
    text = summary.summary_md(results, "fid", "command", "", ranking.rank(results, "fid"))
    for line in lines:
        assert f"\n{line}\n" in text
    assert "nan" not in text
    scored = ~np.isnan(ranking.final(results, "fid")[0])
    assert ("means nothing" in text) == (not scored.any())
    assert ("A setting of one seed has no interval" in text) == (len(results.seed) == 1)


def test_the_same_results_give_the_same_bytes(tmp_path):
    results = sweep([[1, 2], [3, 4]], diverged=[[0, 0], [0, 30]])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        summary.write(tmp_path / name, results, "fid", "command", "")
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
