"""Measures a population against lone runs, against the machine's limit, and its memory.

    python benchmarks/population.py [--rounds=5] [--whole]

On a CPU: 1, 2, 8, 32 and 128 members of configs/mnist.py as one program, beside one lone run, the
limit (nothing but an iteration's matrix products, in one process for each core at once) and, where
PyTorch is installed, its fastest variant, whose runs would go one after the other. Every side has
processes of its own (a population divides the CPU into a device a core, a lone run does not), and
they take turns, round after round.

On a GPU: 1 to 1024 members, in turn in one process, beside the limit of the memory's bandwidth:
what an iteration must move at the least, over what a copy reaches. A state that fits into the
GPU's cache can pass it. --whole also trains 512 members to the end.
"""

import concurrent.futures
import contextlib
import datetime
import functools
import importlib.util
import json
import math
import multiprocessing
import os
import pathlib
import re
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from gan_jax import cli

HERE = pathlib.Path(__file__).resolve().parent
TORCH = "torch fused Adam"
LIMIT = "matmuls"
MEMBERS = (1, 2, 8, 32, 128)
GPU_MEMBERS = (1, 8, 64, 256, 512, 1024)
WHOLE = 512  # members of whole trainings on a GPU
SECONDS = 4.0  # that a side's turn takes, about

_sides: dict = {}  # what a worker process has made ready

Steps = Callable[[int], Any]  # runs that many iterations, and returns when they are done


def _setup(cpu_devices: int):
    """The game, numbers and images of configs/mnist.py, with JAX set up."""
    import jax

    from gan_jax import config, data, device

    c = config.load(str(HERE.parent / "configs/mnist.py"))
    device.setup(c.accelerator, c.deterministic, data.cache_dir() / "xla", cpu_devices)
    images = data.load(c.dataset, c.split).images
    return c, config.game(c, images.shape[1:]), config.hparams(c), jax.device_put(images)


def _seconds(run: Steps, steps: int) -> float:
    begun = time.perf_counter()
    run(steps)
    return time.perf_counter() - begun


def in_worker(make: Callable[..., Steps], argument: Any, steps: int) -> tuple[float, float]:
    """Seconds that a side takes, made ready the first time; and the process's peak memory in MB."""
    if not _sides:
        _sides["run"] = make(argument)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    seconds = _seconds(_sides["run"], steps)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def lone(_: None) -> Steps:
    import jax

    from gan_jax import algorithm, core

    _, game, hparams, x = _setup(1)
    state = core.init(game, hparams, 0, x)
    return lambda n: jax.block_until_ready(algorithm.train_chunk(game, hparams, state, x, n))


def limit(cpu: int) -> Steps:
    os.sched_setaffinity(0, {cpu})  # before JAX starts a thread for each core
    import jax_sides

    from gan_jax import core

    _, game, hparams, x = _setup(1)
    return jax_sides.limit(game, core.init(game, hparams, 0, x), x)[0]


def torch(variant: str) -> Steps:
    import torch_gan

    from gan_jax import data

    return torch_gan.VARIANTS[variant](data.load("mnist").images)


def population(members: int) -> Steps:
    _, game, hparams, x = _setup(os.cpu_count() or 1)
    return members_of(game, hparams, x, members)


def members_of(game: Any, hparams: Any, images: Any, members: int) -> Steps:
    """A population at its start; each call goes on from where the one before ended."""
    import jax
    import numpy as np

    from gan_jax.sweeps import population as lib

    devices = lib.mesh(members)
    members = -(-members // devices.size) * devices.size
    stacked = lib.stack([jax.tree.map(np.float32, hparams)] * members)
    seeds, alive = np.arange(members, dtype=np.uint32), np.ones(members, bool)
    stacked, seeds, alive = lib.place((stacked, seeds, alive), devices)
    states = lib.init(game, stacked, seeds, images, devices)

    def run(n: int) -> None:
        nonlocal states
        states, info = lib.train_chunk(game, stacked, states, images, n, alive, devices)
        jax.block_until_ready(info)

    return run


def in_turn(
    sides: dict[str, Callable[[int], float]], at_once: dict[str, int], rounds: int
) -> dict[str, list[float]]:
    """Iterations a second of all sides, round after round.

    Args:
      sides: functions of a number of iterations, which return the seconds that these take.
      at_once: how many of each iteration a side makes, of members or of processes.
      rounds: how many.
    """
    steps = {}
    for name, side in sides.items():
        side(3)  # compiles
        steps[name] = max(10, round(10 * SECONDS / side(10)))
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            rates[name].append(at_once[name] * steps[name] / side(steps[name]))
    return rates


def constant(peaks: dict[int, float], state: float) -> float:
    """The smallest C with which every peak is at most 1.2 times its members' states, plus C."""
    return max(peak - 1.2 * members * state for members, peak in peaks.items())


def moved(game: Any, hparams: Any, images: Any) -> int:
    """Bytes that an iteration of a member moves at the least.

    Each update reads and writes its player's parameters and what the optimizer keeps of them (of
    Adam both moments); each of D's reads a minibatch. Gradients and activations need not move, and
    are not counted; nor are single numbers.
    """
    from gan_jax import core

    def kept(player: Any) -> int:
        import jax

        leaves = jax.tree.leaves((player.params, player.opt_state))
        return sum(x.size * x.dtype.itemsize for x in leaves if x.ndim)

    state = core.shapes(game, hparams)
    minibatch = game.batch_size * math.prod(images.shape[1:]) * images.dtype.itemsize
    return game.k * (2 * kept(state.d) + minibatch) + 2 * kept(state.g)


def bandwidth(size: int, repeats: int = 20) -> float:
    """Bytes a second, read and written, of the best of 5 times copying so many, repeatedly."""
    import jax
    import jax.numpy as jnp

    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    x, best = step(jnp.zeros(size // 4, jnp.float32)), math.inf
    for _ in range(5):
        jax.block_until_ready(x)
        begun = time.perf_counter()
        for _ in range(repeats):
            x = step(x)
        jax.block_until_ready(x)
        best = min(best, time.perf_counter() - begun)
    return 2 * repeats * 4 * len(x) / best


def on_gpu(
    setup: tuple[Any, Any, Any, Any],
    sizes: Sequence[int],
    rounds: int,
    whole: int,
    really: bool,
    copied: int = 2**32,
) -> dict[str, Any]:
    """Rates by members, their share of the limit, and the time of whole trainings.

    Args:
      setup: of `_setup`.
      sizes: the numbers of members.
      rounds: timings of each.
      whole: one of sizes: the members whose whole trainings are estimated.
      really: whether to train them as well.
      copied: bytes, to measure the bandwidth.
    """
    c, game, hparams, images = setup
    needed = moved(game, hparams, images)
    most = bandwidth(copied) / needed
    runs = {str(n): members_of(game, hparams, images, n) for n in sizes}
    sides = {name: functools.partial(_seconds, run) for name, run in runs.items()}
    rates = in_turn(sides, {str(n): n for n in sizes}, rounds)
    median = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{'members':>8} {'member-steps/s':>15} {'of the limit':>13}")
    for name, rate in median.items():
        print(f"{name:>8} {rate:15.0f} {rate / most:13.3f}")
    result = {"rates": rates, "bytes": needed, "limit": most}
    result["whole_estimated_s"] = whole * c.num_steps / median[str(whole)]
    if really:  # compiled by now
        result["whole_s"] = _seconds(members_of(game, hparams, images, whole), c.num_steps)
    for name in ("whole_estimated_s", "whole_s"):
        if name in result:
            print(f"{name}, {whole} trainings of {c.num_steps} iterations: {result[name]:.1f}")
    return result


def on_cpu(setup: tuple[Any, Any, Any, Any], sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """Rates of all sides, beside each of those that are no population; and what a member takes."""
    from gan_jax.sweeps import population as lib

    c, _, _, images = setup
    made: dict[str, list[tuple[Callable[..., Steps], Any]]] = {
        "lone": [(lone, None)],
        LIMIT: [(limit, cpu) for cpu in sorted(os.sched_getaffinity(0))],
        **{str(n): [(population, n)] for n in sizes},
        **({TORCH: [(torch, TORCH)]} if importlib.util.find_spec("torch") else {}),
    }
    context = multiprocessing.get_context("spawn")
    peaks: dict[str, float] = {}

    def seconds(name: str, workers: Sequence[Any], steps: int) -> float:
        pairs = zip(workers, made[name], strict=True)
        begun = [worker.submit(in_worker, *side, steps) for worker, side in pairs]
        spent, peak = zip(*[future.result() for future in begun], strict=True)
        peaks[name] = max(peak)
        return max(spent)

    with contextlib.ExitStack() as stack:
        new = functools.partial(concurrent.futures.ProcessPoolExecutor, 1, mp_context=context)
        workers = {name: [stack.enter_context(new()) for _ in made[name]] for name in made}
        sides = {name: functools.partial(seconds, name, own) for name, own in workers.items()}
        at_once = {name: len(own) for name, own in workers.items()} | {str(n): n for n in sizes}
        rates = in_turn(sides, at_once, rounds)
    besides = [name for name in rates if not name.isdigit()]
    print(f"{'members':>8} {'member-steps/s':>15} {'peak MB':>8}", *(f"/ {b:<16}" for b in besides))
    for name in map(str, sizes):
        ratios = [[a / b for a, b in zip(rates[name], rates[x], strict=True)] for x in besides]
        cells = (f"{statistics.median(r):5.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios)
        print(f"{name:>8} {statistics.median(rates[name]):15.0f} {peaks[name]:8.0f}", *cells)
    state = lib.size(c, images.shape[1:]) / 1e6
    beyond = constant({n: peaks[str(n)] for n in sizes}, state)
    print(f"memory of N members: at most 1.2 * N * {state:.2f} MB + {beyond:.0f} MB")
    return {"rates": rates, "peak_memory_mb": peaks, "state_mb": state, "constant_mb": beyond}


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--rounds", type=cli.at_least(1), default=5)
    parser.add_argument("--whole", action="store_true", help="on a GPU, whole trainings too")
    args = parser.parse_args()
    import jax

    setup = _setup(1)
    kind = jax.devices()[0].device_kind
    if jax.default_backend() == "cpu":
        where, result = f"cpu-{os.cpu_count()}", on_cpu(setup, MEMBERS, args.rounds)
    else:
        where = re.sub(r"\W+", "-", kind.lower())
        result = on_gpu(setup, GPU_MEMBERS, args.rounds, WHOLE, args.whole)
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "benchmarks/population.py", *sys.argv[1:]]),
        **result,
    }
    out = HERE / "results" / f"population-{where}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(out.name)
    return 0


if __name__ == "__main__":
    cli.run(main)
