"""Classification errors of Makhzani et al. 2015 on MNIST.

    python benchmarks/inferred_classes.py [--config=aae_mnist_semi] [--seeds=3] [--out=FILE]
                                          [--workdir=runs/inferred] [--config.FIELD=VALUE ...]

Trains semi-supervised adversarial autoencoders from 100 and 1,000 labels (section 5), and
clustering ones of 16 and 30 clusters (section 6), with each seed, or resumes them, in
WORKDIR/<row>/<seed>. Each row is written to FILE (benchmarks/results/inferred.json) as it
ends. Each run takes 15 minutes on one core.
"""

import pathlib
from typing import Any

import common

from gan_jax import cli, config, evaluate, train
from gan_jax.errors import InputError
from gan_jax.workdir import read_json
from gan_jax.writers import write_json

SETTINGS = {
    "100 labels": {"num_labelled": 100},
    "1000 labels": {"num_labelled": 1000},
    "16 clusters": {"num_labelled": 0, "num_categories": 16},
    "30 clusters": {"num_labelled": 0, "num_categories": 30},
}
PUBLISHED = {  # error in %, and the spread that the paper states
    "100 labels": (1.90, 0.10),
    "1000 labels": (1.60, 0.08),
    "16 clusters": (9.55, 2.05),
    "30 clusters": (4.10, 1.13),
}


def measure(name: str, row: str, settings: list[str], directory: pathlib.Path) -> dict[str, Any]:
    """Trains one seed to the end, and measures its error on the test images."""
    c = config.replace(config.load(name, settings), SETTINGS[row])
    if status := train.run(c, directory, pathlib.Path(name).stem):
        raise SystemExit(status)
    error = evaluate.evaluate(directory, num=1000, metrics=["memorisation"])["classification"]
    record = read_json(directory / "run.json")
    return {
        "seed": c.seed,
        "num_steps": c.num_steps,
        "seconds": c.num_steps / record["steps_per_second"],
        "error": {key: error[key] for key in ("value", "low", "high")},
    }


def table(results: dict[str, Any]) -> list[str]:
    """Lines of text: errors in %, published and ours (mean ± standard error over seeds)."""
    lines = [f"{'error, %':<12}  {'published':<12}  {'mean ± SE':<13}  seeds"]
    for row, result in results.items():
        errors = [100 * seed["error"]["value"] for seed in result["seeds"]]
        mean = common.mean_and_error(errors, 2)
        value, spread = PUBLISHED[row]
        each = ", ".join(f"{error:.2f}" for error in errors)
        lines.append(f"{row:<12}  {f'{value:.2f} ± {spread:.2f}':<12}  {mean:<13}  {each}")
    return lines


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--config", default="aae_mnist_semi")
    parser.add_argument("--seeds", type=cli.at_least(1), default=3, help="number of runs of each")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/inferred"))
    parser.add_argument("--out", type=pathlib.Path, default=common.RESULTS / "inferred.json")
    args, settings = parser.parse_known_args()
    fixed = ("seed", "num_labelled", "num_categories")
    if any(x.startswith(f"--config.{field}=") for x in settings for field in fixed):
        raise InputError(f"this script chooses config.{', config.'.join(fixed)}")
    args.out.absolute().parent.mkdir(parents=True, exist_ok=True)  # before hours of training
    results = {}
    for row in SETTINGS:
        seeds = [
            measure(
                args.config, row, [f"--config.seed={n}", *settings], args.workdir / row / str(n)
            )
            for n in range(args.seeds)
        ]
        results[row] = common.origin() | {"settings": settings, "seeds": seeds}
        write_json(args.out, results)
    print(args.out)
    print("\n".join(table(results)))
    return 0


if __name__ == "__main__":
    cli.run(main)
