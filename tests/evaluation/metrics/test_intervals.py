import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import intervals


def test_normal_interval_is_clipped_to_range():
    assert intervals.normal(3.0, 0.5) == pytest.approx((3, 3 - 0.97998, 3 + 0.97998), rel=1e-5)
    assert intervals.normal(0.5, 1.0, lower=0, upper=1) == (0.5, 0, 1)
    assert np.isnan(intervals.normal(3.0, np.nan)[1:]).all()


def test_proportion_by_hand():
    # Wilson: (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4 n^2)) / (1 + z^2 / n)
    score = intervals.proportion(0.2, (0.2 * 0.8 / 50) ** 0.5, 999)
    assert score == pytest.approx((0.2, 0.112438, 0.330370), rel=1e-5)
    assert intervals.proportion(0.2, 2 * (0.2 * 0.8 / 50) ** 0.5, 999).high > score.high


@pytest.mark.parametrize(("value", "error"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.1)])
def test_proportion_at_its_ends_uses_the_sample_size(value, error):
    score = intervals.proportion(value, error, 96)
    far = 1.96**2 / (96 + 1.96**2)
    assert score == pytest.approx((value, abs(value - far), value) if value else (0, 0, far), 1e-3)
    assert score.low <= value <= score.high


def test_proportion_without_error_has_no_interval():
    assert np.isnan(intervals.proportion(0.5, np.nan, 9)[1:]).all()
    assert np.isnan(intervals.proportion(1.0, np.nan, 9)[1:]).all()


def test_parts_are_random_and_of_equal_size():
    split = intervals.parts(7, 3, 300, np.random.default_rng(0))
    counts = [np.bincount(row).tolist() for row in split]
    assert counts == [[3, 2, 2]] * 300
    np.testing.assert_allclose((split == 0).mean(axis=0), 3 / 7, atol=0.1)


def test_split_error_by_hand():
    halves, quarters = [[1.0, 5], [4, 1]], [[0, 4, 0, 4], [1, 1, 1, 1]]
    at_half = (8 + 4.5) / 2
    assert intervals.split_error(halves) == pytest.approx((at_half / 2) ** 0.5)
    at_quarter = (16 / 3 + 0) / 2
    expected = (at_half * min(at_half / at_quarter, 1)) ** 0.5
    assert intervals.split_error(halves, quarters) == pytest.approx(expected)
    expected = (at_half * at_half / (4 * at_quarter)) ** 0.5
    assert intervals.split_error(halves, 2 * np.array(quarters)) == pytest.approx(expected)
    expected = (at_half / 4) ** 0.5
    assert intervals.split_error(halves, 9 * np.array(quarters)) == pytest.approx(expected)
    assert np.isnan(intervals.split_error(np.zeros((0, 2)), np.zeros((0, 4))))
    assert intervals.split_error([[1, 1]], [[1, 1, 1, 1]]) == 0


@pytest.mark.parametrize("quarters", [False, True])
def test_split_error_of_a_mean_is_its_standard_error(quarters):
    x = np.random.default_rng(0).exponential(size=400)
    split = intervals.parts(400, 4, 3000, np.random.default_rng(1))
    by_quarter = np.stack([(split == i) @ x / 100 for i in range(4)], axis=1)
    by_half = by_quarter.reshape(-1, 2, 2).mean(axis=2)
    error = intervals.split_error(by_half, by_quarter if quarters else None)
    assert error == pytest.approx(x.std() / 20, rel=0.04)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(3), r"the x must have shape \(n, d\), not \(3,\)"),
        (np.zeros((3, 0)), r"shape \(n, d\), not \(3, 0\)"),
        (np.zeros((1, 2)), "at least 2 samples, not 1"),
        (np.zeros((3, 3)), "the x must have 2 columns, not 3"),
        ([[1, np.nan], [0, 0]], "the x must be finite"),
        ([[1, np.inf], [0, 0]], "the x must be finite"),
        ([["a", "b"]], "the x must be an array of numbers"),
        ([[1, 2], [3]], "the x must be an array of numbers"),
    ],
)
def test_bad_samples_are_refused(x, message):
    with pytest.raises(InputError, match=message) as error:
        intervals.matrix("the x", x, rows=2, columns=2)
    assert "\n" not in str(error.value)
