"""Tests of gan_jax.metrics.bootstrap: intervals by hand, and how often they cover the truth."""

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.metrics import bootstrap


def test_an_interval_is_the_spread_of_the_replicates_around_the_value_whatever_their_bias():
    replicates = np.arange(41) + 1000.0  # mean 1020; 2.5 % of 40 steps is one step from the end
    assert bootstrap.interval(3.0, replicates) == (3.0, 3.0 - 19, 3.0 + 19)


def test_means_are_those_of_samples_drawn_with_replacement():
    one, many = np.array([0.0, 1.0, 5.0]), np.array([[0.0, 1], [1, 1], [5, 1]])
    means = bootstrap.means(many, seed=1, resamples=4000)
    assert means.shape == (4000, 2)
    np.testing.assert_allclose(means[:, 1], 1)  # every draw has n samples
    np.testing.assert_array_equal(means[:, 0], bootstrap.means(one, seed=1, resamples=4000))
    np.testing.assert_allclose(means[:, 0].mean(), 2, atol=0.1)  # 5 standard errors
    np.testing.assert_allclose(means[:, 0].var(), one.var() / 3, rtol=0.1)
    assert not np.array_equal(means, bootstrap.means(many, seed=2, resamples=4000))


def test_the_interval_of_a_mean_covers_the_truth_in_about_95_of_100_experiments():
    rng = np.random.default_rng(0)
    scores = [bootstrap.mean(rng.exponential(size=100), seed, 300) for seed in range(300)]
    covered = np.mean([s.low <= 1 <= s.high for s in scores])
    assert 0.89 < covered < 0.98  # skewed values cover a little less than 95 %
    assert all(s.low < s.value < s.high for s in scores)


def test_the_mean_of_equal_values_is_certain():
    assert bootstrap.mean(jnp.ones(7), seed=0) == (1, 1, 1)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(3), r"the x must have the shape \(n, d\), not \(3,\)"),
        (np.zeros((3, 0)), r"shape \(n, d\), not \(3, 0\)"),
        (np.zeros((1, 2)), "at least 2 samples, not 1"),
        (np.zeros((3, 3)), "the x must have 2 columns, not 3"),
        ([[1, np.nan], [0, 0]], "the x must be finite"),
        ([[1, np.inf], [0, 0]], "the x must be finite"),
        ([["a", "b"]], "the x must be an array of numbers"),
        ([[1, 2], [3]], "the x must be an array of numbers"),
    ],
)
def test_bad_samples_are_one_clear_line(x, message):
    with pytest.raises(InputError, match=message) as error:
        bootstrap.matrix("the x", x, rows=2, columns=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [[], [[1.0]], [1.0, np.nan]])
def test_the_mean_of_bad_values_is_an_error(values):
    with pytest.raises(InputError, match="values"):
        bootstrap.mean(values, seed=0)
