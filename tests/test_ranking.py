import numpy as np
import pytest
import scipy.stats

from gan_jax.sweeps import ranking
from tests.conftest import sweep

NAN, INF = float("nan"), float("inf")


def order(results, metric="fid") -> list[int]:
    return [standing.setting for standing in ranking.rank(results, metric)]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11])
def test_the_iqm_is_the_trimmed_mean(n):
    values = np.random.default_rng(n).normal(size=(3, n))
    np.testing.assert_allclose(ranking.iqm(values), scipy.stats.trim_mean(values, 0.25, axis=1))


def test_the_iqm_bears_a_quarter_of_infinite_values():
    assert ranking.iqm(np.array([INF, 1, 2, 3, 10, -5, 4, INF])) == (2 + 3 + 4 + 10) / 4
    assert ranking.iqm(np.array([INF, INF, INF, 1, 2, 3, 4, 5])) == INF
    assert ranking.iqm(np.array([1, INF, 3])) == INF
    assert np.isnan(ranking.iqm(np.array([INF, -INF])))


def test_an_interval_is_of_the_means_of_redrawn_seeds():
    # Of 0 and 1 a redrawn mean is 0, 1/2 or 1, by 1, 2 and 1 of 4.
    assert ranking.bootstrap(np.array([0.0, 1.0]), ranking.iqm) == (0.5, 0, 1)
    value, low, high = ranking.bootstrap(np.arange(100.0), lambda x: x.mean(axis=-1))
    assert value == 49.5
    error = 1.96 * np.sqrt((100**2 - 1) / 12 / 100)
    np.testing.assert_allclose([low, high], [49.5 - error, 49.5 + error], rtol=0.02)
    one = ranking.bootstrap(np.array([3.0]), ranking.iqm)
    assert one.value == 3
    assert np.isnan(one[1:]).all()


def test_an_interval_ends_at_infinity_if_too_many_redrawn_seeds_do():
    values = np.array([1.0, 2, 3, 4, 5, 6, INF, INF])
    found = ranking.bootstrap(values, ranking.iqm)
    assert found.value == 4.5
    assert found.high == INF
    assert 2 < found.low < 4


def test_the_probability_of_improvement_by_hand():
    # 1 beats 2 and 3; 2 ties with 2 and beats 3; 9 beats none: 3.5 of 6.
    found = ranking.improvement(np.array([1.0, 2, 9]), np.array([2.0, 3]))
    assert found.value == pytest.approx(3.5 / 6)
    assert 0 <= found.low < found.value < found.high <= 1
    back = ranking.improvement(np.array([2.0, 3]), np.array([1.0, 2, 9]))
    assert back.value == pytest.approx(2.5 / 6)
    assert ranking.improvement(np.arange(5), np.arange(5, 9)) == (1, 1, 1)
    # Members that diverged tie with one another and lose to any other.
    assert ranking.improvement(np.array([1, INF]), np.array([INF, INF])).value == 0.75
    one = ranking.improvement(np.array([1.0]), np.array([0.0, 2.0]))
    assert one.value == 0.5
    assert np.isnan(one[1:]).all()


def test_the_interval_of_the_probability_redraws_both_sides():
    # It is 0 if x redraws only 2 and y only 1, by 1 of 16; 1 if x only 0 or y only 3, by 7 of 16.
    x, y = np.array([0.0, 2.0]), np.array([1.0, 3.0])
    found = ranking.improvement(x, y)
    assert found == (0.75, 0, 1)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=40), rng.normal(0.5, 1, size=30)
    found = ranking.improvement(x, y)
    drawn = [np.mean(rng.choice(x, len(x))[:, None] < rng.choice(y, len(y))) for _ in range(2000)]
    np.testing.assert_allclose(found[1:], np.percentile(drawn, [2.5, 97.5]), atol=0.02)


@pytest.mark.parametrize(("metric", "expected"), [("fid", [1, 0, 2]), ("recall", [2, 0, 1])])
def test_the_better_setting_is_the_first(metric, expected):
    results = sweep([[2, 2], [1, 1], [3, 3]], metric=metric)
    assert order(results, metric) == expected
    assert ranking.extremes(results, metric) == {
        "best": 2 * expected[0],
        "median": 2 * expected[1] + 1,
        "worst": 2 * expected[2] + 1,
    }


def test_seeds_on_both_sides_of_the_best_value_do_not_cancel():
    # Density is best at 1: {0, 2} have a mean of 1, and each is worse than 0.9.
    assert order(sweep([[0, 2], [0.9, 0.9]], metric="density"), "density") == [1, 0]


@pytest.mark.parametrize(("metric", "worst"), [("fid", INF), ("recall", -INF)])
def test_a_member_that_diverged_counts_as_the_worst(metric, worst):
    sign = -1 if metric == "recall" else 1
    scores = sign * np.array([[5, 6, 7, 8], [1, 2, 3, 4], [0, 0, 0, 9], [1, 2, 9, 9]])
    diverged = [[0, 0, 0, 0], [0, 0, 0, 30], [30, 20, 30, 0], [0, 0, 10, 11]]
    results = sweep(scores, metric=metric, diverged=diverged)
    by_setting = {s.setting: s for s in ranking.rank(results, metric)}
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
    scores, step = ranking.final(results, "fid")
    np.testing.assert_array_equal(scores, [1, NAN, 3, NAN])
    assert step == [30]
    results.curves[:, 2, 2] = NAN  # not measured at the end
    scores, step = ranking.final(results, "fid")
    np.testing.assert_array_equal(scores, [2, NAN, 6, NAN])
    assert step == [20]


def test_a_shorter_setting_has_its_score_where_it_ends():
    results = sweep([[1, 2], [3, 4]], [{"num_steps": 30}, {"num_steps": 20}])
    results.curves[2:, 2] = NAN
    scores, steps = ranking.final(results, "fid")
    np.testing.assert_array_equal(scores, [1, 2, 6, 8])
    assert steps == [20, 30]


def test_what_a_seed_and_a_setting_cost():
    # Variances within: 2, 8, pooled 5 by 2 degrees of freedom; of the means 1 and 12: 60.5.
    within, between = ranking.spreads(sweep([[0, 2], [10, 14]]), "fid")
    assert within == pytest.approx(np.sqrt(5))
    assert between == pytest.approx(np.sqrt(60.5 - 5 / 2))
    assert ranking.spreads(sweep([[0, 2], [0, 2]]), "fid") == (pytest.approx(np.sqrt(2)), 0)
    within, between = ranking.spreads(sweep([[0], [4]]), "fid")
    assert np.isnan(within)
    assert between == pytest.approx(np.sqrt(8))
    # Infinite scores and those of diverged members are left out.
    results = sweep([[0, 2, INF, 7], [10, 14, 7, 7]], diverged=[[0, 0, 0, 30], [0, 0, 30, 20]])
    assert ranking.spreads(results, "fid") == pytest.approx((np.sqrt(5), np.sqrt(58)))
    assert np.isnan(ranking.spreads(sweep([[INF, INF]]), "fid")).all()


def test_spreads_find_the_components_of_a_simulated_variance():
    rng = np.random.default_rng(0)
    scores = 100 + rng.normal(0, 3, (300, 1)) + rng.normal(0, 2, (300, 3))
    assert ranking.spreads(sweep(scores), "fid") == pytest.approx((2, 3), rel=0.1)


def test_settings_are_named_by_their_values_in_the_order_of_the_first():
    settings = [{"loss": "minimax", "r": 0.1 + 0.2, "widths": [8, 4]}]
    settings += [{"r": 1e-3, "widths": (8, 4), "loss": "non_saturating"}]
    results = sweep([[1, 2], [3, 4]], settings)
    assert ranking.fields(results) == ["loss", "r", "widths"]
    assert ranking.setting_name(results, 0) == "minimax, 0.3, (8, 4)"
    assert ranking.setting_name(results, 1) == "non_saturating, 0.001, (8, 4)"
    assert ranking.setting_name(sweep([[1]], [{}]), 0) == "the only setting"
    values, own = ranking.field_values(results, "r")
    assert list(values.items()) == [("0.001", 1e-3), (str(0.1 + 0.2), 0.1 + 0.2)]
    assert own.tolist() == [str(0.1 + 0.2)] * 2 + ["0.001"] * 2
    values, own = ranking.field_values(results, "widths")
    assert (list(values), own.tolist()) == (["(8, 4)"], ["(8, 4)"] * 4)


def test_numbers_are_read_to_four_digits():
    numbers = [1234.56, 2, 0.00012345, NAN, INF, -INF]
    assert [ranking.number(x) for x in numbers] == ["1235", "2", "0.0001234", "-", "∞", "-∞"]
