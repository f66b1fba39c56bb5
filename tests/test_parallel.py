"""Tests of gan_jax.parallel: devices that share minibatches compute what one device does.

Sums over a minibatch are added in another order, which changes the last bits: float32 holds 6e-8 of
a sum, and a few iterations of SGD multiply that by less than 1,000. Adam would not do here: its
first updates are the signs of gradients, which rounding decides where they vanish, such as those of
biases that batch normalisation removes.
"""

import os
import re
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from gan_jax import config, data, parallel, population
from gan_jax.errors import InputError
from tests.conftest import ROOT, tiny_config

RNG = np.random.default_rng(0)
DATASET = data.from_arrays(
    RNG.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), np.arange(40, dtype=np.int32) % 3
)
SGD = {"d_optimizer.name": "sgd", "g_optimizer.name": "sgd"}
SGD_AAE = dict.fromkeys(("optimizer.name", "d_optimizer.name", "e_optimizer.name"), "sgd")
# Everything that couples the examples of a minibatch.
COUPLED = SGD | {
    "loss": "relativistic_average",
    "pack": 2,
    "generator.batch_norm": True,
    "condition.on": "label",
    "update": "simultaneous",
}
CONVOLUTIONS = {
    "generator.name": "dcgan",
    "generator.widths": (6, 4),
    "discriminator.name": "dcgan",
    "discriminator.widths": (4, 6),
}


def trained(changes: dict, devices: int, seeds: tuple[int, ...] = (0,)) -> list:
    """States of members after three iterations."""
    fields = {**changes, "devices": devices}
    configs = [config.replace(tiny_config(), fields | {"seed": seed}) for seed in seeds]
    members = population.create(configs, DATASET)
    active = np.ones(len(seeds), bool)
    states, _ = population.train_chunk(members, population.init(members), 0, 3, active)
    return [population.member(states, i) for i in range(len(seeds))]


def assert_close(a, b) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b)


def assert_same(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def on_four_devices(code: str) -> None:
    """Runs code in a process with four devices."""
    prelude = (
        "from gan_jax import data, device\n"
        "device.setup('cpu', True, data.cache_dir() / 'xla')\n"
        "from tests.test_parallel import *\n"
    )
    subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "4", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )


@pytest.mark.slow
def test_placements_agree():
    on_four_devices("""
        two = trained(COUPLED, 2)[0]
        one = trained(COUPLED, 1)[0]
        assert_close(two, one)
        assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)))
        assert_close(two, trained(COUPLED, 4)[0])
        assert_same(two, trained(COUPLED, 2)[0])
        assert_same(two, trained(COUPLED | {"data_placement": "host"}, 2)[0])
        members = trained(COUPLED, 2, seeds=(1, 0))  # on two devices each
        assert_same(two, members[1])
    """)


# Of each algorithm, and of what else adds up over a minibatch.
ALGORITHMS = [
    {"algorithm": "autoencoder", "prior.name": "normal", "optimizer.name": "sgd"},
    {"algorithm": "vae", "prior.name": "normal", "optimizer.name": "sgd"},
    {"algorithm": "rbm", "optimizer.name": "sgd"},
    {"algorithm": "aae", "num_categories": 3, "num_labelled": 6} | SGD_AAE,
    SGD | CONVOLUTIONS | {"update": "simultaneous"},
    SGD
    | {
        "k": 2,
        "penalties.gradient_penalty.weight": 1.0,
        "discriminator.dropout": 0.5,
        "instance_noise.std": 0.1,
        "augment": ("flip", "cutout"),
        "ema": 0.9,
    },
]


@pytest.mark.slow
def test_algorithms_agree_to_rounding():
    on_four_devices("""
        for changes in ALGORITHMS:
            print(changes)
            one, two = (trained(changes, n)[0] for n in (1, 2))
            assert_close(one, two)
            assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)))
    """)


@pytest.mark.slow
def test_sharded_states():
    """Each device holds its part of a member's state, through training, saving and resuming."""
    on_four_devices("""
        changes = SGD | CONVOLUTIONS | {"d_optimizer.name": "momentum"}
        c = config.replace(tiny_config(), changes | {"devices": 2, "shard_state": True})
        members = population.create([config.replace(c, {"seed": seed}) for seed in (0, 1)], DATASET)
        states = population.init(members)

        def check(states):
            trace = states.players["d"].opt_state[1].trace["Conv_0"]["kernel"]
            kernel = states.players["d"].params["Conv_0"]["kernel"]
            for x in (trace, kernel):
                assert x.shape[0] == 2
                part = x.sharding.shard_shape(x.shape)
                assert np.prod(part) * 4 == x.size  # a member on two devices, in halves

        check(states)
        states, _ = population.train_chunk(members, states, 0, 2, np.ones(2, bool))
        check(states)
        saved = population.stack([population.member(states, i) for i in range(2)])
        states = population.place(members, saved)
        check(states)
        states, _ = population.train_chunk(members, states, 2, 1, np.ones(2, bool))
        for i, one in enumerate(trained(changes, 1, (0, 1))):
            assert_close(population.member(states, i), one)
    """)


@pytest.mark.slow
def test_gradients_alone_are_all_reduced():
    """Those of D for real and generated examples apart; benchmarks/scaling.py counts them once."""
    on_four_devices("""
        from benchmarks import scaling
        from gan_jax import algorithms

        c = config.replace(config.load("digits"), {"devices": 2})
        given = scaling.arguments(c)
        players = algorithms.shapes(given[0], config.hparams(c)).players
        d, g = (sum(x.size for x in jax.tree.leaves(players[n].params)) for n in "dg")
        program = population._train_chunk.lower(*given).compile().as_text()
        shapes = " ".join(re.findall(r"= (.*?) all-reduce\\(", program))
        sizes = (np.array(x.split(","), int).prod() for x in re.findall(r"f32\\[([\\d,]+)", shapes))
        assert not re.search(r"(pred|[su]32)\\[", shapes)  # nothing of drawing minibatches
        # The last iteration of a chunk has a loop of its own.
        assert sum(sizes) == 2 * (2 * d + g)
        assert scaling.model(c)["all_reduced_mb"] * 1e6 == 4 * (d + g)
    """)


@pytest.mark.slow
def test_convolutions_gather_nothing():
    on_four_devices("""
        from jax import numpy as jnp
        from gan_jax.networks.convolution import convolution
        from gan_jax.parallel import BATCH, MEMBERS, P

        def penalised(x, kernel, groups=2):
            def output(x):
                return jnp.sum(convolution(x, kernel, (2, 2), ((1, 1), (1, 1)), groups) ** 2)
            return jnp.sum(jax.grad(output)(x) ** 2)

        c = config.replace(tiny_config(), {"devices": 4})
        mesh = parallel.mesh(c, 1)
        shared = jax.jit(jax.shard_map(
            lambda x, kernel: jax.grad(penalised, (0, 1))(parallel.split(x), kernel),
            mesh=mesh, in_specs=P(), out_specs=P(), axis_names={MEMBERS}, check_vma=False,
        ))
        x, kernel = RNG.normal(size=(8, 6, 6, 4)), RNG.normal(size=(3, 3, 2, 6))
        x, kernel = x.astype(np.float32), kernel.astype(np.float32)
        expected = jax.grad(penalised, (0, 1))(x, kernel)
        found = shared(x, kernel)
        assert found[0].sharding.shard_shape(x.shape)[0] == 2
        for a, b in zip(expected, found):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(a).max())
        program = shared.lower(x, kernel).compile().as_text()
        names = set(re.findall(r" (all-\\w+|collective-\\w+|reduce-scatter)\\(", program))
        assert names == {"all-reduce"}
    """)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 999}, "config.devices is 999, but there are 1"),
        ({"devices": 3, "batch_size": 8}, "divisible among 3 devices"),
        ({"devices": 2, "batch_size": 6, "pack": 2}, "is 6 in 3 inputs of 2, but must be divi"),
        ({"shard_state": True}, "shard_state is True, but must be False with one device"),
    ],
)
def test_unsuitable_devices(changes, message, monkeypatch):
    devices = changes.get("devices", 1)
    monkeypatch.setattr(jax, "device_count", lambda: min(devices, 3))
    if devices == 999:
        monkeypatch.undo()
    with pytest.raises(InputError, match=re.escape(message)):
        parallel.devices_per_member(config.replace(tiny_config(), changes))
