"""Measures what an engine of `gan_jax.sweep --on=` costs per unit.

    python benchmarks/engines.py [--rounds=5]

Each engine runs 1 and then 9 units whose command does nothing; the difference per unit is its cost.
Next to it, the processor time of a process that trains a unit for one iteration of configs/digits:
imports, data and compilation, most of which a sweep in one process pays once. `submitit` is its
executor on this machine; `slurm` is measured where there is an sbatch. Writes
benchmarks/results/engines-DEVICE.json.
"""

import collections
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

UNITS = 9


def seconds(on: str, options: Options, units: int) -> float:
    """Wall time of an engine for units that do nothing."""
    with tempfile.TemporaryDirectory() as name:
        logs = [pathlib.Path(name, "units", str(i), "log.txt") for i in range(units)]
        for log in logs:
            log.parent.mkdir(parents=True)
        tasks = {i: Task(["true"], str(log), name) for i, log in enumerate(logs)}
        begun = time.perf_counter()
        ended: dict[int, int] = {}
        for found in executors.EXECUTORS[on](tasks, options):
            ended |= found
        spent = time.perf_counter() - begun
    if ended != dict.fromkeys(tasks, 0):
        raise RuntimeError(f"{on}: {ended}")
    return spent


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
    engines = {
        "local": ("local", Options()),
        "ray": ("ray", Options()),
        "submitit": ("slurm", Options(cluster="local")),
    }
    if shutil.which("sbatch"):
        engines["slurm"] = ("slurm", Options())
    first: dict[str, list[float]] = collections.defaultdict(list)
    each: dict[str, list[float]] = collections.defaultdict(list)
    for _ in range(args.rounds):
        for name, engine in engines.items():
            one, many = (seconds(*engine, units) for units in (1, UNITS))
            first[name].append(one)
            each[name].append((many - one) / (UNITS - 1))
    process = [process_seconds() for _ in range(args.rounds)]
    for name in engines:
        print(f"{name:<10} first unit {statistics.median(first[name]):6.2f} s", end="")
        print(f"   each further {statistics.median(each[name]):6.3f} s")
    print(f"a unit's process takes {statistics.median(process):.1f} s of processor time")
    result = {"first": dict(first), "each_further": dict(each), "process": process}
    out = common.RESULTS / f"engines-{common.device_name()}.json"
    write_json(out, common.origin() | result)
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
