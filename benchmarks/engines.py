"""Measures what an executor of `gan_jax.sweep --on=` costs per unit.

    python benchmarks/engines.py [--rounds=5]

Each executor runs 17 units whose command does nothing: wall time until the first and until all have
ended, with as many at once as there are cores (submitit's own executor, `submitit`, runs all at
once). `slurm` is measured where there is an sbatch. Next to it, the processor time of a process
that trains a unit for one iteration of configs/digits: imports, data and compilation, most of which
a sweep in one process pays once. Writes benchmarks/results/engines-DEVICE.json.
"""

import collections
import importlib.metadata
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import common

from gan_jax import cli
from gan_jax.sweeps import executors
from gan_jax.sweeps.executors import Options, Task
from gan_jax.writers import write_json

UNITS = 17


def seconds(on: str, options: Options, units: int) -> tuple[float, float]:
    """Wall time until the first of units that do nothing has ended, and until all have."""
    with tempfile.TemporaryDirectory() as name:
        logs = [pathlib.Path(name, "units", str(i), "log.txt") for i in range(units)]
        for log in logs:
            log.parent.mkdir(parents=True)
        tasks = {i: Task(["true"], str(log), name) for i, log in enumerate(logs)}
        begun = time.perf_counter()
        ends: list[float] = []
        for ended in executors.EXECUTORS[on](tasks, options):
            if set(ended.values()) - {0}:
                raise RuntimeError(f"{on}: {ended}")
            ends += [time.perf_counter() - begun] * len(ended)
    return ends[0], ends[-1]


def process_seconds() -> float:
    """Processor time of training a unit of one iteration in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        sweep = pathlib.Path(name, "sweep")
        command = ["gan_jax.sweep", "--config=digits", "--sweep=seeds", "--config.num_steps=1"]
        run([*command, "--config.eval_metrics=parzen", f"--workdir={sweep}"])
        (sweep / "units/0000/result.npz").unlink()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(["gan_jax.sweeps.worker", str(sweep), "0"])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(command: list[str]) -> None:
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--rounds", type=cli.at_least(1), default=5)
    args = parser.parse_args()
    executed = {
        "local": ("local", Options()),
        "ray": ("ray", Options()),
        "submitit": ("slurm", Options(cluster="local")),
    }
    if shutil.which("sbatch"):
        executed["slurm"] = ("slurm", Options())
    first: dict[str, list[float]] = collections.defaultdict(list)
    every: dict[str, list[float]] = collections.defaultdict(list)
    for _ in range(args.rounds):
        for name, arguments in executed.items():
            begin, end = seconds(*arguments, UNITS)
            first[name].append(begin)
            every[name].append(end)
    process = [process_seconds() for _ in range(args.rounds)]
    for name in executed:
        one, seventeen = (statistics.median(times[name]) for times in (first, every))
        each = seventeen / UNITS
        print(f"{name:<10} first {one:6.2f} s   all {seventeen:6.2f} s   per unit {each:5.2f} s")
    print(f"a unit's process takes {statistics.median(process):.1f} s of processor time")
    origin = common.origin()
    origin["versions"] |= {name: importlib.metadata.version(name) for name in ("ray", "submitit")}
    result = {"first": dict(first), "all": dict(every), "units": UNITS, "process": process}
    out = common.RESULTS / f"engines-{common.device_name()}.json"
    write_json(out, origin | result)
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
