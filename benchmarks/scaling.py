"""Measures what sharing a minibatch costs, and models it for many accelerators.

    python benchmarks/scaling.py [--rounds=5]

Measured, round by round, in iterations/s with 1, 2, 4, ... devices of this machine: strong
scaling (the config's minibatch, divided) and weak scaling (a minibatch for each device). A CPU is
split into two devices, which share its cores: what is lost there is overhead.

Computed for every config:

  FLOPs          of an iteration, by XLA's analysis of the program for this machine: on CPU,
                 grouped convolutions are dense ones, which makes those of R3GAN too many
  all-reduced    bytes of gradients per iteration, as float32: one sum for every update of a
                 player. This is the least: XLA may add those of real and of generated examples
                 apart, and batch normalisation adds statistics
  communication  milliseconds per iteration on 8, 64 and 512 accelerators: a ring all-reduce moves
                 2 (N - 1) / N times these bytes through the slowest link, and each all-reduce
                 takes LATENCY per doubling of N; one for every update of a player. XLA overlaps
                 communication with computation, which is left out.
  population     members whose states, each three times (in training, on the host, in a
                 checkpoint), fill half of the memory of 1 and 64 H200, as sweeps plan them
  batch          examples whose temporaries fill the memory of 1 and 64 H200 beside one state; by
                 XLA's analysis of the program for this machine, so only an estimate

For dcgan_cifar10, whose speed on one H200 is in convolutions-nvidia-h200.json, weak-scaling
efficiency follows: the fraction of an iteration that is not communication. Writes
benchmarks/results/scaling-DEVICE.json.
"""

import json
import math
import pathlib
import statistics
from typing import Any

import common
import jax
import jax.numpy as jnp
import jax_sides
import numpy as np
from ml_collections import ConfigDict

from gan_jax import algorithms, cli, parallel
from gan_jax import config as config_lib
from gan_jax.draws import Batch, CaptionEmbeddings
from gan_jax.evaluation import text_encoder
from gan_jax.provenance import cores
from gan_jax.spec import Spec
from gan_jax.writers import write_json

MEASURED = ("mnist", "dcgan_mnist")
SECONDS = 2  # per measurement
# Bytes per second and direction of an accelerator: NVLink 4 within a node of 8 (NVIDIA H200 data
# sheet: 900 GB/s in both directions), an NDR InfiniBand port of 400 Gb/s each between nodes.
LINKS = {8: 450e9, 64: 50e9, 512: 50e9}
LATENCY = 5e-6  # seconds, assumed
H200 = 141e9  # bytes
EXAMPLES = {  # of examples, and classes, by the beginning of config.dataset
    "mnist": ((28, 28, 1), 10),
    "digits": ((8, 8, 1), 10),
    "stacked_mnist": ((28, 28, 3), 1000),
    "cifar10": ((32, 32, 3), 10),
    "ring": ((2,), 0),
    "grid": ((2,), 0),
    "gaussian1d": ((1,), 0),
    "folder": ((64, 64, 3), 0),
    "smiles_morgan": ((1024,), 2),
}


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Iterations/s, by kind of scaling and number of devices."""
    config, images = common.setup(name, 2 if cores() > 1 else 1)
    numbers = [2**i for i in range(jax.device_count().bit_length())]
    sides = {}
    for n in numbers:
        c = config_lib.replace(config, {"devices": n, "schedules": ()})
        sides[f"strong {n}"] = c
        if n > 1:
            sides[f"weak {n}"] = config_lib.replace(c, {"batch_size": n * c.batch_size})
    timed = {side: jax_sides.population(c, images) for side, c in sides.items()}
    rates = common.in_turn(
        {
            side: lambda num, steps=steps: common.seconds(steps, num)
            for side, steps in timed.items()
        },
        rounds,
        SECONDS,
    )
    return {
        "steps_per_second": {side: statistics.median(x) for side, x in rates.items()},
        "of_one_device": {
            side: common.ratios(x, rates["strong 1"]).median for side, x in rates.items()
        },
    }


def examples(config: ConfigDict) -> tuple[Spec, Batch]:
    """The spec of a config's run, and shapes of its data set."""
    shape, classes = EXAMPLES[config.dataset.partition(":")[0]]
    conditional = config.condition.on != "none" or bool(config.get("num_labelled"))
    x = jax.ShapeDtypeStruct((60_000, *shape), jnp.uint8 if len(shape) == 3 else jnp.float32)
    y = jax.ShapeDtypeStruct((60_000,), jnp.int32) if conditional else None
    embeddings = jax.ShapeDtypeStruct((500, text_encoder.FEATURES), jnp.float32)
    captions = CaptionEmbeddings(embeddings, jax.ShapeDtypeStruct((103,), jnp.int32))
    data = Batch(x, y, captions if config.condition.on == "text" else None)
    return config_lib.spec(config, shape, classes), data


def arguments(config: ConfigDict) -> tuple[Any, ...]:
    """What the chunk of a config's run takes, `population._train_chunk`, as shapes."""
    spec, data = examples(config)
    hparams = jax.tree.map(np.float32, config_lib.hparams(config))
    one = hparams, algorithms.shapes(spec, hparams)
    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), one)
    captions, data = data.captions, data._replace(captions=None)
    mesh = parallel.mesh(config, 1)
    return spec, mesh, *stacked, data, None, captions, np.int32(3), np.ones(1, bool)


def communication(reduced: float, times: int, number: int) -> float:
    """Seconds per iteration of `times` all-reduces of `reduced` bytes in all."""
    ring = 2 * (number - 1) / number * reduced / LINKS[number]
    return ring + times * LATENCY * math.log2(number)


def model(config: ConfigDict) -> dict[str, Any]:
    """What is computed for a config."""
    (spec, data), hparams = examples(config), config_lib.hparams(config)
    state = algorithms.shapes(spec, hparams)
    step = jax.jit(algorithms.step, static_argnums=0)
    lowered = step.lower(spec, hparams, state, data)
    example = lowered.compile().memory_analysis().temp_size_in_bytes / config.batch_size
    updates = dict.fromkeys(state.players, 1)
    if config.algorithm == "gan":
        updates["d"] = config.k
    elif config.algorithm == "aae":
        updates["encoder"] = 2  # reconstruction and regularisation
    sizes = {
        name: 4 * sum(x.size for x in jax.tree.leaves(player.params))
        for name, player in state.players.items()
    }
    reduced, times = sum(sizes[name] * updates[name] for name in sizes), sum(updates.values())
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    most, batch = int(H200 / 2 / (3 * held)), int((H200 - 3 * held) / example)
    return {
        "gflop": (lowered.cost_analysis() or {})["flops"] / 1e9,
        "all_reduced_mb": reduced / 1e6,
        "communication_ms": {str(n): 1e3 * communication(reduced, times, n) for n in LINKS},
        "population": {"1": most, "64": 64 * most},
        "batch": {"1": batch, "64": 64 * batch},
    }


def efficiency(found: dict[str, Any], steps_per_second: float) -> dict[str, float]:
    """Of weak scaling: the speed of an accelerator among many, over that of one alone."""
    alone = 1e3 / steps_per_second
    return {n: alone / (alone + ms) for n, ms in found["communication_ms"].items()}


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--rounds", type=cli.at_least(1), default=5)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    measured = {name: measure(name, args.rounds) for name in MEASURED}
    for name, found in measured.items():
        for side, ratio in found["of_one_device"].items():
            rate = found["steps_per_second"][side]
            print(f"{name:14} {side:9} {rate:8.1f} iterations/s, {ratio:.2f} of one device")
    alone = json.loads((common.RESULTS / "convolutions-nvidia-h200.json").read_text())
    models = {}
    for path in sorted((pathlib.Path(__file__).parents[1] / "configs").glob("[a-z]*.py")):
        config = config_lib.load(path.stem)
        found = models[path.stem] = model(config)
        if path.stem == "dcgan_cifar10":
            rate = alone["configs"][path.stem]["steps_per_second"]["gan_jax"]
            found["efficiency"] = efficiency(found, rate)
        ms = ", ".join(f"{x:.3g}" for x in found["communication_ms"].values())
        print(
            f"{path.stem:18} {found['gflop']:8.3g} GFLOP, {found['all_reduced_mb']:6.3g} MB "
            f"all-reduced: {ms} ms on {', '.join(found['communication_ms'])}; "
            f"{found['population']['1']} members or batches of {found['batch']['1']} on an H200"
        )
    out = args.out or common.RESULTS / f"scaling-{common.device_name()}.json"
    write_json(out, common.origin() | {"measured": measured, "models": models})
    return 0


if __name__ == "__main__":
    cli.run(main)
