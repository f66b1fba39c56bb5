"""Measures populations against standalone runs and the machine's limit, and their memory.

    python benchmarks/population.py [--rounds=5]

On a CPU: 1, 2, 8, 32 and 128 members of configs/mnist.py as one program; a standalone run; the
limit (only the matrix products of an iteration, in one process per core at once); and PyTorch's
fastest variant where it is installed, whose runs would be sequential. Each side has its own
processes, as a population splits the CPU into one device per core and a standalone run does not.

On a GPU: 1 to 1024 members in one process, against the limit of memory bandwidth: the bytes that an
iteration must move, over the bandwidth of a copy. A state that fits into the GPU's cache can exceed
it.

Writes benchmarks/results/population-DEVICE.json.
"""

import concurrent.futures
import contextlib
import functools
import importlib.util
import multiprocessing
import os
import resource
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import common
import jax
import jax.numpy as jnp
import jax_sides
import numpy as np
from common import Steps
from ml_collections import ConfigDict

from gan_jax import algorithms, cli, data
from gan_jax import config as config_lib
from gan_jax.state import Player
from gan_jax.sweeps import unit as sweep
from gan_jax.writers import write_json

CONFIG = "mnist"
TORCH = "torch fused Adam"
MEMBERS = (1, 2, 8, 32, 128)
GPU_MEMBERS = (1, 8, 64, 256, 512, 1024)
SECONDS = 4.0  # per measurement


def members(size: int, cpu_devices: int) -> Steps:
    return jax_sides.population(*common.setup(CONFIG, cpu_devices), size)


def limit(cpu: int) -> Steps:
    os.sched_setaffinity(0, {cpu})  # before JAX starts its threads
    return jax_sides.limit(*common.setup(CONFIG))


def torch(variant: str) -> Steps:
    import torch_sides

    return torch_sides.VARIANTS[variant](config_lib.load(CONFIG), data.load(CONFIG).images)


@functools.cache
def _made(make: Callable[..., Steps], arguments: tuple[Any, ...]) -> Steps:
    return make(*arguments)


def in_worker(num: int, make: Callable[..., Steps], *arguments: Any) -> tuple[float, float]:
    """Seconds for `num` iterations of a side, and the peak memory of this process in MB."""
    spent = common.seconds(_made(make, arguments), num)
    return spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * common.MAXRSS / 1e6


def constant(peaks: Mapping[int, float], state: float) -> float:
    """The smallest C such that every peak is at most 1.2 * members * state + C."""
    return max(peak - 1.2 * size * state for size, peak in peaks.items())


def on_cpu(
    config: ConfigDict, images: np.ndarray, sizes: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Rates of all sides, and the memory of a member."""
    made: dict[str, list[tuple[Any, ...]]] = {
        "lone": [(members, 1, 1)],
        "matmuls": [(limit, cpu) for cpu in sorted(os.sched_getaffinity(0))],
        **{str(size): [(members, size, os.cpu_count())] for size in sizes},
        **({TORCH: [(torch, TORCH)]} if importlib.util.find_spec("torch") else {}),
    }
    peaks: dict[str, float] = {}

    def seconds(name: str, workers: Sequence[concurrent.futures.Executor], num: int) -> float:
        pairs = zip(workers, made[name], strict=True)
        begun = [worker.submit(in_worker, num, *side) for worker, side in pairs]
        spent, peak = zip(*(future.result() for future in begun), strict=True)
        peaks[name] = max(peak)
        return max(spent)

    with contextlib.ExitStack() as stack:
        new = functools.partial(
            concurrent.futures.ProcessPoolExecutor, 1, multiprocessing.get_context("spawn")
        )
        timed = {
            name: functools.partial(seconds, name, [stack.enter_context(new()) for _ in sides])
            for name, sides in made.items()
        }
        rates = common.in_turn(timed, rounds, SECONDS)
    at_once = {name: len(sides) for name, sides in made.items()} | {str(n): n for n in sizes}
    rates = {name: [at_once[name] * x for x in values] for name, values in rates.items()}
    others = [name for name in rates if not name.isdigit()]
    header = f"{'members':>8} {'member-iterations/s':>20} {'peak MB':>8}"
    print(header, *(f"/ {x:<16}" for x in others))
    for size in map(str, sizes):
        ratios = (common.ratios(rates[size], rates[other]) for other in others)
        cells = ("{:5.2f} ({:.2f} to {:.2f})".format(*ratio) for ratio in ratios)
        print(f"{size:>8} {statistics.median(rates[size]):20.0f} {peaks[size]:8.0f}", *cells)
    state = sweep.size(config, data.from_arrays(images)) / 1e6
    beyond = constant({n: peaks[str(n)] for n in sizes}, state)
    print(f"memory of N members: at most 1.2 * N * {state:.2f} MB + {beyond:.0f} MB")
    return {"rates": rates, "peak_memory_mb": peaks, "state_mb": state, "constant_mb": beyond}


def moved(config: ConfigDict, images: np.ndarray) -> int:
    """The least number of bytes that an iteration of a member moves.

    Each update reads and writes the player's parameters and optimizer moments, and a D step reads a
    minibatch. Gradients and activations need not leave the cache, and scalars are neglected.
    """

    def kept(player: Player) -> int:
        leaves = jax.tree.leaves((player.params, player.opt_state))
        return sum(x.size * x.dtype.itemsize for x in leaves if x.ndim)

    spec = config_lib.spec(config, images.shape[1:])
    players = algorithms.shapes(spec, config_lib.hparams(config)).players
    minibatch = spec.batch_size * images[0].nbytes
    return spec.k * (2 * kept(players["d"]) + minibatch) + 2 * kept(players["g"])


def bandwidth(size: int, repeats: int = 20) -> float:
    """Bytes read and written per second by copying `size` bytes; the best of 5 attempts."""
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = step(jnp.zeros(size // 4, jnp.float32))

    def copies(num: int) -> None:
        nonlocal x
        for _ in range(num):
            x = step(x)
        jax.block_until_ready(x)

    copies(1)
    return 2 * repeats * 4 * len(x) / min(common.seconds(copies, repeats) for _ in range(5))


def on_gpu(
    config: ConfigDict,
    images: np.ndarray,
    sizes: Sequence[int],
    rounds: int,
    copied: int = 2**32,
) -> dict[str, Any]:
    """Rates by number of members, as fractions of the limit.

    Args:
      config: config of the members.
      images: the data set.
      sizes: numbers of members.
      rounds: measurements of each.
      copied: bytes copied to measure the bandwidth.
    """
    needed = moved(config, images)
    most = bandwidth(copied) / needed
    timed = {
        str(n): functools.partial(common.seconds, jax_sides.population(config, images, n))
        for n in sizes
    }
    rates = common.in_turn(timed, rounds, SECONDS)
    rates = {name: [int(name) * x for x in values] for name, values in rates.items()}
    median = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{'members':>8} {'member-iterations/s':>20} {'of the limit':>13}")
    for name, rate in median.items():
        print(f"{name:>8} {rate:20.0f} {rate / most:13.3f}")
    return {"rates": rates, "bytes": needed, "limit": most}


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--rounds", type=cli.at_least(1), default=5)
    args = parser.parse_args()
    config, images = common.setup(CONFIG)
    if jax.default_backend() == "cpu":
        result = on_cpu(config, images, MEMBERS, args.rounds)
    else:
        result = on_gpu(config, images, GPU_MEMBERS, args.rounds)
    out = common.RESULTS / f"population-{common.device_name()}.json"
    write_json(out, common.origin() | result)
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
