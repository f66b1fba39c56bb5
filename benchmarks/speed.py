"""Measures how fast configs/mnist.py trains, and beside what. Takes some 10 minutes on 2 cores.

python benchmarks/speed.py [--rounds=9] [--steps=400] [--run_steps=20000] [--out=FILE]

Iterations (one step of D, one of G) a second, of all sides in turn and round after round, so that
whatever else the machine does meets all of them alike:

  gan_jax        algorithm.train_chunk, as train.py calls it
  matmuls        the limit: nothing but one iteration's 21 matrix products, in the same kind of loop
  python_loop    the same two steps, jitted each on its own and called from Python
  torch ...      the same training in PyTorch (torch_gan.py), where PyTorch is installed

Then, of `python -m gan_jax.main --config=configs/mnist.py`: the time from process to first
iteration, the peak of its memory, and the share of its time that goes into what it writes.
"""

import contextlib
import datetime
import functools
import importlib.metadata
import io
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax_sides
import numpy as np
from jax_sides import Steps
from ml_collections import ConfigDict

from gan_jax import algorithm, cli, core, data, device, train
from gan_jax import config as config_lib

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE.parent / "configs" / "mnist.py"
PROCESSES = 3  # and as many pairs of runs for the share of the outputs


class Spread(NamedTuple):
    """What repeated measurements gave."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def torch_sides(images: np.ndarray) -> Iterator[tuple[str, Steps | str]]:
    """Each variant that works here, or why it does not."""
    try:
        import torch_gan
    except ImportError as error:
        yield "torch", f"left out: {error}"
        return
    ours = "cuda" if jax.default_backend() == "gpu" else "cpu"
    if ours != torch_gan.DEVICE:
        yield "torch", f"left out: it would run on {torch_gan.DEVICE}"
        return
    for name, make in torch_gan.VARIANTS.items():
        try:
            steps = make(images)
            steps(3)
            yield name, steps
        except Exception as error:  # a compiler that is missing, a kernel that is not there
            yield name, f"left out: {type(error).__name__}: {' '.join(str(error).split())[:150]}"


def in_turn(sides: dict[str, Steps], rounds: int, steps: int) -> dict[str, list[float]]:
    """Iterations a second, one number a round."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(-1, rounds):
        for name, side in sides.items():
            begun = time.perf_counter()
            side(steps)
            if i >= 0:  # the round before the first one compiles and warms up
                rates[name].append(steps / (time.perf_counter() - begun))
    return rates


def processes(run_steps: int) -> dict[str, Any]:
    """Seconds to the first iteration and peak MB of whole runs, with caches warmed by one more.

    A small process starts each run and asks for the peak: ours would count its own memory in.
    """
    measure = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], stdout=sys.stderr, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    seconds, megabytes, rates = [], [], []
    for steps in (1, *[run_steps] * PROCESSES):
        with tempfile.TemporaryDirectory() as directory:
            command = ["-m", "gan_jax.main", f"--config={CONFIG}", f"--workdir={directory}"]
            command = [sys.executable, "-c", measure, sys.executable, *command]
            command += [f"--config.num_steps={steps}"]
            done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
            if done.returncode:
                sys.exit(done.stderr)
            run = json.loads(pathlib.Path(directory, "run.json").read_text())
            seconds.append(run["seconds_to_first_step"])
            rates.append(run["steps_per_second"])
            megabytes.append(int(done.stdout) * unit / 1e6)
    return {
        "seconds_to_first_step": spread(seconds[1:]),
        "peak_mb": spread(megabytes[1:]),
        "run_steps_per_second": rates[1:],
    }


def outputs_share(config: ConfigDict, run_steps: int) -> dict[str, Spread]:
    """The share of a run's time that logging, metrics, samples and checkpoints take.

    Twice: "waiting" is what the run spends outside of train_chunk (until its results are there),
    and "in_all" compares the run with a bare loop over the very same chunks, in turn, so that what
    background threads take from the computation counts as well; that one is noisier. Both leave out
    what comes before the end of the first chunk (it compiles) and after the end of the last
    checkpoint, at which run.json is written.
    """
    config.num_steps = min(run_steps, 2 * config.checkpoint_every)
    chunk = algorithm.train_chunk
    shares: dict[str, list[float]] = {"waiting": [], "in_all": []}
    for _ in range(PROCESSES):
        calls: list[tuple[float, float, tuple[Any, ...]]] = []

        def timed(*arguments: Any, calls: list[Any] = calls) -> Any:
            begun = time.time()
            result = jax.block_until_ready(chunk(*arguments))
            calls.append((begun, time.time(), arguments))
            return result

        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory)
            with (
                mock.patch.object(algorithm, "train_chunk", timed),
                contextlib.redirect_stdout(io.StringIO()),
            ):
                train.run(config, path, "speed")
            run = (path / "run.json").stat().st_mtime - calls[0][1]
        computing = sum(end - begun for begun, end, _ in calls[1:])
        begun = time.time()
        for _, _, arguments in calls[1:]:
            jax.block_until_ready(chunk(*arguments))
        bare = time.time() - begun
        shares["waiting"].append(1 - computing / run)
        shares["in_all"].append(1 - bare / run)
    return {name: spread(values) for name, values in shares.items()}


def report(result: dict[str, Any]) -> str:
    """Every figure, beside its target where it has one."""
    rates, ratios = result["steps_per_second"], result["times_as_fast"]
    torch = {name: ratio[0] for name, ratio in ratios.items() if name.startswith("torch")}
    targets = {"matmuls": ">= 0.75"}
    if torch:  # the best of them
        targets[min(torch, key=lambda name: torch[name])] = ">= 1.9"
    lines = [f"{'':<22}{'steps/s':>9}   {'gan_jax / it (min..max)':<26}target"]
    for name, rate in rates.items():
        ratio = "{:.2f} ({:.2f}..{:.2f})".format(*ratios[name])
        lines.append(f"{name:<22}{rate:>9.0f}   {ratio:<26}{targets.get(name, '')}".rstrip())
    lines += [f"{name:<22}{why}" for name, why in result["left_out"].items()]
    for name, (median, low, high), digits, target in (
        ("s to first step", result["seconds_to_first_step"], 2, "<= 6"),
        ("MB at most", result["peak_mb"], 0, "<= 1000"),
        ("% outputs, waiting", [100 * x for x in result["outputs"]["waiting"]], 1, "<= 3"),
        ("% outputs, in all", [100 * x for x in result["outputs"]["in_all"]], 1, ""),
    ):
        bounds = f"({low:.{digits}f}..{high:.{digits}f})"
        lines.append(f"{name:<22}{median:>9.{digits}f}   {bounds:<26}{target}")
    return "\n".join(lines)


def main() -> int:
    parser = cli.parser(__doc__)
    number = cli.at_least(1)
    parser.add_argument("--rounds", type=number, default=9, help="timings of each side")
    parser.add_argument("--steps", type=number, default=400, help="iterations in a timing")
    parser.add_argument("--run_steps", type=number, help="of the processes; default: the config's")
    parser.add_argument(
        "--out", type=pathlib.Path, help="default: benchmarks/results/<device>.json"
    )
    args = parser.parse_args()
    config = config_lib.load(str(CONFIG))
    run_steps = args.run_steps or config.num_steps
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # on a GPU, PyTorch wants some
    of_processes = processes(run_steps)  # before this process holds a device

    device.setup(config.accelerator, config.deterministic, data.cache_dir() / "xla")
    kind, cores = jax.devices()[0].device_kind, os.cpu_count()
    where = f"cpu-{cores}" if kind == "cpu" else re.sub(r"\W+", "-", kind.lower())
    images = data.load(config.dataset, config.split, config.image_size).images
    on_device = jax.device_put(images)
    game, hparams = config_lib.game(config, images.shape[1:]), config_lib.hparams(config)
    assert game.k == 1
    state = core.init(game, hparams, config.seed, on_device)
    chunk = functools.partial(algorithm.train_chunk, game, hparams, state, on_device)
    limit, check = jax_sides.limit(game, state, on_device)
    torch = dict(torch_sides(images))
    sides = {
        "gan_jax": lambda n: jax.block_until_ready(chunk(n)),
        "matmuls": limit,
        "python_loop": jax_sides.python_loop(game, hparams, state, on_device),
        **{name: side for name, side in torch.items() if not isinstance(side, str)},
    }
    rates = in_turn(sides, args.rounds, args.steps)
    ours = rates["gan_jax"]
    packages = ["jax", "jaxlib", "flax", "optax", "numpy"] + ["torch"] * ("torch" in sys.modules)
    result = {
        "device": where,
        "machine": f"{platform.machine()}, {cores} cores, {kind}; thread settings are the defaults",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "benchmarks/speed.py", *sys.argv[1:]]),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "steps_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "times_as_fast": {
            name: spread([a / b for a, b in zip(ours, values, strict=True)])
            for name, values in rates.items()
        },
        "left_out": {name: why for name, why in torch.items() if isinstance(why, str)},
        "matmuls": check,
        "rates": rates,
        **of_processes,
        "outputs": outputs_share(config, run_steps),
    }
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    print(f"{result['machine']}; {versions}\n{report(result)}")
    out = args.out or HERE / "results" / f"{where}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
