"""Tests of gan_jax.feed: training from host memory gives the bits of training from the device."""

import numpy as np
import pytest

from gan_jax import config, data, feed, population, train
from tests.conftest import sha, tiny_config, train_digests

RNG = np.random.default_rng(0)
DATASET = data.from_arrays(
    RNG.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), np.arange(40, dtype=np.int32) % 3
)
COUNTS = [
    {"k": 2, "loss": "relativistic_pairing"},
    {"update": "simultaneous", "condition.on": "label", "condition.discriminator": "projection"},
]


def digests(changes, placement, seeds, stops) -> list[str]:
    c = config.replace(tiny_config(), changes | {"data_placement": placement})
    return train_digests(c, DATASET, seeds, stops)


def test_run_from_host_memory(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(feed, "_MAX_LENGTH", 5)
    c = config.replace(tiny_config(), {"data_placement": "host"})
    assert train.run(c, tmp_path, "digits") == 0
    assert sha(tmp_path) == sha(finished)


@pytest.mark.slow
@pytest.mark.parametrize("changes", COUNTS, ids=str)
def test_bits_of_device_resident_data(changes, monkeypatch):
    monkeypatch.setattr(feed, "_MAX_LENGTH", 4)
    expected = digests(changes, "device", (3, 5), (11,))
    assert digests(changes, "host", (3, 5), (6, 11)) == expected


@pytest.mark.parametrize(
    ("size", "output_bias", "placed"),
    [
        (1, "zero", False),
        (2**62, "zero", True),
        (2**62, "data_mean", False),
    ],
)
def test_placement_by_size(size, output_bias, placed):
    c = config.replace(tiny_config(), {"generator.output_bias": output_bias})
    assert population.on_host(c, size) == placed


def test_windows_are_bounded(monkeypatch):
    monkeypatch.setattr(feed, "_WINDOW_BYTES", 10_000)
    c = config.replace(tiny_config(), {"data_placement": "host"})
    members = population.create([c], DATASET)
    window = members.data.window(0)
    assert sum(batch.x.nbytes for batch in window.batches.values()) <= 10_000
