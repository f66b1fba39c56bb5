"""Table 1 of Goodfellow et al. 2014 for MNIST, with our configs and trivial models.

    python benchmarks/table1.py [--config=goodfellow2014] [--seeds=1] [--workdir=runs/table1]
                                [--out=FILE] [--config.FIELD=VALUE ...]

Trains a config with each seed, or resumes it, in WORKDIR/<config>/<seed>. Of each run, the
checkpoint with the best Parzen-window log-likelihood on validation images is scored on the test
images by every metric; configs without keep_best='parzen' are evaluated ten times per run to select
it. Adds a row for the config and its settings to FILE (benchmarks/results/table1.json), and prints
all rows. configs/goodfellow2014.py takes 80 minutes per seed on one core; python -m
gan_jax.evaluate scores a run before its end.
"""

import pathlib
import statistics
from typing import Any

import common

from gan_jax import cli, config, data, evaluate, train
from gan_jax.errors import InputError
from gan_jax.evaluation.registry import METRICS
from gan_jax.workdir import read_json
from gan_jax.writers import read_metrics, write_json

PUBLISHED = {  # mean in nats, and its standard error over the test images
    "DBN": (138, 2),
    "Stacked CAE": (121, 1.6),
    "Deep GSN": (214, 1.1),
    "adversarial nets": (225, 2),
}


def measure(name: str, settings: list[str], directory: pathlib.Path) -> dict[str, Any]:
    """Trains one seed to the end, and scores its best checkpoint on the test images."""
    c = config.load(name, settings)
    if c.dataset != "mnist":
        raise InputError(f"--config is of {c.dataset}, but the published rows are of mnist")
    if data.overlap(c.split, c.validation_split):
        raise InputError("--config needs a validation_split that does not overlap with split")
    if c.keep_best != "parzen":
        period = max(1, c.num_steps // 10)
        periods = dict.fromkeys(("eval_every", "checkpoint_every", "sample_every"), period)
        chosen = {"eval_metrics": ("parzen",), "keep_best": "parzen"}
        c = config.replace(c, periods | chosen)
    if status := train.run(c, directory, pathlib.Path(name).stem):
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
    """Lines of text: the published rows, a row per config, and the trivial models.

    The standard error over seeds is that of the mean over seeds. The one over test images is of a
    single seed, averaged over seeds.
    """
    rows = [(f"{name} (published)", f"{x}", error) for name, (x, error) in PUBLISHED.items()]
    trivial = {}
    for name, result in results.items():
        scores = [seed["metrics"]["parzen"] for seed in result["seeds"]]
        values, n = [score["value"] for score in scores], len(scores)
        mean = common.mean_and_error(values, 1)
        over_images = statistics.mean(score["standard_error"] for score in scores)
        rows.append((f"{name}, {n} seed{'s' * (n > 1)}", mean, over_images))
        trivial |= scores[0]["baselines"]
    rows += [(name, f"{x['value']:.1f}", x["standard_error"]) for name, x in trivial.items()]
    width = max(len(name) for name, *_ in rows)
    return [
        f"{'Parzen log-likelihood (nats)':<{width}}  mean ± SE over seeds  SE over test images",
        *(f"{name:<{width}}  {mean:<20}  {error:.1f}" for name, mean, error in rows),
        "The published ± is the standard error over test images.",
    ]


def comparison(results: dict[str, Any]) -> list[str]:
    """Lines of text: a row per metric that all seeds have, with the mean of each config."""
    found = {
        name: [seed["metrics"] for seed in result["seeds"]] for name, result in results.items()
    }
    lines = ["  ".join([f"{'mean over seeds':<28}", *(f"{name:>10}" for name in found), "better"])]
    for name, metric in METRICS.items():
        if all(name in seed for seeds in found.values() for seed in seeds):
            cells = [
                f"{statistics.mean(seed[name]['value'] for seed in seeds):>{max(10, len(row))}.4g}"
                for row, seeds in found.items()
            ]
            lines.append("  ".join([f"{metric.label:<28}", *cells, f"{metric.better}"]))
    return lines


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--config", default="goodfellow2014")
    parser.add_argument("--seeds", type=cli.at_least(1), default=1, help="number of runs")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/table1"))
    parser.add_argument("--out", type=pathlib.Path, default=common.RESULTS / "table1.json")
    args, settings = parser.parse_known_args()
    if any(x.startswith("--config.seed=") for x in settings):
        raise InputError("--config.seed is given by --seeds: 0, 1, ...")
    results = read_json(args.out, missing_ok=True)
    if not all(isinstance(row, dict) and "seeds" in row for row in results.values()):
        raise InputError(f"--out={args.out} is not a result of this script")
    args.out.absolute().parent.mkdir(parents=True, exist_ok=True)  # before hours of training
    stem = pathlib.Path(args.config).stem
    seeds = [
        measure(args.config, [f"--config.seed={n}", *settings], args.workdir / stem / str(n))
        for n in range(args.seeds)
    ]
    results[" ".join([stem, *settings])] = common.origin() | {"seeds": seeds}
    write_json(args.out, results)
    print(args.out)
    print("\n".join([*table1(results), *comparison(results)]))
    for seed in seeds:
        print(
            f"seed {seed['seed']}: iteration {seed['iteration']} of {seed['num_steps']}, chosen by "
            f"validation ({seed['validation'][seed['iteration']]:.1f} nats)"
        )
    return 0


if __name__ == "__main__":
    cli.run(main)
