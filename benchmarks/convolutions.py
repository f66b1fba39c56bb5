"""Measures the training speed of convolutional games. About 20 minutes on 2 cores.

    python benchmarks/convolutions.py [--rounds=5] [--out=FILE]

Iterations/s of several sides, interleaved round by round, for configs/dcgan_mnist.py
with wider maps and without dense hidden layers, configs/dcgan_cifar10.py and a small R3GAN on
CIFAR-10:

  gan_jax        training as gan_jax.main runs it
  data on host   the same with config.data_placement=host
  limit          on CPU: the matrix products that its convolutions are, without building their
                 operands
  torch ...      the same training in PyTorch (torch_sides.py), channels_last, fused Adam

Writes benchmarks/results/convolutions-DEVICE.json.
"""

import collections
import functools
import math
import pathlib
import statistics
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import common
import jax
import jax.numpy as jnp
import jax_sides
import numpy as np
from jax.interpreters import partial_eval
from ml_collections import ConfigDict

from gan_jax import algorithms, cli
from gan_jax import config as config_lib
from gan_jax.draws import Batch
from gan_jax.networks import convolution
from gan_jax.writers import write_json

SECONDS = 2  # per measurement
SMALL_R3GAN = {
    "batch_size": 64,
    "augment": (),
    "schedules": (),
    **{f"{player}.widths": (64, 64, 64, 64) for player in ("generator", "discriminator")},
    **{f"{player}.blocks": 1 for player in ("generator", "discriminator")},
}
WIDE_DCGAN = {
    "schedules": (),
    "generator.widths": (128, 64),
    "discriminator.widths": (64, 128),
    **{f"{player}.hidden": () for player in ("generator", "discriminator")},
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "dcgan_mnist": ("dcgan_mnist", WIDE_DCGAN),
    "dcgan_cifar10": ("dcgan_cifar10", {}),
    "small r3gan": ("r3gan_cifar10", SMALL_R3GAN),
}


def _equations(jaxpr: Any, due: float, times: float = 1) -> Iterator[tuple[Any, float]]:
    """Equations, also of inner programs, with how often they run; conditional ones when due."""
    for equation in jaxpr.eqns:
        yield equation, times
        inner_times = times * equation.params.get("length", 1)  # of a scan
        if equation.primitive.name == "cond":
            inner_times *= due
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner, due, inner_times)


def products(config: ConfigDict, images: np.ndarray) -> dict[tuple[int, int, int], float]:
    """How often an iteration's layers run each matrix product (rows, inner, columns), on average.

    Penalties must share one interval; their products count 1 / interval times.
    """
    spec, hparams = config_lib.spec(config, images.shape[1:]), config_lib.hparams(config)
    state, data = algorithms.shapes(spec, hparams), Batch(jax.device_put(images[:1000]))

    def choice(cpu: Any, native: Any, g: Any) -> Any:
        return functools.partial(convolution._by_group, cpu, g)

    with mock.patch.object(convolution, "_choice", choice):
        step = algorithms.ALGORITHMS[spec.algorithm].step
        traced = jax.make_jaxpr(functools.partial(step, spec, hparams))(state, data)
    # Drops unused gradients, as XLA does.
    used, _ = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.out_avals))
    (interval,) = {interval for _, interval in spec.penalties} or {1}
    found: dict[tuple[int, int, int], float] = collections.defaultdict(float)
    for equation, times in _equations(used, 1 / interval):
        if equation.primitive.name == "conv_general_dilated":
            out, kernel = equation.outvars[0].aval.shape, equation.invars[1].aval.shape
            found[math.prod(out[:3]), math.prod(kernel[:3]), out[3]] += times
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, right = (x.aval.shape for x in equation.invars)
            inner = math.prod(left[axis] for axis in contracted)
            if inner:
                found[math.prod(left) // inner, inner, math.prod(right) // inner] += times
    return found


def limit(sizes: dict[tuple[int, int, int], float]) -> common.Steps:
    """Runs the matrix products of iterations, alone."""
    product = jax.jit(jnp.matmul)
    rng = np.random.default_rng(0)
    operands = {
        (m, k, n): [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((m, k), (k, n))]
        for m, k, n in sizes
    }

    def steps(num: int) -> None:
        for i in range(num):
            for size, count in sizes.items():
                for _ in range(math.floor(count * (i + 1)) - math.floor(count * i)):
                    product(*operands[size]).block_until_ready()

    return steps


def measure(name: str, changes: dict[str, Any], rounds: int) -> dict[str, Any]:
    import torch_sides

    config, images = common.setup(name)
    config = config_lib.replace(config, changes)
    begun = time.perf_counter()
    ours = jax_sides.population(config, images)
    ours(1)
    compilation = time.perf_counter() - begun
    host = jax_sides.population(config_lib.replace(config, {"data_placement": "host"}), images)
    host(1)
    sides = {"gan_jax": ours, "data on host": host}
    if jax.default_backend() == "cpu":  # on a GPU, launches would take longer than products
        sides["limit"] = limit(products(config, images))
    for label in (name for name in torch_sides.VARIANTS if name != "torch eager"):
        try:
            side = torch_sides.VARIANTS[label](config, images)
            side(1)
            sides[label] = side
        except Exception as error:  # a missing compiler, no second derivative
            print(f"{label} left out: {' '.join(str(error).split())[:150]}")
    rates = common.in_turn(
        {label: functools.partial(common.seconds, side) for label, side in sides.items()},
        rounds,
        SECONDS,
    )
    return {
        "seconds_to_compile": compilation,
        "steps_per_second": {label: statistics.median(values) for label, values in rates.items()},
        "times_as_fast": {
            label: common.ratios(rates["gan_jax"], values) for label, values in rates.items()
        },
        "rates": rates,
    }


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--rounds", type=cli.at_least(1), default=5)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    results = {}
    for label, (name, changes) in CONFIGS.items():
        results[label] = measure(name, changes, args.rounds)
        print(label, f"(compiled in {results[label]['seconds_to_compile']:.0f} s)")
        for side, rate in results[label]["steps_per_second"].items():
            ratio = "{:.2f} ({:.2f} to {:.2f})".format(*results[label]["times_as_fast"][side])
            print(f"  {side:<20}{rate:8.2f} iterations/s   gan_jax / it: {ratio}", flush=True)
    out = args.out or common.RESULTS / f"convolutions-{common.device_name()}.json"
    write_json(out, {**common.origin(), "configs": results})
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
