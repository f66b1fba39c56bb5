"""Quality of retrieval: how early a ranking by distance lists the relevant examples.

Scores are by query, (n,); `mean` gives their mean with an interval over queries.
"""

import numpy as np
import numpy.typing as npt

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.intervals import Score, matrix, normal


def _ranked(name: str, distances: npt.ArrayLike, relevant: npt.ArrayLike) -> np.ndarray:
    """Relevance by ascending distance, bool (n, m); ties by position."""
    distances, relevant = matrix(f"{name}'s distances", distances), np.asarray(relevant, bool)
    if relevant.shape != distances.shape:
        raise InputError(f"{name}'s relevant must be {distances.shape}, not {relevant.shape}")
    if not relevant.any(axis=1).all():
        raise InputError(f"{name}: a query has no relevant example")
    return np.take_along_axis(relevant, distances.argsort(axis=1, kind="stable"), axis=1)


def average_precision(distances: npt.ArrayLike, relevant: npt.ArrayLike) -> np.ndarray:
    """Mean, over a query's relevant examples, of the precision at the rank of each; (n,).

    Its mean over queries is the mean average precision (mAP), in [0, 1]. Manning et al. 2008,
    https://nlp.stanford.edu/IR-book, section 8.4.

    Args:
      distances: of queries to examples, (n, m).
      relevant: whether an example is relevant to a query, bool (n, m).

    Raises:
      InputError: shapes that do not match, or a query without relevant examples.
    """
    ranked = _ranked("average_precision", distances, relevant)
    precision = np.cumsum(ranked, axis=1) / np.arange(1, ranked.shape[1] + 1)
    return np.sum(precision * ranked, axis=1) / ranked.sum(axis=1)


def bullseye(distances: npt.ArrayLike, relevant: npt.ArrayLike) -> np.ndarray:
    """Share of the r relevant examples that are among the 2 r nearest; (n,).

    Latecki et al. 2000, https://doi.org/10.1109/CVPR.2000.855850: for MPEG-7's shapes, the 20 of
    the query's class, itself included, among the 40 nearest.

    Args:
      distances: of queries to examples, (n, m).
      relevant: whether an example is relevant to a query, bool (n, m).

    Raises:
      InputError: shapes that do not match, or a query without relevant examples.
    """
    ranked = _ranked("bullseye", distances, relevant)
    size = ranked.sum(axis=1)
    near = np.arange(ranked.shape[1]) < 2 * size[:, None]
    return np.sum(ranked & near, axis=1) / size


def mean(values: np.ndarray, lower: float = 0.0) -> Score:
    """Mean over queries, at least 2, and its normal interval, clipped to [lower, 1].

    Of scores, or with lower=-1 of differences between two rankings for the same queries.
    """
    error = values.std(ddof=1) / len(values) ** 0.5
    return normal(float(values.mean()), float(error), lower, 1)
