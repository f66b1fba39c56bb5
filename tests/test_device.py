import os
import pathlib

import jax
import pytest

from gan_jax import device
from gan_jax.errors import InputError


def test_deterministic_operations(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=nowhere")
    device.setup("auto", deterministic=False)
    assert "deterministic" not in os.environ["XLA_FLAGS"]
    for _ in range(2):
        device.setup("auto", deterministic=True)
        expected = "--xla_dump_to=nowhere --xla_gpu_deterministic_ops=true"
        assert os.environ["XLA_FLAGS"] == expected


def test_pinned_options():
    device.setup("auto", deterministic=False)
    before = dict(jax.config.values)
    for name, value in (
        ("jax_enable_x64", True),
        ("jax_default_matmul_precision", "bfloat16"),
        ("jax_numpy_rank_promotion", "raise"),
        ("jax_legacy_prng_key", "error"),
        ("jax_debug_nans", True),
        ("jax_debug_infs", True),
    ):
        jax.config.update(name, value)
        assert jax.config.values != before
        device.setup("auto", deterministic=False)
        assert jax.config.values == before


def test_missing_accelerator():
    with pytest.raises(InputError, match=f"this machine has: {jax.default_backend()}"):
        device.setup("tpu", deterministic=False)


def test_missing_cuda_plugin(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    for plugins, end in ((["xla_cuda13"], "cpu$"), ([], r"pip install 'gan_jax\[cuda\]'$")):
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group, p=plugins: p)
        with pytest.raises(InputError, match=end):
            device.setup("gpu", deterministic=False)


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend"), AssertionError()])
def test_jax_platforms_without_device(error, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(jax, "default_backend", fail)
    with pytest.raises(InputError, match=f"JAX_PLATFORMS.*{error}"):
        device.setup("auto", deterministic=False)


def test_cache_name_not_in_utf8():
    with pytest.raises(InputError, match=r"'/cache\\udcff' is not valid UTF-8"):
        device.setup("auto", deterministic=False, cache=pathlib.Path("/cache\udcff"))


def test_samples_beyond_memory():
    device.check_samples(5, 1000)
    with pytest.raises(
        InputError, match=r"=5 takes about 120,000,000,000.0 GB of memory; [\d.]+ GB"
    ):
        device.check_samples(5, 10**18)
