"""Tests of gan_jax.population: on CPU, a member is bitwise identical to a standalone run."""

import contextlib
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from gan_jax import checkpoint, config, data, population
from tests.conftest import ROOT, tiny_config

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
DATASET = data.from_arrays(IMAGES)
RATES = (1e-3, 1e30, 3e-2)  # the second diverges at once


def configs(**changes) -> list:
    """Members that differ in seed and learning rate."""
    return [
        config.replace(tiny_config(), changes | {"d_optimizer.learning_rate": rate, "seed": seed})
        for seed, rate in enumerate(RATES)
    ]


def train(configs: list, chunks: tuple[int, ...]):
    """States of all members after these chunks, and the iterations at which they diverged."""
    members = population.create(configs, DATASET)
    states, diverged = population.init(members), np.zeros(members.size, int)
    for step, length in zip(np.cumsum((0, *chunks[:-1])), chunks, strict=True):
        states, info = population.train_chunk(members, states, step, length, diverged == 0)
        assert all(x.shape == (members.size,) for x in info.values())
        finite = np.isfinite(list(info.values())).all(axis=0)
        diverged = np.where((diverged == 0) & ~finite, info["step"], diverged)
    return [population.member(states, i) for i in range(members.size)], diverged.tolist()


def digests(states: list) -> list[str]:
    return [checkpoint.sha256(state) for state in states]


def test_members_are_standalone_runs():
    states, diverged = train(configs(), (7, 5))
    for i, c in enumerate(configs()):
        (alone,), (at,) = train([c], (12,))
        assert at == diverged[i]
        assert (at > 0) == (RATES[i] == 1e30)
        if not at:
            assert checkpoint.sha256(states[i]) == checkpoint.sha256(alone)
    # A diverged member is frozen at the end of its chunk.
    assert [int(state.step) for state in states] == [12, 7, 12]
    assert digests(train(configs(), (7,))[0])[1] == checkpoint.sha256(states[1])


@pytest.mark.slow
def test_vmapped_members_agree_to_rounding(monkeypatch):
    members = [configs()[0], configs()[2]]
    mapped, _ = train(members, (3,))
    population._train_chunk.clear_cache()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    vmapped, _ = train(members, (3,))
    population._train_chunk.clear_cache()
    for a, b in zip(mapped, vmapped, strict=True):
        close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)  # noqa: E731
        jax.tree.map(close, a, b)
    assert digests(mapped) != digests(vmapped)  # otherwise nothing was vmapped


SCRIPT = """
import json
from tests.test_population import DATASET, configs, digests, jax, population, train
states, diverged = train(configs(), (7, 5))
p = population.create(configs(), DATASET)
arguments = p.spec, p.mesh, p.hparams, population.init(p), p.data, None, None, 1, p.seeds > 0
program = population._train_chunk.lower(*arguments).compile().as_text()
communicates = any(f"{name}(" in program for name in ("all-gather", "all-reduce", "all-to-all"))
print(json.dumps([jax.device_count(), communicates, diverged, digests(states)]))
"""


@pytest.mark.slow
def test_devices_share_members_bitwise():
    # Three members on two devices: one of them trains a copy of the last member as padding.
    states, diverged = train(configs(), (7, 5))
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    environment["JAX_PLATFORMS"] = "cpu"
    command = [sys.executable, "-c", SCRIPT]
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout
    assert json.loads(out) == [2, False, diverged, digests(states)]


def network(player: str, kind: str, *widths: int, **fields) -> dict[str, object]:
    fields |= {"name": kind, "widths": widths}
    return {f"{player}.{name}": value for name, value in fields.items()}


# Together these use every option of a GAN and every kind of network.
FEATURES = [
    {"loss": "wasserstein", "penalties.gradient_penalty.weight": 10.0, "ema": 0.9},
    {
        "loss": "wasserstein",
        "weight_clip": 0.01,
        "update": "extragradient",
        **network("generator", "dcgan", 4, sample_statistics="recomputed"),
    },
    {
        "loss": "hinge",
        "update": "optimistic",
        **network("discriminator", "resnet", 4, blocks=0, spectral_norm=True),
    },
    {
        **network("generator", "resnet", 4),
        **network("discriminator", "r3gan", 4, blocks=1, group_size=4),
        "loss": "relativistic_pairing",
        "penalties.r1.weight": 0.1,
        "penalties.r2.weight": 0.1,
        "penalties.r2.interval": 2,
        "ema": 0.9,
    },
    {"loss": "relativistic_average", "penalties.dragan.weight": 1.0, "k": 2},
    {
        "update": "consensus",
        "consensus": 0.1,
        "pack": 2,
        "label_smoothing": 0.1,
        "generator.batch_norm": True,
    },
    {
        "update": "unrolled",
        "unrolled_steps": 2,
        "instance_noise.std": 0.1,
        "schedules": ("instance_noise.std=linear:0:4",),
        "discriminator.dropout": 0.5,
    },
    {
        "loss": "kl",
        "update": "simultaneous",
        **network("generator", "r3gan", 4, blocks=1, group_size=4),
        **network("discriminator", "dcgan", 3, 4),
    },
]


@pytest.mark.slow
@pytest.mark.parametrize("changes", FEATURES, ids=lambda changes: ",".join(map(str, changes)))
def test_bitwise_resume_with_every_option(changes, tmp_path):
    pair = [configs(**changes)[0], configs(**changes)[2]]
    members = population.create(pair, DATASET)
    states, _ = population.train_chunk(members, population.init(members), 0, 3, np.ones(2, bool))
    with contextlib.closing(checkpoint.Writer(tmp_path, 1, 0)) as saver:
        saver.save(3, states)
    saved = checkpoint.restore_newest(tmp_path, jax.tree.map(np.asarray, states))
    states = population.place(members, saved)
    states, _ = population.train_chunk(members, states, 3, 4, np.ones(2, bool))
    for i, c in enumerate(pair):
        (alone,), _ = train([c], (7,))
        assert checkpoint.sha256(population.member(states, i)) == checkpoint.sha256(alone)
