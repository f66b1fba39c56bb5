"""Table 1 of PacGAN (Lin et al. 2018): modes of a ring and a grid, for GAN and PacGAN2 to 4.

    python benchmarks/pacgan_table1.py [--fraction=1] [--seeds=10] [--workdir=runs/pacgan]

Trains configs/ring.py and configs/grid.py with 1, 2, 3 and 4 examples per pack, one sweep per data
set, and scores 2,500 samples of each member. The published protocol has 400,000 iterations;
--fraction=0.1 trains a tenth of them. Writes benchmarks/results/pacgan-table1-ITERATIONS.json.
"""

import argparse
import csv
import pathlib
from typing import Any

import common
import numpy as np

from gan_jax import cli, config
from gan_jax.sweeps import runner
from gan_jax.writers import write_json

STEPS = 400_000
PACKS = (1, 2, 3, 4)
METRICS = {"modes_covered": "modes", "high_quality": "HQ %", "reverse_kl": "rKL"}
# Mean and standard error over 10 trials.
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
Scores = dict[str, dict[str, list[float]]]  # by pack and metric, of the members


def measure(dataset: str, steps: int, seeds: int, directory: pathlib.Path) -> Scores:
    """Trains the sweep of a data set, or resumes it."""
    base = config.load(dataset)
    base = config.replace(base, {"num_steps": steps, "eval_every": steps})
    # 100 packs per minibatch for any pack size.
    settings = [{"pack": pack, "batch_size": base.batch_size * pack} for pack in PACKS]
    if status := runner.run(base, settings, seeds, directory, dataset):
        raise SystemExit(status)
    rows = list(csv.DictReader((directory / "results.csv").read_text().splitlines()))
    return {
        str(pack): {
            name: [float(r[f"final_{name}"] or "nan") for r in rows if r["pack"] == str(pack)]
            for name in METRICS
        }
        for pack in PACKS
    }


def table(scores: dict[str, Scores]) -> list[str]:
    """Lines of text, by data set; nan where a member diverged."""
    heads = (f"{dataset} {label}" for dataset in PUBLISHED for label in METRICS.values())
    lines = ["".join([f"{'':<12}", *(f"{head:<29}" for head in heads)]).rstrip()]
    for pack in PACKS:
        cells = [f"{'GAN' if pack == 1 else f'PacGAN{pack}':<12}"]
        for dataset, published in PUBLISHED.items():
            for (name, label), (mean, error) in zip(METRICS.items(), published[pack], strict=True):
                values = np.array(scores[dataset][str(pack)][name]) * (100 if "%" in label else 1)
                own = values.std(ddof=1) / len(values) ** 0.5
                cells.append(f"{f'{values.mean():.2f} ± {own:.2f} ({mean} ± {error})':<29}")
        lines.append("".join(cells).rstrip())
    return lines


def _fraction(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return float(text)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--fraction", type=_fraction, default=1.0, help="of 400,000 iterations")
    parser.add_argument("--seeds", type=cli.at_least(2), default=10)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/pacgan"))
    args = parser.parse_args()
    steps = max(1, round(STEPS * args.fraction))
    scores = {name: measure(name, steps, args.seeds, args.workdir / name) for name in PUBLISHED}
    print(f"{steps} iterations, {args.seeds} seeds: mean ± standard error over seeds (published)")
    print("\n".join(table(scores)))
    result: dict[str, Any] = {**common.origin(), "iterations": steps, "scores": scores}
    out = common.RESULTS / f"pacgan-table1-{steps}.json"
    write_json(out, result)
    print(out)
    return 0


if __name__ == "__main__":
    cli.run(main)
