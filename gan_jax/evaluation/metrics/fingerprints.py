"""Similarity of binary fingerprints, and how early a ranking by it lists the actives."""

import math

import numpy as np

TOP = 0.01  # fraction of a library, of `enrichment`
_BLOCK = 1000  # fingerprints compared at a time, which bounds memory


def tanimoto(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits that both have over bits that either has, 0 for none: (n, d) and (m, d) to (n, m).

    Fingerprints are of 0 and 1. As float32, with the rounding of one division.
    """
    a, b = a.astype(np.float32), b.astype(np.float32)
    both = a @ b.T  # exact: sums of at most 2^24 ones
    either = a.sum(axis=1)[:, None] + b.sum(axis=1) - both
    return both / np.maximum(either, 1)


def nearest(library: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """The largest Tanimoto similarity of each molecule to a sample: (n, d) and (m, d) to (n,)."""
    blocks = (library[i : i + _BLOCK] for i in range(0, len(library), _BLOCK))
    return np.concatenate([tanimoto(x, samples).max(axis=1) for x in blocks])


def enrichment(active: np.ndarray, scores: np.ndarray) -> float:
    """The fraction of actives among the best-scored 1 %, over that of all molecules.

    1 is expected of random scores. Ties are broken by position.

    Args:
      active: bool or 0 and 1, (n,), at least one of them 1.
      scores: higher for better, (n,).
    """
    top = ranked(scores)[: math.ceil(TOP * len(scores))]
    return float(np.mean(active[top]) / np.mean(active))


def ranked(scores: np.ndarray) -> np.ndarray:
    """Positions, best first."""
    return np.argsort(-scores, kind="stable")
