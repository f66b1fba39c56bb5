import os

import jax
import pytest

from gan_jax import device
from gan_jax.errors import InputError


def test_the_config_turns_deterministic_operations_on(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=nowhere")
    device.setup("auto", deterministic=False)
    assert "deterministic" not in os.environ["XLA_FLAGS"]
    for _ in range(2):
        device.setup("auto", deterministic=True)
        expected = "--xla_dump_to=nowhere --xla_gpu_deterministic_ops=true"
        assert os.environ["XLA_FLAGS"] == expected


def test_an_accelerator_that_is_not_there_is_refused_by_what_is(monkeypatch):
    with pytest.raises(InputError, match=f"this machine has: {jax.default_backend()}"):
        device.setup("tpu", deterministic=False)

    def none():
        raise RuntimeError("Unable to initialize backend")

    monkeypatch.setattr(jax, "default_backend", none)
    with pytest.raises(InputError, match="JAX finds no device"):
        device.setup("auto", deterministic=False)
