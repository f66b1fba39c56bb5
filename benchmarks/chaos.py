"""Kills a training again and again, and compares its end with the undisturbed run.

    python benchmarks/chaos.py --kills=100
    python benchmarks/chaos.py --sweep --kills=25

Runs a short training as a process (or, with --sweep, a small sweep: four units, each with members
that diverge) and kills it with SIGKILL at random moments: most anywhere, from start-up on, a third
of them within a moment of a checkpoint being written. It is resumed each time by the same command,
and at the end every result is compared with those of a process that nobody touched. Prints kills,
resumes and `identical`, or what differs (exit status 1).
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

from gan_jax import search

CONFIG = "configs/digits.py"


class Case(NamedTuple):
    """What is killed."""

    command: list[str]
    settings: dict[str, Any]  # config fields, by name
    checkpoints: str  # the directories of its checkpoints, as a pattern
    results: tuple[str, ...]  # what must be the same in the end: patterns of files


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


def get_sweep() -> list[search.Setting]:
    """Of the sweep that is killed: four programs; half of the members, the first too, diverge."""
    rates = {"d_optimizer.learning_rate": [1e30, 1e-3]}
    return search.grid({"loss": ["minimax", "non_saturating"], "k": [1, 2], **rates})


def content(directory: pathlib.Path, name: pathlib.Path) -> Any:
    """What a result says, wherever it lies; None if there is nothing."""
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
    """The names of the results that two directories do not have in common."""
    names = {p.relative_to(d) for pattern in results for d in (a, b) for p in d.glob(pattern)}
    missing = [pattern for pattern in results if not any(n.match(pattern) for n in names)]
    return missing + [
        str(name)
        for name in sorted(names)
        if (one := content(a, name)) is None or one != content(b, name)
    ]


def wait_for(directory: pathlib.Path, pattern: str, process: subprocess.Popen[bytes]) -> bool:
    """Returns when there is such a path; False if the process ends before."""
    while process.poll() is None:
        if next(directory.glob(pattern), None):
            return True
        time.sleep(0.001)
    return False


def chaos(case: Case, kills: int, seed: int, out: pathlib.Path | None) -> int:
    """Runs the whole comparison and returns the exit status."""
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
        # Up to a second and a half of training, so that it gets on between the kills.
        longest = 1.5 + time.monotonic() - begun
        if process.wait():
            return 1
        done = aimed = resumes = 0
        while done < kills:
            process = start(storm)
            resumes += any(storm.glob(case.checkpoints))
            at_save = rng.random() < 1 / 3
            if at_save and wait_for(storm, f"{case.checkpoints}/unfinished", process):
                time.sleep(rng.uniform(0, 0.08))  # about what a save takes
            elif not at_save:
                time.sleep(rng.uniform(0.3, longest))
            if process.poll() is not None:
                break  # finished before all the kills: said in the output
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
    parser.add_argument("--sweep", action="store_true", help="kill a sweep, not a single training")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--num_steps", type=int, help="of the training, or of each member")
    parser.add_argument("--out", type=pathlib.Path, help="a file for the result")
    args = parser.parse_args()
    case = SWEEP if args.sweep else TRAINING
    if args.num_steps is not None:
        case = case._replace(settings=case.settings | {"num_steps": args.num_steps})
    return chaos(case, args.kills, args.seed, args.out)


if __name__ == "__main__":
    sys.exit(main())
