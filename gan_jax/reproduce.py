"""Trains a run again and compares the bytes.

python -m gan_jax.reproduce --workdir=DIR

Prints `identical` and exits with 0, or prints the first difference and what differs in the
environment, and exits with 1. DIR is not changed.
"""

import contextlib
import io
import math
import pathlib
import tempfile
from typing import Any

from gan_jax import cli


def first_difference(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str | None:
    """Where two lists of metrics lines first differ: iteration, quantity and both values."""
    for a, b in zip(old, new, strict=False):
        for name in dict.fromkeys([*a, *b]):
            x, y = a.get(name, "nothing"), b.get(name, "nothing")
            if x != y:
                return f"iteration {a['step']}, {name}: {x} recorded, {y} now"
    if len(old) != len(new):
        return f"{len(old)} lines of metrics recorded, {len(new)} now"
    return None


def reproduce(directory: pathlib.Path) -> int:
    """Trains a run again, elsewhere, and returns the exit status.

    Raises:
      InputError: the directory is not a run, or has no metrics yet, or its data are gone.
    """
    from gan_jax import data, train, workdir
    from gan_jax.data import cache
    from gan_jax.errors import InputError
    from gan_jax.provenance import differences
    from gan_jax.writers import read_metrics, sample_grids

    config = workdir.read_config(directory)
    kind, _, path = config.dataset.partition(":")
    if kind in ("folder", "npz", "npy") and not cache.expand_user(path).exists():
        raise InputError(
            f"{path}: no such data; if they have moved, resume the run once with "
            f"--config.dataset={kind}:NEW"
        )
    recorded = workdir.read_json(directory / "run.json")
    lines = read_metrics(directory / "metrics.jsonl")
    if not lines:
        raise InputError(f"{directory} has no metrics yet to compare with")
    steps = {line["step"] for line in lines}
    end = recorded.get("step", max(steps))
    whole = end == max(steps) if recorded.get("status") == "finished" else True
    if type(end) is not int or end < max(steps) or not whole:
        raise InputError(f"run.json and metrics.jsonl of {directory} disagree on the last step")
    config.num_steps = end
    config.trackers = ()
    # metrics_every may have changed during the run: choose one that covers all recorded lines.
    config.metrics_every = math.gcd(*(steps - {1, end})) or config.metrics_every
    print(f"{directory}: training its {config.num_steps} iterations again")
    data.cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.cache_dir(), prefix="reproduce-") as name:
        again = pathlib.Path(name, "run")
        with contextlib.redirect_stdout(io.StringIO()):
            status = train.run(config, again, again.name)
        if status >= 128:  # interrupted
            return status
        repeated = workdir.read_json(again / "run.json")
        new_lines = [
            line for line in read_metrics(again / "metrics.jsonl") if line["step"] in steps
        ]
        difference = first_difference(lines, new_lines)
        compared = 0
        for image in sample_grids(directory).values():
            new = again / "samples" / image.name
            if not new.exists():  # sample_every changed during the run
                continue
            compared += 1
            if not difference and new.read_bytes() != image.read_bytes():
                difference = f"samples/{image.name}"
    sha = "params_sha256"
    if not difference and sha in recorded and recorded[sha] != repeated[sha]:
        difference = f"{sha}: {recorded[sha]} recorded, {repeated[sha]} now"
    if not difference:
        hashed = sha if sha in recorded else f"no {sha}, as none was recorded"
        print(f"identical: {len(lines)} lines of metrics, {compared} sample grids, {hashed}")
        return 0
    print(f"differs first at {difference}")
    for segment in recorded.get("earlier", ()):
        for text in differences(segment, recorded):
            print(f"the run changed environment at iteration {segment['until']}: {text}")
    for text in differences(recorded, repeated) or ["nothing recorded"]:
        print(f"the environment differs in {text}")
    return 1


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the run's directory")
    return reproduce(parser.parse_args().workdir)


if __name__ == "__main__":
    cli.run(main)
