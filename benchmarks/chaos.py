"""Kills a training again and again, and compares its end with the undisturbed run.

    python benchmarks/chaos.py --kills=100

Runs a short training as a process and kills it with SIGKILL at random moments: most anywhere,
from start-up on, a third of them within a moment of a checkpoint being written. It is resumed each
time, and at the end metrics.jsonl, every picture and params_sha256 are compared with those of a
run that nobody touched. Prints kills, resumes and `identical`, or what differs (exit status 1).
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

CONFIG = "configs/digits.py"
SETTINGS = {"num_steps": 150_000, "checkpoint_every": 500, "sample_every": 5_000}


def compare(a: pathlib.Path, b: pathlib.Path) -> list[str]:
    """The names of what two finished runs do not have in common."""
    names = {p.relative_to(d) for d in (a, b) for p in d.glob("samples/*")}
    names |= {pathlib.Path(name) for name in ("metrics.jsonl", "curves.png", "samples.gif")}
    bad = [
        str(name)
        for name in sorted(names)
        if not (a / name).exists()
        or not (b / name).exists()
        or (a / name).read_bytes() != (b / name).read_bytes()
    ]
    sha = [json.loads((d / "run.json").read_text()).get("params_sha256") for d in (a, b)]
    return bad + ["params_sha256"] * (sha[0] is None or sha[0] != sha[1])


def wait_until_saving(directory: pathlib.Path, process: subprocess.Popen[bytes]) -> bool:
    """Returns when a checkpoint is being written; False if the process ends before."""
    while process.poll() is None:
        if (directory / "checkpoints/unfinished").exists():
            return True
        time.sleep(0.001)
    return False


def chaos(kills: int, seed: int, settings: dict[str, int], out: pathlib.Path | None) -> int:
    """Runs the whole comparison and returns the exit status."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        command = [sys.executable, "-m", "gan_jax.main", f"--config={CONFIG}"]
        command += [f"--config.{field}={value}" for field, value in settings.items()]

        def start(directory: pathlib.Path) -> subprocess.Popen[bytes]:
            workdir = f"--workdir={directory}"
            return subprocess.Popen([*command, workdir], stdout=subprocess.DEVNULL)

        if start(root / "calm").wait():
            return 1
        # Up to a second and a half of training, so that the run gets on between the kills.
        longest = 1.5 + json.loads((root / "calm/run.json").read_text())["seconds_to_first_step"]
        done = aimed = resumes = 0
        while done < kills:
            process = start(root / "storm")
            resumes += (root / "storm/checkpoints").exists()
            at_save = rng.random() < 1 / 3
            if at_save and wait_until_saving(root / "storm", process):
                time.sleep(rng.uniform(0, 0.08))  # about what a save takes
            elif not at_save:
                time.sleep(rng.uniform(0.3, longest))
            if process.poll() is not None:
                break  # finished before all the kills: said in the output
            process.kill()
            process.wait()
            done, aimed = done + 1, aimed + at_save
        status = start(root / "storm").wait()
        bad = compare(root / "calm", root / "storm") if status == 0 else [f"exit status {status}"]
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
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--num_steps", type=int, default=SETTINGS["num_steps"])
    parser.add_argument("--out", type=pathlib.Path, help="a file for the result")
    args = parser.parse_args()
    return chaos(args.kills, args.seed, SETTINGS | {"num_steps": args.num_steps}, args.out)


if __name__ == "__main__":
    sys.exit(main())
