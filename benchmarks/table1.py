"""Table 1 of Goodfellow et al. 2014 for MNIST, with rows of ours and what trivial models get.

    python benchmarks/table1.py [--config=configs/goodfellow2014.py] [--seeds=1]
                                [--workdir=runs/table1] [--out=FILE] [--config.FIELD=VALUE ...]

Trains a config once for each seed (or goes on with it, in WORKDIR/<config>/<seed>), takes of each
run the checkpoint with the best Parzen-window log-likelihood on validation images, and scores it
on the test images by every metric. Prints these beside what FILE has of other configs, and keeps
them there. configs/goodfellow2014.py takes more than an hour a seed on one core; to see where it
stands, stop it and ask python -m gan_jax.evaluate.
"""

import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
from typing import Any

from gan_jax import cli
from gan_jax.errors import InputError

HERE = pathlib.Path(__file__).parent
PUBLISHED = {  # nats, mean and standard error over the test images, as the paper prints them
    "DBN": (138, 2),
    "Stacked CAE": (121, 1.6),
    "Deep GSN": (214, 1.1),
    "adversarial nets": (225, 2),
}


def measure(config_file: pathlib.Path, settings: list[str], directory: pathlib.Path) -> Any:
    """Trains one seed to the end, and scores its best checkpoint on the test images."""
    from gan_jax import config, evaluate, train
    from gan_jax.workdir import read_json
    from gan_jax.writers import read_metrics

    c = config.load(str(config_file), settings)
    if c.dataset != "mnist":
        raise InputError(f"--config is of {c.dataset}, but the published rows are of mnist")
    if c.keep_best != "parzen":
        raise InputError("--config must have keep_best = 'parzen', measured on held-out images")
    if status := train.run(c, directory, config_file.stem):
        raise SystemExit(status)
    found = evaluate.evaluate(directory, step="best", num=c.eval_num, split=None, metrics=None)
    lines = read_metrics(directory / "metrics.jsonl")
    return {
        "seed": c.seed,
        "iteration": found["step"],
        "num_steps": c.num_steps,
        "steps_per_second": read_json(directory / "run.json")["steps_per_second"],
        "validation": {line["step"]: line["parzen"] for line in lines if "parzen" in line},
        "metrics": found["metrics"],
    }


def table1(results: dict[str, Any]) -> list[str]:
    """Lines of text: the published rows, a row for each config, and the trivial models'."""
    rows = {f"{name} (published)": row for name, row in PUBLISHED.items()}
    trivial: dict[str, tuple[float, float]] = {}
    for name, result in results.items():
        scores = [seed["metrics"]["parzen"] for seed in result["seeds"]]
        values = [score["value"] for score in scores]
        mean, error = statistics.mean(values), scores[0]["standard_error"]
        if len(values) > 1:
            error = statistics.stdev(values) / len(values) ** 0.5
        rows[f"{name}, {len(values)} seed{'s' * (len(values) > 1)}"] = mean, error
        for baseline, entry in scores[0]["baselines"].items():
            trivial[baseline] = entry["value"], entry["standard_error"]
    rows |= trivial
    return [f"{name:<40} {mean:6.1f} +- {error:.1f}" for name, (mean, error) in rows.items()]


def comparison(results: dict[str, Any]) -> list[str]:
    """Lines of text: a row for each metric that all have, the mean over each config's seeds."""
    from gan_jax.scores import METRICS

    found = {
        name: [seed["metrics"] for seed in result["seeds"]] for name, result in results.items()
    }
    lines = [" ".join([f"{'':30}", *(f"{name:>16}" for name in found), "  better"])]
    for metric, (label, better, *_) in METRICS.items():
        if all(metric in seed for seeds in found.values() for seed in seeds):
            means = (statistics.mean(x[metric]["value"] for x in seeds) for seeds in found.values())
            cells = (f"{mean:16.4g}" for mean in means)
            lines.append(" ".join([f"{label:30}", *cells, f"  {better}"]))
    return lines


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--config", type=pathlib.Path, default=HERE.parent / "configs/goodfellow2014.py"
    )
    parser.add_argument("--seeds", type=cli.at_least(1), default=1, help="trainings")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/table1"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results/table1.json")
    args, settings = parser.parse_known_args()

    import jax

    from gan_jax.workdir import read_json

    if any(x.startswith("--config.seed=") for x in settings):
        raise InputError("--config.seed is given by --seeds: 0, 1, ...")
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"--out={args.out}: there is no directory {args.out.parent}")
    results = read_json(args.out) if args.out.exists() else {}
    if not all(isinstance(row, dict) and "seeds" in row for row in results.values()):
        raise InputError(f"--out={args.out} holds something else than rows of this table")
    name = " ".join([args.config.stem, *settings])  # other settings are another row
    place = args.workdir / args.config.stem
    seeds = [
        measure(args.config, [f"--config.seed={seed}", *settings], place / str(seed))
        for seed in range(args.seeds)
    ]
    command = ["python", "benchmarks/table1.py", f"--config=configs/{args.config.name}"]
    results[name] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([*command, f"--seeds={args.seeds}", *settings]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "seeds": seeds,
    }
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    print(args.out)
    print("Parzen-window log-likelihood of MNIST's test images, nats")
    print("\n".join(table1(results)))
    for seed in seeds:
        print(
            f"seed {seed['seed']}: iteration {seed['iteration']} of {seed['num_steps']} by "
            f"validation ({seed['validation'][seed['iteration']]:.1f}), at "
            f"{seed['steps_per_second']} iterations a second"
        )
    print("Every metric, means over seeds")
    print("\n".join(comparison(results)))
    return 0


if __name__ == "__main__":
    cli.run(main)
