"""Tests of gan_jax.sweeps.population: a member is the lone run of its seed, bit for bit."""

import contextlib
import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import algorithm, checkpoint, config, core
from gan_jax.sweeps import population
from tests.conftest import ROOT, tiny_config

RATES = (1e-3, 1e30, 3e-2, 5e-4)  # the second diverges at once
SHAPE = (8, 8, 1)


def configs() -> list:
    fields = "d_optimizer.learning_rate"
    return [
        config.replace(tiny_config(), {fields: rate, "seed": seed})
        for seed, rate in enumerate(RATES)
    ]


def images() -> jax.Array:
    return jnp.uint8(np.random.default_rng(0).integers(0, 256, (40, *SHAPE)))


def train(num_steps: tuple[int, ...] = (7, 5)):
    """Members in chunks; those that diverge stay dead."""
    members = configs()
    mesh = population.mesh(len(members))
    game = config.game(members[0], SHAPE)
    hparams = population.stack([jax.tree.map(np.float32, config.hparams(c)) for c in members])
    seeds = np.array([c.seed for c in members], np.uint32)
    states = population.init(game, hparams, seeds, images(), mesh)
    alive, diverged = np.ones(len(members), bool), np.zeros(len(members), int)
    for n in num_steps:
        states, info = population.train_chunk(game, hparams, states, images(), n, alive, mesh)
        finite = np.all([np.isfinite(x) for x in info.values()], axis=0)
        diverged = np.where(alive & ~finite, info["step"], diverged)
        alive = alive & finite
    return states, diverged


def alone(c, num_steps: int):
    """The same as gan_jax.train does it, in one chunk."""
    game, hparams = config.game(c, SHAPE), config.hparams(c)
    init = functools.partial(jax.jit(core.init, static_argnums=0), game, hparams)
    return algorithm.train_chunk(
        game, hparams, init(np.uint32(c.seed), images()), images(), num_steps
    )


def test_a_member_is_the_lone_run_bit_for_bit():
    states, diverged = train()
    for i, c in enumerate(configs()):
        state, info = alone(c, 12)
        if diverged[i]:
            assert diverged[i] == int(info["step"])
        else:
            assert checkpoint.sha256(population.member(states, i)) == checkpoint.sha256(state)
    assert (diverged > 0).tolist() == [False, True, False, False]


def test_a_diverged_member_is_frozen():
    states, diverged = train((7, 5))
    earlier, _ = train((7,))
    dead = int(np.flatnonzero(diverged)[0])
    one, other = (population.member(s, dead) for s in (states, earlier))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert int(one.step) == 7
    assert int(population.member(states, 0).step) == 12


SCRIPT = """
import json
from gan_jax import checkpoint
from gan_jax.sweeps import population
from tests.test_population import train
states, diverged = train()
print(json.dumps([population.mesh(4).size, diverged.tolist(), checkpoint.sha256(states)]))
"""


@pytest.mark.parametrize("devices", [4, pytest.param(2, marks=pytest.mark.slow)])
def test_several_devices_give_the_bits_of_one(devices):
    states, diverged = train()
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    environment["JAX_PLATFORMS"] = "cpu"
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, check=True
    ).stdout
    assert json.loads(out) == [devices, diverged.tolist(), checkpoint.sha256(states)]


def test_size_is_that_of_a_state():
    c = tiny_config()
    game = config.game(c, SHAPE)
    state = core.init(game, config.hparams(c), 0, images())
    assert population.size(c, SHAPE) == sum(x.nbytes for x in jax.tree.leaves(state))


# Together these use everything that a game may have.
FEATURES = [
    {"loss": "wasserstein", "penalties.gradient_penalty.weight": 10.0, "ema": 0.9},
    {"loss": "wasserstein", "weight_clip": 0.01, "update": "extragradient"},
    {"loss": "hinge", "discriminator.spectral_norm": True, "update": "optimistic"},
    {
        "loss": "relativistic_pairing",
        "penalties.r1.weight": 0.1,
        "penalties.r2.weight": 0.1,
        "penalties.r2.interval": 2,
        "generator.batch_norm": True,
        "ema": 0.9,
    },
    {"loss": "relativistic_average", "penalties.dragan.weight": 1.0, "k": 2},
    {"update": "consensus", "consensus": 0.1, "pack": 2, "label_smoothing": 0.1},
    {
        "update": "unrolled",
        "unrolled_steps": 2,
        "instance_noise.std": 0.1,
        "instance_noise.steps": 4,
        "discriminator.dropout": 0.5,
    },
    {"loss": "kl", "update": "simultaneous"},
]


@pytest.mark.slow
@pytest.mark.parametrize("fields", FEATURES, ids=lambda fields: ",".join(map(str, fields.values())))
def test_whatever_a_game_has_its_members_are_lone_runs_and_a_saved_state_goes_on(fields, tmp_path):
    members = [
        config.replace(tiny_config(), fields | {"seed": seed, "g_optimizer.learning_rate": rate})
        for seed, rate in enumerate((1e-3, 2e-3))
    ]
    game, mesh = config.game(members[0], SHAPE), population.mesh(2)
    hparams = population.stack([jax.tree.map(np.float32, config.hparams(c)) for c in members])
    seeds = np.array([c.seed for c in members], np.uint32)
    states = population.init(game, hparams, seeds, images(), mesh)
    alive = np.ones(2, bool)
    states, _ = population.train_chunk(game, hparams, states, images(), 3, alive, mesh)
    with contextlib.closing(checkpoint.Writer(tmp_path, 1, 0)) as saver:
        saver.save(3, states)
    states = checkpoint.restore_newest(tmp_path, jax.tree.map(np.asarray, states))
    states, _ = population.train_chunk(game, hparams, states, images(), 4, alive, mesh)
    for i, c in enumerate(members):
        state, _ = alone(c, 7)
        assert checkpoint.sha256(population.member(states, i)) == checkpoint.sha256(state)
        assert int(state.step) == 7
