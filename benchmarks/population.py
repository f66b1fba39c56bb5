"""Measures a population against lone runs: member-steps a second, and memory for each member.

    python benchmarks/population.py [--rounds=5]

Trains 1, 2, 8, 32 and 128 members of configs/mnist.py as one program, beside one lone run and,
where PyTorch is installed, its fastest variant, whose runs would go one after the other. Every side
has a process of its own (a population divides the CPU into a device a core, a lone run does
not), and they take turns, round after round.
"""

import concurrent.futures
import datetime
import importlib.util
import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import sys
import time

from gan_jax import cli

HERE = pathlib.Path(__file__).resolve().parent
TORCH = "torch fused Adam"
MEMBERS = (1, 2, 8, 32, 128)
SECONDS = 4.0  # that a side's turn takes, about

_sides: dict = {}  # what a worker process has made ready


def _setup(cpu_devices: int):
    from gan_jax import config, data, device

    c = config.load(str(HERE.parent / "configs/mnist.py"))
    device.setup(c.accelerator, c.deterministic, data.cache_dir() / "xla", cpu_devices)
    return c, data.load(c.dataset, c.split).images


def lone(steps: int) -> float:
    """Seconds that a lone run takes."""
    if not _sides:
        import jax

        from gan_jax import algorithm, config, core

        c, images = _setup(1)
        game, hparams, x = (
            config.game(c, images.shape[1:]),
            config.hparams(c),
            jax.device_put(images),
        )
        state = core.init(game, hparams, 0, x)
        _sides["run"] = lambda n: jax.block_until_ready(
            algorithm.train_chunk(game, hparams, state, x, n)
        )
    begun = time.perf_counter()
    _sides["run"](steps)
    return time.perf_counter() - begun


def population(steps: int, members: int) -> tuple[float, float]:
    """Seconds that a population takes, and the peak of this process's memory in MB."""
    if not _sides:
        import jax
        import numpy as np

        from gan_jax import config
        from gan_jax import population as lib

        c, images = _setup(os.cpu_count() or 1)
        devices = lib.mesh(members)
        members = -(-members // devices.size) * devices.size
        game, x = config.game(c, images.shape[1:]), jax.device_put(images)
        hparams = lib.stack([jax.tree.map(np.float32, config.hparams(c))] * members)
        hparams = lib.place(hparams, devices)
        seeds = lib.place(np.arange(members, dtype=np.uint32), devices)
        alive = lib.place(np.ones(members, bool), devices)
        _sides["states"] = lib.init(game, hparams, seeds, x, devices)

        def run(n: int) -> None:
            _sides["states"], info = lib.train_chunk(
                game, hparams, _sides["states"], x, n, alive, devices
            )
            jax.block_until_ready(info)

        _sides["run"] = run
    begun = time.perf_counter()
    _sides["run"](steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.perf_counter() - begun, peak


def torch(steps: int, variant: str) -> float:
    """Seconds that PyTorch takes."""
    if not _sides:
        sys.path.insert(0, str(HERE))
        import torch_gan

        from gan_jax import data

        _sides["run"] = torch_gan.VARIANTS[variant](data.load("mnist").images)
    begun = time.perf_counter()
    _sides["run"](steps)
    return time.perf_counter() - begun


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--rounds", type=cli.at_least(1), default=5)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    workers = {
        name: concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
        for name in ("lone", *map(str, MEMBERS), *[TORCH] * bool(importlib.util.find_spec("torch")))
    }

    def seconds(name: str, steps: int) -> float:
        if name == "lone":
            return workers[name].submit(lone, steps).result()
        if name.isdigit():
            spent, peaks[name] = workers[name].submit(population, steps, int(name)).result()
            return spent
        return workers[name].submit(torch, steps, name).result()

    peaks: dict[str, float] = {}
    steps = {}
    for name in workers:
        seconds(name, 3)  # compiles
        spent = seconds(name, 10)
        steps[name] = max(10, round(10 * SECONDS / spent))
    rates: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(args.rounds):
        for name in workers:
            number = 1 if not name.isdigit() else int(name)
            rates[name].append(number * steps[name] / seconds(name, steps[name]))
    ratios = {
        beside: {
            name: [a / b for a, b in zip(rates[name], rates[beside], strict=True)]
            for name in map(str, MEMBERS)
        }
        for beside in rates
        if not beside.isdigit()
    }
    print(f"{'members':>8} {'member-steps/s':>15} {'peak MB':>8}", *(f"/ {b:<14}" for b in ratios))
    for name in map(str, MEMBERS):
        cells = (
            f"{statistics.median(r[name]):5.2f} ({min(r[name]):.2f}-{max(r[name]):.2f})"
            for r in ratios.values()
        )
        print(f"{name:>8} {statistics.median(rates[name]):15.0f} {peaks[name]:8.0f}", *cells)
    out = HERE / "results" / f"population-cpu-{os.cpu_count()}.json"
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/population.py",
        "rates": rates,
        "peak_memory_mb": peaks,
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(out.name)
    for worker in workers.values():
        worker.shutdown()
    return 0


if __name__ == "__main__":
    cli.run(main)
