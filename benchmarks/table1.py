"""Table 1 of Goodfellow et al. 2014 for MNIST, with our row and what trivial models get.

    python benchmarks/table1.py [--seeds=1] [--workdir=runs/table1] [--config.FIELD=VALUE ...]

Trains configs/goodfellow2014.py once for each seed (or goes on with it, in WORKDIR/<seed>), takes
of each run the checkpoint with the best Parzen-window log-likelihood on validation images, and
reports that of the test images, by the protocol of the paper. A training takes some hours on two
cores; to see where it stands, stop it and ask python -m gan_jax.evaluate.
"""

import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import sys
from typing import Any

from gan_jax import cli
from gan_jax.errors import InputError

HERE = pathlib.Path(__file__).parent
CONFIG = HERE.parent / "configs/goodfellow2014.py"
PUBLISHED = {  # nats, mean and standard error over the test images, as the paper prints them
    "DBN": (138, 2),
    "Stacked CAE": (121, 1.6),
    "Deep GSN": (214, 1.1),
    "adversarial nets": (225, 2),
}


def measure(settings: list[str], directory: pathlib.Path) -> dict[str, Any]:
    """Trains one seed to the end, and scores its best checkpoint on the test images."""
    from gan_jax import config, evaluate, train
    from gan_jax.writers import read_metrics

    c = config.load(str(CONFIG), settings)
    if status := train.run(c, directory, CONFIG.stem):
        sys.exit(status)
    found = evaluate.evaluate(
        directory, step="best", num=c.eval_num, split=None, metrics=["parzen"]
    )
    lines = read_metrics(directory / "metrics.jsonl")
    validation = {line["step"]: line["parzen"] for line in lines if "parzen" in line}
    return {
        "seed": c.seed,
        "iteration": found["step"],
        "num_steps": c.num_steps,
        "validation": validation,
        **found["metrics"]["parzen"],
    }


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--seeds", type=cli.at_least(1), default=1, help="trainings")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/table1"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results/table1.json")
    args, settings = parser.parse_known_args()

    import jax

    if any(x.startswith("--config.seed=") for x in settings):
        raise InputError("--config.seed is given by --seeds: 0, 1, ...")
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"--out={args.out}: there is no directory {args.out.parent}")
    seeds = [
        measure([f"--config.seed={seed}", *settings], args.workdir / str(seed))
        for seed in range(args.seeds)
    ]
    tests = [seed["value"] for seed in seeds]
    error = seeds[0]["standard_error"]
    if len(tests) > 1:
        error = statistics.stdev(tests) / len(tests) ** 0.5
    rows = {f"{name} (published)": row for name, row in PUBLISHED.items()}
    rows["adversarial nets (gan_jax)"] = (statistics.mean(tests), error)
    for name, entry in seeds[0]["baselines"].items():
        rows[name] = (entry["value"], entry["standard_error"])
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(
            ["python", "benchmarks/table1.py", f"--seeds={args.seeds}", *settings]
        ),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "rows": {name: {"mean": mean, "error": error} for name, (mean, error) in rows.items()},
        "error": "over the test images" if len(tests) == 1 else "over the seeds",
        "seeds": seeds,
    }
    print(f"{'Parzen-window log-likelihood, MNIST':<40} nats")
    for name, (mean, error) in rows.items():
        print(f"{name:<40} {mean:6.1f} +- {error:.1f}")
    for seed in seeds:
        print(
            f"seed {seed['seed']}: iteration {seed['iteration']} of {seed['num_steps']} by "
            f"validation ({seed['validation'][seed['iteration']]:.1f}), sigma {seed['sigma']:.3f}, "
            f"test {seed['value']:.1f} +- {seed['standard_error']:.1f}"
        )
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(args.out)
    return 0


if __name__ == "__main__":
    cli.run(main)
