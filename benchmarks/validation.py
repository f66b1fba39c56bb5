"""Draws a validation metric over training, for groups of runs that differ in seed.

    python benchmarks/validation.py --metric=parzen --out=DIR "LABEL=WORKDIR,WORKDIR,..." ...

Prints each seed's best value and its iteration, and writes DIR/validation.json and
DIR/validation.png.
"""

import pathlib
from typing import Any

import numpy as np

from gan_jax import cli, plots, workdir
from gan_jax.errors import InputError
from gan_jax.evaluation.registry import METRICS, lower_is_better
from gan_jax.writers import read_metrics, write_json, write_whole

Curves = dict[int, dict[int, float]]  # by seed and iteration


def read(directories: str, metric: str) -> tuple[Curves, str]:
    """The curves of comma-separated workdirs, and their device."""
    curves: Curves = {}
    for directory in map(pathlib.Path, directories.split(",")):
        run = workdir.read_json(directory / "run.json")
        if run["seed"] in curves:
            raise InputError(f"{directory} has the seed {run['seed']} of another run of its group")
        lines = read_metrics(directory / "metrics.jsonl")
        curves[run["seed"]] = {line["step"]: line[metric] for line in lines if metric in line}
        if not curves[run["seed"]]:
            raise InputError(f"{directory} has no {metric} in metrics.jsonl")
    return curves, run["device"]["kind"]


@plots.style()
def figure(groups: dict[str, Curves], metric: str) -> bytes:
    """PNG of a line per seed, with a colour per group."""
    drawn = plots.new_figure(7, 4)
    axes = drawn.subplots()
    for number, (label, curves) in enumerate(groups.items()):
        for i, curve in enumerate(curves.values()):
            named = label if i == 0 else None
            axes.plot(*zip(*curve.items(), strict=True), f"C{number}", lw=1, label=named)
    axes.set(xlabel="iteration", ylabel=METRICS[metric].label, title="Validation, a line per seed")
    if METRICS[metric].better == "lower":
        values = (
            value for curves in groups.values() for c in curves.values() for value in c.values()
        )
        plots.log_scale(axes, axes.yaxis, np.array(list(values)))
    axes.legend()
    return plots.figure_png(drawn)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--metric", choices=METRICS, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("groups", nargs="+", help="LABEL=WORKDIR,WORKDIR,...")
    args = parser.parse_args()
    groups: dict[str, Curves] = {}
    result: dict[str, Any] = {"metric": args.metric, "groups": {}}
    for group in args.groups:
        label, _, directories = group.partition("=")
        if label in groups:
            raise InputError(f"{label} is given twice")
        groups[label], device = read(directories, args.metric)
        result["groups"][label] = {"device": device, "curves": groups[label]}
        for seed, curve in groups[label].items():
            step = min(curve, key=lambda step: lower_is_better(args.metric, curve[step]))
            print(f"{label}, seed {seed}: {curve[step]:.4g} at iteration {step:,}")
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "validation.json", result)
    write_whole(args.out / "validation.png", figure(groups, args.metric))
    return 0


if __name__ == "__main__":
    cli.run(main)
