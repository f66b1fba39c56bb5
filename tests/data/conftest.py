"""An empty cache for every test, and helpers."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from gan_jax import data
from gan_jax.errors import InputError
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return tmp_path / "cache"


def entries(cache_dir: pathlib.Path) -> list[pathlib.Path]:
    """Every file of a cache's data sets, complete or partial, but for the images' own."""
    return sorted(f for f in (cache_dir / "data").rglob("*") if f.is_file() and f.suffix != ".npy")


def load_error(*args, **kwargs) -> str:
    """The message of an InputError, in one line."""
    with pytest.raises(InputError) as info:
        data.load(*args, **kwargs)
    assert "\n" not in str(info.value)
    return str(info.value)


def assert_same(a: data.Dataset, b: data.Dataset) -> None:
    assert (a.sha256, a.class_names) == (b.sha256, b.class_names)
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)


def start_python(code: str) -> subprocess.Popen[str]:
    """Starts Python on `code` where tensorflow_datasets, sklearn and PIL cannot be imported."""
    block = (
        "import sys\nfor n in ('tensorflow_datasets', 'sklearn', 'PIL'): sys.modules[n] = None\n"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", block + code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
