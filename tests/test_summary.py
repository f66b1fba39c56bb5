import csv
import io
import itertools
import zipfile

import numpy as np
import pytest
import scipy.stats

from gan_jax import plots, summary
from tests.conftest import picture

NAN, INF = float("nan"), float("inf")
FILES = ("curves.npz", "curves.png", "hyperparameters.png", "ranking.png", "results.csv")
FILES = (*FILES, "samples.png", "summary.md")


def sweep(scores, settings=None, metric="fid", diverged=None) -> summary.Results:
    """Results of settings by seeds whose final scores these are; halfway they are twice as much."""
    scores = np.array(scores, np.float32)
    settings = settings or [{"k": k} for k in range(1, 1 + len(scores))]
    n = scores.size
    curves = np.full((n, 3, 3), NAN, np.float32)
    curves[:, :, 0] = np.arange(3) + np.arange(n)[:, None]  # d_loss, at every step
    curves[:, :, 1] = 0.1
    curves[:, 1:, 2] = scores.reshape(-1, 1) * [2, 1]
    diverged = np.zeros(n, int) if diverged is None else np.ravel(diverged)
    steps = np.array([10, 20, 30])
    curves[(diverged[:, None] > 0) & (steps >= diverged[:, None])] = NAN
    return summary.Results(
        settings=settings,
        setting=np.repeat(np.arange(len(settings)), scores.shape[1]),
        seed=np.tile(np.arange(scores.shape[1]), len(settings)),
        steps=steps,
        names=("d_loss", "g_loss", metric),
        curves=curves,
        diverged=diverged,
        samples=np.arange(n * 3 * 4 * 4).reshape(n, 3, 4, 4, 1).astype(np.uint8),
        params_sha256=[f"{i:064x}" for i in range(n)],
    )


def order(results, metric="fid") -> list[int]:
    return [standing.setting for standing in summary.rank(results, metric)]


def figure_of(monkeypatch, draw, *arguments):
    """The figure that a function makes a PNG of."""
    kept = []
    monkeypatch.setattr(plots, "figure_png", lambda figure: kept.append(figure) or b"")
    draw(*arguments)
    return kept[0]


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the last table of a section of the report, without its header."""
    section = text.split(f"## {heading}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    start = max(i for i, line in enumerate(lines) if line.startswith("| ---"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 1 :]]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11])
def test_the_iqm_is_the_trimmed_mean(n):
    values = np.random.default_rng(n).normal(size=(3, n))
    np.testing.assert_allclose(summary.iqm(values), scipy.stats.trim_mean(values, 0.25, axis=1))


def test_the_iqm_bears_a_quarter_of_infinite_values():
    assert summary.iqm(np.array([INF, 1, 2, 3, 10, -5, 4, INF])) == (2 + 3 + 4 + 10) / 4
    assert summary.iqm(np.array([INF, INF, INF, 1, 2, 3, 4, 5])) == INF
    assert summary.iqm(np.array([1, INF, 3])) == INF
    assert np.isnan(summary.iqm(np.array([INF, -INF])))


def test_an_interval_is_of_the_means_of_redrawn_seeds():
    # Of 0 and 1 a redrawn mean is 0, 1/2 or 1, by 1, 2 and 1 of 4.
    assert summary.bootstrap(np.array([0.0, 1.0]), summary.iqm) == (0.5, 0, 1)
    value, low, high = summary.bootstrap(np.arange(100.0), lambda x: x.mean(axis=-1))
    assert value == 49.5
    error = 1.96 * np.sqrt((100**2 - 1) / 12 / 100)
    np.testing.assert_allclose([low, high], [49.5 - error, 49.5 + error], rtol=0.02)
    one = summary.bootstrap(np.array([3.0]), summary.iqm)
    assert one.value == 3
    assert np.isnan(one[1:]).all()


def test_an_interval_ends_at_infinity_if_too_many_redrawn_seeds_do():
    values = np.array([1.0, 2, 3, 4, 5, 6, INF, INF])
    found = summary.bootstrap(values, summary.iqm)
    assert found.value == 4.5
    assert found.high == INF
    assert 2 < found.low < 4


def test_the_probability_of_improvement_by_hand():
    # 1 beats 2 and 3; 2 ties with 2 and beats 3; 9 beats none: 3.5 of 6.
    found = summary.improvement(np.array([1.0, 2, 9]), np.array([2.0, 3]))
    assert found.value == pytest.approx(3.5 / 6)
    assert 0 <= found.low < found.value < found.high <= 1
    back = summary.improvement(np.array([2.0, 3]), np.array([1.0, 2, 9]))
    assert back.value == pytest.approx(2.5 / 6)
    assert summary.improvement(np.arange(5), np.arange(5, 9)) == (1, 1, 1)
    # Members that diverged tie with one another and lose to any other.
    assert summary.improvement(np.array([1, INF]), np.array([INF, INF])).value == 0.75
    one = summary.improvement(np.array([1.0]), np.array([0.0, 2.0]))
    assert one.value == 0.5
    assert np.isnan(one[1:]).all()


def test_the_interval_of_the_probability_redraws_both_sides():
    # It is 0 if x redraws only 2 and y only 1, by 1 of 16; 1 if x only 0 or y only 3, by 7 of 16.
    x, y = np.array([0.0, 2.0]), np.array([1.0, 3.0])
    found = summary.improvement(x, y)
    assert found == (0.75, 0, 1)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=40), rng.normal(0.5, 1, size=30)
    found = summary.improvement(x, y)
    drawn = [np.mean(rng.choice(x, len(x))[:, None] < rng.choice(y, len(y))) for _ in range(2000)]
    np.testing.assert_allclose(found[1:], np.percentile(drawn, [2.5, 97.5]), atol=0.02)


@pytest.mark.parametrize(("metric", "expected"), [("fid", [1, 0, 2]), ("recall", [2, 0, 1])])
def test_the_better_setting_is_the_first(metric, expected):
    results = sweep([[2, 2], [1, 1], [3, 3]], metric=metric)
    assert order(results, metric) == expected
    assert summary.extremes(results, metric) == {
        "best": 2 * expected[0],
        "median": 2 * expected[1] + 1,
        "worst": 2 * expected[2] + 1,
    }


@pytest.mark.parametrize(("metric", "worst"), [("fid", INF), ("recall", -INF)])
def test_a_member_that_diverged_counts_as_the_worst(metric, worst):
    sign = -1 if metric == "recall" else 1
    scores = sign * np.array([[5, 6, 7, 8], [1, 2, 3, 4], [0, 0, 0, 9], [1, 2, 9, 9]])
    diverged = [[0, 0, 0, 0], [0, 0, 0, 30], [30, 20, 30, 0], [0, 0, 10, 11]]
    results = sweep(scores, metric=metric, diverged=diverged)
    by_setting = {s.setting: s for s in summary.rank(results, metric)}
    # A quarter is borne; of those beyond it the fewer diverged are before.
    assert list(by_setting) == [1, 0, 3, 2]
    assert by_setting[1].lost == 1
    assert by_setting[1].iqm.value == sign * 2.5
    assert by_setting[1].mean.value == sign * 2
    assert by_setting[1].scores.tolist() == [sign, 2 * sign, 3 * sign, worst]
    assert by_setting[3].iqm.value == by_setting[2].iqm.value == worst
    assert by_setting[3].mean.value == sign * 1.5
    assert by_setting[2].mean.value == sign * 9
    assert np.isnan(by_setting[2].mean.low)


def test_a_final_score_is_of_the_last_step_that_survivors_were_measured_at():
    results = sweep([[1, 2], [3, NAN]], diverged=[[0, 30], [0, 0]])
    scores, step = summary.final(results, "fid")
    np.testing.assert_array_equal(scores, [1, NAN, 3, NAN])
    assert step == 30
    results.curves[:, 2, 2] = NAN  # not measured at the end
    scores, step = summary.final(results, "fid")
    np.testing.assert_array_equal(scores, [2, NAN, 6, NAN])
    assert step == 20


def test_what_a_seed_and_a_setting_cost():
    # Variances within: 2, 8, pooled 5 by 2 degrees of freedom; of the means 1 and 12: 60.5.
    within, between = summary.spreads(sweep([[0, 2], [10, 14]]), "fid")
    assert within == pytest.approx(np.sqrt(5))
    assert between == pytest.approx(np.sqrt(60.5 - 5 / 2))
    assert summary.spreads(sweep([[0, 2], [0, 2]]), "fid") == (pytest.approx(np.sqrt(2)), 0)
    within, between = summary.spreads(sweep([[0], [4]]), "fid")
    assert np.isnan(within)
    assert between == pytest.approx(np.sqrt(8))
    # Infinite scores and those of diverged members are left out.
    results = sweep([[0, 2, INF, 7], [10, 14, 7, 7]], diverged=[[0, 0, 0, 30], [0, 0, 30, 20]])
    assert summary.spreads(results, "fid") == pytest.approx((np.sqrt(5), np.sqrt(58)))
    assert np.isnan(summary.spreads(sweep([[INF, INF]]), "fid")).all()


def test_spreads_find_the_components_of_a_simulated_variance():
    rng = np.random.default_rng(0)
    scores = 100 + rng.normal(0, 3, (300, 1)) + rng.normal(0, 2, (300, 3))
    assert summary.spreads(sweep(scores), "fid") == pytest.approx((2, 3), rel=0.1)


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
    text = summary.summary_md(results, "fid", "the command", summary.rank(results, "fid"))
    assert "\n    the command\n" in text
    assert "6 settings of 2 seeds: 12 members, of which 1 diverged" in text
    assert "The score is FID at step 30; lower is better." in text
    text = text.replace("\\|", "/")
    ranked = rows_of(text, "Which setting is best?")
    assert [row[:5] for row in ranked] == [
        ["1", "minimax", "1", "2", "0"],
        ["2", "a/b", "2", "2", "0"],
        ["3", "minimax", "2", "2", "0"],
        ["4", "minimax", "10", "2", "0"],
        ["5", "a/b", "10", "2", "0"],
        ["6", "a/b", "1", "2", "1"],
    ]
    assert ranked[2][5:] == ["6", "5 to 7", "6", "5 to 7"]
    assert ranked[5][5:] == ["∞", "9 to ∞", "9", "-"]
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
    assert f"| loss (between the IQMs of its values) | {10 / np.sqrt(2):.4g} |" in text


def test_a_metric_that_is_best_at_a_value_is_ranked_by_the_distance_to_it():
    results = sweep([[0.5, 0.5], [1.75, 2], [1.25, 0.75]], metric="density")
    standings = summary.rank(results, "density")
    assert [s.setting for s in standings] == [2, 0, 1]
    text = summary.summary_md(results, "density", "", standings)
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
    text = summary.summary_md(results, "recall", "", summary.rank(results, "recall"))
    assert rows_of(text, "Is it better than the next?") == [["2: 1", "1.00", "1 to 1"]]


def test_a_field_of_many_values_is_not_told_one_by_one():
    results = sweep(np.arange(1, 14)[:, None])
    text = summary.summary_md(results, "fid", "", summary.rank(results, "fid"))
    (row,) = rows_of(text, "What does a seed cost, and what a setting?")
    assert row[:2] == ["k", "13 values, see hyperparameters.png"]
    assert "has no interval" in text


def test_the_curves_are_medians_and_quartiles_of_the_best(monkeypatch):
    results = sweep([[9, 9, 9], [1, 2, 4], [5, 5, 5]])
    arguments = results, "fid", summary.rank(results, "fid")
    (axes,) = figure_of(monkeypatch, summary.curves_png, *arguments).axes
    assert [line.get_label()[:1] for line in axes.lines] == ["2", "3", "1"]
    assert axes.lines[0].get_xydata().tolist() == [[20, 4], [30, 2]]
    band = axes.collections[0].get_paths()[0].vertices
    assert {(30, 1.5), (30, 3)} <= set(map(tuple, band.tolist()))
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 3


def test_the_losses_stand_in_for_a_metric_measured_once(monkeypatch):
    results = sweep([[1, 2]])
    results.curves[:, 1, 2] = NAN
    arguments = results, "fid", summary.rank(results, "fid")
    upper, lower = figure_of(monkeypatch, summary.curves_png, *arguments).axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("d_loss (nats)", "g_loss (nats)")
    assert upper.lines[0].get_xydata().tolist() == [[10, 0.5], [20, 1.5], [30, 2.5]]


@pytest.mark.parametrize(("metric", "edge"), [("fid", 0.98), ("recall", 0.02), ("density", 0.98)])
def test_a_panel_a_field_and_every_member_a_dot(metric, edge, monkeypatch):
    settings = [{"r": 1e-4, "widths": (8,)}, {"r": 1e-2, "widths": [9]}, {"r": 1e-3, "widths": []}]
    results = sweep([[1, 2], [3, 4], [5, 6]], settings, metric, [[0, 0], [0, 0], [30, 0]])
    rates, widths = figure_of(monkeypatch, summary.hyperparameters_png, results, metric).axes[:2]
    assert (rates.get_xlabel(), widths.get_xlabel()) == ("r", "widths")
    assert (rates.get_xscale(), widths.get_xscale()) == ("log", "linear")
    for axes in (rates, widths):
        dots, lost, middles = axes.lines
        assert dots.get_ydata().tolist() == [1, 2, 3, 4, 6]
        assert lost.get_ydata().tolist() == [edge]
        assert np.nanmin(middles.get_ydata()) == 1.5
    dots, lost, middles = rates.lines
    np.testing.assert_allclose(middles.get_xdata(), [1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(np.log10(dots.get_xdata()), [-4, -4, -2, -2, -3], atol=0.21)
    assert [text.get_text() for text in widths.get_xticklabels()] == ["(8,)", "(9,)", "()"]


def test_the_ranking_is_best_first_and_its_infinite_ends_are_at_the_edge(monkeypatch):
    results = sweep([[5, 7], [1, 3], [1, 2]], diverged=[[0, 0], [0, 0], [30, 0]])
    arguments = results, "fid", summary.rank(results, "fid")
    (axes,) = figure_of(monkeypatch, summary.ranking_png, *arguments).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["2", "1", "3 (1/2 no score)"]
    *_, middles, infinite = axes.lines
    assert middles.get_xydata().tolist() == [[2, 0], [6, 1]]
    edge = axes.get_xlim()[1]
    assert infinite.get_xydata().tolist() == [[edge, 2]]
    ends = [path.vertices[:, 0].tolist() for path in axes.collections[0].get_paths()]
    assert ends == [[1, 3], [5, 7], [2, edge]]
    many = sweep(np.arange(40.0)[:, None])
    arguments = many, "fid", summary.rank(many, "fid")
    figure = figure_of(monkeypatch, summary.ranking_png, *arguments)
    assert len(figure.axes[0].get_yticklabels()) == 30
    assert "the best 30 of 40" in figure.get_suptitle()


def test_samples_of_the_best_the_median_and_the_worst(monkeypatch):
    results = sweep([[5, 1, 9, 2, 3]], [{}], diverged=[[0, 0, 30, 0, 0]])
    axes = figure_of(monkeypatch, summary.samples_png, results, "fid").axes
    titles = [x.get_title("left").splitlines()[0] for x in axes]
    assert titles == ["best: member 1, 1", "median: member 4, 3", "worst: member 0, 5"]
    for panel, i in zip(axes, (1, 4, 0), strict=True):
        expected = np.asarray(plots.image_grid(results.samples[i], 2, 2))
        np.testing.assert_array_equal(panel.images[0].get_array(), expected)


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
    summary.write(tmp_path, CASES[case], "fid", "python -m gan_jax.sweep")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)
    for name in FILES:
        if name.endswith(".png"):
            assert picture(tmp_path / name).size > (100, 100)
    text = (tmp_path / "summary.md").read_text()
    assert {name for name in FILES if f"({name})" in text} == set(FILES) - {"summary.md"}


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        (sweep([[1, 2]], [{}]), ["| 1 | 2 | 0 | 1.5 | 1 to 2 | 1.5 | 1 to 2 |"]),
        (sweep([[1]], [{}]), ["| 1 | 1 | 0 | 1 | - | 1 | - |", "There is only one setting."]),
        (sweep([[NAN, 1]], [{}]), ["| 1 | 2 | 1 | ∞ | 1 to ∞ | 1 | - |"]),
        (sweep([[NAN, NAN]], [{}]), ["| 1 | 2 | 2 | ∞ | ∞ to ∞ | - | - |"]),
        (sweep([[INF, 1]], [{}]), ["| 1 | 2 | 0 | ∞ | 1 to ∞ | ∞ | 1 to ∞ |"]),
        (DIVERGED, ["| 1 | 1 | 2 | 2 | ∞ | ∞ to ∞ | - | - |", "| 2: 2 | 0.50 | 0.5 to 0.5 |"]),
        # The mean of both infinities is none.
        (
            INFINITE,
            ["| 1 | 1 | 3 | 0 | ∞ | 1 to ∞ | ∞ | 1 to ∞ |", "| 2 | 2 | 3 | 1 | - | - | - | - |"],
        ),
    ],
)
def test_what_the_report_says_where_there_is_little_to_say(results, lines):
    text = summary.summary_md(results, "fid", "command", summary.rank(results, "fid"))
    for line in lines:
        assert f"\n{line}\n" in text
    assert "nan" not in text
    scored = ~np.isnan(summary.final(results, "fid")[0])
    assert ("means nothing" in text) == (not scored.any())
    assert ("A setting of one seed has no interval" in text) == (len(results.seed) == 1)


def test_the_same_results_give_the_same_bytes(tmp_path):
    results = sweep([[1, 2], [3, 4]], diverged=[[0, 0], [0, 30]])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        summary.write(tmp_path / name, results, "fid", "command")
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
