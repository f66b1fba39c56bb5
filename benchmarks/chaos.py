"""Kills a training run repeatedly, and compares its results with an uninterrupted run.

    python benchmarks/chaos.py --kills=100
    python benchmarks/chaos.py --sweep --kills=25

Starts a short training process (with --sweep, a small sweep: four units, each with members that
diverge) and kills it with SIGKILL at random moments: two thirds anywhere from start-up on, one
third while a checkpoint is being written. The same command resumes it each time, and at the end
every result is compared with those of an uninterrupted process. Prints kills, resumes and
`identical`, or what differs (exit status 1).
"""

import argparse
import json
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np

from gan_jax.sweeps import space

CONFIG = "configs/digits.py"


class Case(NamedTuple):
    """A command to kill."""

    command: list[str]
    settings: dict[str, Any]  # config fields, by name
    checkpoints: str  # pattern of its checkpoint directories
    results: tuple[str, ...]  # patterns of files that must be identical


TRAINING = Case(
    ["gan_jax.main", f"--config={CONFIG}"],
    {"num_steps": 150_000, "checkpoint_every": 500, "sample_every": 5_000},
    "checkpoints",
    ("run.json", "metrics.jsonl", "curves.png", "samples.gif", "samples/*"),
)
SWEEP = Case(
    ["gan_jax.sweep", f"--config={CONFIG}", f"--sweep={__file__}", "--seeds=2"],
    {
        **{"num_steps": 8_000, "checkpoint_every": 500, "metrics_every": 100},
        **{"eval_every": 1_500, "eval_num": 50, "eval_metrics": "parzen"},
    },
    "units/*/checkpoints",
    ("results.csv", "curves.npz", "summary.md", "*.png"),
)


def get_sweep() -> list[space.Setting]:
    """Four programs; half of the members diverge, the first among them."""
    rates = {"d_optimizer.learning_rate": [1e30, 1e-3]}
    return space.grid({"loss": ["minimax", "non_saturating"], "k": [1, 2], **rates})


def content(directory: pathlib.Path, name: pathlib.Path) -> Any:
    """Comparable content of a result, without its directory; None if there is no such file."""
    path = directory / name
    if not path.exists():
        return None
    if name.suffix == ".npz":
        with np.load(path) as arrays:
            return {key: (x.dtype, x.shape, x.tobytes()) for key, x in arrays.items()}
    if name.name == "run.json":
        return json.loads(path.read_bytes()).get("params_sha256")
    return path.read_bytes().replace(bytes(directory), b"")


def compare(a: pathlib.Path, b: pathlib.Path, results: tuple[str, ...]) -> list[str]:
    """Names of the results that differ between two directories, and patterns without a file."""
    names = {p.relative_to(d) for pattern in results for d in (a, b) for p in d.glob(pattern)}
    missing = [pattern for pattern in results if not any(n.match(pattern) for n in names)]
    return missing + [
        str(name)
        for name in sorted(names)
        if (one := content(a, name)) is None or one != content(b, name)
    ]


def wait_for(directory: pathlib.Path, pattern: str, process: subprocess.Popen[bytes]) -> bool:
    """Waits for a path; returns False if the process ends before."""
    while process.poll() is None:
        if next(directory.glob(pattern), None):
            return True
        time.sleep(0.001)
    return False


def chaos(case: Case, kills: int, seed: int, out: pathlib.Path | None) -> int:
    """Runs the comparison and returns the exit status."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        calm, storm = (pathlib.Path(name, d) for d in ("calm", "storm"))
        command = [sys.executable, "-m", *case.command]
        command += [f"--config.{field}={value}" for field, value in case.settings.items()]

        def start(directory: pathlib.Path) -> subprocess.Popen[bytes]:
            workdir = f"--workdir={directory}"
            return subprocess.Popen([*command, workdir], stdout=subprocess.DEVNULL)

        begun = time.monotonic()
        process = start(calm)
        wait_for(calm, f"{case.checkpoints}/step_*", process)
        # Up to 1.5 s of training, so that there is progress between kills.
        longest = 1.5 + time.monotonic() - begun
        if process.wait():
            return 1
        done = aimed = resumes = 0
        while done < kills:
            process = start(storm)
            resumes += any(storm.glob(case.checkpoints))
            at_save = rng.random() < 1 / 3
            if at_save and wait_for(storm, f"{case.checkpoints}/unfinished", process):
                time.sleep(rng.uniform(0, 0.08))  # about the time of a save
            elif not at_save:
                time.sleep(rng.uniform(0.3, longest))
            if process.poll() is not None:
                break  # finished early, as the output says
            process.kill()
            process.wait()
            done, aimed = done + 1, aimed + at_save
        status = start(storm).wait()
        bad = compare(calm, storm, case.results) if status == 0 else [f"exit status {status}"]
    outcome = "identical" if not bad else "these differ: " + ", ".join(bad)
    text = f"{done} kills ({aimed} while a checkpoint was written), {resumes} resumes: {outcome}"
    print(text)
    if out is not None:
        out.write_text(f"{shlex.join(['python', 'benchmarks/chaos.py', *sys.argv[1:]])}\n{text}\n")
    return bool(bad) or done < kills


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", action="store_true", help="kill a sweep instead of a run")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--num_steps", type=int, help="of the run, or of each member")
    parser.add_argument("--out", type=pathlib.Path, help="file for the result")
    args = parser.parse_args()
    case = SWEEP if args.sweep else TRAINING
    if args.num_steps is not None:
        case = case._replace(settings=case.settings | {"num_steps": args.num_steps})
    return chaos(case, args.kills, args.seed, args.out)


if __name__ == "__main__":
    sys.exit(main())
