import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import retrieval


def test_average_precision_by_hand():
    # Ranked: yes, no, yes, no -> (1 + 2/3) / 2; no, yes, no, no -> 1/2; the tie by position.
    distances = [[0.1, 0.4, 0.2, 0.3], [1.0, 1.0, 2.0, 3.0]]
    relevant = [[1, 0, 0, 1], [0, 1, 0, 0]]
    found = retrieval.average_precision(distances, relevant)
    np.testing.assert_allclose(found, [(1 + 2 / 3) / 2, 1 / 2])
    np.testing.assert_array_equal(retrieval.average_precision([[3.0, 1, 2]], [[0, 1, 1]]), [1])


def test_bullseye_by_hand():
    # Two relevant, so the four nearest count: one of them and both; one relevant: the two nearest.
    distances = [[0.0, 1, 2, 3, 4, 5]] * 3
    relevant = [[1, 0, 0, 0, 0, 1], [1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0]]
    np.testing.assert_array_equal(retrieval.bullseye(distances, relevant), [0.5, 1, 0])


def test_intervals_over_queries():
    values = np.array([0.2, 0.4, 0.4, 0.6])
    error = 1.959964 * np.std(values, ddof=1) / 2
    np.testing.assert_allclose(retrieval.mean(values), [0.4, 0.4 - error, 0.4 + error])
    assert retrieval.mean(np.array([0.0, 0.0, 0.3])).low == 0
    assert retrieval.mean(np.array([0.0, 0.0, -0.3]), lower=-1).low < -0.1


@pytest.mark.parametrize(
    ("distances", "relevant", "words"),
    [
        ([[1.0, 2.0]], [[1, 0, 1]], "relevant must be"),
        ([[1.0, 2.0]], [[0, 0]], "no relevant example"),
        ([[1.0, np.nan]], [[1, 0]], "distances must be finite"),
    ],
)
def test_refused(distances, relevant, words):
    for score in (retrieval.average_precision, retrieval.bullseye):
        with pytest.raises(InputError, match=words):
            score(distances, relevant)
