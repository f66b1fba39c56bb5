"""Table 1 of PacGAN (Lin et al. 2018): modes of a ring and a grid, for a GAN and three packings.

    python benchmarks/pacgan_table1.py [--fraction=1] [--seeds=10] [--workdir=runs/pacgan]

Trains configs/ring.py and configs/grid.py with 1, 2, 3 and 4 examples in a pack, each with every
seed, as one sweep a data set, and scores 2,500 samples of each member. The whole protocol is
400,000 iterations; --fraction=0.1 trains a tenth of them, and the table says so. Writes
benchmarks/results/pacgan-table1-ITERATIONS.json.
"""

import csv
import datetime
import json
import os
import pathlib
import platform

from gan_jax import cli
from gan_jax.errors import InputError

HERE = pathlib.Path(__file__).parent
STEPS = 400_000
PACKS = (1, 2, 3, 4)
METRICS = {"modes_covered": "modes", "high_quality": "HQ %", "reverse_kl": "rKL"}
# Mean and standard error over 10 trials, as the paper prints them.
PUBLISHED = {
    "ring": {
        1: ((6.3, 0.5), (98.2, 0.2), (0.45, 0.09)),
        2: ((7.9, 0.1), (95.6, 2.0), (0.07, 0.03)),
        3: ((7.8, 0.1), (97.7, 0.3), (0.10, 0.02)),
        4: ((7.8, 0.1), (95.9, 1.4), (0.07, 0.02)),
    },
    "grid": {
        1: ((17.3, 0.8), (94.8, 0.7), (0.70, 0.07)),
        2: ((23.8, 0.7), (91.3, 0.8), (0.13, 0.04)),
        3: ((24.6, 0.4), (94.2, 0.4), (0.06, 0.02)),
        4: ((24.8, 0.2), (93.6, 0.6), (0.04, 0.01)),
    },
}


def measure(dataset: str, steps: int, seeds: int, directory: pathlib.Path) -> dict:
    """Trains a data set's sweep to its end, and returns its rows: by pack, the members' scores."""
    from gan_jax import config
    from gan_jax.sweeps import host

    base = config.load(str(HERE.parent / f"configs/{dataset}.py"))
    base = config.replace(base, {"num_steps": steps, "eval_every": steps})
    # 100 packs in a minibatch, whatever their size.
    settings = [{"pack": pack, "batch_size": base.batch_size * pack} for pack in PACKS]
    if status := host.run(base, settings, seeds, directory, dataset, shard=None, dry=False):
        raise SystemExit(status)
    rows = list(csv.DictReader((directory / "results.csv").read_text().splitlines()))
    return {
        str(pack): {
            name: [float(r[f"final_{name}"] or "nan") for r in rows if r["pack"] == str(pack)]
            for name in METRICS
        }
        for pack in PACKS
    }


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the 400,000 iterations")
    parser.add_argument("--seeds", type=cli.at_least(2), default=10)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/pacgan"))
    args = parser.parse_args()
    if not 0 < args.fraction <= 1:
        raise InputError(f"--fraction must be above 0 and at most 1, not {args.fraction}")
    steps = max(1, round(STEPS * args.fraction))
    found = {
        dataset: measure(dataset, steps, args.seeds, args.workdir / dataset)
        for dataset in PUBLISHED
    }
    import jax
    import numpy as np

    print(f"{steps} iterations, {args.seeds} seeds: mean +- standard error (published)")
    print(
        f"{'':12}",
        *(f"{dataset} {label:<22}" for dataset in PUBLISHED for label in METRICS.values()),
    )
    for pack in PACKS:
        cells = []
        for dataset, published in PUBLISHED.items():
            for (name, label), (mean, error) in zip(METRICS.items(), published[pack], strict=True):
                scale = 100 if "%" in label else 1
                values = [scale * x for x in found[dataset][str(pack)][name]]
                own = np.std(values, ddof=1) / len(values) ** 0.5  # nan where a member diverged
                text = f"{np.mean(values):.2f} +- {own:.2f} ({mean} +- {error})"
                cells.append(f"{text:<27}")
        print(f"{'GAN' if pack == 1 else f'PacGAN{pack}':<12}", *cells)
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"python benchmarks/pacgan_table1.py --fraction={args.fraction} "
        f"--seeds={args.seeds}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "iterations": steps,
        "scores": found,
    }
    out = HERE / f"results/pacgan-table1-{steps}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(out.name)
    return 0


if __name__ == "__main__":
    cli.run(main)
