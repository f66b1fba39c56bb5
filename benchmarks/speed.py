"""Measures the training speed of configs/mnist.py. About 10 minutes on 2 cores.

    python benchmarks/speed.py [--rounds=9] [--run_steps=20000] [--out=FILE]

Iterations/s of several sides, interleaved round by round:

  gan_jax        training as gan_jax.main runs it
  matmuls        the limit: only the 21 matrix products of an iteration, in the same kind of loop
  python_loop    the same two steps, each jitted and called from Python
  torch ...      the same training in PyTorch (torch_sides.py), where it is installed

Then, of `python -m gan_jax.main --config=mnist`: the time from process start to the first
iteration, peak memory, and the fraction of training time spent on logs, samples and checkpoints.
Writes benchmarks/results/DEVICE.json.
"""

import contextlib
import functools
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple
from unittest import mock

import common
import jax
import jax_sides
import numpy as np
from common import Spread, Steps, spread
from ml_collections import ConfigDict

from gan_jax import checkpoint, cli, population, train
from gan_jax import config as config_lib
from gan_jax.writers import write_json

CONFIG = "mnist"
SECONDS = 1.2  # per measurement
REPEATS = 3  # whole runs


def torch_variants(config: ConfigDict, images: np.ndarray) -> dict[str, Steps | str]:
    """The variants that work here; for the others, the reason they do not."""
    try:
        import torch_sides
    except ImportError as error:
        return {"torch": str(error)}
    if {"gpu": "cuda"}.get(jax.default_backend(), "cpu") != torch_sides.DEVICE:
        return {"torch": f"it would run on {torch_sides.DEVICE}"}
    sides: dict[str, Steps | str] = {}
    for name, make in torch_sides.VARIANTS.items():
        try:
            sides[name] = make(config, images)
            sides[name](3)
        except Exception as error:  # a missing compiler, an unsupported kernel
            message = " ".join(str(error).split())
            sides[name] = f"{type(error).__name__}: {message[:150]}"
    return sides


def processes(name: str, run_steps: int) -> dict[str, Any]:
    """Seconds to the first iteration, peak memory in MB and speed of whole runs, caches warm."""
    # A small parent per run: a child's peak includes that of the process it was forked from.
    measure = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], stdout=sys.stderr, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    runs = []
    for steps in (1, *[run_steps] * REPEATS):  # the first one warms the caches
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, "-m", "gan_jax.main", f"--config={name}"]
            command += [f"--workdir={directory}", f"--config.num_steps={steps}"]
            done = subprocess.run(
                [sys.executable, "-c", measure, *command], capture_output=True, text=True
            )
            if done.returncode:
                sys.exit(done.stderr)
            run = json.loads(pathlib.Path(directory, "run.json").read_text())
            runs.append(run | {"peak": int(done.stdout)})
    runs = runs[1:]
    return {
        "seconds_to_first_step": spread(run["seconds_to_first_step"] for run in runs),
        "peak_mb": spread(run["peak"] * common.MAXRSS / 1e6 for run in runs),
        "run_steps_per_second": [run["steps_per_second"] for run in runs],
    }


class Chunk(NamedTuple):
    """A call of train_chunk."""

    num_steps: int
    begun: float
    ended: float


def observe(config: ConfigDict) -> tuple[list[Chunk], float]:
    """Trains a config; returns its chunks and when its last checkpoint was complete."""
    chunks: list[Chunk] = []
    ended: list[float] = []
    train_chunk = population.train_chunk

    def timed(members: Any, states: Any, step: int, num_steps: int, active: Any) -> Any:
        begun = time.perf_counter()
        result = jax.block_until_ready(train_chunk(members, states, step, num_steps, active))
        chunks.append(Chunk(num_steps, begun, time.perf_counter()))
        return result

    def close(writer: checkpoint.Writer, close: Any = checkpoint.Writer.close) -> None:
        close(writer)
        ended.append(time.perf_counter())

    with (
        tempfile.TemporaryDirectory() as directory,
        mock.patch.object(population, "train_chunk", timed),
        mock.patch.object(checkpoint.Writer, "close", close),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        train.run(config, pathlib.Path(directory), "speed")
    return chunks, ended[0]


def outputs_share(config: ConfigDict, images: np.ndarray) -> dict[str, Spread]:
    """Fraction of training time spent on logs, metrics, samples and checkpoints.

    "waiting" is the time outside of train_chunk. "in_all" compares a run with a bare loop over the
    same chunks, and so includes what background threads take from the computation; it is noisier.
    Both leave out the first chunk, which compiles, and the figures of a finished run.
    """
    waiting, in_all = [], []
    for _ in range(REPEATS):
        (first, *chunks), end = observe(config)
        total = end - first.ended
        waiting.append(1 - sum(chunk.ended - chunk.begun for chunk in chunks) / total)
        steps = jax_sides.population(config, images)
        steps(first.num_steps)
        bare = sum(common.seconds(steps, chunk.num_steps) for chunk in chunks)
        in_all.append(1 - bare / total)
    return {"waiting": spread(waiting), "in_all": spread(in_all)}


def report(result: dict[str, Any]) -> list[str]:
    """Lines of text."""
    lines = [f"{'':<24}{'iterations/s':>12}   gan_jax / it (min..max)"]
    for name, rate in result["steps_per_second"].items():
        ratio = "{:.2f} ({:.2f}..{:.2f})".format(*result["times_as_fast"][name])
        lines.append(f"{name:<24}{rate:>12.0f}   {ratio}")
    lines += [f"{name:<24}left out: {why}" for name, why in result["left_out"].items()]
    for name, (median, low, high), unit in (
        ("s to first step", result["seconds_to_first_step"], 1),
        ("peak MB", result["peak_mb"], 1),
        ("% outputs, waiting", result["outputs"]["waiting"], 100),
        ("% outputs, in all", result["outputs"]["in_all"], 100),
    ):
        lines.append(f"{name:<24}{unit * median:>12.1f}   ({unit * low:.1f}..{unit * high:.1f})")
    return lines


def main() -> int:
    parser = cli.parser(__doc__)
    number = cli.at_least(1)
    parser.add_argument("--rounds", type=number, default=9, help="measurements of each side")
    parser.add_argument("--run_steps", type=number, help="of whole runs; default: the config's")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the GPU
    run_steps = args.run_steps or config_lib.load(CONFIG).num_steps
    of_processes = processes(CONFIG, run_steps)  # before this process holds a device

    config, images = common.setup(CONFIG)
    torch = torch_variants(config, images)
    sides = {
        "gan_jax": jax_sides.population(config, images),
        "matmuls": jax_sides.limit(config, images),
        "python_loop": jax_sides.python_loop(config, images),
        **{name: side for name, side in torch.items() if not isinstance(side, str)},
    }
    timed = {name: functools.partial(common.seconds, side) for name, side in sides.items()}
    rates = common.in_turn(timed, args.rounds, SECONDS)
    short = {"num_steps": min(run_steps, 2 * config.checkpoint_every)}
    result = {
        "device": common.device_name(),
        **common.origin(),
        "steps_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "times_as_fast": {
            name: common.ratios(rates["gan_jax"], values) for name, values in rates.items()
        },
        "left_out": {name: why for name, why in torch.items() if isinstance(why, str)},
        "rates": rates,
        **of_processes,
        "outputs": outputs_share(config_lib.replace(config, short), images),
    }
    print("\n".join([result["machine"], *report(result)]))
    out = args.out or common.RESULTS / f"{result['device']}.json"
    write_json(out, result)
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
