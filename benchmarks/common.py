"""Shared by the benchmarks: set-up, interleaved timing, and the provenance of a result."""

import contextlib
import datetime
import importlib.metadata
import pathlib
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from gan_jax import config as config_lib
from gan_jax import data, device, provenance

RESULTS = pathlib.Path(__file__).parent / "results"
MAXRSS = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss, in bytes

Steps = Callable[[int], Any]  # runs that many iterations, and returns when they are done


class Spread(NamedTuple):
    """Of repeated measurements."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


def mean_and_error(values: list[float], digits: int) -> str:
    """The mean of seeds, and its standard error if there are several."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


def ratios(a: Iterable[float], b: Iterable[float]) -> Spread:
    """Of a / b within each round, which a busy machine disturbs less than a or b."""
    return spread(x / y for x, y in zip(a, b, strict=True))


def setup(name: str, cpu_devices: int = 1) -> tuple[ConfigDict, np.ndarray]:
    """Sets up JAX as a run of a config does; returns the config and its training data."""
    config = config_lib.load(name)
    device.setup(config.accelerator, config.deterministic, data.cache_dir() / "xla", cpu_devices)
    return config, data.load(config.dataset, config.split, config.image_size).images


def seconds(steps: Steps, num: int) -> float:
    begun = time.perf_counter()
    steps(num)
    return time.perf_counter() - begun


def in_turn(
    sides: Mapping[str, Callable[[int], float]], rounds: int, duration: float
) -> dict[str, list[float]]:
    """Iterations/s of each side, once per round.

    Sides take turns, backwards in every other round, so that slow changes of the machine's load
    favour none.

    Args:
      sides: functions from a number of iterations to the seconds that they took.
      rounds: measurements of each side.
      duration: seconds per measurement, roughly.
    """
    num = {}
    for name, side in sides.items():
        side(3)  # compiles
        num[name] = max(3, round(3 * duration / side(3)))
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds):
        for name, side in list(sides.items())[:: -1 if i % 2 else 1]:
            rates[name].append(num[name] / side(num[name]))
    return rates


def device_name() -> str:
    """Names result files: cpu-2 for two cores, or the accelerator."""
    kind = jax.devices()[0].device_kind
    return f"cpu-{provenance.cores()}" if kind == "cpu" else re.sub(r"\W+", "-", kind.lower())


def origin() -> dict[str, Any]:
    """Date, command, machine and versions behind a result; where it was written is left out."""
    script = pathlib.Path(sys.argv[0]).name
    arguments = [x for x in sys.argv[1:] if not x.startswith(("--out=", "--workdir="))]
    run = provenance.provenance()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        run["versions"]["torch"] = importlib.metadata.version("torch")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", f"benchmarks/{script}", *arguments]),
        "machine": f"{platform.machine()}, {run['cores']} cores, {run['device']['kind']}",
        "git_commit": run["git_commit"],
        "versions": run["versions"],
    }
