"""Kills a training run repeatedly, and compares its results with an uninterrupted run.

    python benchmarks/chaos.py --kills=100
    python benchmarks/chaos.py --sweep --kills=25
    python benchmarks/chaos.py --processes=2 --kills=20

Starts a short training process (with --sweep, a small sweep: four units, each with members that
diverge; with --processes, several processes that train a run together, of which a random one is
killed) and kills it with SIGKILL at random moments: two thirds anywhere from start-up on, one
third while a checkpoint is being written. The same command resumes it each time, and at the end
every result is compared with those of an uninterrupted process. Prints kills, resumes and
`identical`, or what differs (exit status 1); of several processes also how long the others ran on,
each of which must fail and name the killed one.
"""

import argparse
import contextlib
import json
import pathlib
import random
import shlex
import socket
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
TOGETHER = TRAINING._replace(
    settings={"num_steps": 4_000, "checkpoint_every": 20, "devices": 0, "accelerator": "cpu"}
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

Processes = list[subprocess.Popen[str]]  # of one command


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


def wait_for(directory: pathlib.Path, pattern: str, started: Processes) -> bool:
    """Waits for a path made from now on; returns False if a process ends before."""
    begun = time.time()
    while all(process.poll() is None for process in started):
        with contextlib.suppress(FileNotFoundError):
            if any(path.stat().st_mtime > begun for path in directory.glob(pattern)):
                return True
        time.sleep(0.001)
    return False


def finish(started: Processes) -> list[str]:
    """Waits for the end of training; the errors of processes that fail."""
    ended = [(process.communicate()[1], process.returncode) for process in started]
    return [f"exit status {status}: {errors}" for errors, status in ended if status]


def kill(started: Processes, victim: int) -> tuple[float, bool, list[str]]:
    """Kills a process.

    Returns:
      The seconds until the others have ended, whether all had connected, and what they did wrong.
    """
    begun = time.monotonic()
    started[victim].kill()
    errors = [process.communicate()[1] for process in started]
    seconds = time.monotonic() - begun
    del errors[victim]
    wrong = [f"process {i} went on" for i, process in enumerate(started) if process.returncode == 0]
    # One that is not connected yet may know only that some are missing.
    known = f"process {victim}", "--coordinator="
    wrong += [f"unexpected: {error}" for error in errors if not any(x in error for x in known)]
    return seconds, all("was killed" in error for error in errors), wrong


def chaos(case: Case, processes: int, kills: int, seed: int, out: pathlib.Path | None) -> int:
    """Runs the comparison and returns the exit status."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        calm, storm = (pathlib.Path(name, d) for d in ("calm", "storm"))
        command = [sys.executable, "-m", *case.command]
        command += [f"--config.{field}={value}" for field, value in case.settings.items()]

        def start(directory: pathlib.Path) -> Processes:
            each = [[f"--workdir={directory}"] for _ in range(processes)]
            if processes > 1:
                with socket.create_server(("127.0.0.1", 0)) as free:
                    address = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
                for i, arguments in enumerate(each):
                    arguments += [address, f"--num_processes={processes}", f"--process_id={i}"]
            return [
                subprocess.Popen(
                    [*command, *arguments],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for arguments in each
            ]

        begun = time.monotonic()
        started = start(calm)
        wait_for(calm, f"{case.checkpoints}/step_*", started)
        # Up to 1.5 s of training, so that there is progress between kills.
        longest = 1.5 + time.monotonic() - begun
        bad = finish(started)
        if bad:
            print(*bad)
            return 1
        done = aimed = resumes = 0
        seconds: dict[bool, list[float]] = {True: [], False: []}  # by whether all had connected
        while done < kills:
            started = start(storm)
            resumes += any(storm.glob(case.checkpoints))
            at_save = rng.random() < 1 / 3
            if at_save and wait_for(storm, f"{case.checkpoints}/unfinished", started):
                time.sleep(rng.uniform(0, 0.08))  # about the time of a save
            elif not at_save:
                time.sleep(rng.uniform(0.3, longest))
            if any(process.poll() is not None for process in started):
                break  # finished early, as the output says
            spent, connected, wrong = kill(started, rng.randrange(processes))
            seconds[connected].append(spent)
            bad += wrong
            done, aimed = done + 1, aimed + at_save
        bad += finish(start(storm)) or compare(calm, storm, case.results)
    outcome = "identical" if not bad else "these differ: " + ", ".join(bad)
    text = f"{done} kills ({aimed} while a checkpoint was written), {resumes} resumes: {outcome}"
    if processes > 1:
        text += "\nthe others ended" + " with an error that names the killed one" * (not bad)
        for values, when in (
            (seconds[True], ""),
            (seconds[False], " where not all were connected"),
        ):
            if values:
                text += f", within {max(values):.2f} s{when} ({len(values)} kills)"
    print(text)
    if out is not None:
        out.write_text(f"{shlex.join(['python', 'benchmarks/chaos.py', *sys.argv[1:]])}\n{text}\n")
    return bool(bad) or done < kills


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sweep", action="store_true", help="kill a sweep instead of a run")
    what.add_argument("--processes", type=int, default=1, help="that train a run together")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--num_steps", type=int, help="of the run, or of each member")
    parser.add_argument("--out", type=pathlib.Path, help="file for the result")
    args = parser.parse_args()
    case = SWEEP if args.sweep else TRAINING
    if args.processes > 1:
        shared = 128 // args.processes * args.processes
        case = TOGETHER._replace(settings=TOGETHER.settings | {"batch_size": shared})
    if args.num_steps is not None:
        case = case._replace(settings=case.settings | {"num_steps": args.num_steps})
    return chaos(case, args.processes, args.kills, args.seed, args.out)


if __name__ == "__main__":
    sys.exit(main())
