"""Tests of metrics of fingerprints: similarities by hand and against RDKit."""

import numpy as np
import pytest
from rdkit import DataStructs

from gan_jax.evaluation.metrics import fingerprints


def test_tanimoto():
    a = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    b = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], bool)
    np.testing.assert_allclose(fingerprints.tanimoto(a, b), [[1 / 3, 1], [0, 0], [0.5, 0.5]])
    np.testing.assert_allclose(fingerprints.nearest(np.tile(a, (900, 1)), b), [1, 0, 0.5] * 900)


def test_tanimoto_is_that_of_rdkit():
    bits = np.random.default_rng(0).random((20, 64)) < 0.3
    vectors = [DataStructs.CreateFromBitString("".join(map(str, x.astype(int)))) for x in bits]
    expected = [DataStructs.BulkTanimotoSimilarity(x, vectors) for x in vectors]
    np.testing.assert_allclose(fingerprints.tanimoto(bits, bits), expected, rtol=1e-6)


def test_enrichment():
    active = np.zeros(300)
    active[[5, 7, 100, 200]] = 1
    scores = np.zeros(300)
    scores[[5, 7, 8]] = 3, 2, 1  # the first 1 %
    assert fingerprints.enrichment(active, scores) == pytest.approx((2 / 3) / (4 / 300))
    assert fingerprints.enrichment(active, -scores) == 0
    assert fingerprints.ranked(np.array([1, 3, 3, 0])).tolist() == [1, 2, 0, 3]
