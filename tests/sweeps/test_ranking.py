import numpy as np
import pytest
import scipy.stats

from gan_jax.sweeps import ranking
from tests.sweeps.conftest import make_results

NAN, INF = float("nan"), float("inf")


def order(results, metric="fid") -> list[int]:
    return [standing.setting for standing in ranking.rank(results, metric)]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11])
def test_iqm_is_the_trimmed_mean(n):
    values = np.random.default_rng(n).normal(size=(3, n))
    np.testing.assert_allclose(ranking.iqm(values), scipy.stats.trim_mean(values, 0.25, axis=1))


def test_iqm_of_infinite_values():
    assert ranking.iqm(np.array([INF, 1, 2, 3, 10, -5, 4, INF])) == (2 + 3 + 4 + 10) / 4
    assert ranking.iqm(np.array([INF, INF, INF, 1, 2, 3, 4, 5])) == INF
    assert ranking.iqm(np.array([1, INF, 3])) == INF
    assert np.isnan(ranking.iqm(np.array([INF, -INF])))


def test_bootstrap_interval():
    # A resample of {0, 1} has mean 0, 1/2 or 1 with probability 1/4, 1/2 and 1/4.
    assert ranking.bootstrap(np.array([0.0, 1.0]), ranking.iqm) == (0.5, 0, 1)
    value, low, high = ranking.bootstrap(np.arange(100.0), lambda x: x.mean(axis=-1))
    assert value == 49.5
    error = 1.96 * np.sqrt((100**2 - 1) / 12 / 100)
    np.testing.assert_allclose([low, high], [49.5 - error, 49.5 + error], rtol=0.02)
    single = ranking.bootstrap(np.array([3.0]), ranking.iqm)
    assert single.value == 3
    assert np.isnan(single[1:]).all()


def test_bootstrap_interval_may_end_at_infinity():
    values = np.array([1.0, 2, 3, 4, 5, 6, INF, INF])
    found = ranking.bootstrap(values, ranking.iqm)
    assert found.value == 4.5
    assert found.high == INF
    assert 2 < found.low < 4


def test_probability_of_improvement_by_hand():
    # 1 beats 2 and 3; 2 ties with 2 and beats 3; 9 beats none: 3.5 of 6.
    improvement = ranking.probability_of_improvement
    found = improvement(np.array([1.0, 2, 9]), np.array([2.0, 3]))
    assert found.value == pytest.approx(3.5 / 6)
    assert 0 <= found.low < found.value < found.high <= 1
    assert improvement(np.arange(5), np.arange(5, 9)) == (1, 1, 1)
    assert improvement(np.array([1, INF]), np.array([INF, INF])).value == 0.75
    single = improvement(np.array([1.0]), np.array([0.0, 2.0]))
    assert single.value == 0.5
    assert np.isnan(single[1:]).all()


def test_improvement_resamples_both_sides():
    # 0 if x draws only 2 and y only 1 (1 of 16); 1 if x draws only 0 or y only 3 (7 of 16).
    x, y = np.array([0.0, 2.0]), np.array([1.0, 3.0])
    assert ranking.probability_of_improvement(x, y) == (0.75, 0, 1)


@pytest.mark.parametrize(("metric", "expected"), [("fid", [1, 0, 2]), ("recall", [2, 0, 1])])
def test_better_settings_come_first(metric, expected):
    results = make_results([[2, 2], [1, 1], [3, 3]], metric=metric)
    assert order(results, metric) == expected
    assert ranking.extremes(results, metric) == {
        "best": 2 * expected[0],
        "median": 2 * expected[1] + 1,
        "worst": 2 * expected[2] + 1,
    }


def test_extremes_are_distinct():
    assert ranking.extremes(make_results([[2, 1]]), "fid") == {"best": 1, "worst": 0}
    assert ranking.extremes(make_results([[NAN, 1]]), "fid") == {"best": 1}
    assert ranking.extremes(make_results([[NAN, NAN]]), "fid") == {"first": 0}


def test_ranked_by_distance_to_a_target_value():
    # The target of density is 1: {0, 2} has mean 1, but each seed is worse than 0.9.
    results = make_results([[0, 2], [0.9, 0.9]], metric="density")
    assert order(results, "density") == [1, 0]


@pytest.mark.parametrize(("metric", "worst"), [("fid", INF), ("recall", -INF)])
def test_diverged_members_count_as_the_worst(metric, worst):
    sign = -1 if metric == "recall" else 1
    scores = sign * np.array([[5, 6, 7, 8], [1, 2, 3, 4], [0, 0, 0, 9], [1, 2, 9, 9]])
    diverged = [[0, 0, 0, 0], [0, 0, 0, 30], [30, 20, 30, 0], [0, 0, 10, 11]]
    results = make_results(scores, metric=metric, diverged=diverged)
    by_setting = {s.setting: s for s in ranking.rank(results, metric)}
    assert by_setting[1].unscored == 1
    assert by_setting[1].iqm.value == sign * 2.5
    assert by_setting[1].mean.value == sign * 2
    assert by_setting[1].scores.tolist() == [sign, 2 * sign, 3 * sign, worst]
    assert by_setting[3].iqm.value == by_setting[2].iqm.value == worst
    assert by_setting[3].mean.value == sign * 1.5
    assert by_setting[2].mean.value == sign * 9
    assert np.isnan(by_setting[2].mean.low)


@pytest.mark.parametrize(
    "best_first",
    [
        # Fewer than a quarter unscored: the IQM decides.
        [[1, 1, 1, NAN], [5, 5, 5, 5]],
        [[5, 5, 5, 5], [1, 9, 9, NAN]],
        # Equal or infinite IQMs: fewer unscored seeds precede a better mean.
        [[1, 5, 5, 9], [1, 5, 5, NAN]],
        [[99, 99, 99, 99], [NAN, NAN, 9, 9], [NAN, NAN, NAN, 1], [NAN, NAN, NAN, NAN]],
        # Equally many: the better mean.
        [[NAN, NAN, 8, 9], [NAN, NAN, 9, 9]],
        # Undefined IQMs and means are last.
        [[9, 9], [INF, -INF]],
        [[NAN, 9, 9], [NAN, INF, -INF]],
    ],
)
def test_rank_by_iqm_then_unscored_then_mean(best_first):
    expected = list(range(len(best_first)))
    for metric, scores in (("fid", np.array(best_first)), ("recall", -np.array(best_first))):
        assert order(make_results(scores, metric=metric), metric) == expected
        assert order(make_results(scores[::-1], metric=metric), metric) == expected[::-1]


def test_final_scores_are_from_the_last_evaluation():
    results = make_results([[1, 2], [3, NAN]], diverged=[[0, 30], [0, 0]])
    scores, steps = ranking.final_scores(results, "fid")
    np.testing.assert_array_equal(scores, [1, NAN, 3, NAN])
    assert steps == [30]
    results.curves[:, 2, 2] = NAN  # not evaluated at the end
    scores, steps = ranking.final_scores(results, "fid")
    np.testing.assert_array_equal(scores, [2, NAN, 6, NAN])
    assert steps == [20]


def test_final_scores_where_num_steps_is_swept():
    results = make_results([[1, 2], [3, 4]], [{"num_steps": 30}, {"num_steps": 20}])
    results.curves[2:, 2] = NAN
    scores, steps = ranking.final_scores(results, "fid")
    np.testing.assert_array_equal(scores, [1, 2, 6, 8])
    assert steps == [20, 30]


@pytest.mark.parametrize(
    ("scores", "seed", "setting"),
    [
        # Within-setting variances 2 and 8, pooled 5; of the means 1 and 12: 60.5.
        ([[0, 2], [10, 14]], 5, 60.5 - 5 / 2),
        ([[0, 2], [0, 2]], 2, 0),
        ([[0], [4]], NAN, 8),
        # Unequal groups: squares 8 + 8 over 2 + 1 degrees of freedom; means 2 and 12.
        ([[0, 2, 4], [10, 14, NAN]], 16 / 3, 50 - 16 / 3 * (1 / 3 + 1 / 2) / 2),
        ([[0, 2, INF, NAN], [10, 14, NAN, NAN]], 5, 58),
        ([[0, 2], [INF, NAN]], 2, NAN),
        ([[INF, INF]], NAN, NAN),
    ],
)
def test_variance_components_by_hand(scores, seed, setting):
    found = ranking.variance_components(make_results(scores), "fid")
    np.testing.assert_allclose(found, np.sqrt([seed, setting]))


def test_setting_names():
    settings = [{"loss": "minimax", "r": 0.1 + 0.2, "widths": [8, 4]}]
    settings += [{"r": 1e-3, "widths": (8, 4), "loss": "non_saturating"}]
    results = make_results([[1, 2], [3, 4]], settings)
    assert ranking.fields(results) == ["loss", "r", "widths"]
    assert ranking.setting_name(results, 0) == "minimax, 0.3, (8, 4)"
    assert ranking.setting_name(results, 1) == "non_saturating, 0.001, (8, 4)"
    assert ranking.setting_name(make_results([[1]], [{}]), 0) == "the only setting"
    values, texts = ranking.field_values(results, "r")
    assert list(values.items()) == [("0.001", 1e-3), (str(0.1 + 0.2), 0.1 + 0.2)]
    assert texts.tolist() == [str(0.1 + 0.2)] * 2 + ["0.001"] * 2
    values, texts = ranking.field_values(results, "widths")
    assert (list(values), texts.tolist()) == (["(8, 4)"], ["(8, 4)"] * 4)


def test_format_number():
    numbers = [1234.56, 2, 0.00012345, NAN, INF, -INF]
    assert [ranking.format_number(x) for x in numbers] == ["1235", "2", "0.0001234", "-", "∞", "-∞"]
