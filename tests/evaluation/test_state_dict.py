"""Tests of gan_jax.evaluation.state_dict."""

import pickle

import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.evaluation import state_dict
from tests.conftest import Bomb
from tests.evaluation.conftest import torch_file


def test_tensors_match_the_file():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensors = {"a.weight": x, "a.transposed": x.T, "a.count": np.array(7)}
    found = state_dict.parse(torch_file(tensors))
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_pickles_are_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        state_dict.parse(b"".join(pickle.dumps(Bomb(), 2) for _ in range(5)))
    assert not (tmp_path / "exploded").exists()


def test_other_files_are_refused():
    found = "d9298a10d1b0735837dc4bd85dac641b0f3cef27"
    with pytest.raises(InputError, match=f"x has sha256 {found}.* pinned to 000"):
        state_dict.load(b"other", "x", "0" * 64)
